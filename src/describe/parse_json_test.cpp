#include "describe/parse_json.hpp"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <random>
#include <string>

#include <boost/json/error.hpp>
#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace subforge::describe {
namespace {

namespace json = boost::json;

TEST(ParseJson, NumbersAreTheNearestDoubles) {
  EXPECT_EQ(parse_json("12.257666666666664").as_double(), 12.257666666666664);
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    auto const number = std::bit_cast<double>(random());
    if (!std::isfinite(number)) continue;
    std::array<char, 32> text{};
    auto const end =
        std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::scientific)
            .ptr;
    auto const value = parse_json({text.data(), end});
    ASSERT_EQ(value.as_double(), number) << std::string_view(text.data(), end);
  }
}

TEST(ParseJson, IntegersStayIntegersWhileTheyFit) {
  EXPECT_EQ(parse_json("-9223372036854775808").as_int64(), INT64_MIN);
  EXPECT_EQ(parse_json("18446744073709551615").as_uint64(), UINT64_MAX);
  EXPECT_EQ(parse_json("18446744073709551617").as_double(), 18446744073709551617.0);
}

TEST(ParseJson, NumbersBeyondTheLargestAreInfiniteAndBelowTheSmallestAreZero) {
  EXPECT_EQ(parse_json("1e400").as_double(), HUGE_VAL);
  EXPECT_EQ(parse_json("[1,-2e9999]").as_array()[1].as_double(), -HUGE_VAL);
  EXPECT_EQ(parse_json("1e-400").as_double(), 0.0);
}

TEST(ParseJson, WholeNumbersBeyond64BitsAreAnErrorIfThatIsAskedFor) {
  auto const error_of = [](std::string_view text) {
    boost::system::error_code error;
    (void)parse_json(text, error, {.whole_numbers_exact = true});
    return error;
  };
  for (auto const* text :
       {"18446744073709551616", "[-9223372036854775809]", "{\"a\":100000000000000000000}"}) {
    EXPECT_EQ(error_of(text), json::error::not_exact) << text;
  }
  for (auto const* text : {"18446744073709551615", "-9223372036854775808", "18446744073709551617.5",
                           "18446744073709551617e1", "1e30", "\"18446744073709551616\""}) {
    EXPECT_FALSE(error_of(text)) << text;
  }
}

TEST(ParseJson, EverythingElseIsAsBoostReadsIt) {
  for (auto const* text :
       {R"({"a":[1,-2,3.5,true,false,null,"x\u00e9\ud83d\ude00\n"],"":{}})", "[]", "\"\"", " 7 "}) {
    EXPECT_EQ(parse_json(text), json::parse(text)) << text;
  }
  for (auto const* text : {"", " ", "{", "[1,]", "{\"a\"}", "01", "1 2", "nul", "\"\x01\"", "+1",
                           "'a'", "[1]//", "\"\\ud800\""}) {
    boost::system::error_code ours;
    boost::system::error_code theirs;
    (void)parse_json(text, ours);
    (void)json::parse(text, theirs);
    EXPECT_EQ(ours, theirs) << text;
  }
}

TEST(ParseJson, DepthIsBounded) {
  auto const nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  boost::system::error_code error;
  (void)parse_json(nested(kDocumentDepthMax), error, {.depth_max = kDocumentDepthMax});
  EXPECT_FALSE(error);
  (void)parse_json(nested(kDocumentDepthMax + 1), error, {.depth_max = kDocumentDepthMax});
  EXPECT_EQ(error, json::error::too_deep);
  EXPECT_FALSE(parse_json(nested(kDocumentDepthMax)).as_array().empty());
}

TEST(ParseJson, AWrongDocumentIsRefusedWithLineAndColumn) {
  auto const told = [](std::string_view text) {
    auto const result = parse_json_text(text);
    return result ? "read" : result.error().message;
  };
  EXPECT_EQ(told(" {\"a\":[1,0.7]} \n"), "read");
  EXPECT_EQ(told("\xef\xbb\xbf{}"), "read");  // Some editors put a byte order mark in front.
  EXPECT_EQ(told("\xef\xbb\xbf{\"a\": x}"), "line 1, column 7: syntax error");
  EXPECT_TRUE(told("{\"a\":1} x").starts_with("line 1, column 9"));
  EXPECT_EQ(told("{\n  \"a\": x}"), "line 2, column 8: syntax error");
  EXPECT_TRUE(told("").starts_with("line 1, column 1"));
  EXPECT_TRUE(told("[1,\n2").starts_with("line 2, column 2"));
  // Where the key begins, as in YAML, whatever is in it.
  EXPECT_EQ(told("{\"a\": 1,\n \"a\": 2}"), "line 2, column 2: the key 'a' is given twice");
  EXPECT_EQ(told("{\"\\\"\\\\\": 1, \"\\\"\\\\\" : 2}"),
            "line 1, column 13: the key '\"\\' is given twice");
  auto const key = std::string(1'000, 'k');
  EXPECT_EQ(told("{\"" + key + "\": 1, \"" + key + "\": 2}"),
            "line 1, column 1009: the key '" + key.substr(0, 97) + "...' is given twice");
  EXPECT_EQ(told("[1,\n 1e999]"), "line 2, column 2: a number is too large");
  EXPECT_EQ(told("-1e999"), "line 1, column 1: a number is too large");
  EXPECT_EQ(told("[1.7976931348623157e308, 1e-999]"), "read");
  // Whole ones beyond 64 bits would not be what they were.
  EXPECT_EQ(told("[18446744073709551615, -9223372036854775808, 1e20]"), "read");
  EXPECT_EQ(told("[0,\n 18446744073709551616]"), "line 2, column 2: a number is too large");
  EXPECT_EQ(told("-9223372036854775809"), "line 1, column 1: a number is too large");
}

}  // namespace
}  // namespace subforge::describe
