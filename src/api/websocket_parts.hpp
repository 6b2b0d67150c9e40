// What the handlers under /api/v2/websocket share.
#pragma once

#include <string_view>

#include "http/request.hpp"
#include "http/response.hpp"
#include "http/route.hpp"

namespace subforge::api {

inline constexpr char const* kWebSocketPrefix = "/api/v2/websocket";
inline constexpr char const* kWebSocketTag = "websocket v2";

[[nodiscard]] http::Response unknown_connection(std::string_view id, std::string_view what);
// Whether the caller's rights open the room, and the answer where they do not.
[[nodiscard]] bool may_enter(http::Request const& request, std::string_view room);
[[nodiscard]] http::Response for_administrators();

inline http::Answer no_connection() { return {404, "There is no such connection."}; }
// One of those that happened, in a list of them.
inline http::Schema past_event() {
  return {"PastEvent",
          "event_id:text event_type:text room:text|null data:object timestamp:time"
          " user_id:text|null"};
}

inline http::Answer no_entry() { return {403, "The room is for administrators."}; }

}  // namespace subforge::api
