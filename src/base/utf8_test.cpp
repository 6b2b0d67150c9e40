// Goal: exactly the byte sequences of The Unicode Standard's table 3-7 are accepted, wherever the
// text is cut. Method: an independent decoder as the judge, over all short sequences of interesting
// bytes and over every code point; a table of named cases; and every cut of each.
#include "base/utf8.hpp"

#include <cstddef>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace subforge {
namespace {

// Decodes number by number, as RFC 3629 section 3 defines the encoding: slow, and written without
// a thought of the code under test.
bool decodes(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    auto const first = static_cast<unsigned char>(text[i]);
    std::size_t const length = first < 0x80             ? 1
                               : (first & 0xe0) == 0xc0 ? 2
                               : (first & 0xf0) == 0xe0 ? 3
                               : (first & 0xf8) == 0xf0 ? 4
                                                        : 0;
    if (length == 0 || text.size() - i < length) return false;
    unsigned code = length == 1 ? first : first & (0xffU >> (length + 1));
    for (std::size_t k = 1; k < length; ++k) {
      auto const next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3fU);
    }
    constexpr unsigned kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[length] || code > 0x10ffff) return false;
    if (code >= 0xd800 && code <= 0xdfff) return false;
    i += length;
  }
  return true;
}

std::string encode(unsigned code) {
  auto const byte = [](unsigned value) { return static_cast<char>(value); };
  auto const tail = [&](unsigned shift) { return byte(0x80 | ((code >> shift) & 0x3f)); };
  if (code < 0x80) return {byte(code)};
  if (code < 0x800) return {byte(0xc0 | code >> 6), tail(0)};
  if (code < 0x10000) return {byte(0xe0 | code >> 12), tail(6), tail(0)};
  return {byte(0xf0 | code >> 18), tail(12), tail(6), tail(0)};
}

bool valid_in_pieces(std::string_view text, std::size_t cut) {
  Utf8Validator validator;
  bool const first = validator.feed(text.substr(0, cut));
  bool const second = validator.feed(text.substr(cut));
  EXPECT_TRUE(first || !second) << "a broken text was taken up again";
  return first && second && validator.at_boundary();
}

void expect_like_the_judge(std::string const& text) {
  bool const expected = decodes(text);
  ASSERT_EQ(is_valid_utf8(text), expected) << ::testing::PrintToString(text);
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    ASSERT_EQ(valid_in_pieces(text, cut), expected) << ::testing::PrintToString(text) << cut;
  }
}

TEST(Utf8, EveryCodePointIsAcceptedAndEverySurrogateRefused) {
  for (unsigned code = 0; code <= 0x110010; ++code) {
    bool const expected = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    ASSERT_EQ(is_valid_utf8(encode(code)), expected) << std::hex << code;
  }
}

TEST(Utf8, ShortSequencesOfBoundaryBytes) {
  std::string const bytes =
      "\x41\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4"
      "\xf5\xff";
  for (char const a : bytes) {
    expect_like_the_judge({a});
    for (char const b : bytes) {
      expect_like_the_judge({a, b});
      for (char const c : bytes) {
        expect_like_the_judge({a, b, c});
        for (char const d : bytes) {
          std::string const text{a, b, c, d};
          ASSERT_EQ(is_valid_utf8(text), decodes(text)) << ::testing::PrintToString(text);
        }
      }
    }
  }
}

TEST(Utf8, BadByteAtEveryPlaceOfALongText) {
  for (std::size_t length = 1; length <= 70; ++length) {
    for (std::size_t at = 0; at < length; ++at) {
      std::string text(length, 'a');
      text[at] = '\x80';
      ASSERT_FALSE(is_valid_utf8(text)) << at << " of " << length;
      text.replace(at, 1, "\xe2\x82\xac");
      ASSERT_TRUE(is_valid_utf8(text)) << at << " of " << length;
    }
  }
}

TEST(Utf8, NamedCasesAtEveryCut) {
  std::vector<std::string> const texts = {
      "",
      "plain ASCII, longer than two words of sixteen bytes",
      std::string("a\0b", 3),
      "κόσμε, Grüße, 日本語, 🙂🙂",
      "\xed\xa0\x80\xed\xb0\x80 a surrogate pair in UTF-8 clothes",
      "\xc0\x80 an overlong zero",
      "\xf4\x90\x80\x80 one above the last code point",
      "cut off \xf0\x9f\x99",
  };
  for (auto const& text : texts) expect_like_the_judge(text);
}

TEST(Utf8, RefusesAtTheFirstHopelessByte) {
  Utf8Validator validator;
  EXPECT_TRUE(validator.feed("\xf4"));
  EXPECT_FALSE(validator.at_boundary());
  EXPECT_FALSE(validator.feed("\x90"));  // Not only after the fourth byte.
  EXPECT_FALSE(validator.feed("a"));
}

TEST(Utf8, LongTextsAreCutBetweenTwoCharacters) {
  EXPECT_EQ(shortened("abcdef", 6), "abcdef");
  EXPECT_EQ(shortened("abcdefg", 6), "abc...");
  EXPECT_EQ(shortened("ab\u00fcdefg", 6), "ab...");
  EXPECT_EQ(shortened("\U0001f600\U0001f600", 7), "\U0001f600...");
  EXPECT_EQ(shortened("\U0001f600\U0001f600", 6), "...");
  EXPECT_EQ(shortened("abcdef", 2), "ab");
}

}  // namespace
}  // namespace subforge
