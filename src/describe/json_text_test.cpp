#include "describe/json_text.hpp"

#include <array>
#include <random>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <gtest/gtest.h>

#include "base/json_writer.hpp"

namespace subforge::describe {
namespace {

using Texts = std::vector<std::string>;

// The list that a whole parser sees.
std::optional<Texts> parse_list(std::string_view text) {
  boost::system::error_code error;
  auto const value = boost::json::parse({text.data(), text.size()}, error);
  if (error || !value.is_array()) return std::nullopt;
  Texts list;
  for (auto const& item : value.get_array()) {
    if (!item.is_string()) return std::nullopt;
    list.emplace_back(std::string_view(item.get_string()));
  }
  return list;
}

TEST(JsonText, WritesWhatWasSent) {
  for (auto const* text :
       {"null", "true", "false", "0", "-1", "9223372036854775807", "18446744073709551615", "0.7",
        "0.1", "1.0", "-2.5", "123456.789", R"("")", R"("a\"b\\c")", "[]", "{}",
        R"([1,[2,[3,{}]],"x"])", R"({"b":1,"a":{"c":[null,true]}})"}) {
    EXPECT_EQ(json_text(boost::json::parse(text)), text);
  }
}

TEST(JsonText, EveryDoubleReadsBackAsItself) {
  std::minstd_rand random(1);
  std::uniform_real_distribution<double> mantissa(-1, 1);
  for (int i = 0; i < 2000; ++i) {
    double const sent = std::ldexp(mantissa(random), static_cast<int>(random() % 2000) - 1000);
    auto const text = json_text(boost::json::value(sent));
    EXPECT_EQ(std::strtod(text.c_str(), nullptr), sent) << text;
  }
}

TEST(JsonText, ObjectsAloneAndWithinValuesLookAlike) {
  auto const value = boost::json::parse(R"({"a":0.7,"\u00e4":"\n"})");
  EXPECT_EQ(json_text(value.get_object()), json_text(value));
  std::string text = "x";
  append_json(text, value);
  EXPECT_EQ(text, "x" + json_text(value));
}

TEST(PlainList, AgreesWithAParserOnListsOfTexts) {
  constexpr std::array<std::string_view, 9> kPieces = {"a", "b c", "\"",     "\\", ",",
                                                       "]", "[\"", "\u00e4", "\n"};
  std::minstd_rand random(2);
  int plain = 0;
  for (int i = 0; i < 5000; ++i) {
    Texts list(random() % 4);
    std::string text;
    JsonWriter json(text);
    json.begin_array();
    for (auto& item : list) {
      for (auto pieces = random() % 3; pieces > 0; --pieces) item += kPieces[random() % 9];
      json.string(item);
    }
    json.end_array();
    ASSERT_EQ(parse_list(text), list) << text;
    bool const escaped = text.find('\\') != std::string::npos;
    plain += escaped ? 0 : 1;
    EXPECT_EQ(parse_plain_list(text), escaped ? std::nullopt : std::optional(list)) << text;
  }
  EXPECT_GT(plain, 1000);
}

TEST(PlainList, TakesNothingThatAParserRefuses) {
  constexpr std::string_view kLetters = "[]\",a1\\ ";
  std::minstd_rand random(3);
  for (int i = 0; i < 300'000; ++i) {
    std::string text = random() % 2 == 0 ? "[\"" : "";
    for (auto count = random() % 8; count > 0; --count) {
      text += kLetters[random() % kLetters.size()];
    }
    if (random() % 2 == 0) text += "\"]";
    if (auto const list = parse_plain_list(text)) {
      EXPECT_EQ(list, parse_list(text)) << text;
    }
  }
}

TEST(PlainList, KnowsOnlyLists) {
  EXPECT_EQ(parse_plain_list("[]"), Texts{});
  EXPECT_EQ(parse_plain_list("[\"\"]"), Texts{""});
  for (auto const* text : {"", "[", "]", "[1]", "null", "{}", "[\"]", "\"a\"", "[\"a\",1]",
                           "[ \"a\"]", "[\"a\", \"b\"]"}) {
    EXPECT_EQ(parse_plain_list(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace subforge::describe
