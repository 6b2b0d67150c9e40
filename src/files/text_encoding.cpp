#include "files/text_encoding.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/utf8.hpp"

namespace subforge::files {
namespace {

// 0x80 to 0x9f; all other bytes are the characters of the same number. Five stand for nothing.
constexpr std::array<std::string_view, 32> kCharacters = {
    "€", "?", "‚", "ƒ", "„", "…", "†", "‡", "ˆ", "‰", "Š", "‹", "Œ", "?", "Ž", "?",
    "?", "‘", "’", "“", "”", "•", "–", "—", "˜", "™", "š", "›", "œ", "?", "ž", "Ÿ"};

bool is_ascii(char c) { return static_cast<std::uint8_t>(c) < 0x80; }

void append_character(std::string& text, char c) {
  auto const byte = static_cast<std::uint8_t>(c);
  if (byte < 0xa0) {
    text += kCharacters[byte - 0x80U];
  } else {
    text += static_cast<char>(0xc0U | byte >> 6U);
    text += static_cast<char>(0x80U | (byte & 0x3fU));
  }
}

// How many bytes the character of UTF-8 has that stands in front; 0 where none does.
std::size_t character_bytes(std::string_view text) {
  constexpr std::size_t kBytesMax = 4;
  Utf8Validator utf8;
  for (std::size_t i = 0; i < std::min(kBytesMax, text.size()); ++i) {
    if (!utf8.feed(text.substr(i, 1))) return 0;
    if (utf8.at_boundary()) return i + 1;
  }
  return 0;
}

}  // namespace

std::string to_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    auto const plain =
        static_cast<std::size_t>(std::ranges::find_if_not(text, &is_ascii) - text.begin());
    out += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    auto const bytes = character_bytes(text);
    if (bytes > 0) {
      out += text.substr(0, bytes);
    } else {
      append_character(out, text.front());
    }
    text.remove_prefix(std::max<std::size_t>(bytes, 1));
  }
  return out;
}

}  // namespace subforge::files
