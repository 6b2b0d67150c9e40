
#include "describe/exact_json.hpp"
#include "describe/json_text.hpp"
#include "realtime/connections.hpp"

namespace subforge::realtime {
namespace {

constexpr std::size_t kMessageDepthMax = 32;

}  // namespace

Connection::Connection(LoopHub& hub, Protocol protocol, Opening opening)
    : Viewer(protocol),
      hub_(hub),
      resume_(std::move(opening.resume)),
      rate_(hub.hub().limits().messages_per_second),
      auth_timeout_(
          [this] { socket_->close(kUnauthorized, "no auth_request within the time allowed"); }) {
  become(std::move(opening.identity));
  rooms_only_ = opening.rooms_only;
  info_.host = std::move(opening.host);
  info_.user_agent = std::move(opening.user_agent);
}

void Connection::on_open(net::WebSocketConnection& socket) {
  socket_ = &socket;
  info_.number = hub_.hub().next_connection_number();
  info_.connected_at = info_.last_activity = Timestamp::now();
  connection_id_ = Uuid::random().to_string();
  hub_.add(*this);
  if (!identity()) {
    auto const deadline_ns = hub_.loop().now_ns() + hub_.hub().limits().auth_timeout_ms * 1'000'000;
    auth_timeout_.arm(hub_.loop().timers(), deadline_ns);
  }
  greet();
  if (may_see()) begin(std::exchange(resume_, {}));
}

void Connection::on_closed() {
  auth_timeout_.cancel();
  hub_.remove(*this);
}

Resume Connection::resume_of(boost::json::object const& message) {
  Resume asked;
  auto const* data = message.if_contains("data");
  bool const within = data != nullptr && data->is_object();
  auto const& object = within ? data->get_object() : message;
  asked.last_event_id = describe::text_member(object, "last_event_id");
  asked.connection_id = describe::text_member(object, "connection_id");
  auto const* rooms = object.if_contains("rooms");
  if (rooms == nullptr || !rooms->is_array()) return asked;
  for (auto const& room : rooms->get_array()) {
    if (describe::is_text(room)) asked.rooms.emplace_back(std::string_view(room.get_string()));
  }
  return asked;
}

std::optional<std::int64_t> Connection::acknowledged_in(boost::json::object const& message) {
  auto event_id = describe::text_member(message, "event_id");
  auto const* const data = message.if_contains("data");
  if (event_id.empty() && data != nullptr && data->is_object()) {
    event_id = describe::text_member(data->get_object(), "event_id");
  }
  return hub_.hub().store().parse_event_id(event_id);
}

void Connection::begin(Resume const& asked) {
  for (auto const& room : asked.rooms) rejoin(room);
  hub_.resume(*this, asked);
}

void Connection::write_position(JsonWriter& json) const {
  // Who comes back keeps the id it has until it has seen what comes after.
  auto const position = hub_.shown_up_to(*this);
  if (may_see() && position && resume_.last_event_id.empty()) {
    json.member("last_event_id", hub_.hub().store().event_id_text(*position));
  }
}

bool Connection::admit() {
  if (rate_.admit(hub_.loop().now_ns())) return true;
  socket_->close(kTooManyMessages, kTooManyMessagesText);
  return false;
}

void Connection::on_text(std::string_view text) {
  if (!admit()) return;
  ++info_.messages;
  ++hub_.heard().messages;
  info_.last_activity = Timestamp::now();
  boost::system::error_code error;
  auto const value = describe::parse_exact_json(text, error, {.depth_max = kMessageDepthMax});
  // What is not a JSON object is passed over in silence, as clients of the reference expect.
  if (!error && value.is_object()) take(value.get_object());
}

std::optional<describe::ShapeFault> Connection::fault_beside_token(
    boost::json::object const& message, describe::Shape shape) {
  auto fault = describe::find_fault(message, shape);
  if (fault && (fault->member == "data" || fault->member == "token")) fault.reset();
  return fault;
}

void Connection::leave_rooms_of_before(Identity const& now) {
  for (auto const& room : std::vector(rooms())) {
    if (identity()->user != now.user || !may_enter(now, room)) (void)move(room, false);
  }
}

void Connection::authenticate(boost::json::object const& message) {
  auto const* const data = message.if_contains("data");
  auto const outcome = hub_.hub().gate().identify(
      data != nullptr && data->is_object() ? describe::text_member(data->get_object(), "token")
                                           : std::string_view{});
  bool const known_before = identity().has_value();
  bool const is_another = outcome && (!known_before || identity()->user != outcome->user);
  if (outcome) {
    leave_rooms_of_before(*outcome);
    hub_.identify(*this, *outcome);
    auth_timeout_.cancel();
    // What was asked for in the handshake, but for what this message asks for.
    auto asked = resume_of(message);
    if (!asked.last_event_id.empty()) resume_.last_event_id = std::move(asked.last_event_id);
    if (!asked.rooms.empty()) resume_.rooms = std::move(asked.rooms);
    if (!asked.connection_id.empty()) resume_.connection_id = std::move(asked.connection_id);
  }
  authenticated(outcome);
  if (!outcome || !may_see()) return;
  auto asked = std::exchange(resume_, {});
  if (!known_before) return begin(asked);
  // What is kept for another user comes whether or not it is too late for the rest.
  if (is_another) begin({});
  come_back(std::move(asked), {});
}

}  // namespace subforge::realtime
