// Texts of other encodings come out as UTF-8.
#include "files/text_encoding.hpp"

#include <gtest/gtest.h>

#include "base/utf8.hpp"

namespace subforge::files {
namespace {

TEST(TextEncoding, Utf8StaysAsItIs) {
  for (auto const* text : {"", "plain\n", "José, 5 €, 🙂", "\xef\xbb\xbfmark"}) {
    EXPECT_EQ(to_utf8(text), text);
  }
}

TEST(TextEncoding, EverythingElseIsWindows1252) {
  EXPECT_EQ(to_utf8("Jos\xe9; M\xfcller; 5 \x80; \x93so\x94"), "José; Müller; 5 €; “so”");
  EXPECT_EQ(to_utf8("caf\xe9"), "café");                       // At the very end.
  EXPECT_EQ(to_utf8("fa\xc3\xa7 and fa\xe7"), "faç and faç");  // Both in one text.
  EXPECT_EQ(to_utf8("\x81\x8d\x8f\x90\x9d"), "?????");
  EXPECT_EQ(to_utf8("\xed\xa0\x80"), "í\xc2\xa0€");  // A surrogate is no character.
}

TEST(TextEncoding, WhateverComesOutIsUtf8) {
  std::string all;
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      all += static_cast<char>(first);
      all += static_cast<char>(second);
    }
  }
  EXPECT_TRUE(is_valid_utf8(to_utf8(all)));
}

}  // namespace
}  // namespace subforge::files
