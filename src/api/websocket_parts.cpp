#include "api/websocket_parts.hpp"

#include <fmt/format.h>

#include "api/identity.hpp"
#include "realtime/viewer.hpp"

namespace subforge::api {

http::Response unknown_connection(std::string_view id, std::string_view what) {
  return http::Response::problem(404, fmt::format("Connection {} {}", id, what));
}

bool may_enter(http::Request const& request, std::string_view room) {
  return realtime::may_enter(identity_of(request.principal), room);
}

http::Response for_administrators() {
  return http::Response::problem(403, "This room is for administrators");
}

}  // namespace subforge::api
