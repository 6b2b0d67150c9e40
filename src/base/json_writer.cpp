#include "base/json_writer.hpp"

#include <array>
#include <charconv>
#include <cmath>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace subforge {
namespace {

// 0: copy as it is; 'u': \u00XX; anything else: a backslash and that letter.
constexpr std::array<char, 256> kEscape = [] {
  std::array<char, 256> table{};
  for (std::size_t i = 0; i < 0x20; ++i) table[i] = 'u';
  table['\b'] = 'b';
  table['\f'] = 'f';
  table['\n'] = 'n';
  table['\r'] = 'r';
  table['\t'] = 't';
  table['"'] = '"';
  table['\\'] = '\\';
  return table;
}();

bool needs_escape(char c) { return kEscape[static_cast<unsigned char>(c)] != 0; }

#ifdef __SSE2__
// Whether one of 16 characters needs an escape.
bool any_needs_escape(char const* text) {
  auto const block = _mm_loadu_si128(reinterpret_cast<__m128i const*>(text));
  // Unsigned: the smaller of a byte and 0x1f is the byte itself only for control characters.
  auto const control = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
  auto const special =
      _mm_or_si128(control, _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('"')),
                                         _mm_cmpeq_epi8(block, _mm_set1_epi8('\\'))));
  return _mm_movemask_epi8(special) != 0;
}
#endif

// How many characters at the front surely need no escape.
std::size_t plain_prefix(std::string_view text) {
  std::size_t at = 0;
#ifdef __SSE2__
  while (text.size() - at >= 16 && !any_needs_escape(text.data() + at)) at += 16;
#endif
  while (at < text.size() && !needs_escape(text[at])) ++at;
  return at;
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  auto const plain = plain_prefix(text);
  if (plain == text.size()) [[likely]] {
    // One growth: the quotes, with room for the text between them.
    out.append(text.size() + 2, '"');
    text.copy(out.data() + out.size() - text.size() - 1, text.size());
    return;
  }
  out.push_back('"');
  std::size_t copied = 0;
  for (std::size_t i = plain; i < text.size(); ++i) {
    auto const byte = static_cast<unsigned char>(text[i]);
    char const escape = kEscape[byte];
    if (escape == 0) [[likely]]
      continue;
    out.append(text.substr(copied, i - copied));
    copied = i + 1;
    out.push_back('\\');
    out.push_back(escape);
    if (escape == 'u') {
      constexpr std::string_view kDigits = "0123456789abcdef";
      out.append("00");
      out.push_back(kDigits[byte >> 4]);
      out.push_back(kDigits[byte & 15]);
    }
  }
  out.append(text.substr(copied));
  out.push_back('"');
}

std::string json_string(std::string_view text) {
  std::string json;
  append_json_string(json, text);
  return json;
}

void append_json_double(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out.append("null");
    return;
  }
  // Most figures are whole numbers, which need no search for the shortest text.
  if (std::fabs(value) < 1e15 && value == std::trunc(value) && !std::signbit(value)) {
    append_decimal(out, static_cast<std::int64_t>(value));
    out.append(".0", 2);
    return;
  }
  char text[32];
  auto const end = std::to_chars(text, text + sizeof text, value).ptr;
  std::string_view const written(text, static_cast<std::size_t>(end - text));
  out.append(written);
  if (written.find_first_of(".e") == std::string_view::npos) out.append(".0");
}

void append_decimal(std::string& out, std::int64_t value) {
  char text[24];
  auto const end = std::to_chars(text, text + sizeof text, value).ptr;
  out.append(text, static_cast<std::size_t>(end - text));
}

}  // namespace subforge
