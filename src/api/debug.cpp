#include "api/debug.hpp"

#include <map>

#include "api/handler_parts.hpp"
#include "base/json_writer.hpp"
#include "describe/codec.hpp"
#include "describe/json_text.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using http::Request;
using http::Response;
using net::Method;

constexpr char const* kDebugTag = "debug";

Task<Response> connections(realtime::Hub& hub) {
  auto viewers = co_await hub.list_connections();
  std::erase_if(viewers, [](auto const& one) { return one.protocol != realtime::Protocol::v1; });
  auto const now = Timestamp::now();
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total_connections", viewers.size());
  json.key("connections");
  json.begin_array();
  for (auto const& viewer : viewers) {
    json.begin_object();
    json.member("connection_id", viewer.number);
    json.member("connected_at", viewer.connected_at);
    json.member("duration_seconds",
                static_cast<double>(now.micros - viewer.connected_at.micros) / 1e6);
    json.member("message_count", viewer.messages);
    json.member("last_activity", viewer.last_activity);
    json.key("client_info");
    json.begin_object();
    json.member("host", viewer.host);
    json.member("user_agent", viewer.user_agent);
    json.end_object();
    json.end_object();
  }
  json.end_array();
  json.end_object();
  co_return response;
}

struct DebugMessage {
  std::string json;
};

bool read_message(boost::json::value const& value, DebugMessage& message,
                  describe::Issues& issues) {
  describe::JsonText text;
  describe::Where const where{nullptr, "body"};
  if (!describe::Codec<describe::JsonText>::read(value, text, {}, where, issues)) return false;
  message.json = std::move(text.text);
  return true;
}

Task<Result<std::int64_t>> publish(store::Store& store, std::string json, domain::Actor actor) {
  auto write = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    store::Event event;
    event.kind = "debug.message";
    event.subject = "debug";
    event.actor = actor.user;
    event.audience = store::Audience::everybody({"system"});
    event.payload = std::move(json);
    co_return co_await transaction.publish(std::move(event));
  };
  co_return co_await store.write(write);
}

Task<Response> broadcast(store::Store& store, Request const& request) {
  auto message = read_body<DebugMessage>(request, &read_message);
  if (!message) co_return std::move(message.error());
  co_return co_await pipeline::answer_with(
      request, publish(store, std::move(message->json), actor_of(request)),
      [](Result<std::int64_t> const& published) {
        if (!published) return Response::from(published.error());
        return Response::json(R"({"status":"message_broadcasted"})");
      });
}

std::optional<realtime::Message> v1_message(store::Event const&,
                                            boost::json::object const& payload) {
  return realtime::Message{describe::json_text(payload)};
}

constexpr realtime::Projection kProjections[] = {
    {"debug.message", {"debug_message", &v1_message}, {}},
};

Task<Response> socketio_state(realtime::SocketIo& socketio) {
  auto const infos = co_await socketio.infos();
  std::map<std::string, std::vector<std::string_view>, std::less<>> members;
  for (auto const room : realtime::kSocketIoRooms) members.try_emplace(std::string(room));
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.key("connection_info");
  json.begin_object();
  json.member("total_connections", infos.size());
  json.key("clients");
  json.begin_object();
  for (auto const& info : infos) {
    json.key(info.sid);
    json.begin_object();
    json.member("user_agent", info.user_agent);
    json.member("ip_address", info.host);
    json.member("connected_at", info.connected_at);
    json.key("rooms");
    json.begin_array();
    for (auto const& room : info.rooms) {
      json.string(room);
      members[room].push_back(info.sid);
    }
    json.end_array();
    json.end_object();
  }
  json.end_object();
  json.key("room_counts");
  json.begin_object();
  for (auto const& [room, sids] : members) json.member(room, sids.size());
  json.end_object();
  json.end_object();
  json.key("room_members");
  json.begin_object();
  for (auto const& [room, sids] : members) {
    json.key(room);
    json.begin_array();
    for (auto const sid : sids) json.string(sid);
    json.end_array();
  }
  json.end_object();
  json.end_object();
  co_return response;
}

struct SocketIoMessage {
  std::string event = "ping";
  std::string data = R"({"test":true,"timestamp":"now"})";  // JSON.
  std::optional<std::string> room;
};

bool read_socketio_message(boost::json::value const& in, SocketIoMessage& out,
                           describe::Issues& issues) {
  describe::Where const body{nullptr, "body"};
  auto const* const object = in.if_object();
  if (object == nullptr) {
    issues.add(body, "dict_type", "Input should be a valid dictionary", describe::input_text(in));
    return false;
  }
  if (auto const* data = object->if_contains("data")) out.data = describe::json_text(*data);
  if (auto const* event = object->if_contains("event")) {
    bool const good = event->is_string() && !realtime::is_reserved_event(event->get_string());
    if (good) out.event = event->get_string().c_str();
    if (!good) {
      issues.add({&body, "event"}, "value_error", "Not the name of an event that can be sent",
                 describe::input_text(*event));
    }
  }
  if (auto const* room = object->if_contains("room"); room != nullptr && !room->is_null()) {
    if (room->is_string()) out.room = room->get_string().c_str();
    if (!room->is_string()) {
      issues.add({&body, "room"}, "string_type", "Input should be a valid string",
                 describe::input_text(*room));
    }
  }
  return issues.empty();
}

Response socketio_broadcast(realtime::SocketIo& socketio, Request const& request) {
  SocketIoMessage message;
  if (!request.body.empty()) {
    auto read = read_body<SocketIoMessage>(request, &read_socketio_message);
    if (!read) return std::move(read.error());
    message = std::move(*read);
  }
  std::vector<std::string> rooms;
  if (message.room) rooms.push_back(*message.room);
  socketio.emit_everywhere(std::move(rooms), message.event, message.data);
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("status", "message_broadcasted");
  json.member_or_null("room", message.room);
  json.end_object();
  return response;
}

constexpr describe::Shape kConnections =
    "total_connections:integer connections:[{connection_id:integer connected_at:time"
    " duration_seconds:number message_count:integer last_activity:time"
    " client_info:{host:text user_agent:text}}]";
constexpr describe::Shape kFileWatcher =
    "is_running:boolean watched_paths:[text] observer_alive:boolean";
constexpr describe::Shape kSocketIo =
    "connection_info:{total_connections:integer"
    " clients:{*:{user_agent:text ip_address:text connected_at:time rooms:[text]}}"
    " room_counts:{*:integer}} room_members:{*:[text]}";
constexpr describe::Shape kSocketIoSent = "status=message_broadcasted room:text|null";

void socketio_message_schema(JsonWriter& json) {
  json.member("type", "object");
  json.member_raw("properties", R"({"event":{"type":"string","default":"ping"},"data":{"default":)"
                                R"({"test":true,"timestamp":"now"}},)"
                                R"("room":{"anyOf":[{"type":"string"},{"type":"null"}]}})");
}

}  // namespace

std::span<realtime::Projection const> debug_projections() { return kProjections; }

http::Routes debug_routes(store::Store& store, realtime::Hub& hub, realtime::SocketIo& socketio) {
  constexpr auto kAdmin = http::Access::admin;
  http::Routes routes("/debug");
  routes
      .add({.method = Method::get,
            .path = "/connections",
            .name = "debug_connections",
            .summary = "Open connections of /ws",
            .tag = kDebugTag,
            .handler = http::AsyncHandler([&hub](Request const&) { return connections(hub); }),
            .access = kAdmin,
            .answers = {{200, "The connections.", {"DebugConnections", kConnections}}}})
      .add({.method = Method::post,
            .path = "/broadcast",
            .name = "debug_broadcast",
            .summary = "Send a debug_message to everybody on /ws",
            .tag = kDebugTag,
            .handler = http::AsyncHandler(
                [&store](Request const& request) { return broadcast(store, request); }),
            .access = kAdmin,
            .body = http::BodySpec{{"DebugMessage", "object"}},
            .answers = {{200, "Sent.", {"DebugMessageSent", "status=message_broadcasted"}}}})
      .add({.method = Method::get,
            .path = "/file-watcher",
            .name = "debug_file_watcher",
            .summary = "State of the file watcher",
            .tag = kDebugTag,
            .handler = http::SyncHandler([](Request const&) {
              return Response::json(
                  R"({"is_running":false,"watched_paths":[],"observer_alive":false})");
            }),
            .access = kAdmin,
            .answers = {{200, "The state.", {"DebugFileWatcher", kFileWatcher}}}})
      .add({.method = Method::get,
            .path = "/socketio",
            .name = "debug_socketio",
            .summary = "Open connections and rooms of Socket.IO",
            .tag = kDebugTag,
            .handler = http::AsyncHandler(
                [&socketio](Request const&) { return socketio_state(socketio); }),
            .access = kAdmin,
            .answers = {{200, "Those of all event loops.", {"DebugSocketIo", kSocketIo}}}})
      .add({.method = Method::post,
            .path = "/socketio/broadcast",
            .name = "debug_socketio_broadcast",
            .summary = "Send an event to Socket.IO clients",
            .tag = kDebugTag,
            .handler = http::AsyncHandler([&socketio](Request const& request) -> Task<Response> {
              co_return socketio_broadcast(socketio, request);
            }),
            .access = kAdmin,
            .body = http::BodySpec{{"DebugSocketIoMessage", &socketio_message_schema}},
            .answers = {{200, "Sent.", {"DebugSocketIoMessageSent", kSocketIoSent}}}});
  return routes;
}

}  // namespace subforge::api
