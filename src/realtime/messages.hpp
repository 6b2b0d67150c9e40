// Every message that is no event of the log: what clients say, and the server's answers and signs
// of life. What clients say on /ws and /ws/v2 is validated by these rows; the document of the
// protocols is written from them and from the projections, which are the rows of events.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "describe/shape.hpp"
#include "realtime/viewer.hpp"

namespace subforge::realtime {

enum class Needs : std::uint8_t { nothing, reading, writing };

// From a client.
struct ClientMessage {
  Protocol protocol;
  std::string_view type;
  describe::Shape
      shape;    // Of the whole message beside `type`; of Socket.IO, of the event's argument.
  Needs needs;  // The right without which it is refused.
  std::string_view doc;
};

// From the server, to one connection.
struct ServerMessage {
  Protocol protocol;
  std::string_view type;
  describe::Shape shape;  // Of its data.
  std::string_view doc;
  bool is_news = false;  // A slow reader gets only the newest.
};

[[nodiscard]] std::span<ClientMessage const> client_messages();
[[nodiscard]] std::span<ServerMessage const> server_messages();

// The row of a type; null if there is none.
[[nodiscard]] ClientMessage const* find_client_message(Protocol protocol, std::string_view type);

}  // namespace subforge::realtime
