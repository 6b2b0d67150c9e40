// Goal: exactly the handshakes of RFC 6455 are accepted. Method: the RFC's own example, then one
// change at a time.
#include "net/websocket_handshake.hpp"

#include <vector>

#include <gtest/gtest.h>

namespace subforge::net {
namespace {

constexpr std::string_view kUpgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
constexpr std::string_view kVersion = "Sec-WebSocket-Version: 13\r\n";
constexpr std::string_view kHandshakeKey = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

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
  EXPECT_EQ(validate(request({kUpgrade, kVersion, kHandshakeKey})), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  EXPECT_TRUE(validate(request({"Content-Length: 0\r\n", kHandshakeKey, kVersion, kUpgrade})));
}

TEST(WebSocketHandshake, Refusals) {
  struct Case {
    std::string text;
    int status;
  };
  for (auto const& [text, status] : std::vector<Case>{
           {request({kVersion, kHandshakeKey}), 426},
           {request({"Connection: Upgrade\r\nUpgrade: h2c\r\n", kVersion, kHandshakeKey}), 426},
           {request({kUpgrade, kHandshakeKey}), 426},
           {request({kUpgrade, kHandshakeKey, "Sec-WebSocket-Version: 8\r\n"}), 426},
           {request({kUpgrade, kHandshakeKey, "Sec-WebSocket-Version: 13, 8\r\n"}), 426},
           {request({kUpgrade, kVersion}), 400},
           {request({kUpgrade, kVersion, kHandshakeKey, kHandshakeKey}), 400},
           {request({kUpgrade, kVersion, "Sec-WebSocket-Key:\r\n"}), 400},
           {request({kUpgrade, kVersion, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n"}), 400},
           {request({kUpgrade, kVersion, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\r\n"}), 400},
           {request({kUpgrade, kVersion, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j-_==\r\n"}), 400},
           {request({kUpgrade, kVersion, kHandshakeKey, "Content-Length: 1\r\n"}), 400},
           {request({kUpgrade, kVersion, kHandshakeKey, "Transfer-Encoding: chunked\r\n"}), 400},
       }) {
    auto const result = validate(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().status, status) << text;
  }
}

std::optional<WsDeflateTerms> deflate(std::initializer_list<std::string_view> lines) {
  std::string text = "GET /ws HTTP/1.1\r\nHost: a\r\n";
  for (auto const line : lines) {
    text.append("Sec-WebSocket-Extensions: ").append(line).append("\r\n");
  }
  text.append("\r\n");
  RequestHead head;
  EXPECT_TRUE(parse_head(text, HttpLimits{}, head)) << text;
  return accept_deflate(head);
}

TEST(WebSocketHandshake, OffersOfDeflateThatCanBeKept) {
  struct Case {
    std::string_view offer;
    std::string_view added;  // To what is always answered.
  };
  constexpr std::string_view kTen = "; server_max_window_bits=10";
  for (auto const& [offer, added] : std::vector<Case>{
           {"permessage-deflate", ""},
           {"permessage-deflate; client_max_window_bits", ""},  // Of browsers.
           {"permessage-deflate;client_max_window_bits=8", ""},
           {"permessage-deflate ; client_no_context_takeover;server_no_context_takeover", ""},
           {"permessage-deflate; server_max_window_bits=10", kTen},
           {"permessage-deflate; server_max_window_bits = 10", kTen},
           {"permessage-deflate; server_max_window_bits=\"10\"", kTen},
           {"permessage-deflate; server_max_window_bits=15; client_max_window_bits=15",
            "; server_max_window_bits=15"},
           {"permessage-deflate; server_max_window_bits=8", "; server_max_window_bits=8"},
           // Later offers, where the earlier ones cannot be kept.
           {"permessage-bzip2, permessage-deflate", ""},
           {",, permessage-deflate", ""},
           {"permessage-deflate; unknown, permessage-deflate; server_max_window_bits=10", kTen},
           {"permessage-deflate; server_max_window_bits=16, permessage-deflate", ""},
           {"x; a=\", permessage-deflate; server_max_window_bits=9, \"; b, permessage-deflate", ""},
           {"x; a=\"\\\", permessage-deflate; server_max_window_bits=9\", permessage-deflate", ""},
           // Of several the first.
           {"permessage-deflate; server_max_window_bits=10, permessage-deflate", kTen},
       }) {
    auto const terms = deflate({offer});
    ASSERT_TRUE(terms) << offer;
    EXPECT_EQ(deflate_answer(*terms), std::string("permessage-deflate; server_no_context_takeover; "
                                                  "client_no_context_takeover")
                                          .append(added))
        << offer;
  }
  EXPECT_EQ(deflate({"x, y", "permessage-deflate; server_max_window_bits=12"})->server_window_bits,
            12);
}

TEST(WebSocketHandshake, OffersOfDeflateThatAreDeclined) {
  for (std::string const parameters : {";",
                                       "; ",
                                       "; unknown",
                                       "; server_max_window_bits",
                                       "; server_max_window_bits=",
                                       "; server_max_window_bits=7",
                                       "; server_max_window_bits=16",
                                       "; server_max_window_bits=010",
                                       "; server_max_window_bits=+9",
                                       "; server_max_window_bits=8.0",
                                       "; server_max_window_bits=256",
                                       "; server_max_window_bits=\"10",
                                       "; server_max_window_bits=\"\"",
                                       "; server_max_window_bits=\"1\\0\"",
                                       "; server_max_window_bits=10; server_max_window_bits=10",
                                       "; client_max_window_bits=7",
                                       "; client_max_window_bits=16",
                                       "; client_max_window_bits=",
                                       "; client_max_window_bits; client_max_window_bits",
                                       "; server_no_context_takeover=1",
                                       "; client_no_context_takeover=\"\"",
                                       "; server_no_context_takeover; server_no_context_takeover",
                                       " client_max_window_bits",
                                       "; SERVER_NO_CONTEXT_TAKEOVER",
                                       "=1"}) {
    EXPECT_FALSE(deflate({"permessage-deflate" + parameters})) << parameters;
  }
  for (std::string_view const line :
       {"", "x-webkit-deflate-frame", "deflate", "\"permessage-deflate\"", "; permessage-deflate",
        "x; a=\"unfinished, permessage-deflate", "x; a=\"\\"}) {
    EXPECT_FALSE(deflate({line})) << line;
  }
  EXPECT_FALSE(deflate({}));
}

}  // namespace
}  // namespace subforge::net
