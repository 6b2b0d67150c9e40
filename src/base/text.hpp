// Small text helpers shared by every layer: ASCII case, hex, base64url, percent-encoding, numbers.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace subforge {

[[nodiscard]] constexpr char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}
/// What a hexadecimal digit of either case stands for, -1 for any other character.
[[nodiscard]] constexpr int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  char const lower = ascii_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}
[[nodiscard]] bool equal_ignoring_case(std::string_view a, std::string_view b);
[[nodiscard]] std::string to_lower(std::string_view text);
[[nodiscard]] std::string_view trim(std::string_view text);  // Spaces and tabs at both ends.

// The parts between separators, each trimmed; empty parts are left out.
[[nodiscard]] std::vector<std::string_view> split_list(std::string_view text, char separator);

[[nodiscard]] std::string hex_encode(std::span<std::uint8_t const> bytes);

// Base 64 with the URL-safe alphabet and no padding (RFC 4648 section 5).
[[nodiscard]] std::string base64url_encode(std::span<std::uint8_t const> bytes);
[[nodiscard]] std::optional<std::vector<std::uint8_t>> base64url_decode(std::string_view text);

// Base 64 with the usual alphabet and padding (RFC 4648 section 4).
[[nodiscard]] std::string base64_encode(std::string_view bytes);
[[nodiscard]] std::optional<std::string> base64_decode(std::string_view text);

// Undoes percent-encoding (RFC 3986 section 2.1); nothing if an escape is malformed.
// `plus_is_space` is for query strings (application/x-www-form-urlencoded).
enum class PlusSign : std::uint8_t { literal, space };
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text, PlusSign plus);

// The whole text as a number, or nothing; infinities and NaN, which from_chars reads, are nothing.
template <class Number>
[[nodiscard]] std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  if constexpr (std::is_floating_point_v<Number>) {
    if (!std::isfinite(value)) return std::nullopt;
  }
  return value;
}

// Compares two secrets in a time that depends on their lengths alone.
[[nodiscard]] bool equal_in_constant_time(std::string_view a, std::string_view b);

}  // namespace subforge
