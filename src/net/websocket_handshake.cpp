#include "net/websocket_handshake.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "base/text.hpp"

namespace subforge::net {
namespace {

constexpr ParseError kNoUpgrade{426, "This address is for WebSocket connections."};
constexpr ParseError kOtherVersion{426, "The only known WebSocket version is 13."};
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

// --- Extensions (RFC 6455 section 9.1)

// Takes the text up to the next separator off the front; one within quotes separates nothing.
std::string_view take_part(std::string_view& rest, char separator) {
  bool quoted = false;
  std::size_t end = 0;
  for (; end < rest.size() && (quoted || rest[end] != separator); ++end) {
    if (rest[end] == '"') quoted = !quoted;
    if (quoted && rest[end] == '\\') ++end;
  }
  end = std::min(end, rest.size());
  auto const part = trim(rest.substr(0, end));
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return part;
}

struct Parameter {
  std::string_view name;
  std::optional<std::string_view> value;
};

Parameter read_parameter(std::string_view text) {
  auto const equals = text.find('=');
  if (equals == std::string_view::npos) return {text, std::nullopt};
  auto value = trim(text.substr(equals + 1));
  // A quoted value has to be one that needs no quotes.
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
    value = value.substr(1, value.size() - 2);
  }
  return {trim(text.substr(0, equals)), value};
}

// 8 to 15 without leading zeros (RFC 7692 section 7.1.2).
std::optional<std::uint8_t> read_window_bits(std::string_view text) {
  auto const bits = parse_number<std::uint8_t>(text);
  bool const good = bits && *bits >= 8 && *bits <= WsDeflateTerms::kWindowBitsMax &&
                    text.size() == (*bits < 10 ? 1U : 2U);
  return good ? bits : std::nullopt;
}

// Parameters that a client may send, each once.
constexpr std::array<std::string_view, 4> kDeflateParameters = {
    "server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits",
    "client_max_window_bits"};

// Notes what the parameter asks for; whether it may stand where it does.
bool take_parameter(std::string_view text, unsigned& seen, WsDeflateTerms& terms) {
  auto const [name, value] = read_parameter(text);
  auto const found = std::ranges::find(kDeflateParameters, name);
  if (found == kDeflateParameters.end()) return false;
  auto const bit = 1U << (found - kDeflateParameters.begin());
  if ((std::exchange(seen, seen | bit) & bit) != 0) return false;
  // Each message is compressed by itself in both directions, whether the client asked or not.
  if (name.ends_with("_no_context_takeover")) return !value;
  // Whatever window the client compresses with, ours is large enough.
  if (name == "client_max_window_bits") return !value || read_window_bits(*value);
  auto const bits = value ? read_window_bits(*value) : std::nullopt;
  if (!bits) return false;
  terms = {.server_window_bits = *bits, .window_bits_asked = true};
  return true;
}

std::optional<WsDeflateTerms> accept_offer(std::string_view offer) {
  if (offer.ends_with(';')) return std::nullopt;
  if (take_part(offer, ';') != "permessage-deflate") return std::nullopt;
  WsDeflateTerms terms;
  unsigned seen = 0;
  while (!offer.empty()) {
    if (!take_parameter(take_part(offer, ';'), seen, terms)) return std::nullopt;
  }
  return terms;
}

}  // namespace

std::optional<WsDeflateTerms> accept_deflate(RequestHead const& head) {
  for (auto const& field : head.fields()) {
    if (!equal_ignoring_case(field.name, "sec-websocket-extensions")) continue;
    auto offers = field.value;
    while (!offers.empty()) {
      if (auto const terms = accept_offer(take_part(offers, ','))) return terms;
    }
  }
  return std::nullopt;
}

std::string deflate_answer(WsDeflateTerms const& terms) {
  std::string answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
  if (terms.window_bits_asked) {
    answer.append("; server_max_window_bits=").append(std::to_string(terms.server_window_bits));
  }
  return answer;
}

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
  if (version != "13") return std::unexpected(kOtherVersion);
  if (!is_base64_of_16_bytes(key)) return std::unexpected(kKey);
  return websocket_accept_key(key);
}

}  // namespace subforge::net
