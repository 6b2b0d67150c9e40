// The server's part of the WebSocket opening handshake (RFC 6455 section 4.2): whether a request is
// one, and what to answer. Who may connect (Origin, credentials) is for others to decide.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "net/http_parser.hpp"

namespace subforge::net {

// The value of Sec-WebSocket-Accept that answers this Sec-WebSocket-Key.
[[nodiscard]] std::string websocket_accept_key(std::string_view key);

// The value of Sec-WebSocket-Accept for the 101 answer; or why there is none. An answer of 426 must
// carry `Upgrade: websocket`, `Connection: upgrade` and `Sec-WebSocket-Version: 13`.
[[nodiscard]] std::expected<std::string, ParseError> validate_handshake(RequestHead const& head);

}  // namespace subforge::net
