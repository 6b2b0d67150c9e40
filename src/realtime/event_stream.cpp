#include "realtime/event_stream.hpp"

#include <utility>

#include "base/json_writer.hpp"

namespace subforge::realtime {
namespace {

// How long a client waits before it comes back, if it is not told otherwise.
constexpr std::string_view kRetry = "retry: 2000\n\n";

}  // namespace

// Until there is something to send.
struct EventStream::Wake {
  EventStream& stream;
  [[nodiscard]] bool await_ready() const { return stream.ended_ || !stream.queue_.empty(); }
  void await_suspend(std::coroutine_handle<> waiting) const { stream.waiting_ = waiting; }
  void await_resume() const noexcept {}
};

EventStream::EventStream(LoopHub& hub, Opening opening)
    : Viewer(Protocol::sse), hub_(hub), queue_(kRetry) {
  become(std::move(opening.identity));
  rooms_only_ = opening.rooms_only;
  connection_id_ = Uuid::random().to_string();
  info_.number = hub.hub().next_connection_number();
  info_.connected_at = info_.last_activity = Timestamp::now();
  info_.host = std::move(opening.host);
  info_.user_agent = std::move(opening.user_agent);
  hub_.add(*this);
  for (auto const& room : opening.resume.rooms) {
    std::string why;
    if (may_enter(*identity(), room)) hub_.join(*this, room, why);
  }
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("connection_id", connection_id_);
  json.member("state", "authenticated");
  json.member("message", "Connection established");
  write_rooms(json);
  bool const comes_back = !opening.resume.last_event_id.empty();
  auto const position = hub.hub().store().event_id_text(this->position());
  if (!comes_back) json.member("last_event_id", position);
  json.end_object();
  // Who comes back keeps the id it has until it has seen what comes after.
  send_state(data, comes_back ? std::string_view{} : position);
  hub_.resume(*this, opening.resume);
}

EventStream::~EventStream() { hub_.remove(*this); }

Task<Result<bool>> EventStream::next(std::string& out) {
  // What was handed over before has left: the connection asks again only then.
  if (queue_.empty() && std::exchange(drain_wanted_, false)) hub_.drained(*this);
  co_await Wake{*this};
  out = std::exchange(queue_, {});
  co_return !ended_;
}

void EventStream::abandon() {
  ended_ = true;
  wake();
}

void EventStream::push(std::string_view text) {
  if (ended_) return;
  // It comes back with the id of the last event that it got.
  if (queue_.size() >= hub_.hub().limits().stream_bytes_max) {
    return close(net::kWsSlowReader, "reading too slowly; reconnect with Last-Event-ID");
  }
  queue_ += text;
  wake();
}

void EventStream::wake() {
  if (!waiting_ || std::exchange(wake_asked_, true)) return;
  // At the end of the turn, with all that came in it.
  hub_.loop().at_turn_end([this] {
    wake_asked_ = false;
    std::exchange(waiting_, {}).resume();
  });
}

void EventStream::recovered(Recovered const& outcome) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("connection_id", connection_id_);
  json.member("state", "authenticated");
  write_rooms(json);
  write_recovered(json, outcome, hub_.hub().store());
  json.end_object();
  send_state(data, hub_.hub().store().event_id_text(outcome.position));
}

void EventStream::inbox_shown(Recovered const& outcome) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("connection_id", connection_id_);
  json.member("state", "authenticated");
  write_inbox_shown(json, outcome, hub_.hub().store());
  json.end_object();
  send_state(data, hub_.hub().store().event_id_text(outcome.position));
}

void EventStream::close(std::uint16_t code, std::string_view reason) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("connection_id", connection_id_);
  json.member("state", "disconnected");
  json.member("code", code);
  json.member("message", reason);
  json.end_object();
  // Also where no more may wait.
  if (!std::exchange(ended_, true)) queue_ += state_text(data, {});
  wake();
}

std::string EventStream::state_text(std::string_view data, std::string_view event_id) {
  std::string text;
  append_stream_event(text, event_id, "connection_state",
                      write_envelope({.type = "connection_state", .data = data}));
  return text;
}

void EventStream::send_state(std::string_view data, std::string_view event_id) {
  push(state_text(data, event_id));
}

void append_stream_event(std::string& out, std::string_view event_id, std::string_view type,
                         std::string_view data) {
  // Neither JSON as we write it nor an id or a type has line ends within.
  if (!event_id.empty()) out.append("id: ").append(event_id).append("\n");
  out.append("event: ").append(type).append("\ndata: ").append(data).append("\n\n");
}

}  // namespace subforge::realtime
