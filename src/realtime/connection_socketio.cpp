// What a client of Socket.IO says, and what it hears in answer.
#include <algorithm>

#include "base/json_writer.hpp"
#include "base/random.hpp"
#include "describe/json_text.hpp"
#include "realtime/socket_packet.hpp"
#include "realtime/socketio.hpp"

namespace subforge::realtime {
namespace {

using boost::json::value;

constexpr std::size_t kSidBytes = 15;

std::string_view text_in(value const& argument, std::string_view name) {
  auto const* const object = argument.if_object();
  auto const* const member =
      object != nullptr ? object->if_contains({name.data(), name.size()}) : nullptr;
  return member != nullptr && member->is_string() ? std::string_view(member->get_string())
                                                  : std::string_view{};
}

// {"room": name} or the bare name; empty if it is neither.
std::string_view name_in(value const& argument, std::string_view member) {
  if (argument.is_string()) return argument.get_string();
  return text_in(argument, member);
}

// What clients tell each other: to which room it goes, and what it must hold.
struct Relay {
  std::string_view event;
  std::string_view room;
  std::array<std::string_view, 2> needs;
  std::string_view complaint;
};

constexpr Relay kRelays[] = {
    {"agent_status_update",
     "agents",
     {"agent_id", "status"},
     "Missing required fields for agent status update"},
    {"task_update", "tasks", {"task_id", "status"}, "Missing required fields for task update"},
    {"system_metrics_update", "metrics", {}, ""},
    {"workflow_event", "workflows", {"workflow_id"}, "Missing workflow_id for workflow event"},
};

bool has_needs(Relay const& relay, value const& argument) {
  return std::ranges::all_of(relay.needs, [&](std::string_view name) {
    return name.empty() ||
           (argument.is_object() && argument.get_object().contains({name.data(), name.size()}));
  });
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

}  // namespace

SocketIoConnection::SocketIoConnection(SocketIoLoop& loop, Opening opening)
    : loop_(loop),
      shown_(std::move(opening.identity)),
      host_(std::move(opening.host)),
      user_agent_(std::move(opening.user_agent)),
      connect_timeout_([this] { session_->close(net::kWsNormal, "no CONNECT packet came"); }) {}

void SocketIoConnection::on_open(EngineSession& session) {
  session_ = &session;
  connect_within_time();
}

void SocketIoConnection::connect_within_time() {
  auto& loop = loop_.engine().loop();
  connect_timeout_.arm(loop.timers(),
                       loop.now_ns() + loop_.all().limits().connect_timeout_ms * 1'000'000);
}

void SocketIoConnection::on_closed() {
  connect_timeout_.cancel();
  if (!std::exchange(sid_, {}).empty()) loop_.remove(*this);
}

SocketIoInfo SocketIoConnection::info() const {
  return {sid_, host_, user_agent_, connected_at_, rooms_};
}

void SocketIoConnection::emit(std::string_view name, std::string_view data) {
  session_->send(event_packet(name, data));
}

void SocketIoConnection::refuse(std::string_view why) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("error", why);
  json.end_object();
  emit("error", data);
}

// --- Being connected

void SocketIoConnection::on_message(std::string_view text) {
  auto const broken = [this] { session_->close(net::kWsProtocolError, "no such packet"); };
  auto const packet = parse_socket_packet(text);
  if (!packet) return broken();
  if (packet->type == SocketPacketType::connect) return connect(*packet);
  if (packet->space != "/" || sid_.empty()) return broken();
  switch (packet->type) {
    case SocketPacketType::event: return take_event(*packet);
    case SocketPacketType::binary_event: return refuse("Binary data is not supported");
    case SocketPacketType::disconnect: return disconnect();
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
  if (!sid_.empty()) return session_->close(net::kWsProtocolError, "connected already");
  identity_ = shown_;
  if (auto const token = text_in(packet.data, "token"); !token.empty()) {
    auto known = loop_.all().gate().identify(token);
    if (!known) return refuse_to_connect(known.error().message);
    identity_ = std::move(*known);
  }
  // What the handshake showed may have been revoked since.
  bool const valid = identity_ && loop_.all().gate().still_valid(*identity_);
  if (!valid) return refuse_to_connect("Authentication required");
  if (!identity_->can_read) return refuse_to_connect("Permission 'read' required");
  connect_timeout_.cancel();
  sid_ = random_token(kSidBytes);
  connected_at_ = Timestamp::now();
  loop_.add(*this);
  (void)loop_.join(*this, "dashboard");
  session_->send(connect_packet(sid_, {}));
  greet();
}

void SocketIoConnection::disconnect() {
  sid_.clear();
  loop_.remove(*this);
  connect_within_time();
}

void SocketIoConnection::greet() {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("message", "Connected to SubForge Dashboard");
  json.member("status", "connected");
  json.member("session_id", sid_);
  json.member("timestamp", connected_at_);
  json.key("available_rooms");
  json.begin_array();
  for (auto const room : kSocketIoRooms) json.string(room);
  json.end_array();
  json.end_object();
  emit("connected", data);
}

// --- Events

void SocketIoConnection::take_event(SocketPacket const& packet) {
  auto const& list = packet.data.get_array();
  auto const argument = list.size() > 1 ? list[1] : value();
  if (!handle(list.front().get_string(), argument)) return;  // Silence, and no acknowledgement.
  if (!packet.id.empty()) session_->send(ack_packet(packet.id));
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

void SocketIoConnection::join_room(value const& argument) {
  if (!argument.is_object() && !argument.is_string()) return refuse("Failed to join room");
  auto const room = name_in(argument, "room");
  if (std::ranges::find(kSocketIoRooms, room) == kSocketIoRooms.end()) {
    return refuse("Invalid room name");
  }
  if (room == "admin" && !identity_->is_admin) return refuse("Permission 'admin' required");
  if (!loop_.join(*this, std::string(room))) return refuse("Too many rooms");
  emit("room_joined", room_data(room));
}

void SocketIoConnection::leave_room(value const& argument) {
  auto const room = name_in(argument, "room");
  if (room.empty()) return;
  loop_.leave(*this, std::string(room));
  emit("room_left", room_data(room));
}

void SocketIoConnection::follow_workflow(value const& argument, bool follow) {
  auto const id = name_in(argument, "workflow_id");
  if (id.empty() || id.size() > loop_.all().limits().name_bytes_max) {
    return refuse("Missing workflow_id");
  }
  auto const room = "workflow_" + std::string(id);
  if (!follow) {
    loop_.leave(*this, room);
  } else if (!loop_.join(*this, room)) {
    return refuse("Too many rooms");
  }
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("workflow_id", id);
  json.end_object();
  emit(follow ? "subforge_workflow_subscribed" : "subforge_workflow_unsubscribed", data);
}

void SocketIoConnection::relay(std::string_view name, value const& argument) {
  auto const& row = *std::ranges::find(kRelays, name, &Relay::event);
  if (!identity_->can_write) return refuse("Permission 'write' required");
  if (!has_needs(row, argument)) return refuse(row.complaint);
  loop_.all().emit({std::string(row.room)}, name, describe::json_text(argument));
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
