#include "describe/exact_json.hpp"

#include <string>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <gtest/gtest.h>

#include "describe/json_text.hpp"

namespace subforge::describe {
namespace {

boost::json::value exact(std::string_view text) {
  boost::system::error_code error;
  auto value = parse_exact_json(text, error);
  EXPECT_FALSE(error) << text;
  return value;
}

TEST(ExactJson, WholeNumbersKeepTheirDigits) {
  for (std::string const number :
       {"0", "-1", "9223372036854775807", "-9223372036854775808", "18446744073709551615",
        "9223372036854775808", "18446744073709551616", "-9223372036854775809",
        "123456789012345678901234567890", "-123456789012345678901234567890"}) {
    auto const text = "[" + number + R"(,{"a":)" + number + "}]";
    EXPECT_EQ(json_text(exact(text)), text);
  }
  auto const huge = "1" + std::string(4'000, '7');
  EXPECT_EQ(json_text(exact(huge)), huge);
  EXPECT_EQ(json_text(exact("1e30")), json_text(parse_json("1e30")));
}

TEST(ExactJson, ALongOneIsNeitherNumberNorText) {
  auto const value = exact(R"({"long":18446744073709551616,"text":"18446744073709551616","n":1})");
  auto const& object = value.get_object();
  EXPECT_FALSE(object.at("long").is_number());
  EXPECT_EQ(text_member(object, "long"), "");
  EXPECT_EQ(long_integer(object.at("long")), "18446744073709551616");
  EXPECT_EQ(text_member(object, "text"), "18446744073709551616");
  EXPECT_FALSE(long_integer(object.at("text")));
  EXPECT_FALSE(long_integer(object.at("n")));
  EXPECT_FALSE(is_text(object.at("long")));
  EXPECT_TRUE(is_text(object.at("text")));
  EXPECT_FALSE(is_text(object.at("n")));
}

}  // namespace
}  // namespace subforge::describe
