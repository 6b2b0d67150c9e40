#include "net/websocket_handshake.hpp"

#include <algorithm>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/text.hpp"

namespace subforge::net {
namespace {

constexpr ParseError kNoUpgrade{426, "This address is for WebSocket connections."};
constexpr ParseError kVersion{426, "The only known WebSocket version is 13."};
constexpr ParseError kKey{400, "Sec-WebSocket-Key is not one base 64 text of 16 bytes."};
constexpr ParseError kBody{400, "A WebSocket handshake has no body."};

constexpr std::string_view kGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455 section 1.3.

bool is_base64_of_16_bytes(std::string_view text) {
  constexpr std::size_t kCharacters = 22;
  return text.size() == kCharacters + 2 && text.ends_with("==") &&
         std::ranges::all_of(text.substr(0, kCharacters), [](char c) {
           char const lower = ascii_lower(c);
           return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
         });
}

}  // namespace

std::string websocket_accept_key(std::string_view key) {
  std::string const text = std::string(key).append(kGuid);
  unsigned char digest[SHA_DIGEST_LENGTH];
  SHA1(reinterpret_cast<unsigned char const*>(text.data()), text.size(), digest);
  unsigned char encoded[(SHA_DIGEST_LENGTH + 2) / 3 * 4 + 1];
  auto const bytes = EVP_EncodeBlock(encoded, digest, SHA_DIGEST_LENGTH);
  return {reinterpret_cast<char const*>(encoded), static_cast<std::size_t>(bytes)};
}

std::expected<std::string, ParseError> validate_handshake(RequestHead const& head) {
  if (!head.upgrade_websocket) return std::unexpected(kNoUpgrade);
  // After the answer the connection speaks frames: a body would be read as some.
  if (head.chunked || head.content_length.value_or(0) != 0) return std::unexpected(kBody);
  std::string_view version;
  std::string_view key;
  for (auto const& field : head.fields()) {
    if (equal_ignoring_case(field.name, "sec-websocket-version")) version = field.value;
    if (!equal_ignoring_case(field.name, "sec-websocket-key")) continue;
    if (!key.empty()) return std::unexpected(kKey);
    key = field.value;
  }
  if (version != "13") return std::unexpected(kVersion);
  if (!is_base64_of_16_bytes(key)) return std::unexpected(kKey);
  return websocket_accept_key(key);
}

}  // namespace subforge::net
