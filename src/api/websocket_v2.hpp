// Who is connected, rooms, broadcasts and the past: the control of realtime over REST (contract,
// rest-v2.md section 7). Connections and rooms are those of this process.
#pragma once

#include <cstdint>
#include <span>

#include "http/route.hpp"
#include "realtime/hub.hpp"
#include "store/inbox.hpp"

namespace subforge::api {

// Connections, rooms and their figures.
[[nodiscard]] http::Routes connection_routes(realtime::Hub& hub, std::int64_t started_ns);
[[nodiscard]] http::Routes broadcast_routes(realtime::Hub& hub, store::Inbox& inbox);
// What is kept for the user who asks.
[[nodiscard]] http::Routes inbox_routes(realtime::Hub& hub);
[[nodiscard]] http::Routes event_history_routes(realtime::Hub& hub);

// How broadcasts look to viewers.
[[nodiscard]] std::span<realtime::Projection const> broadcast_projections();

}  // namespace subforge::api
