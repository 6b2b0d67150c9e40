// Finds the first byte of a kind, 16 bytes at a time where the processor has SSE2 (every x86-64).
// For the parsers of this folder.
#pragma once

#include <bit>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace subforge::net {

// Each kind answers for one byte, and for 16 at once with all ones where a byte matches.

struct LineBreak {  // CR or LF.
  static bool matches(unsigned char c) { return c == '\r' || c == '\n'; }
#ifdef __SSE2__
  static __m128i matches(__m128i block) {
    return _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('\r')),
                        _mm_cmpeq_epi8(block, _mm_set1_epi8('\n')));
  }
#endif
};

struct NotWordChar {  // All but letters, digits and '-': few tokens hold anything else.
  static bool matches(unsigned char c) {
    auto const lower = c | 0x20;
    return !((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-');
  }
#ifdef __SSE2__
  static __m128i matches(__m128i block) {
    auto const lower = _mm_or_si128(block, _mm_set1_epi8(0x20));
    auto const letter = _mm_and_si128(_mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1)),
                                      _mm_cmplt_epi8(lower, _mm_set1_epi8('z' + 1)));
    auto const digit = _mm_and_si128(_mm_cmpgt_epi8(block, _mm_set1_epi8('0' - 1)),
                                     _mm_cmplt_epi8(block, _mm_set1_epi8('9' + 1)));
    auto const dash = _mm_cmpeq_epi8(block, _mm_set1_epi8('-'));
    auto const word = _mm_or_si128(_mm_or_si128(letter, digit), dash);
    return _mm_xor_si128(word, _mm_set1_epi8(-1));
  }
#endif
};

struct NotFieldValue {  // Control characters other than TAB (RFC 9110 section 5.5).
  static bool matches(unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; }
#ifdef __SSE2__
  static __m128i matches(__m128i block) {
    auto const control =
        _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);  // Unsigned: c <= 0x1f.
    auto const tab = _mm_cmpeq_epi8(block, _mm_set1_epi8('\t'));
    auto const del = _mm_cmpeq_epi8(block, _mm_set1_epi8(0x7f));
    return _mm_or_si128(_mm_andnot_si128(tab, control), del);
  }
#endif
};

struct NotTarget {  // Control characters, space, '#' and everything that is not ASCII.
  static bool matches(unsigned char c) { return c <= 0x20 || c >= 0x7f || c == '#'; }
#ifdef __SSE2__
  static __m128i matches(__m128i block) {
    auto const low_or_high = _mm_cmplt_epi8(block, _mm_set1_epi8(0x21));  // Signed: high < 0.
    auto const del = _mm_cmpeq_epi8(block, _mm_set1_epi8(0x7f));
    auto const hash = _mm_cmpeq_epi8(block, _mm_set1_epi8('#'));
    return _mm_or_si128(low_or_high, _mm_or_si128(del, hash));
  }
#endif
};

// `end` if there is none.
template <class Kind>
[[nodiscard]] inline char const* find_first(char const* at, char const* end) {
#ifdef __SSE2__
  for (; end - at >= 16; at += 16) {
    auto const block = _mm_loadu_si128(reinterpret_cast<__m128i const*>(at));
    auto const mask = static_cast<unsigned>(_mm_movemask_epi8(Kind::matches(block)));
    if (mask != 0) return at + std::countr_zero(mask);
  }
#endif
  while (at != end && !Kind::matches(static_cast<unsigned char>(*at))) ++at;
  return at;
}

}  // namespace subforge::net
