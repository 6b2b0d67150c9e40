#include "jobs/celery/broker.hpp"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/text.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "jobs/celery/scripts.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

constexpr std::string_view kInvalidations = "__redis__:invalidate";
constexpr std::string_view kKeys = "subforge.";
constexpr std::string_view kServed = "serves.";
constexpr std::string_view kServedSeconds = "86400";

std::vector<Unacked> unacked_of(redis::Reply const& reply) {
  std::vector<Unacked> found;
  for (auto const& item : reply.items) {
    if (item.items.size() != 2) continue;
    found.push_back({item.items[0].text, message_of_unacked(item.items[1].text)});
  }
  return found;
}

Result<void> done(Result<redis::Reply> const& reply) {
  if (!reply) return std::unexpected(reply.error());
  return {};
}

Result<void> done(Result<std::vector<redis::Reply>> const& replies) {
  if (!replies) return std::unexpected(replies.error());
  for (auto const& reply : *replies) {
    if (reply.is_error()) return std::unexpected(redis::error_of(reply));
  }
  return {};
}

redis::Subscriber::Callbacks callbacks(Broker& broker, void (Broker::*ready)(),
                                       std::function<void()> const& arrived) {
  return {.on_message =
              [&arrived](redis::Message const&) {
                if (arrived) arrived();
              },
          .on_ready = [&broker, ready] { (broker.*ready)(); }};
}

}  // namespace

std::string message_of_unacked(std::string_view entry) {
  boost::system::error_code error;
  auto const value = describe::parse_json(entry, error);
  if (error || !value.is_array()) return {};
  auto const parts = split_list_text(entry);
  return parts && !parts->empty() ? std::string(parts->front()) : std::string();
}

std::string marked_redelivered(std::string_view text) {
  boost::system::error_code error;
  auto value = describe::parse_json(text, error);
  auto* const envelope = value.if_object();
  if (error || envelope == nullptr) return std::string(text);
  if (auto* const headers = envelope->if_contains("headers"); headers && headers->is_object()) {
    headers->get_object()["redelivered"] = true;
  }
  auto* const properties = envelope->if_contains("properties");
  if (properties != nullptr && properties->is_object()) {
    auto* const info = properties->get_object().if_contains("delivery_info");
    if (info != nullptr && info->is_object()) info->get_object()["redelivered"] = true;
  }
  return describe::json_text(value);
}

Broker::Broker(EventLoop& loop, BlockingPool& resolver, redis::RedisOptions options, Logger logger)
    : logger_(logger),
      database_(options.url.database),
      client_(loop, resolver, options, logger),
      wakes_(loop, resolver, options, logger, callbacks(*this, &Broker::track, on_arrival_)) {}

void Broker::start(std::string log) {
  prefix_ = std::string(kKeys) + std::move(log) + ".";
  client_.on_connected([this] {
    load_scripts();
    track();
    if (on_connected_) on_connected_();
  });
  client_.start();
  wakes_.subscribe(std::string(kInvalidations));
  wakes_.start();
}

void Broker::stop() {
  client_.stop();
  wakes_.stop();
}

void Broker::load_scripts() {
  redis::Batch batch;
  for (auto const* const script : scripts::all()) batch.add({"SCRIPT", "LOAD", script->source()});
  client_.send_unanswered(batch);
}

// Redis tells the other connection once when a key changes that this one has asked for.
void Broker::track() {
  auto const number = wakes_.connection_id();
  if (!client_.up() || !wakes_.up() || number == 0) return;
  redis::Batch batch;
  batch.add({"CLIENT", "TRACKING", "OFF"});
  batch.add({"CLIENT", "TRACKING", "ON", "REDIRECT", std::to_string(number), "OPTIN", "NOLOOP"});
  client_.send_unanswered(batch);
  listening_ = true;
  // Whatever came before could not be told.
  if (on_arrival_) on_arrival_();
}

std::string Broker::tag_of(std::int64_t row) const { return prefix_ + std::to_string(row); }

std::int64_t Broker::row_of(std::string_view tag) const {
  if (!tag.starts_with(prefix_)) return 0;
  return parse_number<std::int64_t>(tag.substr(prefix_.size())).value_or(0);
}

// "subforge.", the name of the log without a dot, and the number of the row.
std::optional<std::string> Broker::others_of(std::string_view tag) const {
  if (!tag.starts_with(kKeys) || tag.starts_with(prefix_)) return std::nullopt;
  auto const dot = tag.find('.', kKeys.size());
  if (dot == std::string_view::npos) return std::nullopt;
  if (!parse_number<std::int64_t>(tag.substr(dot + 1))) return std::nullopt;
  auto const owner = tag.substr(0, dot + 1);
  if (former_prefixes_.contains(owner)) return std::nullopt;
  return std::string(owner);
}

void Broker::came_from(std::span<std::string_view const> logs) {
  for (auto const& log : logs) former_prefixes_.insert(std::string(kKeys).append(log) + ".");
}

std::string_view Broker::shared_list(std::string_view list) const {
  if (list.starts_with(prefix_)) list.remove_prefix(prefix_.size());
  return list;
}

Task<Result<void>> Broker::serve(std::set<std::string> const& queues) {
  redis::Batch batch;
  for (auto const& queue : queues) {
    batch.add({"SET", prefix_ + std::string(kServed) + queue, "1", "EX", kServedSeconds});
  }
  co_return done(co_await client_.run(batch));
}

Task<Result<std::vector<bool>>> Broker::served(
    std::span<std::pair<std::string, std::string> const> places) {
  redis::Batch batch;
  for (auto const& [owner, queue] : places) {
    batch.add({"EXISTS", owner + std::string(kServed) + queue});
  }
  auto const replies = co_await client_.run(batch);
  if (auto asked = done(replies); !asked) co_return std::unexpected(asked.error());
  std::vector<bool> all;
  for (auto const& reply : *replies) all.push_back(reply.integer > 0);
  co_return all;
}

std::string Broker::held_key(Uuid worker) const { return prefix_ + "held." + worker.to_string(); }

Task<Result<std::vector<std::int64_t>>> Broker::push(std::span<Push const> pushes,
                                                     std::int64_t seen) {
  std::vector<std::int64_t> failed;
  if (pushes.empty()) co_return failed;
  auto const mark = prefix_ + "relayed";
  auto const at_least = std::to_string(seen);
  std::vector<std::string> rows;
  rows.reserve(pushes.size());
  std::vector<std::string_view> arguments{at_least};
  arguments.reserve(1 + pushes.size() * 4);
  for (auto const& one : pushes) {
    arguments.push_back(rows.emplace_back(std::to_string(one.row)));
    arguments.push_back(one.list);
    arguments.push_back(one.in_front ? "R" : "L");
    arguments.push_back(one.text);
  }
  auto const reply = co_await client_.run(scripts::push(), {mark}, std::move(arguments));
  if (!reply) co_return std::unexpected(reply.error());
  if (reply->is_null()) co_return fail(ErrorCode::stale, "Redis lost what it had taken");
  for (auto const& item : reply->items) {
    failed.push_back(parse_number<std::int64_t>(item.text).value_or(0));
  }
  co_return failed;
}

Task<Result<void>> Broker::send(std::span<TaskMessage const> messages) {
  redis::Batch batch;
  for (auto const& message : messages) {
    batch.add(
        {"LPUSH", list_name(message.queue, band_of(message.priority)), write_message(message)});
  }
  auto const sent = done(co_await client_.run(batch));
  // Redis does not tell of keys that this connection itself has changed.
  if (sent && !messages.empty() && on_arrival_) on_arrival_();
  co_return sent;
}

Task<Result<std::int64_t>> Broker::relayed() {
  auto const mark = prefix_ + "relayed";
  auto const reply = co_await client_.command({"GET", mark});
  if (!reply) co_return std::unexpected(reply.error());
  co_return parse_number<std::int64_t>(reply->text).value_or(0);
}

Task<Result<std::vector<Popped>>> Broker::pop(std::span<std::string const> lists, std::size_t most,
                                              Uuid worker) {
  auto const held = held_key(worker);
  auto const workers = prefix_ + "workers";
  std::vector<std::string_view> keys = {kUnacked, kUnackedIndex, held, workers};
  keys.insert(keys.end(), lists.begin(), lists.end());
  auto const limit = std::to_string(most);
  auto const name = worker.to_string();
  auto const bytes = std::to_string(kMessageBytesMax);
  auto const enough = std::to_string(kPoppedBytesMax);
  auto reply = co_await client_.run(scripts::pop(), std::move(keys), {limit, name, bytes, enough});
  if (!reply) co_return std::unexpected(reply.error());
  std::vector<Popped> taken;
  taken.reserve(reply->items.size());
  for (auto& item : reply->items) {
    if (item.items.size() != 3) continue;
    auto& parts = item.items;
    taken.push_back({std::move(parts[0].text), std::move(parts[1].text), std::move(parts[2].text)});
  }
  co_return taken;
}

Task<Result<std::vector<std::string>>> Broker::take_out(std::string_view list,
                                                        std::span<std::string const> tags) {
  auto const most = std::to_string(kLookedThrough);
  std::vector<std::string_view> arguments{most};
  arguments.insert(arguments.end(), tags.begin(), tags.end());
  auto const reply = co_await client_.run(scripts::take_out(), {list}, std::move(arguments));
  if (!reply) co_return std::unexpected(reply.error());
  std::vector<std::string> found;
  for (auto const& item : reply->items) found.push_back(item.text);
  co_return found;
}

Task<Result<Broker::Found>> Broker::find(std::span<std::string const> lists,
                                         std::span<std::string const> task_ids) {
  std::vector<std::string_view> keys = {kUnacked};
  keys.insert(keys.end(), lists.begin(), lists.end());
  auto const most = std::to_string(kLookedThrough);
  auto const bytes = std::to_string(kSearchedBytesMax);
  std::vector<std::string_view> arguments = {most, bytes};
  arguments.insert(arguments.end(), task_ids.begin(), task_ids.end());
  auto const reply = co_await client_.run(scripts::find(), std::move(keys), std::move(arguments));
  if (!reply) co_return std::unexpected(reply.error());
  Found found;
  if (reply->items.size() != 2) co_return found;
  found.all = reply->items[0].integer == 1;
  for (auto const& item : reply->items[1].items) found.ids.push_back(item.text);
  co_return found;
}

Task<Result<bool>> Broker::look(std::span<std::string const> lists) {
  redis::Batch batch;
  if (listening_) batch.add({"CLIENT", "CACHING", "YES"});
  std::vector<std::string_view> words = {"EXISTS"};
  words.insert(words.end(), lists.begin(), lists.end());
  batch.add(words);
  auto const replies = co_await client_.run(batch);
  if (!replies) co_return std::unexpected(replies.error());
  if (replies->back().is_error()) co_return std::unexpected(redis::error_of(replies->back()));
  co_return replies->back().integer > 0;
}

Task<Result<void>> Broker::acknowledge(Uuid worker, std::span<std::string const> tags) {
  if (tags.empty()) co_return {};
  auto const held = held_key(worker);
  redis::Batch batch;
  for (auto const& [verb, key] :
       {std::pair<std::string_view, std::string_view>{"ZREM", kUnackedIndex},
        {"HDEL", kUnacked},
        {"SREM", held}}) {
    std::vector<std::string_view> words = {verb, key};
    words.insert(words.end(), tags.begin(), tags.end());
    batch.add(words);
  }
  co_return done(co_await client_.run(batch));
}

Task<Result<void>> Broker::take_away(Uuid lost, std::span<std::string const> tags) {
  if (tags.empty()) co_return {};
  auto const held = held_key(lost);
  std::vector<std::string_view> arguments(tags.begin(), tags.end());
  co_return done(co_await client_.run(scripts::take_away(), {kUnacked, kUnackedIndex, held},
                                      std::move(arguments)));
}

Task<Result<void>> Broker::give_back(std::optional<Uuid> worker,
                                     std::span<GivenBack const> elements) {
  if (elements.empty()) co_return {};
  auto const held = worker ? held_key(*worker) : std::string();
  std::vector<std::string_view> keys = {kUnacked, kUnackedIndex};
  if (worker) keys.push_back(held);
  std::vector<std::string_view> arguments;
  arguments.reserve(elements.size() * 4);
  for (auto const& one : elements) {
    arguments.insert(arguments.end(), {one.tag, one.list, one.behind ? "L" : "R", one.text});
  }
  co_return done(co_await client_.run(scripts::give_back(), std::move(keys), std::move(arguments)));
}

Task<Result<void>> Broker::renew(Uuid worker) {
  auto const held = held_key(worker);
  co_return done(co_await client_.run(scripts::renew(), {kUnackedIndex, held}, {}));
}

Task<Result<std::vector<Uuid>>> Broker::takers() {
  auto const workers = prefix_ + "workers";
  auto const reply = co_await client_.command({"SMEMBERS", workers});
  if (!reply) co_return std::unexpected(reply.error());
  std::vector<Uuid> found;
  for (auto const& item : reply->items) {
    if (auto const id = Uuid::parse(item.text)) found.push_back(*id);
  }
  co_return found;
}

Task<Result<std::set<Uuid>>> Broker::holders() {
  std::set<Uuid> found;
  auto const all = co_await takers();
  if (!all) co_return std::unexpected(all.error());
  redis::Batch batch;
  for (auto const& worker : *all) batch.add({"SCARD", held_key(worker)});
  auto const counts = co_await client_.run(batch);
  if (!counts) co_return std::unexpected(counts.error());
  for (std::size_t i = 0; i < counts->size(); ++i) {
    if ((*counts)[i].integer > 0) found.insert((*all)[i]);
  }
  co_return found;
}

Task<Result<std::vector<Unacked>>> Broker::held_by(Uuid worker) {
  auto const held = held_key(worker);
  auto const bytes = std::to_string(kMessageBytesMax);
  auto const reply = co_await client_.run(scripts::held(), {kUnacked, held}, {bytes});
  if (!reply) co_return std::unexpected(reply.error());
  co_return unacked_of(*reply);
}

Task<Result<void>> Broker::forget(Uuid worker) {
  auto const workers = prefix_ + "workers";
  auto const held = held_key(worker);
  auto const name = worker.to_string();
  co_return done(co_await client_.run(scripts::forget(), {workers, held}, {name}));
}

Task<Result<std::vector<Unacked>>> Broker::begin_sweep(std::int64_t seconds) {
  sweep_token_ = Uuid::random().to_string();
  auto const life = std::to_string(kMutexMs);
  auto const age = std::to_string(seconds);
  auto const most = std::to_string(kSweptAtOnce);
  auto const bytes = std::to_string(kMessageBytesMax);
  auto const reply =
      co_await client_.run(scripts::sweep(), {kUnackedMutex, kUnacked, kUnackedIndex},
                           {sweep_token_, life, age, most, bytes});
  if (!reply) co_return std::unexpected(reply.error());
  co_return unacked_of(*reply);
}

Task<Result<void>> Broker::end_sweep() {
  co_return done(co_await client_.run(scripts::end_sweep(), {kUnackedMutex}, {sweep_token_}));
}

Task<Result<std::string>> Broker::queue_for(std::string_view exchange,
                                            std::string_view routing_key) {
  std::string queue(routing_key);
  if (exchange.empty()) co_return queue;
  auto const key = binding_key(exchange);
  auto const reply = co_await client_.command({"SMEMBERS", key});
  if (!reply) co_return std::unexpected(reply.error());
  auto const prefix = queue + std::string(kSeparator);
  for (auto const& member : reply->items) {
    auto const last = member.text.rfind(kSeparator);
    if (!member.text.starts_with(prefix) || last == std::string::npos) continue;
    co_return member.text.substr(last + kSeparator.size());
  }
  co_return queue;
}

Task<Result<void>> Broker::bind(std::span<std::string const> queues) {
  redis::Batch batch;
  for (auto const& queue : queues) {
    batch.add({"SADD", binding_key(queue), binding_member(queue, queue)});
  }
  co_return done(co_await client_.run(batch));
}

Task<Result<void>> Broker::tell_workers(std::string_view request) {
  auto const channel = "/" + std::to_string(database_) + "." + std::string(kControlExchange);
  auto const headers =
      R"({"clock":0,"expires":)" + std::to_string(Timestamp::now().micros / 1'000'000 + 60) + "}";
  Letter letter;
  letter.body = request;
  letter.headers = headers;
  letter.exchange = kControlExchange;
  letter.delivery_mode = 2;
  auto const text = write_letter(letter);
  co_return done(co_await client_.command({"PUBLISH", channel, text}));
}

}  // namespace subforge::jobs::celery
