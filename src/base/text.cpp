#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace subforge {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kBase64Url =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// The place of each character in an alphabet; -1: it is none of it.
using Places = std::array<std::int8_t, 256>;
constexpr Places places_in(std::string_view alphabet) {
  Places places{};
  places.fill(-1);
  for (std::size_t i = 0; i < alphabet.size(); ++i) {
    places[static_cast<unsigned char>(alphabet[i])] = static_cast<std::int8_t>(i);
  }
  return places;
}
constexpr Places kBase64Places = places_in(kBase64);
constexpr Places kBase64UrlPlaces = places_in(kBase64Url);

}  // namespace

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return ascii_lower(x) == ascii_lower(y);
         });
}

std::string to_lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), ascii_lower);
  return out;
}

std::string_view trim(std::string_view text) {
  auto const first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::vector<std::string_view> split_list(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    auto const at = std::min(text.find(separator), text.size());
    if (auto const part = trim(text.substr(0, at)); !part.empty()) parts.push_back(part);
    text.remove_prefix(std::min(at + 1, text.size()));
  }
  return parts;
}

std::string hex_encode(std::span<std::uint8_t const> bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (auto const byte : bytes) {
    out.push_back(kHexDigits[byte >> 4]);
    out.push_back(kHexDigits[byte & 15]);
  }
  return out;
}

std::string base64url_encode(std::span<std::uint8_t const> bytes) {
  std::string out;
  out.reserve((bytes.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  int count = 0;
  for (auto const byte : bytes) {
    bits = (bits << 8) | byte;
    for (count += 8; count >= 6; count -= 6) out.push_back(kBase64Url[(bits >> (count - 6)) & 63]);
  }
  if (count > 0) out.push_back(kBase64Url[(bits << (6 - count)) & 63]);
  return out;
}

std::optional<std::vector<std::uint8_t>> base64url_decode(std::string_view text) {
  if (text.size() % 4 == 1) return std::nullopt;
  std::vector<std::uint8_t> out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int count = 0;
  for (char const c : text) {
    auto const value = kBase64UrlPlaces[static_cast<unsigned char>(c)];
    if (value < 0) return std::nullopt;
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    if ((count += 6) >= 8) {
      count -= 8;
      out.push_back(static_cast<std::uint8_t>(bits >> count));
    }
  }
  // Left-over bits other than zero would let two texts stand for the same bytes.
  if ((bits & ((1U << count) - 1)) != 0) return std::nullopt;
  return out;
}

std::string base64_encode(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4, '=');
  auto* to = out.data();
  auto const* from = reinterpret_cast<unsigned char const*>(bytes.data());
  std::size_t left = bytes.size();
  for (; left >= 3; left -= 3, from += 3, to += 4) {
    to[0] = kBase64[from[0] >> 2];
    to[1] = kBase64[((from[0] & 3U) << 4) | (from[1] >> 4)];
    to[2] = kBase64[((from[1] & 15U) << 2) | (from[2] >> 6)];
    to[3] = kBase64[from[2] & 63U];
  }
  if (left > 0) {
    unsigned const second = left == 2 ? from[1] : 0;
    to[0] = kBase64[from[0] >> 2];
    to[1] = kBase64[((from[0] & 3U) << 4) | (second >> 4)];
    if (left == 2) to[2] = kBase64[(second & 15U) << 2];
  }
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t const padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  text.remove_suffix(padding);
  std::string out(text.size() * 3 / 4, '\0');
  auto* to = out.data();
  auto const* from = text.data();
  auto const place = [&from](std::size_t i) -> std::int32_t {
    return kBase64Places[static_cast<unsigned char>(from[i])];
  };
  std::size_t left = text.size();
  for (; left >= 4; left -= 4, from += 4, to += 3) {
    // Below zero if one of them is.
    auto const bits = place(0) << 18 | place(1) << 12 | place(2) << 6 | place(3);
    if (bits < 0) return std::nullopt;
    to[0] = static_cast<char>(bits >> 16);
    to[1] = static_cast<char>(bits >> 8);
    to[2] = static_cast<char>(bits);
  }
  if (left == 0) return out;
  auto const bits = place(0) << 18 | place(1) << 12 | (left == 3 ? place(2) << 6 : 0);
  // Left-over bits other than zero would let two texts stand for the same bytes.
  if (bits < 0 || (bits & (left == 3 ? 0xff : 0xffff)) != 0) return std::nullopt;
  to[0] = static_cast<char>(bits >> 16);
  if (left == 3) to[1] = static_cast<char>(bits >> 8);
  return out;
}

std::optional<std::string> percent_decode(std::string_view text, PlusSign plus) {
  // Most texts have nothing to decode.
  auto const first = text.find_first_of(plus == PlusSign::space ? "%+" : "%");
  std::string out(text.substr(0, first));
  if (first == std::string_view::npos) return out;
  for (std::size_t i = first; i < text.size(); ++i) {
    char const c = text[i];
    if (c == '+' && plus == PlusSign::space) {
      out.push_back(' ');
    } else if (c == '%') {
      if (text.size() - i < 3) return std::nullopt;
      int const high = hex_value(text[i + 1]);
      int const low = hex_value(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    } else {
      out.push_back(c);
    }
  }
  return out;
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = static_cast<unsigned char>(difference | (a[i] ^ b[i]));
  }
  return difference == 0;
}

}  // namespace subforge
