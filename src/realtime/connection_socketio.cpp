// What a client of Socket.IO says, and what it hears in answer.
#include <algorithm>

#include "base/json_writer.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "describe/exact_json.hpp"
#include "describe/json_text.hpp"
#include "realtime/messages.hpp"
#include "realtime/socket_packet.hpp"
#include "realtime/socketio.hpp"

namespace subforge::realtime {
namespace {

using boost::json::value;

constexpr std::size_t kPidBytesMax = 64;
constexpr std::size_t kPlaceBytesMax = 300;
constexpr char kPlaceMark = '~';  // Between the parts of an offset; in no event's id.
constexpr std::string_view kWorkflowPrefix = "workflow_";
constexpr std::string_view kLostPlace = "~?";

std::string_view text_in(value const& argument, std::string_view name) {
  auto const* const object = argument.if_object();
  return object != nullptr ? describe::text_member(*object, name) : std::string_view{};
}

// {"room": name} or the bare name; empty if it is neither.
std::string_view name_in(value const& argument, std::string_view member) {
  if (describe::is_text(argument)) return argument.get_string();
  return text_in(argument, member);
}

// What clients tell each other: to which room it goes, and what is said where it is not as its row
// of messages says.
struct Relay {
  std::string_view event;
  std::string_view room;
  std::string_view complaint;
};

constexpr Relay kRelays[] = {
    {"agent_status_update", "agents", "Missing required fields for agent status update"},
    {"task_update", "tasks", "Missing required fields for task update"},
    {"system_metrics_update", "metrics", ""},
    {"workflow_event", "workflows", "Missing workflow_id for workflow event"},
};

// Where anything goes, that is so of what is no object, too.
bool is_complete(Relay const& relay, value const& argument) {
  auto const shape = find_client_message(Protocol::socketio, relay.event)->shape;
  return shape == "any" ||
         (argument.is_object() && !describe::find_fault(argument.get_object(), shape));
}

std::string room_data(std::string_view room) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("room", room);
  json.member("timestamp", Timestamp::now());
  json.end_object();
  return data;
}

// The room of the hub, which knows those of workflows by another name.
std::string hub_room(std::string const& room) {
  if (!room.starts_with(kWorkflowPrefix)) return room;
  return "workflow:" + room.substr(kWorkflowPrefix.size());
}

bool is_plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '-' ||
           c == '_';
  });
}

// Rooms as the end of an offset, so that whoever comes back, be it after a restart of the server,
// is where it was: a letter for each of those with names, then the workflows. Empty for those that
// everybody begins with; kLostPlace if they cannot be told so.
std::string place_of(std::vector<std::string> const& rooms) {
  if (rooms.size() == 1 && rooms.front() == "dashboard") return {};
  std::string place(1, kPlaceMark);
  std::string workflows;
  for (auto const& room : rooms) {
    auto const named = std::ranges::find(kSocketIoRooms, room);
    if (named != kSocketIoRooms.end()) {
      place.push_back(static_cast<char>('a' + (named - kSocketIoRooms.begin())));
    } else {
      auto const id = std::string_view(room).substr(kWorkflowPrefix.size());
      if (!is_plain(id)) return std::string(kLostPlace);
      workflows.append(1, kPlaceMark).append(id);
    }
  }
  place.append(workflows);
  return place.size() > kPlaceBytesMax ? std::string(kLostPlace) : place;
}

// The other way; nothing if the rooms cannot be told.
std::optional<std::vector<std::string>> rooms_of(std::string_view place) {
  if (place.empty()) return std::vector<std::string>{"dashboard"};
  if (place.size() > kPlaceBytesMax || place.front() != kPlaceMark) return std::nullopt;
  std::vector<std::string> rooms;
  bool named = true;
  while (!place.empty()) {
    place.remove_prefix(1);
    auto const part = place.substr(0, place.find(kPlaceMark));
    place.remove_prefix(part.size());
    if (!std::exchange(named, false)) {
      rooms.push_back(std::string(kWorkflowPrefix).append(part));
      continue;
    }
    for (char const letter : part) {
      auto const index = static_cast<std::size_t>(letter - 'a');
      if (letter < 'a' || index >= kSocketIoRooms.size()) return std::nullopt;
      rooms.emplace_back(kSocketIoRooms[index]);
    }
  }
  return rooms;
}

}  // namespace

SocketIoConnection::SocketIoConnection(SocketIoLoop& loop, Opening opening)
    : Viewer(Protocol::socketio),
      loop_(loop),
      shown_(std::move(opening.identity)),
      offsets_(opening.offsets),
      rate_(loop.hub().hub().limits().messages_per_second),
      connect_timeout_([this] { session_->close(net::kWsNormal, "no CONNECT packet came"); }) {
  info_.host = std::move(opening.host);
  info_.user_agent = std::move(opening.user_agent);
}

void SocketIoConnection::on_open(EngineSession& session) {
  session_ = &session;
  info_.number = loop_.hub().hub().next_connection_number();
  connect_within_time();
}

void SocketIoConnection::connect_within_time() {
  auto& loop = loop_.engine().loop();
  connect_timeout_.arm(loop.timers(),
                       loop.now_ns() + loop_.all().limits().connect_timeout_ms * 1'000'000);
}

void SocketIoConnection::on_closed() {
  if (connected()) disconnect();
  connect_timeout_.cancel();
}

SocketIoInfo SocketIoConnection::state() const {
  return {connection_id_, info_.host, info_.user_agent, info_.connected_at, joined_};
}

// --- Out

void SocketIoConnection::emit(std::string_view name, std::string_view data,
                              std::string_view offset) {
  loop_.hub().count_shown(*this);
  session_->send(event_packet(name, data, offset));
}

void SocketIoConnection::refuse(std::string_view why) {
  ++loop_.hub().heard().refused;
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("error", why);
  json.end_object();
  emit("error", data);
}

// Events of the log end with their id as offset: as everybody has it, with this client's place
// behind it, or without it.
void SocketIoConnection::push(std::string_view text) {
  bool const has_offset = text.ends_with("\"]");
  if (!has_offset || (offsets_ && place_.empty())) return session_->send(std::string(text));
  std::string own;
  if (offsets_) {
    own.append(text.substr(0, text.size() - 2)).append(place_).append("\"]");
  } else {
    own.append(text.substr(0, text.rfind(",\""))).append("]");
  }
  session_->send(std::move(own));
}

void SocketIoConnection::on_drained() {
  if (connected()) loop_.hub().drained(*this);
}

void SocketIoConnection::close(std::uint16_t code, std::string_view reason) {
  // Told by this packet, a client does not come back by itself.
  if (code == kUnauthorized) session_->send(disconnect_packet());
  session_->close(code, reason);
}

// Those on a WebSocket who get what everybody gets share its frames.
void SocketIoConnection::share_frames() {
  socket_ = offsets_ && place_.empty() ? session_->socket() : nullptr;
}

std::string SocketIoConnection::offset() const {
  auto const position = loop_.hub().shown_up_to(*this);
  if (!offsets_ || !position) return {};
  return loop_.hub().hub().store().event_id_text(*position) + place_;
}

// --- Being connected

bool SocketIoConnection::admit() {
  if (rate_.admit(loop_.hub().loop().now_ns())) return true;
  session_->close(kTooManyMessages, kTooManyMessagesText);
  return false;
}

void SocketIoConnection::on_message(std::string_view text) {
  ++info_.messages;
  ++loop_.hub().heard().messages;
  info_.last_activity = Timestamp::now();
  auto const broken = [this] { session_->close(net::kWsProtocolError, "no such packet"); };
  auto const packet = parse_socket_packet(text);
  if (!packet) return broken();
  if (packet->type == SocketPacketType::connect) return connect(*packet);
  if (packet->space != "/" || !connected()) return broken();
  switch (packet->type) {
    case SocketPacketType::event: return take_event(*packet);
    case SocketPacketType::binary_event: return refuse("Binary data is not supported");
    case SocketPacketType::disconnect: disconnect(); return connect_within_time();
    case SocketPacketType::ack:
    case SocketPacketType::binary_ack: return;  // Nothing asks for one.
    case SocketPacketType::connect:
    case SocketPacketType::connect_error: return broken();
  }
}

void SocketIoConnection::connect(SocketPacket const& packet) {
  auto const refuse_to_connect = [&](std::string_view why) {
    session_->send(connect_error_packet(packet.space, why));
  };
  if (packet.space != "/") return refuse_to_connect("Invalid namespace");
  if (connected()) return session_->close(net::kWsProtocolError, "connected already");
  become(shown_);
  if (auto const token = text_in(packet.data, "token"); !token.empty()) {
    auto known = loop_.all().gate().identify(token);
    if (!known) return refuse_to_connect(known.error().message);
    become(std::move(*known));
  }
  // What the handshake showed may have been revoked since.
  bool const valid = identity() && loop_.all().gate().still_valid(*identity());
  if (!valid) return refuse_to_connect("Authentication required");
  if (!may_see()) return refuse_to_connect("Permission 'read' required");
  connect_timeout_.cancel();
  connection_id_ = random_token(kSidBytes);
  info_.connected_at = Timestamp::now();
  rooms_only_ = true;  // Until the dashboard is entered.
  loop_.add(*this);
  loop_.hub().add(*this);
  auto const offset = text_in(packet.data, "offset");
  auto const position = offset.substr(0, offset.find(kPlaceMark));
  auto const rooms = rooms_of(offset.substr(position.size()));
  std::string why;
  for (auto const& room : rooms.value_or(std::vector<std::string>{"dashboard"})) {
    (void)enter(room, why);  // What is not allowed any more is left out.
  }
  rooms_changed();
  if (offset.empty()) {
    welcome(nullptr);
    return loop_.hub().resume(*this, {});
  }
  auto const pid = text_in(packet.data, "pid");
  pid_ = pid.size() <= kPidBytesMax && is_plain(pid) ? pid : "";
  bool const known = rooms && !position.empty();
  // What it missed comes before the answer, which tells how it ended; clients put it behind.
  loop_.hub().resume(*this, {.last_event_id = std::string(known ? position : kNoEvent)});
}

void SocketIoConnection::recovered(Recovered const& outcome) { welcome(&outcome); }

void SocketIoConnection::inbox_shown(Recovered const& outcome) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  write_inbox_shown(json, outcome, loop_.hub().hub().store());
  json.end_object();
  emit("inbox_shown", data, offset());
}

void SocketIoConnection::disconnect() {
  loop_.hub().remove(*this);
  loop_.remove(*this);
  connection_id_.clear();
}

void SocketIoConnection::welcome(Recovered const* outcome) {
  auto const position =
      outcome != nullptr ? outcome->position : loop_.hub().shown_up_to(*this).value_or(0);
  auto const event_id = loop_.hub().hub().store().event_id_text(position);
  // A client knows by its old id that it has been shown everything.
  if (outcome == nullptr || !outcome->complete || pid_.empty()) pid_ = random_token(kSidBytes);
  session_->send(connect_packet(connection_id_, offsets_ ? pid_ : std::string()));
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("message", "Connected to SubForge Dashboard");
  json.member("status", "connected");
  json.member("session_id", connection_id_);
  json.member("timestamp", info_.connected_at);
  json.key("available_rooms");
  json.begin_array();
  for (auto const room : kSocketIoRooms) {
    if (may_enter(*identity(), room)) json.string(room);
  }
  json.end_array();
  json.member("last_event_id", event_id);
  json.member("recovered", outcome != nullptr && outcome->complete);
  if (outcome != nullptr && outcome->complete) json.member("missed_events", outcome->events);
  if (outcome != nullptr && !outcome->complete) json.member_raw("snapshot", outcome->snapshot);
  json.end_object();
  emit("connected", data, offsets_ ? event_id + place_ : std::string());
}

// --- Events

void SocketIoConnection::take_event(SocketPacket const& packet) {
  auto const& list = packet.data.get_array();
  auto const argument = list.size() > 1 ? list[1] : value();
  auto const name = std::string_view(list.front().get_string());
  if (name == "inbox_ack") return acknowledge(argument, packet.id);
  if (!handle(name, argument)) return;  // Silence, and no acknowledgement.
  if (packet.id.empty()) return;
  loop_.hub().count_shown(*this);
  session_->send(ack_packet(packet.id));
}

bool SocketIoConnection::handle(std::string_view name, value const& argument) {
  if (name == "join_room") {
    join_room(argument);
  } else if (name == "leave_room") {
    leave_room(argument);
  } else if (name == "ping") {
    pong(argument);
  } else if (name == "subforge_workflow_subscribe" || name == "subscribe_workflow") {
    follow_workflow(argument, true);
  } else if (name == "subforge_workflow_unsubscribe" || name == "unsubscribe_workflow") {
    follow_workflow(argument, false);
  } else {
    auto const row = std::ranges::find(kRelays, name, &Relay::event);
    if (row == std::end(kRelays)) return false;
    relay(name, argument);
  }
  return true;
}

bool SocketIoConnection::enter(std::string const& room, std::string& why) {
  if (!may_enter(*identity(), room)) {
    why = "Permission 'admin' required";
    return false;
  }
  if (std::ranges::find(joined_, room) != joined_.end()) return true;
  if (!loop_.join(*this, room)) {
    why = "Too many rooms";
    return false;
  }
  auto& hub = loop_.hub();
  if (room == "dashboard") {
    hub.show_only_rooms(*this, false);
  } else if (!hub.join(*this, hub_room(room), why)) {
    loop_.leave(*this, room);
    return false;
  }
  return true;
}

void SocketIoConnection::leave(std::string const& room) {
  if (std::ranges::find(joined_, room) == joined_.end()) return;
  loop_.leave(*this, room);
  if (room == "dashboard") {
    loop_.hub().show_only_rooms(*this, true);
  } else {
    loop_.hub().leave(*this, hub_room(room));
  }
  rooms_changed();
}

void SocketIoConnection::rooms_changed() {
  place_ = place_of(joined_);
  share_frames();
}

void SocketIoConnection::join_room(value const& argument) {
  if (!argument.is_object() && !describe::is_text(argument)) return refuse("Failed to join room");
  auto const room = name_in(argument, "room");
  if (std::ranges::find(kSocketIoRooms, room) == kSocketIoRooms.end()) {
    return refuse("Invalid room name");
  }
  std::string why;
  if (!enter(std::string(room), why)) return refuse(why);
  rooms_changed();
  emit("room_joined", room_data(room), offset());
}

void SocketIoConnection::leave_room(value const& argument) {
  auto const room = name_in(argument, "room");
  if (room.empty()) return;
  leave(std::string(room));
  emit("room_left", room_data(room), offset());
}

void SocketIoConnection::follow_workflow(value const& argument, bool follow) {
  auto const id = name_in(argument, "workflow_id");
  if (id.empty() || id.size() > loop_.all().limits().name_bytes_max || id.contains('\0')) {
    return refuse("Missing workflow_id");
  }
  auto const room = std::string(kWorkflowPrefix).append(id);
  std::string why;
  if (!follow) {
    leave(room);
  } else if (!enter(room, why)) {
    return refuse(why);
  }
  rooms_changed();
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("workflow_id", id);
  json.end_object();
  emit(follow ? "subforge_workflow_subscribed" : "subforge_workflow_unsubscribed", data, offset());
}

void SocketIoConnection::acknowledge(value const& argument, std::string_view ack_id) {
  auto const up_to = loop_.hub().hub().store().parse_event_id(name_in(argument, "event_id"));
  if (!up_to) return refuse("event_id is that of no event here");
  if (!loop_.hub().acknowledge(*this, *up_to, std::string(ack_id))) {
    refuse("Too many acknowledgements are being stored");
  }
}

void SocketIoConnection::acknowledged(Acknowledged const& outcome) {
  if (!outcome.removed) return refuse(outcome.removed.error().message);
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  write_acknowledged(json, outcome, loop_.hub().hub().store());
  json.end_object();
  emit("inbox_acknowledged", data, offset());
  if (outcome.correlation_id.empty()) return;
  loop_.hub().count_shown(*this);
  session_->send(ack_packet(outcome.correlation_id));
}

void SocketIoConnection::relay(std::string_view name, value const& argument) {
  auto const& row = *std::ranges::find(kRelays, name, &Relay::event);
  if (!identity()->can_write) return refuse("Permission 'write' required");
  if (!is_complete(row, argument)) return refuse(row.complaint);
  if (describe::has_infinity(argument)) {
    return refuse("A number is beyond the range of a double");
  }
  loop_.all().emit_everywhere({std::string(row.room)}, name, describe::json_text(argument));
}

void SocketIoConnection::pong(value const& argument) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("timestamp", Timestamp::now());
  json.member_raw("data", describe::json_text(argument));
  json.end_object();
  emit("pong", data);
}

}  // namespace subforge::realtime
