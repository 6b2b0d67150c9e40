// Who is connected, rooms, broadcasts and the past: the control of realtime over REST (contract,
// rest-v2.md section 7). Connections and rooms are those of this process.
#pragma once

#include "http/route.hpp"
#include "realtime/hub.hpp"

namespace subforge::api {

[[nodiscard]] http::Routes websocket_v2(realtime::Hub& hub, std::int64_t started_ns);

// How broadcasts look to viewers.
[[nodiscard]] std::span<realtime::Projection const> broadcast_projections();

}  // namespace subforge::api
