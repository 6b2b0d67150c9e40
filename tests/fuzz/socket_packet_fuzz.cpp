// Any bytes as what a polling client of Socket.IO posts. Asserts that the packets of a payload lie
// in it, in order and without overlap, that together with the separators they are all of it unless
// it is broken, and that an event written out again and parsed is the same event.
#include <string>

#include <boost/json/array.hpp>

#include "describe/json_text.hpp"
#include "pieces.hpp"
#include "realtime/engine_packet.hpp"
#include "realtime/socket_packet.hpp"

namespace subforge::realtime {
namespace {

using fuzz::require;

void check_round_trip(SocketPacket const& packet) {
  if (packet.type != SocketPacketType::event) return;
  auto const& list = packet.data.get_array();
  // A number beyond a double's range has no text; such an event is refused and never written.
  if (list.size() != 2 || describe::has_infinity(list[1])) return;
  auto const again =
      event_packet(std::string_view(list[0].get_string()), describe::json_text(list[1]));
  auto const engine = parse_engine_packet(again);
  require(engine && engine->type == EnginePacketType::message);
  auto const read = parse_socket_packet(engine->data);
  require(read && read->type == SocketPacketType::event && read->data == packet.data);
}

void check(std::string_view body) {
  EnginePayload payload(body);
  std::string together;
  std::size_t count = 0;
  while (auto const packet = payload.next()) {
    if (count++ > 0) together.push_back(kEngineSeparator);
    together.push_back(packet->type == EnginePacketType::binary
                           ? 'b'
                           : static_cast<char>('0' + static_cast<char>(packet->type)));
    require(packet->data.data() >= body.data() &&
            packet->data.data() + packet->data.size() <= body.data() + body.size());
    together.append(packet->data);
    if (packet->type != EnginePacketType::message) continue;
    if (auto const inner = parse_socket_packet(packet->data)) check_round_trip(*inner);
  }
  require(payload.broken() ? body.starts_with(together) : body == together);
}

}  // namespace
}  // namespace subforge::realtime

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  subforge::realtime::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
