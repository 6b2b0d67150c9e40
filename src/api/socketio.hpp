// The two ways into Socket.IO, both at /socket.io/: requests of polling clients and WebSockets.
#pragma once

#include <functional>

#include "http/route.hpp"
#include "realtime/socketio.hpp"

namespace subforge::api {

// Whether one more connection may be opened.
using ConnectionQuota = std::function<bool()>;

[[nodiscard]] http::Routes socketio_routes(realtime::SocketIo& socketio, ConnectionQuota quota);

}  // namespace subforge::api
