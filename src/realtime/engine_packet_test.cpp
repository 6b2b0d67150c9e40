#include "realtime/engine_packet.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace subforge::realtime {
namespace {

using Type = EnginePacketType;
using testing::ElementsAre;

struct Read {
  std::vector<EnginePacket> packets;
  bool broken = false;
};

Read read(std::string_view body) {
  EnginePayload payload(body);
  Read read;
  while (auto const packet = payload.next()) read.packets.push_back(*packet);
  read.broken = payload.broken();
  EXPECT_FALSE(payload.next()) << "the end is the end";
  return read;
}

TEST(EnginePackets, AreTheirTypeAndTheRest) {
  EXPECT_EQ(parse_engine_packet("4hello"), (EnginePacket{Type::message, "hello"}));
  EXPECT_EQ(parse_engine_packet("2probe"), (EnginePacket{Type::ping, "probe"}));
  EXPECT_EQ(parse_engine_packet("3"), (EnginePacket{Type::pong, ""}));
  EXPECT_EQ(parse_engine_packet("0{}"), (EnginePacket{Type::open, "{}"}));
  EXPECT_EQ(parse_engine_packet("6"), (EnginePacket{Type::noop, ""}));
  EXPECT_EQ(parse_engine_packet("bAQID"), (EnginePacket{Type::binary, "AQID"}));
}

TEST(EnginePackets, OfNoKnownTypeAreNone) {
  for (auto const* text : {"", "7", "/", ":", "a", "B", "\x1e", "-1"}) {
    EXPECT_FALSE(parse_engine_packet(text)) << text;
  }
}

TEST(EnginePayloads, AreSplitAtTheSeparator) {
  auto const one = read("4a");
  EXPECT_THAT(one.packets, ElementsAre(EnginePacket{Type::message, "a"}));
  EXPECT_FALSE(one.broken);
  auto const three = read(
      "4a\x1e"
      "3\x1e"
      "bAQID");
  EXPECT_THAT(three.packets,
              ElementsAre(EnginePacket{Type::message, "a"}, EnginePacket{Type::pong, ""},
                          EnginePacket{Type::binary, "AQID"}));
  EXPECT_FALSE(three.broken);
}

TEST(EnginePayloads, EndWhereTheyAreBroken) {
  for (auto const* body : {"", "abc",
                           "\x1e"
                           "4a"}) {
    auto const none = read(body);
    EXPECT_TRUE(none.packets.empty()) << body;
    EXPECT_TRUE(none.broken) << body;
  }
  for (auto const* body : {"4a\x1e",
                           "4a\x1e\x1e"
                           "4b",
                           "4a\x1exyz\x1e"
                           "4b"}) {
    auto const first = read(body);
    EXPECT_THAT(first.packets, ElementsAre(EnginePacket{Type::message, "a"})) << body;
    EXPECT_TRUE(first.broken) << body;
  }
}

}  // namespace
}  // namespace subforge::realtime
