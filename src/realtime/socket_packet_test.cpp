#include "realtime/socket_packet.hpp"

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace subforge::realtime {
namespace {

SocketPacket parsed(std::string_view text) {
  auto packet = parse_socket_packet(text);
  EXPECT_TRUE(packet) << text;
  return packet.value_or(SocketPacket{});
}

TEST(SocketPackets, Connect) {
  auto const plain = parsed("0");
  EXPECT_EQ(plain.type, SocketPacketType::connect);
  EXPECT_EQ(plain.space, "/");
  EXPECT_TRUE(plain.data.is_null());
  EXPECT_EQ(parsed(R"(0{"token":"t"})").data.at("token"), "t");
  auto const elsewhere = parsed(R"(0/admin?x=1,{"token":"t"})");
  EXPECT_EQ(elsewhere.space, "/admin");
  EXPECT_EQ(elsewhere.data.at("token"), "t");
  EXPECT_EQ(parsed("0/admin").space, "/admin");
  EXPECT_EQ(parsed("1").type, SocketPacketType::disconnect);
  EXPECT_EQ(parsed("1/admin,").space, "/admin");
}

TEST(SocketPackets, EventsAndAcknowledgements) {
  auto const event = parsed(R"(2["hey",{"a":1},"漢"])");
  EXPECT_EQ(event.type, SocketPacketType::event);
  EXPECT_EQ(event.id, "");
  EXPECT_EQ(event.data, boost::json::parse(R"(["hey",{"a":1},"漢"])"));
  EXPECT_EQ(parsed(R"(212["hey"])").id, "12");
  auto const in_space = parsed(R"(2/admin,7["hey"])");
  EXPECT_EQ(in_space.space, "/admin");
  EXPECT_EQ(in_space.id, "7");
  auto const ack = parsed("35[]");
  EXPECT_EQ(ack.type, SocketPacketType::ack);
  EXPECT_EQ(ack.id, "5");
}

TEST(SocketPackets, BinaryOnesTellTheirAttachments) {
  auto const event = parsed(R"(51-3["hey",{"_placeholder":true,"num":0}])");
  EXPECT_EQ(event.type, SocketPacketType::binary_event);
  EXPECT_EQ(event.id, "3");
  EXPECT_EQ(parsed("61-2[]").type, SocketPacketType::binary_ack);
  for (auto const* text : {R"(5["hey"])", R"(5-["hey"])", R"(51["hey"])", "6[]"}) {
    EXPECT_FALSE(parse_socket_packet(text)) << text;
  }
}

TEST(SocketPackets, OfTheWrongFormAreNone) {
  for (auto const* text : {"",
                           "7",
                           "abc",
                           "2",
                           "2{}",
                           "2[]",
                           "2[1]",
                           "2null",
                           "2\"x\"",
                           R"(2["a")",
                           R"(2["a"]])",
                           R"(2abc["a"])",
                           "0[]",
                           "0\"x\"",
                           "0nul",
                           "1{}",
                           "3",
                           "3{}",
                           "4",
                           "4[]",
                           R"(2-1["a"])",
                           "2[\"\xff\"]",
                           R"(2123456789012345678901["a"])"}) {
    EXPECT_FALSE(parse_socket_packet(text)) << text;
  }
  std::string deep = "2[\"a\",";
  deep.append(kSocketDepthMax, '[').append(kSocketDepthMax, ']').append("]");
  EXPECT_FALSE(parse_socket_packet(deep));
}

TEST(SocketPackets, AsTheyAreWritten) {
  EXPECT_EQ(event_packet("a\"b", "{}"), R"(42["a\"b",{}])");
  EXPECT_EQ(event_packet("a", "[1]", "e7"), R"(42["a",[1],"e7"])");
  EXPECT_EQ(ack_packet("12"), "4312[]");
  EXPECT_EQ(connect_packet("s", ""), R"(40{"sid":"s"})");
  EXPECT_EQ(connect_packet("s", "p"), R"(40{"sid":"s","pid":"p"})");
  EXPECT_EQ(connect_error_packet("/", "no"), R"(44{"message":"no"})");
  EXPECT_EQ(connect_error_packet("/x", "no"), R"(44/x,{"message":"no"})");
  EXPECT_EQ(disconnect_packet(), "41");
}

}  // namespace
}  // namespace subforge::realtime
