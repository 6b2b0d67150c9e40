// The stages that turn requests away: host, credentials, rate limit, and who may open a socket.
#include <algorithm>

#include <fmt/format.h>

#include "base/text.hpp"
#include "pipeline/exchange.hpp"

namespace subforge::pipeline {
namespace {

using http::Access;
using http::Response;

// The name of name:port; what is not of that form is left as it is, and so is no known name.
std::string_view without_port(std::string_view host) {
  auto const end =
      host.starts_with('[') ? host.find(']') + 1 : std::min(host.find(':'), host.size());
  auto const port = host.substr(end);
  bool const well_formed =
      port.empty() || (port.front() == ':' && std::ranges::all_of(port.substr(1), [](char c) {
                         return c >= '0' && c <= '9';
                       }));
  return well_formed ? host.substr(0, end) : host;
}

// The host of an origin like https://name:port.
std::string_view origin_host(std::string_view origin) {
  auto const scheme = origin.find("://");
  return scheme == std::string_view::npos ? std::string_view{} : origin.substr(scheme + 3);
}

bool is_loopback_name(std::string_view name) {
  return name == "localhost" || name == "127.0.0.1" || name == "[::1]";
}

std::string_view permission_name(Access access) {
  switch (access) {
    case Access::open: return "";
    case Access::read: return "read";
    case Access::write: return "write";
    case Access::admin: return "admin";
  }
  return "";
}

bool permits(auth::Principal const& principal, Access access) {
  switch (access) {
    case Access::open: return true;
    case Access::read: return principal.may_read();
    case Access::write: return principal.may_write();
    case Access::admin: return principal.may_administrate();
  }
  return false;
}

}  // namespace

// EventSource sets no fields but Last-Event-ID.
void Pipeline::admit_event_source(Exchange& exchange, net::RequestHead const& head) {
  exchange.last_event_id = head.find("last-event-id");
  if (!head.authorization.empty()) return;
  auto const query = http::Query::parse(head.query);
  if (!query) return;
  if (auto const token = query->find("token")) {
    exchange.query_token = std::string("Bearer ").append(*token);
    exchange.authorization = exchange.query_token;
  }
}

bool Pipeline::host_allowed(Memo& memo, std::string_view host) const {
  if (!memo.host.empty() && memo.host == host) return true;
  auto const& allowed = shared_.settings.allowed_hosts;
  auto const name = to_lower(without_port(host));
  // In local mode the check cannot be switched off: it is what keeps a web page that resolves its
  // own name to this machine from acting as the administrator.
  bool const any = std::ranges::find(allowed, "*") != allowed.end() &&
                   shared_.authenticator.credentials_required();
  if (!any && std::ranges::find(allowed, name) == allowed.end()) return false;
  if (shared_.authenticator.credentials_required()) memo.host = host;
  return true;
}

std::optional<Response> Pipeline::authorize(Exchange& exchange, Memo& memo,
                                            std::string_view authorization) {
  auto const version = shared_.authenticator.version();
  bool const known = memo.principal != nullptr && memo.auth_version == version &&
                     memo.authorization == authorization &&
                     !memo.principal->expired(loop_.wall_now());
  std::string refusal;
  if (!known) {
    auto principal = shared_.authenticator.authenticate(authorization);
    if (principal) {
      memo.principal = std::move(*principal);
      memo.authorization = authorization;
      memo.auth_version = version;
    } else {
      memo.principal.reset();
      refusal = principal.error().message;
    }
  }
  exchange.principal = memo.principal;
  auto const access = exchange.route->access;
  if (access == Access::open) return std::nullopt;
  if (exchange.principal == nullptr) {
    return Response::problem(401, refusal.empty() ? "Authentication required" : refusal)
        .with("WWW-Authenticate", "Bearer");
  }
  if (!permits(*exchange.principal, access)) {
    return Response::problem(403, fmt::format("Permission '{}' required", permission_name(access)));
  }
  return std::nullopt;
}

bool Pipeline::wants_body(Memo& memo, http::Route const* route, net::RequestHead const& head) {
  if (route == nullptr || !host_allowed(memo, head.host)) return false;
  Exchange exchange;
  exchange.route = route;
  return !authorize(exchange, memo, head.authorization);
}

std::optional<Response> Pipeline::limit(Exchange& exchange, Memo& memo) {
  auto const& limit = exchange.route->limit;
  if (limit.per_minute <= 0 || !shared_.settings.rate_limiting) return std::nullopt;
  bool const by_user = limit.by == http::ClientKey::user && exchange.principal != nullptr;
  auto const client = by_user ? shared_.limiter.key_of(exchange.principal->id) : memo.address_key;
  exchange.verdict = shared_.limiter.check(exchange.route_index, client, limit, loop_.wall_now());
  exchange.limited = true;
  if (exchange.verdict.allowed) return std::nullopt;
  auto const scaled = shared_.limiter.scaled(limit);
  bool const hour = exchange.verdict.by_hour;
  return Response::problem(
             429, fmt::format("Rate limit exceeded: {} requests per {}",
                              hour ? scaled.per_hour : scaled.per_minute, hour ? "hour" : "minute"))
      .with("Retry-After", hour ? "3600" : "60");
}

bool Pipeline::origin_allowed(std::string_view origin, std::string_view host) const {
  auto const& allowed = shared_.settings.allowed_origins;
  if (origin.empty() || origin_host(origin) == host) return true;
  if (is_loopback_name(without_port(origin_host(origin)))) return true;
  return std::ranges::any_of(allowed,
                             [&](std::string const& one) { return one == origin || one == "*"; });
}

bool Pipeline::is_forged(Exchange const& exchange) const {
  bool const changes = exchange.method != net::Method::get &&
                       exchange.method != net::Method::head &&
                       exchange.method != net::Method::options;
  return changes && exchange.authorization.empty() && exchange.route->refuse_origin == nullptr &&
         !origin_allowed(exchange.origin, exchange.host);
}

Response Pipeline::origin_refused(Exchange const& exchange) {
  return Response::problem(
      403, fmt::format("The origin {} is not allowed; add it to ALLOWED_ORIGINS", exchange.origin));
}

void Pipeline::open_socket(Exchange& exchange, http::Request& request) {
  auto const accept_key = std::exchange(exchange.cache_key, {});
  bool const checked = exchange.route->refuse_origin != nullptr;
  if (!checked && !origin_allowed(exchange.origin, exchange.host)) {
    return finish(exchange, origin_refused(exchange));
  }
  if (!quota_()) {
    return finish(
        exchange,
        Response::problem(503, "Too many WebSocket connections").with("Retry-After", "5"));
  }
  // A browser cannot set headers on a handshake, so the token may come in the query.
  if (auto const token = request.query.find("token")) {
    auto principal = shared_.authenticator.authenticate_token(*token);
    if (!principal) {
      return finish(
          exchange,
          Response::problem(401, principal.error().message).with("WWW-Authenticate", "Bearer"));
    }
    request.principal = exchange.principal = std::move(*principal);
  }
  auto handler = (*exchange.socket)(request);
  if (!handler) return finish(exchange, std::move(handler.error()));
  std::string fields;
  append_field(fields, "X-Request-ID", exchange.request_id);
  exchange.connection->upgrade(accept_key, exchange.deflate, fields, std::move(*handler));
  record(exchange, 101, 0);
}

}  // namespace subforge::pipeline
