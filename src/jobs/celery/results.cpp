#include "jobs/celery/results.hpp"

#include <algorithm>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include "base/json_writer.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "jobs/celery/scripts.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

constexpr std::string_view kChordSeconds = "86400";
constexpr std::size_t kStoredAtOnce = 64;  // Redis does nothing else meanwhile.

struct ChordKeys {
  ChordKeys(std::string const& prefix, std::string_view group)
      : base(prefix + "celery-taskset-meta-" + std::string(group)),
        parts(base + ".j"),
        correction(base + ".t"),
        number(base + ".s") {}
  std::string base;
  std::string parts;
  std::string correction;
  std::string number;
};

// [1, "<id>", "<STATE>", <result>]
std::optional<ChordEntry> read_entry(std::string_view text) {
  boost::system::error_code error;
  auto const value = describe::parse_json(text, error);
  auto const* const list = value.if_array();
  if (error || list == nullptr || list->size() != 4) return std::nullopt;
  if (!(*list)[1].is_string() || !(*list)[2].is_string()) return std::nullopt;
  auto const parts = split_list_text(text);
  return ChordEntry{std::string((*list)[1].get_string()), std::string((*list)[2].get_string()),
                    std::string((*parts)[3])};
}

std::string with_mark(std::string prefix) {
  constexpr std::string_view kMarks = ":_-.";
  if (!prefix.empty() && !kMarks.contains(prefix.back())) prefix += '_';
  return prefix;
}

std::string literally(std::string_view text) {
  constexpr std::string_view kSpecial = "*?[]\\";
  std::string pattern;
  for (char const letter : text) {
    if (kSpecial.contains(letter)) pattern += '\\';
    pattern += letter;
  }
  return pattern;
}

bool misses_script(std::vector<redis::Reply> const& replies) {
  for (auto const& reply : replies) {
    if (reply.is_error() && reply.error_word() == "NOSCRIPT") return true;
  }
  return false;
}

}  // namespace

Results::Results(EventLoop& loop, BlockingPool& resolver, ResultOptions const& options,
                 Logger logger)
    : logger_(logger),
      kept_seconds_(std::to_string(options.kept_seconds)),
      key_prefix_(with_mark(options.key_prefix)),
      offset_(options.offset),
      client_(loop, resolver, options.redis, logger),
      subscriber_(loop, resolver, options.redis, logger,
                  {.on_message =
                       [this, before = key_of({}).size()](redis::Message const& message) {
                         if (!on_result_ || message.channel.size() <= before) return;
                         on_result_(message.channel.substr(before), message.payload);
                       },
                   .on_ready =
                       [this] {
                         if (on_listening_) on_listening_();
                       }}) {}

void Results::start(std::string log) {
  log_ = std::move(log);
  client_.on_connected([this] { load_scripts(); });
  client_.start();
  if (!on_result_) return;
  subscriber_.subscribe_pattern(literally(key_of({})) + "*");
  subscriber_.start();
}

void Results::stop() {
  client_.stop();
  subscriber_.stop();
}

void Results::load_scripts() {
  redis::Batch batch;
  batch.add({"SCRIPT", "LOAD", scripts::store_results().source()});
  client_.send_unanswered(batch);
}

std::string Results::key_of(std::string_view task_id) const {
  return key_prefix_ + result_key(task_id);
}

redis::Batch Results::storing(std::span<ResultMeta const> metas) const {
  redis::Batch batch;
  std::vector<ResultMeta> with_first;
  for (auto const& meta : metas) {
    auto const first = id_of_first_run(meta.task_id);
    if (first == meta.task_id) continue;
    if (with_first.empty()) with_first.assign(metas.begin(), metas.end());
    with_first.push_back(meta);
    with_first.back().task_id = std::string(first);
  }
  if (!with_first.empty()) metas = with_first;
  for (std::size_t from = 0; from < metas.size(); from += kStoredAtOnce) {
    auto const part = metas.subspan(from, std::min(kStoredAtOnce, metas.size() - from));
    std::vector<std::string> texts;
    texts.reserve(2 * part.size());
    for (auto const& meta : part) texts.push_back(key_of(meta.task_id));
    for (auto const& meta : part) texts.push_back(write_meta(meta, log_, offset_));
    auto const count = std::to_string(part.size());
    std::vector<std::string_view> words = {"EVALSHA", scripts::store_results().digest(), count};
    words.insert(words.end(), texts.begin(), texts.begin() + std::ssize(part));
    words.push_back(kept_seconds_);
    words.insert(words.end(), texts.begin() + std::ssize(part), texts.end());
    batch.add(words);
  }
  return batch;
}

Task<Result<void>> Results::store(std::span<ResultMeta const> metas) {
  auto const batch = storing(metas);
  auto replies = co_await client_.run(batch);
  if (replies && misses_script(*replies)) {
    // Somebody made the server forget its scripts.
    load_scripts();
    replies = co_await client_.run(batch);
  }
  if (!replies) co_return std::unexpected(replies.error());
  std::int64_t foreign = 0;
  for (auto const& reply : *replies) {
    if (reply.is_error()) co_return std::unexpected(redis::error_of(reply));
    foreign += reply.integer;
  }
  if (foreign > 0) {
    logger_.warning("results could not be stored: a key of Redis is no text", {{"count", foreign}});
  }
  co_return {};
}

void Results::tell(std::span<ResultMeta const> metas) { client_.send_unanswered(storing(metas)); }

Task<Result<std::vector<std::optional<ResultMeta>>>> Results::get(
    std::span<std::string const> task_ids) {
  std::vector<std::optional<ResultMeta>> metas;
  if (task_ids.empty()) co_return metas;
  std::vector<std::string> keys;
  keys.reserve(task_ids.size());
  std::vector<std::string_view> words = {"MGET"};
  for (auto const& id : task_ids) words.push_back(keys.emplace_back(key_of(id)));
  auto const reply = co_await client_.command(words);
  if (!reply) co_return std::unexpected(reply.error());
  for (auto const& item : reply->items) {
    metas.push_back(item.is_text() ? read_meta(item.text) : std::nullopt);
  }
  metas.resize(task_ids.size());
  co_return metas;
}

Task<Result<void>> Results::remove(std::string_view task_id) {
  auto const key = key_of(task_id);
  auto const first = key_of(id_of_first_run(task_id));
  auto const reply = co_await client_.command({"DEL", key, first});
  if (!reply) co_return std::unexpected(reply.error());
  co_return {};
}

Task<Result<void>> Results::begin_chord(std::string_view group, std::size_t parts) {
  ChordKeys const keys(key_prefix_, group);
  auto const number = std::to_string(parts);
  auto const reply = co_await client_.command({"SETEX", keys.number, kChordSeconds, number});
  if (!reply) co_return std::unexpected(reply.error());
  co_return {};
}

Task<Result<std::optional<std::vector<ChordEntry>>>> Results::end_chord_part(
    ChordPart const& part) {
  std::string entry;
  JsonWriter json(entry);
  json.begin_array();
  json.integer(1);
  json.string(part.task_id);
  json.string(part.status);
  json.raw(part.result);
  json.end_array();
  ChordKeys const keys(key_prefix_, part.group);
  auto const place = std::to_string(part.place);
  auto const reply =
      co_await client_.run(scripts::chord_part(), {keys.parts, keys.correction, keys.number},
                           {place, entry, kChordSeconds});
  if (!reply) co_return std::unexpected(reply.error());
  if (!reply->is_list()) co_return std::nullopt;
  std::vector<ChordEntry> entries;
  for (auto const& item : reply->items) {
    if (auto read = read_entry(item.text)) entries.push_back(std::move(*read));
  }
  co_return entries;
}

Task<Result<void>> Results::forget_chord(std::string_view group) {
  ChordKeys const keys(key_prefix_, group);
  auto const reply = co_await client_.command({"DEL", keys.parts, keys.correction, keys.number});
  if (!reply) co_return std::unexpected(reply.error());
  co_return {};
}

}  // namespace subforge::jobs::celery
