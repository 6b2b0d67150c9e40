// Routes as values: one row says everything about an endpoint, and the router, the checks before
// the handler, the metrics and the OpenAPI document all read that row.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json_writer.hpp"
#include "describe/shape.hpp"
#include "http/request.hpp"
#include "http/response.hpp"
#include "runtime/task.hpp"

namespace subforge::net {
class WebSocketHandler;
}

namespace subforge::http {

// The right a caller needs.
enum class Access : std::uint8_t { open, read, write, admin };

enum class ClientKey : std::uint8_t { address, user };

// Requests per calendar minute and per calendar hour, for each client; 0 means unlimited.
struct RateLimit {
  std::int64_t per_minute = 0;
  ClientKey by = ClientKey::address;
  std::int64_t per_hour = 1000;
};

// How long a 200 answer to GET may be served again, and what makes it stale: a change to the
// subject.
struct CachePolicy {
  std::int64_t seconds = 0;  // 0: never cached.
  // The event log's subject; "{}" stands for the first path value. "agent:*" is any agent.
  std::string subject;
};

struct Parameter {
  enum class Type : std::uint8_t { text, integer, boolean, uuid, choice, timestamp };
  std::string name;
  Type type = Type::text;
  std::string doc;
  std::optional<std::int64_t> fallback = {};  // For integers.
  std::optional<std::int64_t> least = {};
  std::optional<std::int64_t> most = {};
  std::vector<std::string> choices = {};
};

// A named schema of the OpenAPI document: a line (describe/shape.hpp), or a function that writes
// the members of the schema object.
struct Schema {
  using Members = void (*)(JsonWriter&);
  std::string name;
  std::variant<std::monostate, describe::Shape, Members> content = {};
  std::vector<Schema> parts = {};  // Those that the line names and no row answers with.

  [[nodiscard]] bool empty() const { return content.index() == 0; }
  // The whole schema object.
  void write(JsonWriter& json) const;
};

enum class Shape : std::uint8_t { one, list };

struct Answer {
  int status = 200;
  std::string doc;
  Schema schema = {};
  Shape shape = Shape::one;
  std::string media_type = "application/json";
};

struct BodySpec {
  Schema schema = {};
  std::string media_type = "application/json";
};

// Handlers that never wait are plain functions; the others are coroutines.
using SyncHandler = std::function<Response(Request const&)>;
using AsyncHandler = std::function<Task<Response>(Request const&)>;
// What a WebSocket endpoint makes for each connection, or why it refuses one.
using SocketResult = std::expected<std::unique_ptr<net::WebSocketHandler>, Response>;
using SocketHandler = std::function<SocketResult(Request const&)>;

struct Route {
  net::Method method = net::Method::get;
  std::string path;  // "/agents/{agent_id}"; one trailing slash more or less makes no difference.
  std::string name;  // Unique; the operation id, and the label of logs and metrics.
  std::string summary;
  std::string tag;
  std::variant<SyncHandler, AsyncHandler, SocketHandler> handler;
  Access access = Access::read;
  RateLimit limit = {};
  CachePolicy cache = {};
  // A POST takes an Idempotency-Key: sent again with the same one, it has no further effect. Not
  // for sync handlers, which have none.
  bool repeatable = true;
  // An answer to GET that brings no ETag gets one that is made from its body, so that a client who
  // has it already is not sent it again. Not for sync handlers, which read nothing that is stored.
  bool tagged = true;
  // Answers with an event stream: browsers give the token in the query, and come back with
  // Last-Event-ID.
  bool event_stream = false;
  std::vector<std::string> reads = {};  // Further header fields, in lower case, for field().
  bool conditional = false;  // Takes If-Match: only the version that it names is changed, else 412.
  std::vector<Parameter> path_parameters = {};  // In the order of the path.
  std::vector<Parameter> query = {};
  std::optional<BodySpec> body = {};
  std::uint64_t body_bytes_max = 0;  // 0: the setting for JSON bodies.
  // The handler takes the body as it comes, so that it may be longer than memory; of async
  // handlers. It is admitted before the body is read: not for a handler that takes an
  // Idempotency-Key.
  bool streamed_body = false;
  std::vector<Answer> answers = {};  // The first is the one of success.
  std::string failure = {};          // What a 500 says; empty: a general sentence.
  // Beside another kind of handler: takes the requests that are WebSocket handshakes.
  SocketHandler socket = {};
  // How a web page from elsewhere is refused; null: it is not, but for WebSockets (403).
  Response (*refuse_origin)(std::string_view origin) = nullptr;
  bool in_document = true;
};

// What makes the WebSocket of a request, if it asks for one where there are some.
[[nodiscard]] inline SocketHandler const* socket_handler(Route const& route, bool upgrade) {
  if (upgrade && route.socket) return &route.socket;
  return std::get_if<SocketHandler>(&route.handler);
}

[[nodiscard]] inline bool takes_idempotency_key(Route const& route) {
  return route.method == net::Method::post && route.repeatable &&
         std::holds_alternative<AsyncHandler>(route.handler);
}

[[nodiscard]] inline bool takes_content_tag(Route const& route) {
  return route.method == net::Method::get && route.tagged &&
         std::holds_alternative<AsyncHandler>(route.handler);
}

// Rows under a common prefix.
class Routes {
 public:
  explicit Routes(std::string prefix = {}) : prefix_(std::move(prefix)) {}
  Routes& add(Route route) {
    route.path = prefix_ + route.path;
    rows_.push_back(std::move(route));
    return *this;
  }
  Routes& merge(Routes other) {
    for (auto& row : other.rows_) rows_.push_back(std::move(row));
    return *this;
  }
  [[nodiscard]] std::vector<Route>& rows() { return rows_; }
  [[nodiscard]] std::vector<Route> const& rows() const { return rows_; }

 private:
  std::string prefix_;
  std::vector<Route> rows_;
};

// Checks path values and query against the route's declarations.
void check_parameters(Request const& request, describe::Issues& issues);

// The body as JSON, or what is wrong with it: 415, or 422 with the offset.
[[nodiscard]] std::expected<boost::json::value, Response> parse_json_body(Request const& request);

}  // namespace subforge::http
