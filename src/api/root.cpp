#include "api/root.hpp"

#include "api/handler_parts.hpp"
#include "api/health_parts.hpp"
#include "api/identity.hpp"
#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "realtime/connections.hpp"
#include "realtime/event_stream.hpp"
#include "realtime/socketio.hpp"

namespace subforge::api {
namespace {

using http::Access;
using http::Request;
using http::Response;
using net::Method;

void write_list(JsonWriter& json, std::initializer_list<std::string_view> items) {
  json.begin_array();
  for (auto const item : items) json.string(item);
  json.end_array();
}

std::string_view enabled(bool on) { return on ? "enabled" : "disabled"; }

// The members that tell of a version of the API.
void write_v1(JsonWriter& json) {
  json.member("base_url", "/api/v1");
  json.member("websocket_url", "/ws");
  json.member("status", "stable");
}

void write_v2(ServerInfo const& info, JsonWriter& json) {
  json.member("base_url", "/api/v2");
  json.member("websocket_url", "/ws/v2");
  json.member("status", "enhanced");
  json.key("features");
  json.begin_array();
  json.string("advanced_websocket_rooms");
  if (info.rate_limiting) json.string("rate_limiting");
  if (info.caching) json.string("caching");
  if (info.background_tasks) json.string("background_tasks");
  for (auto const* name : {"file_uploads", "bulk_operations", "advanced_filtering"}) {
    json.string(name);
  }
  json.end_array();
}

void write_versions(ServerInfo const& info, JsonWriter& json) {
  json.begin_object();
  json.key("v1");
  json.begin_object();
  write_v1(json);
  json.end_object();
  json.key("v2");
  json.begin_object();
  write_v2(info, json);
  json.end_object();
  json.key("socketio");
  json.begin_object();
  json.member("endpoint", "/socket.io/");
  json.member("status", "active");
  json.key("features");
  write_list(json, {"real_time_messaging", "room_based_broadcasting", "auto_reconnection",
                    "event_based_communication"});
  json.end_object();
  json.end_object();
}

// What the addresses that are printed at the start answer.
Response version_front(ServerInfo const& info, bool second) {
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  second ? write_v2(info, json) : write_v1(json);
  json.key("docs_url");
  info.docs ? json.string("/docs") : json.null();
  json.key("openapi_url");
  info.docs ? json.string("/openapi.json") : json.null();
  json.end_object();
  return response;
}

Response front(ServerInfo const& info) {
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("name", info.name);
  json.member("version", info.version);
  json.member("description", info.description);
  json.key("docs_url");
  info.docs ? json.string("/docs") : json.null();
  json.key("api_versions");
  write_versions(info, json);
  json.key("services");
  json.begin_object();
  json.member("redis", enabled(info.redis));
  json.member("background_tasks", enabled(info.background_tasks));
  json.member("file_uploads", enabled(true));
  json.member("rate_limiting", enabled(info.rate_limiting));
  json.member("caching", enabled(info.caching));
  json.member("socketio", enabled(true));
  json.end_object();
  json.end_object();
  return response;
}

// A real write, and a real read of what was written.
Task<Result<void>> probe_database(store::Store& store) {
  auto const mark = Uuid::random().to_string();
  auto write = [mark](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('ready_probe', $1)"
        " ON CONFLICT (key) DO UPDATE SET value = $1",
        {mark});
  };
  auto const written = co_await store.write(std::move(write));
  if (!written) co_return std::unexpected(written.error());
  bool same = false;
  auto read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query("SELECT value FROM meta WHERE key = 'ready_probe'", {},
                                     [&](store::Row const& row) { same = !row.text(0).empty(); });
  };
  auto const found = co_await store.read(store::ReadCost::point, std::move(read));
  if (!found) co_return std::unexpected(found.error());
  if (!same) co_return fail(ErrorCode::unavailable, "The database lost a write");
  co_return {};
}

Task<Response> health(ServerInfo const& info, store::Store& store, realtime::Hub& hub,
                      jobs::Jobs& jobs) {
  auto const database = co_await probe_read(store);
  std::string background;
  JsonWriter background_json(background);
  (void)co_await write_background_health(jobs, background_json);
  auto const redis = redis_health(jobs);
  Response response;
  response.status = database ? 200 : 503;
  if (!database) response.fields.emplace_back("Retry-After", "1");
  JsonWriter json(response.body);
  json.begin_object();
  json.member("status", database ? "healthy" : "unhealthy");
  json.member("timestamp", Timestamp::now());
  json.member("version", info.version);
  json.key("checks");
  json.begin_object();
  json.member("database", database.has_value());
  json.member("redis", redis.good);
  json.member_raw("file_watcher",
                  R"({"is_running":false,"watched_paths":[],"observer_alive":false})");
  json.key("websocket_manager");
  json.begin_object();
  json.member("active_connections", hub.connections(realtime::Protocol::v1));
  json.end_object();
  json.key("socketio_manager");
  json.begin_object();
  json.member("active_connections", hub.connections(realtime::Protocol::socketio));
  json.member("rooms", realtime::kSocketIoRooms.size());
  json.end_object();
  json.end_object();
  json.key("details");
  json.begin_object();
  json.key("database");
  write_database_health(store, database, json);
  json.member_raw("redis", redis.details);
  json.member_raw("background_tasks", background);
  json.key("websocket_v2");
  json.begin_object();
  json.member("active_connections", hub.connections(realtime::Protocol::v2));
  json.member("rooms", hub.rooms().room_count());
  json.end_object();
  json.end_object();
  json.end_object();
  co_return response;
}

// What the probe of readiness found last. The endpoint is open to all, so that it must not turn a
// flood of requests into a flood of writes: one answer serves for a while. Shared by all loops.
struct Readiness {
  static constexpr std::int64_t kReuseNs = 1'000'000'000;
  // A probe that takes longer, behind somebody's lock, is an answer already: not ready.
  static constexpr std::int64_t kPatienceNs = 1'000'000'000;
  std::atomic<std::int64_t> probed_ns{0};
  std::atomic<std::int64_t> probing_since_ns{0};  // 0: none is under way.
  std::atomic<bool> database{false};
  std::atomic<bool> files{false};
};

Task<Response> ready(HealthParts parts, std::shared_ptr<Readiness> last) {
  auto const now_ns = monotonic_ns();
  auto const probed_ns = last->probed_ns.load();
  auto const since_ns = last->probing_since_ns.load();
  bool const stuck = since_ns != 0 && now_ns - since_ns > Readiness::kPatienceNs;
  if (!stuck && (probed_ns == 0 || now_ns - probed_ns > Readiness::kReuseNs)) {
    if (since_ns == 0) last->probing_since_ns.store(now_ns);
    auto const database = co_await probe_database(parts.store);
    auto look = [&parts]() -> Result<bool> { return parts.blobs.is_usable(); };
    auto const files = co_await parts.pool.run(look);
    last->database.store(database.has_value());
    last->files.store(files.value_or(true));  // Else all threads are busy, which is another matter.
    last->probed_ns.store(now_ns);
    last->probing_since_ns.store(0);
  }
  bool const database = !stuck && last->database.load();
  bool const files = last->files.load();
  bool const good = database && files;
  auto response = Response::json({}, good ? 200 : 503);
  JsonWriter json(response.body);
  json.begin_object();
  json.member("status", good ? "ready" : "not_ready");
  json.key("checks");
  json.begin_object();
  json.member("database", database);
  json.member("file_system", files);
  json.end_object();
  json.end_object();
  if (!good) response.fields.emplace_back("Retry-After", "1");
  co_return response;
}

realtime::Opening opening_of(Request const& request) {
  realtime::Opening opening;
  if (request.principal != nullptr) opening.identity = identity_of(request.principal);
  opening.host = request.peer.address_text();
  opening.user_agent = request.user_agent;
  opening.rooms_only = request.boolean("rooms_only").value_or(false);
  opening.resume.last_event_id = request.text("last_event_id").value_or("");
  opening.resume.connection_id = request.text("connection_id").value_or("");
  for (auto const& [name, rooms] : request.query.pairs()) {
    if (name != "rooms") continue;
    for (auto const room : split_list(rooms, ',')) opening.resume.rooms.emplace_back(room);
  }
  return opening;
}

constexpr describe::Shape kFront =
    "name:text version:text description:text docs_url:text|null"
    " api_versions:{v1:{base_url:text websocket_url:text status:text}"
    " v2:{base_url:text websocket_url:text status:text features:[text]}"
    " socketio:{endpoint:text status:text features:[text]}}"
    " services:{redis=enabled|disabled background_tasks=enabled|disabled"
    " file_uploads=enabled|disabled rate_limiting=enabled|disabled caching=enabled|disabled"
    " socketio=enabled|disabled}";
constexpr describe::Shape kVersionFront =
    "base_url:text websocket_url:text status=stable|enhanced features?:[text] docs_url:text|null"
    " openapi_url:text|null";
constexpr describe::Shape kHealth =
    "status=healthy|unhealthy timestamp:time version:text"
    " checks:{database:boolean redis:boolean"
    " file_watcher:{is_running:boolean watched_paths:[text] observer_alive:boolean}"
    " websocket_manager:{active_connections:integer}"
    " socketio_manager:{active_connections:integer rooms:integer}}"
    " details:{database:DatabaseHealth redis:RedisHealth background_tasks:BackgroundHealth"
    " websocket_v2:{active_connections:integer rooms:integer}}";
constexpr describe::Shape kReadiness =
    "status=ready|not_ready"
    " checks:{database:boolean file_system:boolean(Whether uploads can be stored.)}";

}  // namespace

http::Routes front_routes(ServerInfo const& info) {
  http::Routes routes;
  routes.add({.method = Method::get,
              .path = "/",
              .name = "front",
              .summary = "What this server is and offers",
              .tag = "server",
              .handler = http::SyncHandler([info](Request const&) { return front(info); }),
              .access = Access::open,
              .answers = {{200, "The server's name, version and parts.", {"Front", kFront}}}});
  for (bool const second : {false, true}) {
    routes.add({.method = Method::get,
                .path = second ? "/api/v2" : "/api/v1",
                .name = second ? "v2_front" : "v1_front",
                .summary = "What this version of the API is, and where it is described",
                .tag = "server",
                .handler = http::SyncHandler(
                    [info, second](Request const&) { return version_front(info, second); }),
                .access = Access::open,
                .answers = {{200, "Its parts.", {"VersionFront", kVersionFront}}}});
  }
  return routes;
}

http::Routes health_routes(ServerInfo const& info, HealthParts parts) {
  http::Routes routes("/health");
  auto const last = std::make_shared<Readiness>();
  routes
      .add({.method = Method::get,
            .path = "",
            .name = "health",
            .summary = "Health of every component",
            .tag = "server",
            .handler = http::AsyncHandler([info, parts](Request const&) {
              return health(info, parts.store, parts.hub, parts.jobs);
            }),
            .access = Access::open,
            .tagged = false,
            .answers = {{200, "Healthy.", {"Health", kHealth, health_schemas()}},
                        {503, "A component is down.", {"Health", kHealth}}}})
      .add({.method = Method::get,
            .path = "/live",
            .name = "health_live",
            .summary = "Whether the process answers",
            .tag = "server",
            .handler = http::SyncHandler(
                [](Request const&) { return Response::json(R"({"status":"alive"})"); }),
            .access = Access::open,
            .answers = {{200, "It does.", {"Liveness", "status=alive"}}}})
      .add({.method = Method::get,
            .path = "/ready",
            .name = "health_ready",
            .summary = "Whether a write and a read succeed, and files can be stored",
            .tag = "server",
            .handler =
                http::AsyncHandler([parts, last](Request const&) { return ready(parts, last); }),
            .access = Access::open,
            .tagged = false,
            .answers = {{200, "Ready for requests.", {"Readiness", kReadiness}},
                        {503, "Not ready.", {"Readiness", kReadiness}}}});
  return routes;
}

// Everything that happens, unless rooms are named: then what is said and happens in those.
Response event_stream(realtime::LoopHub& hub, Request const& request) {
  auto opening = opening_of(request);
  opening.rooms_only = request.boolean("rooms_only").value_or(!opening.resume.rooms.empty());
  if (!request.last_event_id.empty()) opening.resume.last_event_id = request.last_event_id;
  Response response;
  response.content_type = "text/event-stream";
  response.packable = false;
  response.fields.emplace_back("Cache-Control", "no-store");
  response.fields.emplace_back("X-Accel-Buffering",
                               "no");  // A proxy of nginx passes it on at once.
  response.stream = std::make_unique<realtime::EventStream>(hub, std::move(opening));
  return response;
}

http::Routes socket_routes(std::string const& v1_path, HubOfLoop hub_of_loop) {
  auto const last_event_id =
      text_parameter("last_event_id", "Show what has happened since this event first.");
  http::Routes routes;
  routes
      .add({.method = Method::get,
            .path = v1_path,
            .name = "ws_v1",
            .summary = "Events of version 1 over WebSocket",
            .tag = "sockets",
            .handler =
                http::SocketHandler([hub_of_loop](Request const& request) -> http::SocketResult {
                  return std::make_unique<realtime::ConnectionV1>(hub_of_loop(),
                                                                  opening_of(request));
                }),
            .access = Access::open,
            .query = {last_event_id},
            .in_document = false})
      .add(
          {.method = Method::get,
           .path = v1_path + "/v2",
           .name = "ws_v2",
           .summary = "Rooms and events of version 2 over WebSocket",
           .tag = "sockets",
           .handler =
               http::SocketHandler([hub_of_loop](Request const& request) -> http::SocketResult {
                 return std::make_unique<realtime::ConnectionV2>(hub_of_loop(),
                                                                 opening_of(request));
               }),
           .access = Access::open,
           .query = {flag_parameter(
                         "rooms_only",
                         "Changes of records only through the topic rooms that were joined."),
                     last_event_id,
                     text_parameter(
                         "rooms",
                         "Rooms to join at once, separated by commas; may be given several times."),
                     text_parameter("connection_id",
                                    "That the client had before: its own messages are nothing it"
                                    " missed.")},
           .in_document = false})
      .add({.method = Method::get,
            .path = "/api/v2/events",
            .name = "events_v2",
            .summary = "Events as they happen, as server-sent events",
            .tag = "sockets",
            .handler = http::SyncHandler([hub_of_loop](Request const& request) {
              return event_stream(hub_of_loop(), request);
            }),
            // A crowd behind one address may come back at once, and a browser gives up at 429.
            .limit = {.per_minute = 6000, .per_hour = 0},
            .event_stream = true,
            .query = {text_parameter("rooms",
                                     "Only what is meant for these rooms, separated by"
                                     " commas; may be given several times; all events if none"
                                     " is named."),
                      flag_parameter("rooms_only",
                                     "Set to false, also all events that are for"
                                     " everybody."),
                      last_event_id,
                      text_parameter("token",
                                     "The credential, where no Authorization can be"
                                     " sent.")},
            .answers = {{.status = 200,
                         .doc = "The stream.",
                         .schema = {"EventStream", "text"},
                         .media_type = "text/event-stream"}}});
  return routes;
}

}  // namespace subforge::api
