#include "base/utf8.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>

namespace subforge {
namespace {

// What a first byte promises: how many bytes follow, and between which bounds the second one lies.
struct Lead {
  std::uint8_t following;  // 0: this byte cannot start a character of several bytes.
  std::uint8_t second_lowest;
  std::uint8_t second_highest;
};

constexpr std::array<Lead, 256> kLeads = [] {
  std::array<Lead, 256> leads{};
  for (std::size_t byte = 0xc2; byte <= 0xdf; ++byte) leads[byte] = {1, 0x80, 0xbf};
  for (std::size_t byte = 0xe0; byte <= 0xef; ++byte) leads[byte] = {2, 0x80, 0xbf};
  for (std::size_t byte = 0xf0; byte <= 0xf4; ++byte) leads[byte] = {3, 0x80, 0xbf};
  leads[0xe0].second_lowest = 0xa0;   // Below it: overlong.
  leads[0xed].second_highest = 0x9f;  // Above it: surrogates.
  leads[0xf0].second_lowest = 0x90;   // Below it: overlong.
  leads[0xf4].second_highest = 0x8f;  // Above it: beyond U+10FFFF.
  return leads;
}();

char const* skip_ascii(char const* at, char const* end) {
  constexpr std::uint64_t kHighBits = 0x8080808080808080;
  while (end - at >= 16) {
    std::uint64_t words[2];
    std::memcpy(words, at, sizeof words);
    if (((words[0] | words[1]) & kHighBits) != 0) break;
    at += 16;
  }
  while (end - at >= 8) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    if (word &= kHighBits; word != 0) {
      auto const zeros = std::endian::native == std::endian::little ? std::countr_zero(word)
                                                                    : std::countl_zero(word);
      return at + zeros / 8;
    }
    at += 8;
  }
  while (at != end && static_cast<unsigned char>(*at) < 0x80) ++at;
  return at;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  Utf8Validator validator;
  return validator.feed(text) && validator.at_boundary();
}

bool Utf8Validator::feed(std::string_view bytes) {
  if (missing_ == kBroken) return false;
  char const* at = bytes.data();
  char const* const end = at + bytes.size();
  auto missing = missing_;
  auto lowest = lowest_;
  auto highest = highest_;
  while (true) {
    // The rest of a character; one that the input cuts off is remembered as it stands.
    for (; missing != 0 && at != end; --missing, ++at) {
      auto const byte = static_cast<unsigned char>(*at);
      if (byte < lowest || byte > highest) {
        missing_ = kBroken;
        return false;
      }
      lowest = 0x80;
      highest = 0xbf;
    }
    if (at == end) break;
    if (static_cast<unsigned char>(*at) < 0x80) {
      at = skip_ascii(at, end);
      if (at == end) break;
    }
    auto const lead = kLeads[static_cast<unsigned char>(*at++)];
    if (lead.following == 0) {
      missing_ = kBroken;
      return false;
    }
    missing = lead.following;
    lowest = lead.second_lowest;
    highest = lead.second_highest;
  }
  missing_ = missing;
  lowest_ = lowest;
  highest_ = highest;
  return true;
}

std::string shortened(std::string_view text, std::size_t bytes_max) {
  constexpr std::string_view kMore = "...";
  if (text.size() <= bytes_max || bytes_max < kMore.size()) {
    return std::string(text.substr(0, bytes_max));
  }
  auto end = bytes_max - kMore.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) --end;
  return std::string(text.substr(0, end)).append(kMore);
}

}  // namespace subforge
