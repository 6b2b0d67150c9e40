// Goal: exactly the handshakes of RFC 6455 are accepted. Method: the RFC's own example, then one
// change at a time.
#include "net/websocket_handshake.hpp"

#include <vector>

#include <gtest/gtest.h>

namespace subforge::net {
namespace {

constexpr std::string_view kUpgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
constexpr std::string_view kVersion = "Sec-WebSocket-Version: 13\r\n";
constexpr std::string_view kKey = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

std::string request(std::initializer_list<std::string_view> parts) {
  std::string text = "GET /ws HTTP/1.1\r\nHost: a\r\n";
  for (auto const part : parts) text.append(part);
  return text + "\r\n";
}

std::expected<std::string, ParseError> validate(std::string const& text) {
  RequestHead head;
  EXPECT_TRUE(parse_head(text, HttpLimits{}, head)) << text;
  return validate_handshake(head);
}

TEST(WebSocketHandshake, TheExampleOfTheStandard) {
  EXPECT_EQ(websocket_accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_EQ(validate(request({kUpgrade, kVersion, kKey})), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_TRUE(validate(request({"Content-Length: 0\r\n", kKey, kVersion, kUpgrade})));
}

TEST(WebSocketHandshake, Refusals) {
  struct Case {
    std::string text;
    int status;
  };
  for (auto const& [text, status] : std::vector<Case>{
           {request({kVersion, kKey}), 426},
           {request({"Connection: Upgrade\r\nUpgrade: h2c\r\n", kVersion, kKey}), 426},
           {request({kUpgrade, kKey}), 426},
           {request({kUpgrade, kKey, "Sec-WebSocket-Version: 8\r\n"}), 426},
           {request({kUpgrade, kKey, "Sec-WebSocket-Version: 13, 8\r\n"}), 426},
           {request({kUpgrade, kVersion}), 400},
           {request({kUpgrade, kVersion, kKey, kKey}), 400},
           {request({kUpgrade, kVersion, "Sec-WebSocket-Key:\r\n"}), 400},
           {request({kUpgrade, kVersion, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n"}), 400},
           {request({kUpgrade, kVersion, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\r\n"}), 400},
           {request({kUpgrade, kVersion, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j-_==\r\n"}), 400},
           {request({kUpgrade, kVersion, kKey, "Content-Length: 1\r\n"}), 400},
           {request({kUpgrade, kVersion, kKey, "Transfer-Encoding: chunked\r\n"}), 400},
       }) {
    auto const result = validate(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().status, status) << text;
  }
}

}  // namespace
}  // namespace subforge::net
