// The server's part of the WebSocket opening handshake (RFC 6455 section 4.2): whether a request is
// one, what to answer, and whether messages will be compressed (permessage-deflate, RFC 7692
// section 7.1). Who may connect (Origin, credentials) is for others to decide.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "net/http_parser.hpp"

namespace subforge::net {

// The value of Sec-WebSocket-Accept that answers this Sec-WebSocket-Key.
[[nodiscard]] std::string websocket_accept_key(std::string_view key);

// What was agreed on compressed messages, besides that each is compressed by itself.
struct WsDeflateTerms {
  static constexpr std::uint8_t kWindowBitsMax = 15;

  // The client looks back 2^n bytes of a message at most.
  std::uint8_t server_window_bits = kWindowBitsMax;
  bool window_bits_asked = false;  // It said so, and has to be told that we heard.
};

// The first of the client's offers that can be kept. An offer with a parameter that is unknown,
// repeated or ill-formed is passed over, like any other extension; nothing makes a handshake fail.
[[nodiscard]] std::optional<WsDeflateTerms> accept_deflate(RequestHead const& head);

// The value of Sec-WebSocket-Extensions that answers such an offer.
[[nodiscard]] std::string deflate_answer(WsDeflateTerms const& terms);

// The value of Sec-WebSocket-Accept for the 101 answer; or why there is none. An answer of 426 must
// carry `Upgrade: websocket`, `Connection: upgrade` and `Sec-WebSocket-Version: 13`.
[[nodiscard]] std::expected<std::string, ParseError> validate_handshake(RequestHead const& head);

}  // namespace subforge::net
