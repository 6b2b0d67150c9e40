// A look inside and a way to send test messages, for administrators of a server with DEBUG=true.
#pragma once

#include "http/route.hpp"
#include "realtime/hub.hpp"
#include "realtime/socketio.hpp"
#include "store/store.hpp"

namespace subforge::api {

[[nodiscard]] http::Routes debug_routes(store::Store& store, realtime::Hub& hub,
                                        realtime::SocketIo& socketio);

// How debug messages look on the wire.
[[nodiscard]] std::span<realtime::Projection const> debug_projections();

}  // namespace subforge::api
