#include "api/socketio.hpp"

#include <algorithm>

#include "api/identity.hpp"
#include "base/json_writer.hpp"

namespace subforge::api {
namespace {

using http::Request;
using http::Response;
using net::Method;
using realtime::EngineError;
using realtime::EngineReply;
using realtime::SocketIo;

constexpr char const* kSocketIoPath = "/socket.io";
constexpr std::string_view kEngineIoVersion = "4";  // Of Engine.IO.

Response answer(EngineReply reply) {
  auto response = Response::text(std::move(reply.body), "text/plain; charset=UTF-8");
  if (reply.status != 200) response.content_type = "application/json";
  response.status = reply.status;
  return std::move(response).with("Cache-Control", "no-store");
}

Response answer(EngineError error) { return answer(EngineReply::error(error)); }

Response refuse_origin(std::string_view origin) {
  std::string body;
  append_json_string(body, std::string(origin) + " is not an accepted origin.");
  auto response = Response::text(std::move(body), "text/plain; charset=UTF-8");
  response.status = 400;
  return response;
}

// Whether the client is the one of python-engineio, which tells the time in seconds: functions that
// its users write for an event take as many arguments as they expect, and would fail with an
// offset.
bool is_python(Request const& request) {
  auto const time = request.query.find("t").value_or("");
  auto const is_number = [](std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  };
  auto const point = time.find('.');
  return point != std::string_view::npos && point >= 9 && is_number(time.substr(0, point)) &&
         is_number(time.substr(point + 1));
}

realtime::Opening engine_opening_of(Request const& request) {
  realtime::Opening opening;
  if (request.principal != nullptr) opening.identity = identity_of(request.principal);
  opening.host = request.peer.address_text();
  opening.user_agent = request.user_agent;
  auto const offsets = request.query.find("offsets");
  opening.offsets = offsets ? *offsets == "true" : !is_python(request);
  return opening;
}

// A new session for a polling client.
Response open(SocketIo& socketio, ConnectionQuota const& quota, Request const& request) {
  if (request.query.find("EIO") != kEngineIoVersion)
    return answer(EngineError::unsupported_version);
  if (!quota()) {
    return Response::problem(503, "Too many connections").with("Retry-After", "5");
  }
  auto opening = engine_opening_of(request);
  // As for WebSockets, whose clients cannot set headers in a browser.
  if (auto const token = request.query.find("token")) {
    auto identity = socketio.gate().identify(*token);
    if (!identity) return Response::from(identity.error()).with("WWW-Authenticate", "Bearer");
    opening.identity = std::move(*identity);
  }
  return answer(socketio.engine().open(std::move(opening)));
}

Task<Response> get(SocketIo& socketio, ConnectionQuota const& quota, Request const& request) {
  // It would take packets along that nobody then sees.
  if (request.method == Method::head) co_return answer(EngineError::bad_handshake_method);
  auto const transport = request.query.find("transport");
  if (transport == "websocket") co_return answer(EngineError::bad_request);
  if (transport != "polling") co_return answer(EngineError::unknown_transport);
  auto const sid = request.query.find("sid");
  if (!sid) co_return open(socketio, quota, request);
  co_return answer(co_await socketio.engine().poll(std::string(*sid)));
}

Task<Response> post(SocketIo& socketio, Request const& request) {
  if (request.query.find("transport") != "polling") {
    co_return answer(EngineError::unknown_transport);
  }
  auto const sid = request.query.find("sid");
  if (!sid) co_return answer(EngineError::bad_handshake_method);
  co_return answer(co_await socketio.engine().post(std::string(*sid), request.body));
}

http::SocketResult open_socket(SocketIo& socketio, Request const& request) {
  auto const refuse = [](EngineError error) { return std::unexpected(answer(error)); };
  if (request.query.find("transport") != "websocket") return refuse(EngineError::unknown_transport);
  if (request.query.find("EIO") != kEngineIoVersion)
    return refuse(EngineError::unsupported_version);
  auto& engine = socketio.engine();
  if (auto const sid = request.query.find("sid")) {
    auto* const loop = engine.loop_of(*sid);
    if (loop == nullptr) return refuse(EngineError::unknown_session);
    return std::make_unique<realtime::EngineSocket>(*loop, std::string(*sid));
  }
  return std::make_unique<realtime::EngineSocket>(engine.here(), engine_opening_of(request));
}

}  // namespace

http::Routes socketio_routes(SocketIo& socketio, ConnectionQuota quota) {
  auto const body_bytes_max = socketio.engine().limits().payload_bytes_max;
  http::Routes routes;
  routes
      .add(
          {.method = Method::get,
           .path = kSocketIoPath,
           .name = "socketio_poll",
           .summary = "Open a session of Socket.IO, wait for its packets, or take its WebSocket",
           .tag = "sockets",
           .handler = http::AsyncHandler([&socketio, quota](Request const& request) {
             return get(socketio, quota, request);
           }),
           .access = http::Access::open,
           .socket = [&socketio](Request const& request) { return open_socket(socketio, request); },
           .refuse_origin = &refuse_origin,
           .in_document = false})
      .add({.method = Method::post,
            .path = kSocketIoPath,
            .name = "socketio_post",
            .summary = "Send packets in a session of Socket.IO",
            .tag = "sockets",
            .handler = http::AsyncHandler(
                [&socketio](Request const& request) { return post(socketio, request); }),
            .access = http::Access::open,
            .repeatable = false,
            .body_bytes_max = body_bytes_max,
            .refuse_origin = &refuse_origin,
            .in_document = false});
  return routes;
}

}  // namespace subforge::api
