#include "base/json_writer.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "base/text.hpp"

namespace subforge {
namespace {

std::string string_of(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

std::string double_of(double value) {
  std::string out;
  append_json_double(out, value);
  return out;
}

TEST(JsonWriter, PutsCommasWhereTheyBelong) {
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.key("empty_list");
  json.begin_array();
  json.end_array();
  json.key("list");
  json.begin_array();
  json.integer(1);
  json.begin_object();
  json.end_object();
  json.begin_array();
  json.null();
  json.boolean(true);
  json.end_array();
  json.string("x");
  json.end_array();
  json.member("after", false);
  json.key("object");
  json.begin_object();
  json.member("a", 1);
  json.member("b", 2.0);
  json.end_object();
  json.member_null("none");
  json.member_raw("raw", "[1, 2]");
  json.end_object();
  EXPECT_EQ(out, R"({"empty_list":[],"list":[1,{},[null,true],"x"],"after":false,)"
                 R"("object":{"a":1,"b":2.0},"none":null,"raw":[1, 2]})");
}

TEST(JsonWriter, AppendsToWhatIsThere) {
  std::string out = "data: ";
  JsonWriter json(out);
  json.begin_array();
  json.integer(1);
  json.end_array();
  EXPECT_EQ(out, "data: [1]");
}

TEST(JsonWriter, EscapesWhatTheStandardDemandsAndNothingElse) {
  EXPECT_EQ(string_of("plain / text"), R"("plain / text")");
  EXPECT_EQ(string_of("\"\\"), R"("\"\\")");
  EXPECT_EQ(string_of("\b\f\n\r\t"), R"("\b\f\n\r\t")");
  EXPECT_EQ(string_of(std::string_view("\0\x01\x1f\x7f", 4)), "\"\\u0000\\u0001\\u001f\x7f\"");
  EXPECT_EQ(string_of("\xc3\xa4\xf0\x9f\x98\x80\xe2\x80\xa8"),
            "\"\xc3\xa4\xf0\x9f\x98\x80\xe2\x80\xa8\"");
  EXPECT_EQ(string_of(""), R"("")");
  std::string out;
  JsonWriter json(out);
  json.begin_object();
  json.member("a\"b", "c\nd");
  json.end_object();
  EXPECT_EQ(out, R"({"a\"b":"c\nd"})");
}

TEST(JsonWriter, DoublesReadAsFloatsAndComeBackTheSame) {
  EXPECT_EQ(double_of(0), "0.0");
  EXPECT_EQ(double_of(-0.0), "-0.0");
  EXPECT_EQ(double_of(1), "1.0");
  EXPECT_EQ(double_of(0.1), "0.1");
  EXPECT_EQ(double_of(-2.5), "-2.5");
  EXPECT_EQ(double_of(1e22), "1e+22");
  EXPECT_EQ(double_of(5e-324), "5e-324");
  EXPECT_EQ(double_of(std::numeric_limits<double>::quiet_NaN()), "null");
  EXPECT_EQ(double_of(-std::numeric_limits<double>::infinity()), "null");
  for (int i = 0; i < 10'000; ++i) {
    auto const value = std::bit_cast<double>(fast_random());
    if (!std::isfinite(value)) continue;
    EXPECT_EQ(parse_number<double>(double_of(value)), value);
  }
}

TEST(JsonWriter, WritesTheEndsOfTheIntegers) {
  std::string out;
  append_decimal(out, std::numeric_limits<std::int64_t>::min());
  out += ' ';
  append_decimal(out, std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(out, "-9223372036854775808 9223372036854775807");
}

TEST(JsonWriter, WritesIdsAndTimesAsText) {
  std::string out;
  JsonWriter json(out);
  json.begin_array();
  json.uuid(Uuid{});
  json.timestamp(Timestamp{0});
  json.end_array();
  EXPECT_EQ(out, R"(["00000000-0000-0000-0000-000000000000","1970-01-01T00:00:00.000000Z"])");
}

}  // namespace
}  // namespace subforge
