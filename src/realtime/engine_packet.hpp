// Packets of Engine.IO, protocol 4: one character that says what it is, and its data as text.
// https://socket.io/docs/v4/engine-io-protocol/
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace subforge::realtime {

enum class EnginePacketType : std::uint8_t {
  open,
  close,
  ping,
  pong,
  message,
  upgrade,
  noop,
  binary,  // A message too; polling carries it as base 64 text.
};

struct EnginePacket {
  EnginePacketType type = EnginePacketType::noop;
  std::string_view data;  // Lies within what was parsed.

  bool operator==(EnginePacket const&) const = default;
};

// One packet of a text frame, or of a polling payload; nothing if it is none.
[[nodiscard]] std::optional<EnginePacket> parse_engine_packet(std::string_view text);

// Stands between the packets of one polling request or answer.
inline constexpr char kEngineSeparator = '\x1e';

// The packets of what a polling client posts, in order.
class EnginePayload {
 public:
  explicit EnginePayload(std::string_view body) : rest_(body) {}

  // The next packet; nothing at the end, or where the payload is broken.
  [[nodiscard]] std::optional<EnginePacket> next();
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  std::string_view rest_;
  bool at_end_ = false;
  bool broken_ = false;
};

}  // namespace subforge::realtime
