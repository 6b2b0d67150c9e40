#include "base/text.hpp"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace subforge {
namespace {

std::vector<std::uint8_t> bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

TEST(Text, ComparesIgnoringTheCaseOfAsciiAlone) {
  EXPECT_TRUE(equal_ignoring_case("Content-Length", "content-LENGTH"));
  EXPECT_FALSE(equal_ignoring_case("Content-Length", "Content-Lengt"));
  EXPECT_FALSE(equal_ignoring_case("@", "`"));  // Differ by the bit that cases differ by.
  EXPECT_FALSE(equal_ignoring_case("\xc3\x84", "\xc3\xa4"));
  EXPECT_EQ(to_lower("AbC-\xc3\x84 Z["), "abc-\xc3\x84 z[");
}

TEST(Text, TrimsSpacesAndTabs) {
  EXPECT_EQ(trim(" \t a b\t "), "a b");
  EXPECT_EQ(trim("a"), "a");
  EXPECT_EQ(trim(" \t"), "");
  EXPECT_EQ(trim(""), "");
  EXPECT_EQ(trim("\na "), "\na");
}

TEST(Text, SplitsListsLeavingOutEmptyParts) {
  using Parts = std::vector<std::string_view>;
  EXPECT_EQ(split_list("a, b ,c", ','), (Parts{"a", "b", "c"}));
  EXPECT_EQ(split_list(",, a,,b, ", ','), (Parts{"a", "b"}));
  EXPECT_EQ(split_list("", ','), Parts{});
  EXPECT_EQ(split_list(" , ", ','), Parts{});
  EXPECT_EQ(split_list("a b", ','), (Parts{"a b"}));
}

TEST(Text, HexIsLowerCase) {
  EXPECT_EQ(hex_encode(bytes_of("")), "");
  EXPECT_EQ(hex_encode(std::vector<std::uint8_t>{0x00, 0x0f, 0xa5, 0xff}), "000fa5ff");
}

TEST(Text, Base64UrlKnowsTheVectorsOfTheStandard) {
  // RFC 4648 section 10, without padding.
  std::vector<std::pair<std::string, std::string>> const vectors = {
      {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},         {"foo", "Zm9v"},
      {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}};
  for (auto const& [plain, encoded] : vectors) {
    EXPECT_EQ(base64url_encode(bytes_of(plain)), encoded);
    EXPECT_EQ(base64url_decode(encoded), bytes_of(plain));
  }
  EXPECT_EQ(base64url_encode(std::vector<std::uint8_t>{0xfb, 0xff, 0xfe}), "-__-");
}

TEST(Text, Base64UrlRefusesOtherAlphabetsPaddingAndLooseBits) {
  for (std::string_view const text : {"Z", "Zg==", "Zm9vY", "+/+/", "Zm 9", "Zh", "Zm9", "Zg\n"}) {
    EXPECT_EQ(base64url_decode(text), std::nullopt) << text;
  }
}

TEST(Text, Base64UrlUndoesItself) {
  for (std::size_t size = 0; size < 200; ++size) {
    std::vector<std::uint8_t> bytes(size);
    secure_random(bytes);
    EXPECT_EQ(base64url_decode(base64url_encode(bytes)), bytes);
  }
}

TEST(Text, Base64KnowsTheVectorsOfTheStandard) {
  std::vector<std::pair<std::string_view, std::string_view>> const vectors = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"},
      {"\xfb\xff\xfe", "+//+"}};
  for (auto const& [plain, encoded] : vectors) {
    EXPECT_EQ(base64_encode(plain), encoded);
    EXPECT_EQ(base64_decode(encoded), plain);
  }
  for (std::string_view const text :
       {"Z", "Zg", "Zg=", "-__-", "Zm 9", "Zh==", "====", "Z===", "Zg==Zg==", "Zm9v\n"}) {
    EXPECT_EQ(base64_decode(text), std::nullopt) << text;
  }
}

TEST(Text, PercentDecodes) {
  EXPECT_EQ(percent_decode("a%20b+c%2f%2F", PlusSign::literal), "a b+c//");
  EXPECT_EQ(percent_decode("a%20b+c%2B", PlusSign::space), "a b c+");
  EXPECT_EQ(percent_decode("%00", PlusSign::literal), std::string(1, '\0'));
  EXPECT_EQ(percent_decode("", PlusSign::literal), "");
  for (std::string_view const text : {"%", "a%2", "%2g", "%g2", "%%20", "%+1"}) {
    EXPECT_EQ(percent_decode(text, PlusSign::literal), std::nullopt) << text;
  }
}

TEST(Text, NumbersAreTheWholeTextOrNothing) {
  EXPECT_EQ(parse_number<std::int64_t>("-9223372036854775808"),
            std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(parse_number<std::uint16_t>("65535"), 65535);
  EXPECT_EQ(parse_number<double>("1.5e3"), 1500.0);
  for (std::string_view const text : {"", " 1", "1 ", "+1", "1x", "0x10", "--1", "65536"}) {
    EXPECT_EQ(parse_number<std::uint16_t>(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_number<unsigned>("-1"), std::nullopt);
  EXPECT_EQ(parse_number<std::int64_t>("9223372036854775808"), std::nullopt);
  for (std::string_view const text : {"nan", "inf", "-inf", "infinity", "1e999", "."}) {
    EXPECT_EQ(parse_number<double>(text), std::nullopt) << text;
  }
}

TEST(Text, ConstantTimeComparisonComparesEveryByte) {
  EXPECT_TRUE(equal_in_constant_time("", ""));
  EXPECT_TRUE(equal_in_constant_time("secret", "secret"));
  EXPECT_FALSE(equal_in_constant_time("secret", "secreT"));
  EXPECT_FALSE(equal_in_constant_time("Secret", "secret"));
  EXPECT_FALSE(equal_in_constant_time("secret", "secrets"));
  EXPECT_FALSE(equal_in_constant_time("a\x80", std::string_view("a\0", 2)));
}

}  // namespace
}  // namespace subforge
