// Packets of Socket.IO, protocol 5, as the data of Engine.IO messages: what it is, the namespace,
// the number of an acknowledgement, and JSON. https://socket.io/docs/v4/socket-io-protocol/
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/value.hpp>

namespace subforge::realtime {

enum class SocketPacketType : std::uint8_t {
  connect,
  disconnect,
  event,
  ack,
  connect_error,
  binary_event,
  binary_ack,
};

struct SocketPacket {
  SocketPacketType type = SocketPacketType::event;
  std::string_view space = "/";  // The namespace, without the query that it may carry.
  std::string_view id;           // The decimal digits of an acknowledgement's number; empty: none.
  // An object or nothing for `connect`; an array that begins with a name for events; an array for
  // acknowledgements; nothing (null) for `disconnect`.
  boost::json::value data;
};

// Deeper JSON than this, and longer numbers of acknowledgements, are no packets.
inline constexpr std::size_t kSocketDepthMax = 32;
inline constexpr std::size_t kSocketIdDigitsMax = 20;

// Nothing if it is no packet. The views lie within `text`.
[[nodiscard]] std::optional<SocketPacket> parse_socket_packet(std::string_view text);

// What the server sends, as whole Engine.IO packets, all in the namespace `/` but for refusals.
// `data` is JSON; a client that recovers keeps the last argument of an event as its `offset`.
[[nodiscard]] std::string event_packet(std::string_view name, std::string_view data,
                                       std::string_view offset = {});
[[nodiscard]] std::string ack_packet(std::string_view id);  // Without arguments.
[[nodiscard]] std::string connect_packet(std::string_view sid, std::string_view pid);
[[nodiscard]] std::string connect_error_packet(std::string_view space, std::string_view message);
[[nodiscard]] std::string disconnect_packet();

}  // namespace subforge::realtime
