#include "jobs/celery/node.hpp"

#include <unistd.h>

#include <array>
#include <utility>

#include <boost/json/object.hpp>

#include "describe/parse_json.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

constexpr std::int64_t kHeartbeatNs =
    static_cast<std::int64_t>(EventWriter::kHeartbeatSeconds * 1e9);
constexpr std::int64_t kLookMs = 20;  // While it waits for something.
constexpr std::int64_t kLeaveNs = 1'000'000'000;
constexpr std::int64_t kRepliesMax = 1'000;  // Of other workers that are read.

// Only where whoever asks is still there to fetch it: he says so in the bindings of the exchange.
redis::Script const& reply_script() {
  static redis::Script const kScript(
      "if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 then return 0 end "
      "redis.call('LPUSH', KEYS[2], ARGV[2]) "
      "redis.call('EXPIRE', KEYS[2], ARGV[3]) return 1");
  return kScript;
}

}  // namespace

std::string node_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return "subforge-" + std::to_string(::getpid()) + "@" + host.data();
}

Node::Node(EventLoop& loop, BlockingPool& resolver, redis::RedisOptions const& redis,
           Registry const& registry, NodeOptions options, NodeActions actions, Logger logger)
    : loop_(loop),
      options_(std::move(options)),
      actions_(std::move(actions)),
      logger_(logger),
      reply_key_(Uuid::random().to_string()),
      events_(options_.name, options_.version, clock_,
              [this](std::string_view key, std::string const& letter) { publish(key, letter); }),
      control_(options_, actions_, {registry, book_, revoked_, revoked_stamps_, clock_, events_}),
      client_(loop, resolver, redis, logger),
      subscriber_(loop, resolver, redis, logger,
                  {[this](redis::Message const& message) { on_request(message.payload); },
                   [this] { on_connected(); }}),
      heartbeat_([this] { on_heartbeat(); }) {}

Node::~Node() = default;

void Node::start() {
  client_.on_connected([this] {
    told_online_ = false;
    on_heartbeat();
  });
  client_.start();
  subscriber_.subscribe(control_channel(options_.broker.database));
  subscriber_.start();
}

void Node::stop() {
  if (std::exchange(stopped_, true)) return;
  heartbeat_.cancel();
  events_.flush();
  events_.worker("worker-offline", control_.figures());
  if (client_.up()) {
    redis::Batch batch;
    batch.add({"SREM", binding_key(kControlExchange), control_binding()});
    client_.send_unanswered(batch);
  }
  tasks_.spawn(leave());
}

// What is on its way, the greeting among it, leaves before the connections end.
Task<void> Node::leave() {
  auto const deadline_ns = monotonic_ns() + kLeaveNs;
  while (greeting_ && monotonic_ns() < deadline_ns) co_await loop_.sleep_ms(kLookMs);
  if (client_.up()) (void)co_await client_.command({"PING"});
  subscriber_.stop();
  client_.stop();
}

// From now on nothing that is asked is missed; what was said before is learnt from others.
void Node::on_connected() {
  if (stopped_ || std::exchange(greeting_, true)) return;
  tasks_.spawn(say_hello());
}

std::string Node::control_binding() const {
  return binding_member("", options_.name + "." + std::string(kControlExchange));
}

// Until it holds, but not for longer; and not once this node stops.
Task<void> Node::wait(std::int64_t ms_max, std::function<bool()> holds) {
  for (std::int64_t ms = 0; ms < ms_max && !stopped_ && !holds(); ms += kLookMs) {
    co_await loop_.sleep_ms(kLookMs);
  }
}

// What other workers know of tasks that are not wanted: whoever was away has not heard of them.
Task<void> Node::say_hello() {
  co_await wait(kHelloMs, [this] { return client_.up(); });
  ControlRequest hello;
  hello.method = "hello";
  hello.ticket = Uuid::random().to_string();
  hello.reply_key = reply_key_;
  std::string known;
  JsonWriter json(known);
  control_.write_revoked(json);
  hello.arguments["from_node"] = options_.name;
  hello.arguments["revoked"] = describe::parse_json(known);
  hello.clock = clock_.forward();
  auto const list = hello.reply_list();
  auto const binding = hello.reply_binding();
  auto const bindings = binding_key(kReplyExchange);
  redis::Batch ask;
  ask.add({"SADD", binding_key(kControlExchange), control_binding()});
  ask.add({"SADD", bindings, binding});
  ask.add({"PUBLISH", control_channel(options_.broker.database), write_control_request(hello)});
  if (client_.send_unanswered(ask)) {
    co_await wait(kHelloMs, [] { return false; });
    redis::Batch fetch;
    fetch.add({"LRANGE", list, "0", std::to_string(kRepliesMax - 1)});
    fetch.add({"DEL", list}).add({"SREM", bindings, binding});
    auto const replies = co_await client_.run(fetch);
    if (replies) {
      for (auto const& reply : replies->front().items) take_hello(reply.text);
    }
  }
  greeting_ = false;
}

void Node::take_hello(std::string_view text) {
  for (auto const& member : read_control_reply(text)) {
    auto const* const answer = member.value().if_object();
    if (answer == nullptr) continue;
    if (auto const* const revoked = answer->if_contains("revoked");
        revoked && revoked->is_object()) {
      control_.take_revoked(revoked->get_object());
    }
    if (auto const* const clock = answer->if_contains("clock"); clock && clock->is_int64()) {
      clock_.adjust(clock->get_int64());
    }
  }
}

// ---- Remote control ----------------------------------------------------------------------------

void Node::on_request(std::string_view text) {
  if (stopped_) return;
  auto request = read_control_request(text);
  if (!request) {
    logger_.warning("a request of Celery's remote control was not understood",
                    {{"bytes", text.size()}});
    return;
  }
  clock_.adjust(request->clock);
  if (!is_meant(*request, options_.name)) return;
  auto answer = control_.answer(*request);
  if (!answer || !request->wants_reply()) return;
  tasks_.spawn(reply(std::move(*request), *std::move(answer)));
}

Task<void> Node::reply(ControlRequest request, std::string answer) {
  auto const letter = write_control_reply(request, options_.name, answer, clock_.forward());
  auto const bindings = binding_key(request.reply_exchange);
  auto const list = request.reply_list();
  auto const binding = request.reply_binding();
  auto const seconds = std::to_string(kReplySeconds);
  auto const sent =
      co_await client_.run(reply_script(), {bindings, list}, {binding, letter, seconds});
  if (!sent) {
    logger_.warning("a request of Celery's remote control could not be answered",
                    {{"method", request.method}, {"cause", sent.error().message}});
  }
}

// ---- Events ------------------------------------------------------------------------------------

void Node::publish(std::string_view routing_key, std::string const& letter) {
  if (!client_.up()) return;
  redis::Batch batch;
  batch.add({"PUBLISH", event_channel(options_.broker.database, routing_key), letter});
  client_.send_unanswered(batch);
}

void Node::on_heartbeat() {
  if (stopped_ || !client_.up()) return;
  heartbeat_.arm(loop_.timers(), monotonic_ns() + kHeartbeatNs);
  book_.purge(loop_.wall_now());
  bool const first = !std::exchange(told_online_, true);
  events_.worker(first ? "worker-online" : "worker-heartbeat", control_.figures());
}

template <class Write>
void Node::tell(Write write) {
  if (!control_.task_events()) return;
  write(events_);
  if (std::exchange(flush_queued_, true)) return;
  loop_.at_turn_end([this] {
    flush_queued_ = false;
    events_.flush();
  });
}

void Node::withdrawn(std::string_view id) {
  if (!book_.has(id)) return;
  ObservedTask task;
  task.id = id;
  revoked(task, {});
}

void Node::received(ObservedTask const& task) {
  book_.received(task, loop_.wall_now());
  tell([&](EventWriter& events) { events.received(task); });
}

void Node::started(ObservedTask const& task) {
  book_.started(task, loop_.wall_now());
  tell([&](EventWriter& events) { events.started(task); });
}

void Node::succeeded(ObservedTask const& task, std::string_view result_repr,
                     double runtime_seconds) {
  book_.ended(task.id);
  tell([&](EventWriter& events) { events.succeeded(task, result_repr, runtime_seconds); });
}

void Node::failed(ObservedTask const& task, ObservedFailure const& failure) {
  book_.ended(task.id);
  tell([&](EventWriter& events) { events.failed(task, failure); });
}

void Node::retried(ObservedTask const& task, ObservedFailure const& failure) {
  book_.ended(task.id);
  tell([&](EventWriter& events) { events.retried(task, failure); });
}

void Node::revoked(ObservedTask const& task, ObservedRevocation const& revocation) {
  book_.ended(task.id);
  tell([&](EventWriter& events) { events.revoked(task, revocation); });
}

void Node::rejected(ObservedTask const& task, bool requeued) {
  book_.ended(task.id);
  tell([&](EventWriter& events) { events.rejected(task, requeued); });
}

}  // namespace subforge::jobs::celery
