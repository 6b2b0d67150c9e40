#include "realtime/engine_packet.hpp"

namespace subforge::realtime {

std::optional<EnginePacket> parse_engine_packet(std::string_view text) {
  if (text.empty()) return std::nullopt;
  auto const data = text.substr(1);
  if (text.front() == 'b') return EnginePacket{EnginePacketType::binary, data};
  if (text.front() < '0' || text.front() > '6') return std::nullopt;
  return EnginePacket{static_cast<EnginePacketType>(text.front() - '0'), data};
}

std::optional<EnginePacket> EnginePayload::next() {
  if (at_end_ || broken_) return std::nullopt;
  auto const end = rest_.find(kEngineSeparator);
  auto const packet = parse_engine_packet(rest_.substr(0, end));
  at_end_ = end == std::string_view::npos;
  if (!at_end_) rest_.remove_prefix(end + 1);
  broken_ = !packet;
  return packet;
}

}  // namespace subforge::realtime
