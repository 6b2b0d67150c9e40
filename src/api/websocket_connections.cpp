#include <fmt/format.h>

#include "api/handler_parts.hpp"
#include "api/identity.hpp"
#include "api/system.hpp"
#include "api/websocket_parts.hpp"
#include "api/websocket_v2.hpp"
#include "base/json_writer.hpp"
#include "realtime/connections.hpp"
#include "store/event_history.hpp"

namespace subforge::api {
namespace {

using http::Request;
using http::Response;
using net::Method;
using realtime::ConnectionInfo;
using realtime::Hub;
using realtime::LoopHub;
using realtime::Protocol;
using realtime::RoomInfo;

constexpr std::uint16_t kEndedByRequest = 4403;

std::string_view name_of(Protocol protocol) {
  switch (protocol) {
    case Protocol::v1: return "v1";
    case Protocol::v2: return "v2";
    case Protocol::sse: return "sse";
    case Protocol::socketio: return "socketio";
  }
  return "";
}

void write_texts(JsonWriter& json, std::vector<std::string> const& texts) {
  json.begin_array();
  for (auto const& text : texts) json.string(text);
  json.end_array();
}

// ---- Connections

// Of its rooms those that the caller may enter.
void write_connection(JsonWriter& json, ConnectionInfo const& connection, Request const& request) {
  json.begin_object();
  json.member("connection_id", connection.id);
  json.member_or_null("user_id", connection.user);
  json.member("state", connection.user ? "authenticated" : "connecting");
  json.member("connected_at", connection.connected_at);
  json.member("last_activity", connection.last_activity);
  json.key("rooms");
  json.begin_array();
  for (auto const& room : connection.rooms) {
    if (may_enter(request, room)) json.string(room);
  }
  json.end_array();
  json.member("message_count", connection.shown);
  json.member("protocol", name_of(connection.protocol));
  json.key("client_info");
  json.begin_object();
  json.member("user_agent", connection.user_agent);
  json.member("host", connection.host);
  json.end_object();
  json.end_object();
}

Task<Response> list_connections(Hub& hub, Request const& request) {
  auto const all = co_await hub.list_connections();
  Response response;
  JsonWriter json(response.body);
  json.begin_array();
  for (auto const& connection : all) write_connection(json, connection, request);
  json.end_array();
  co_return response;
}

Task<Response> get_connection(Hub& hub, Request const& request) {
  auto const& id = request.path_values.front();
  std::optional<ConnectionInfo> found;
  co_await hub.visit([&](LoopHub& loop) {
    auto const* const viewer = loop.find(id);
    if (viewer != nullptr) found = viewer->connection();
    return !found;
  });
  if (!found) co_return unknown_connection(id, "not found");
  Response response;
  JsonWriter json(response.body);
  write_connection(json, *found, request);
  co_return response;
}

Task<Response> end_connection(Hub& hub, Request const& request) {
  auto const& id = request.path_values.front();
  auto const caller = identity_of(request.principal);
  bool found = false;
  bool ended = false;
  co_await hub.visit([&](LoopHub& loop) {
    auto* const viewer = loop.find(id);
    if (viewer == nullptr) return true;
    found = true;
    bool const is_own = viewer->identity() && viewer->identity()->user == caller.user;
    ended = is_own || caller.is_admin;
    if (ended) {
      viewer->close(kEndedByRequest, is_own ? "ended by its user" : "ended by an administrator");
    }
    return false;
  });
  if (!found) co_return unknown_connection(id, "not found or already disconnected");
  if (!ended) co_return Response::problem(403, "Only administrators end the connections of others");
  co_return Response::empty(204);
}

// ---- Rooms

void write_room(JsonWriter& json, RoomInfo const& room, Timestamp last_told) {
  json.begin_object();
  json.member("name", room.name);
  json.member("members_count", room.connections);
  json.key("members");
  write_texts(json, room.members);
  json.member("created_at", room.created_at);
  json.member("last_activity", std::max(room.last_change, last_told));
  json.end_object();
}

Task<std::unordered_map<std::string, Timestamp>> last_told(Hub& hub) {
  std::unordered_map<std::string, Timestamp> rooms;
  co_await hub.visit([&](LoopHub& loop) {
    loop.add_last_told(rooms);
    return true;
  });
  co_return rooms;
}

Task<Response> list_rooms(Hub& hub, Request const& request) {
  auto told = co_await last_told(hub);
  Response response;
  JsonWriter json(response.body);
  json.begin_array();
  for (auto const& room : hub.rooms().list()) {
    if (may_enter(request, room.name)) write_room(json, room, told[room.name]);
  }
  json.end_array();
  co_return response;
}

Task<Response> get_room(Hub& hub, Request const& request) {
  auto const& name = request.path_values.front();
  if (!may_enter(request, name)) co_return for_administrators();
  auto told = co_await last_told(hub);
  auto const room = hub.rooms().find(name);
  if (!room) co_return Response::problem(404, fmt::format("Room {} not found", name));
  Response response;
  JsonWriter json(response.body);
  write_room(json, *room, told[name]);
  co_return response;
}

struct JoinBody {
  std::string room_name;
  std::optional<std::string> user_id;
  static constexpr auto describe() {
    using describe::field;
    return describe::fields(
        field("room_name", &JoinBody::room_name).length(1, 200).required().writable(),
        field("user_id", &JoinBody::user_id).length(1, 200).writable());
  }
};

// All connections of the user move: they are one person's windows.
Task<Response> move_user(Hub& hub, Request const& request, std::optional<std::string> user_id,
                         bool in) {
  auto const& room = request.path_values.front();
  auto const caller = identity_of(request.principal);
  auto const user = user_id.value_or(caller.user);
  if (user != caller.user && !caller.is_admin) {
    co_return Response::problem(403, "Only administrators move the connections of others");
  }
  if (!may_enter(request, room)) co_return for_administrators();
  bool connected = false;
  std::optional<std::string> moved;
  co_await hub.visit([&](LoopHub& loop) {
    for (auto* const viewer : loop.connections_of(user)) {
      connected = true;
      if (viewer->move(room, in)) moved = viewer->connection_id();
    }
    return true;
  });
  if (!connected) {
    co_return Response::problem(404, fmt::format("No active connection found for user {}", user));
  }
  if (!moved) {
    co_return Response::problem(400, in ? "Failed to join room" : "Failed to leave room");
  }
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("message", fmt::format("Successfully {} room {}", in ? "joined" : "left", room));
  json.member("room_name", room);
  json.member("user_id", user);
  json.member("connection_id", *moved);
  json.end_object();
  co_return response;
}

Task<Response> join_room(Hub& hub, Request const& request) {
  auto body = read_body<JoinBody>(request);
  if (!body) co_return std::move(body.error());
  co_return co_await move_user(hub, request, std::move(body->user_id), true);
}

Task<Response> leave_room(Hub& hub, Request const& request) {
  return move_user(hub, request, request.text("user_id"), false);
}

// ---- Statistics

struct Figures {
  std::size_t authenticated = 0;
  std::size_t queued_bytes = 0;
  std::int64_t last_minute = 0;
  std::int64_t last_hour = 0;
  std::int64_t last_day = 0;
  LoopHub::Heard heard;
};

Task<Figures> measure(Hub& hub) {
  Figures figures;
  co_await hub.visit([&](LoopHub& loop) {
    auto& sent = loop.throughput();
    sent.settle(Timestamp::now());
    figures.last_minute += sent.in_minutes(1);
    figures.last_hour += sent.in_minutes(60);
    figures.last_day += sent.in_minutes(1'440);
    figures.authenticated += loop.count_authenticated();
    figures.queued_bytes += loop.queued_bytes();
    figures.heard.messages += loop.heard().messages;
    figures.heard.refused += loop.heard().refused;
    return true;
  });
  co_return figures;
}

Task<Response> statistics(Hub& hub, std::int64_t started_ns, Request const& request) {
  auto const kept = co_await hub.store().read(store::ReadCost::point, &store::events_kept);
  if (!kept) co_return Response::from(kept.error());
  auto const figures = co_await measure(hub);
  auto const rooms = hub.rooms().list();
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total_connections", hub.connections());
  json.member("authenticated_connections", figures.authenticated);
  json.member("total_rooms", rooms.size());
  json.key("rooms");
  json.begin_object();
  for (auto const& room : rooms) {
    if (may_enter(request, room.name)) json.member(room.name, room.connections);
  }
  json.end_object();
  json.member("event_history_size", *kept);
  json.member("message_queue_size", figures.queued_bytes);
  json.member("uptime", duration_text((monotonic_ns() - started_ns) / 1'000'000'000));
  json.key("message_throughput");
  json.begin_object();
  json.member("last_minute", figures.last_minute);
  json.member("last_hour", figures.last_hour);
  json.member("last_day", figures.last_day);
  json.end_object();
  auto const messages = std::max<std::int64_t>(figures.heard.messages, 1);
  json.member("error_rate",
              static_cast<double>(figures.heard.refused) / static_cast<double>(messages));
  json.member("peak_connections", hub.connections_peak());
  json.end_object();
  co_return response;
}

// ---- Schemas

constexpr describe::Shape kConnection =
    "connection_id:text user_id:text|null state=connecting|authenticated connected_at:time"
    " last_activity:time rooms:[text] message_count:integer(Messages sent to it.)"
    " protocol=v1|v2|sse|socketio client_info:{user_agent:text host:text}";
constexpr describe::Shape kRoom =
    "name:text members_count:integer(Connections.)"
    " members:[text](Users, and connections without one.) created_at:time last_activity:time";
constexpr describe::Shape kMoved = "message:text room_name:text user_id:text connection_id:text";
constexpr describe::Shape kStatistics =
    "total_connections:integer authenticated_connections:integer total_rooms:integer"
    " rooms:{*:integer}(Connections in each.)"
    " event_history_size:integer(Events that the log has.)"
    " message_queue_size:integer(Bytes that wait for readers.) uptime:text"
    " message_throughput:{last_minute:integer last_hour:integer last_day:integer}(Messages sent.)"
    " error_rate:number(Of clients' messages, the share that was answered with an error.)"
    " peak_connections:integer";

void join_schema(JsonWriter& json) {
  describe::write_body_schema<JoinBody>(json, describe::Api::v2, describe::Purpose::create);
}

}  // namespace

http::Routes connection_routes(Hub& hub, std::int64_t started_ns) {
  using http::ClientKey;
  auto const with = [&hub](auto handler) -> http::AsyncHandler {
    return [&hub, handler](Request const& request) { return handler(hub, request); };
  };
  std::vector const connection_id = {text_parameter("connection_id", "The connection.")};
  std::vector const room_name = {text_parameter("room_name", "The room.")};
  http::Routes routes(kWebSocketPrefix);
  routes
      .add({.method = Method::get,
            .path = "/connections",
            .name = "v2_list_connections",
            .summary = "Who is connected, over which protocol",
            .tag = kWebSocketTag,
            .handler = with(&list_connections),
            .limit = {60, ClientKey::address},
            .answers = {{200, "All.", {"WebSocketConnection", kConnection}, http::Shape::list}}})
      .add({.method = Method::get,
            .path = "/connections/{connection_id}",
            .name = "v2_get_connection",
            .summary = "One connection",
            .tag = kWebSocketTag,
            .handler = with(&get_connection),
            .limit = {120, ClientKey::address},
            .path_parameters = connection_id,
            .answers = {{200, "It.", {"WebSocketConnection", kConnection}}, no_connection()}})
      .add({.method = Method::del,
            .path = "/connections/{connection_id}",
            .name = "v2_end_connection",
            .summary = "End a connection of one's own, or as an administrator another's",
            .tag = kWebSocketTag,
            .handler = with(&end_connection),
            .limit = {20, ClientKey::user},
            .path_parameters = connection_id,
            .answers = {{204, "Ended, with close code 4403."},
                        {403, "It is another user's."},
                        no_connection()}})
      .add({.method = Method::get,
            .path = "/rooms",
            .name = "v2_list_rooms",
            .summary = "The rooms that somebody is in",
            .tag = kWebSocketTag,
            .handler = with(&list_rooms),
            .limit = {60, ClientKey::address},
            .answers =
                {{200, "All that may be entered.", {"WebSocketRoom", kRoom}, http::Shape::list}}})
      .add({.method = Method::get,
            .path = "/rooms/{room_name}",
            .name = "v2_get_room",
            .summary = "One room",
            .tag = kWebSocketTag,
            .handler = with(&get_room),
            .limit = {120, ClientKey::address},
            .path_parameters = room_name,
            .answers = {{200, "It.", {"WebSocketRoom", kRoom}},
                        no_entry(),
                        {404, "Nobody is in such a room."}}})
      .add({.method = Method::post,
            .path = "/rooms/{room_name}/join",
            .name = "v2_join_room",
            .summary = "Put one's connections of /ws/v2, or another user's, into a room",
            .tag = kWebSocketTag,
            .handler = with(&join_room),
            .limit = {60, ClientKey::user},
            .path_parameters = room_name,
            .body = http::BodySpec{{"JoinRoom", &join_schema}},
            .answers = {{200, "They are in.", {"RoomMoved", kMoved}},
                        {400, "A limit is against it."},
                        no_entry(),
                        {404, "The user has no connection."}}})
      .add({.method = Method::post,
            .path = "/rooms/{room_name}/leave",
            .name = "v2_leave_room",
            .summary = "Take one's connections of /ws/v2, or another user's, out of a room",
            .tag = kWebSocketTag,
            .handler = with(&leave_room),
            .limit = {60, ClientKey::user},
            .path_parameters = room_name,
            .query = {text_parameter("user_id", "Whose; the caller's if none is named.")},
            .answers = {{200, "They are out.", {"RoomMoved", kMoved}},
                        {400, "They were not in it."},
                        no_entry(),
                        {404, "The user has no connection."}}})
      .add({.method = Method::get,
            .path = "/statistics",
            .name = "v2_websocket_statistics",
            .summary = "Figures about connections, rooms and messages",
            .tag = kWebSocketTag,
            .handler = http::AsyncHandler([&hub, started_ns](Request const& request) {
              return statistics(hub, started_ns, request);
            }),
            .limit = {60, ClientKey::address},
            .answers = {{200, "The figures.", {"WebSocketStatistics", kStatistics}}}});
  return routes;
}

}  // namespace subforge::api
