#include "describe/yaml.hpp"

#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"

namespace subforge::describe {
namespace {

std::string yaml(std::string_view text) {
  auto const value = parse_yaml_text(text);
  return value ? json_text(*value) : "error: " + value.error().message;
}

bool is_refused(std::string const& outcome, std::string_view why) {
  return outcome.starts_with("error: ") && outcome.find(why) != std::string::npos;
}

TEST(Yaml, PlainScalarsFollowTheCoreSchema) {
  struct Row {
    std::string_view text;
    std::string_view value;
  };
  for (auto const& [text, value] : std::initializer_list<Row>{
           {"", "null"},
           {"~", "null"},
           {"null", "null"},
           {"Null", "null"},
           {"NULL", "null"},
           {"nUll", R"("nUll")"},
           {"true", "true"},
           {"False", "false"},
           {"TRUE", "true"},
           {"yes", R"("yes")"},  // Only YAML 1.1 took these for booleans.
           {"off", R"("off")"},
           {"0", "0"},
           {"-7", "-7"},
           {"+7", "7"},
           {"0123", "123"},
           {"+-7", R"("+-7")"},
           {"0x1F", "31"},
           {"0o17", "15"},
           {"0x", R"("0x")"},
           {"0xg", R"("0xg")"},
           {"0x-1", R"("0x-1")"},
           {"0o8", R"("0o8")"},
           {"0X1F", R"("0X1F")"},
           {"0x", R"("0x")"},
           {"0xffffffffffffffff", "18446744073709551615"},
           {"18446744073709551615", "18446744073709551615"},
           {"-9223372036854775808", "-9223372036854775808"},
           {"+5", "5"},
           {"+-5", R"("+-5")"},
           {"12e", R"("12e")"},
           {"1e-999", "0.0"},
           {"1e308", "1e+308"},
           {"1-2", R"("1-2")"},
           {"-", "[null]"},
           {"0.7", "0.7"},
           {".5", "0.5"},
           {"1e3", "1000.0"},
           {"-2.5E-1", "-0.25"},
           {"1.2.3", R"("1.2.3")"},
           {"2026-01-02", R"("2026-01-02")"},
           {"12:30", R"("12:30")"},
           {"e", R"("e")"},
           {"a b", R"("a b")"},
           {"\"7\"", R"("7")"},
           {"'true'", R"("true")"},
           {"''", R"("")"},
           {"!!str 7", R"("7")"},
           {"|\n  7\n", R"("7\n")"},
       }) {
    EXPECT_EQ(yaml(text), value) << text;
  }
}

TEST(Yaml, WhatJsonCannotSayIsRefused) {
  for (auto const* text : {".inf", "-.INF", "+.Inf", ".nan", "a: .NaN"}) {
    EXPECT_TRUE(is_refused(yaml(text), "JSON has no infinity and no NaN")) << yaml(text);
  }
  EXPECT_TRUE(is_refused(yaml("? [a]\n: b\n"), "a key must be text")) << yaml("? [a]\n: b\n");
}

TEST(Yaml, NumbersThatCannotBeKeptAreRefused) {
  for (auto const* text :
       {"1e999", "-1e999", "+1.0E+400", "18446744073709551616", "-9223372036854775809",
        "99999999999999999999999999", "0xffffffffffffffffff", "0o7777777777777777777777777"}) {
    EXPECT_TRUE(
        is_refused(yaml("a:\n  - " + std::string(text)), "line 2, column 5: a number is too large"))
        << text;
    EXPECT_EQ(yaml('"' + std::string(text) + '"'), '"' + std::string(text) + '"');
  }
}

TEST(Yaml, ReadsAConfiguration) {
  EXPECT_EQ(yaml("# An agent\n"
                 "model: claude-3-opus\n"
                 "tools: [read, write]\n"
                 "capabilities:\n"
                 "  - plan\n"
                 "  - 'review'\n"
                 "temperature: 0.7\n"
                 "environment_vars: {A: \"1\", B: two}\n"),
            R"({"model":"claude-3-opus","tools":["read","write"],)"
            R"("capabilities":["plan","review"],"temperature":0.7,)"
            R"("environment_vars":{"A":"1","B":"two"}})");
}

TEST(Yaml, AliasesAreExpanded) {
  EXPECT_EQ(yaml("a: &x [1, 2]\nb: *x\n"), R"({"a":[1,2],"b":[1,2]})");
}

TEST(Yaml, MapsAreMerged) {
  EXPECT_EQ(yaml("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n"),
            R"({"a":{"x":1,"y":2},"b":{"y":3,"x":1}})");
  EXPECT_EQ(yaml("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 3}\n"),
            R"({"a":{"x":1},"b":{"x":2,"y":2},"c":{"z":3,"x":1,"y":2}})");
  EXPECT_EQ(yaml("<<: {x: 1}\n"), R"({"x":1})");
  EXPECT_EQ(yaml("a: &a {<<: {x: 1}}\nb: {<<: *a}\n"), R"({"a":{"x":1},"b":{"x":1}})");
  EXPECT_EQ(yaml("'<<': 1\n"), R"({"<<":1})");
  EXPECT_EQ(yaml("- <<\n"), R"(["<<"])");
  EXPECT_TRUE(is_refused(yaml("a: {<<: 1}"), "column 9: '<<' merges a map or a list of maps"));
  EXPECT_TRUE(is_refused(yaml("a: {<<: [1]}"), "'<<' merges a map or a list of maps"));
  EXPECT_TRUE(is_refused(yaml("<<: {x: 1}\n<<: {x: 2}"), "'<<' is given twice"));
}

TEST(Yaml, AKeyGivenTwiceIsAnErrorWithItsPlace) {
  EXPECT_EQ(yaml("a: 1\nb:\n  c: 1\n  c: 2\n"),
            "error: line 4, column 3: the key 'c' is given twice");
}

TEST(Yaml, SyntaxErrorsGiveTheirPlace) {
  auto const outcome = yaml("a: 1\nb: [1, 2\n");
  EXPECT_TRUE(is_refused(outcome, "line 3, column ")) << outcome;
  EXPECT_TRUE(is_refused(yaml("a: *nobody"), "line 1, column 4")) << yaml("a: *nobody");
}

TEST(Yaml, IsUtf8) {
  EXPECT_EQ(yaml("caf\xc3\xa9"), "\"caf\xc3\xa9\"");
  EXPECT_TRUE(is_refused(yaml("caf\xe9"), "not UTF-8"));
  EXPECT_TRUE(is_refused(yaml(std::string_view("\1\0\0\0a: 1", 8)), "not UTF-8"));
}

TEST(Yaml, EscapedCharactersAreUtf8) {
  EXPECT_EQ(
      yaml(R"(["\N", "\_", "\L\P", "é\N€\_\x85", "\U0001f600\N"])"),
      "[\"\u0085\",\"\u00a0\",\"\u2028\u2029\",\"é\u0085€\u00a0\u0085\",\"\U0001f600\u0085\"]");
  EXPECT_EQ(yaml(R"({"a\_b": 1})"), "{\"a\u00a0b\":1}");
}

TEST(Yaml, OnlyOneDocumentAFile) {
  EXPECT_EQ(yaml("--- 1\n"), "1");
  EXPECT_TRUE(is_refused(yaml("--- 1\n--- 2\n"), "several documents"));
  EXPECT_EQ(yaml("# Nothing but this\n"), "null");
}

TEST(Yaml, ABillionLaughsAreNotHeard) {
  std::string bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n";
  for (int i = 1; i < 10; ++i) {
    std::string const last = std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) bomb += (k == 0 ? "*a" : ", *a") + last;
    bomb += "]\n";
  }
  EXPECT_TRUE(is_refused(yaml(bomb), "too many values")) << yaml(bomb).substr(0, 200);
}

TEST(Yaml, WhatTheParserWouldKeepForLongIsRefusedBefore) {
  for (auto const* piece : {"[", "{", "[a,", "'a',"}) {
    std::string text = "[";
    while (text.size() < (1U << 20)) text += piece;
    EXPECT_TRUE(is_refused(yaml(text), "too many brackets and commas")) << piece;
  }
}

TEST(Yaml, DepthHasALimit) {
  auto const nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(yaml(nested(kDocumentDepthMax)), nested(kDocumentDepthMax));
  EXPECT_TRUE(is_refused(yaml(nested(kDocumentDepthMax + 2)), "nested too deeply"));
  EXPECT_TRUE(yaml(nested(100'000)).starts_with("error: "));
  EXPECT_TRUE(is_refused(yaml("&a [*a]"), "a node holds itself")) << yaml("&a [*a]");
  // Through aliases too.
  std::string ladder = "a0: &a0 []\n";
  for (std::size_t i = 1; i <= kDocumentDepthMax; ++i) {
    ladder += fmt::format("a{}: &a{} [*a{}]\n", i, i, i - 1);
  }
  EXPECT_TRUE(is_refused(yaml(ladder), "nested too deeply")) << yaml(ladder).substr(0, 200);
}

TEST(Yaml, LongTextsAreNotCopiedWithoutEnd) {
  auto const text = "a: &a " + std::string(500'000, 'x') + "\nb: [*a";
  std::string many;
  for (int i = 0; i < 10'000; ++i) many += ", *a";
  EXPECT_TRUE(is_refused(yaml(text + many + "]\n"), "too much text"));
  EXPECT_FALSE(yaml(text + ", *a]\n").starts_with("error: "));
  // Anchors within anchors.
  std::string nested;
  for (int i = 0; i < 60; ++i) nested += fmt::format("&a{} [", i);
  for (int i = 0; i < 20'000; ++i) nested += "x,";
  EXPECT_TRUE(is_refused(yaml(nested + std::string(60, ']')), "too much within anchors"));
}

TEST(Yaml, AliasesCanBeKeys) {
  EXPECT_EQ(yaml("a: &a b\n*a : 1\n"), R"({"a":"b","b":1})");
  EXPECT_EQ(yaml("a: &a 7\n*a : 1\n"), R"({"a":7,"7":1})");
  EXPECT_TRUE(is_refused(yaml("a: &a [b]\n*a : 1\n"), "a key must be text"));
}

TEST(Yaml, WhatHasNoEndIsRefused) {
  // The parser sees one empty document after the other in these.
  std::string commas;
  for (int i = 0; i < 1000; ++i) commas += ", ";
  EXPECT_TRUE(is_refused(yaml(commas), "several documents")) << yaml(commas);
  EXPECT_TRUE(yaml("]").starts_with("error: ")) << yaml("]");
}

TEST(Yaml, WhatIsNeverClosedIsToldToBeThat) {
  EXPECT_EQ(yaml("a: [[b"), "error: line 1, column 5: this is never closed");
  EXPECT_EQ(yaml("{a: {b: \"}\", c: d}"), "error: line 1, column 1: this is never closed");
  EXPECT_EQ(yaml("[a, # ]\n"), "error: line 1, column 1: this is never closed");
  EXPECT_EQ(yaml("a: [b\n"), "error: line 2, column 1: end of sequence flow not found");
  for (auto const* piece : {"[", "{", "{a: ", "{\"a\":", "[\"", "['"}) {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += piece;
    auto const outcome = yaml(text);
    EXPECT_TRUE(is_refused(outcome, "nested too deeply") || is_refused(outcome, "never closed"))
        << outcome;
  }
  EXPECT_EQ(yaml(std::string(1000, '[')), "error: line 1, column 1: nested too deeply");
  EXPECT_EQ(yaml("# one\n[a, 'b]', \"c]\"]: d"), "error: line 2, column 1: a key must be text");
  EXPECT_EQ(yaml("a: b\nc: 'd\n"), "error: line 2, column 4: these quotes are never closed");
  EXPECT_EQ(yaml("a: \"b\\\"\n"), "error: line 1, column 4: these quotes are never closed");
  EXPECT_EQ(yaml("a: 'b''s'\n"), R"({"a":"b's"})");
  EXPECT_EQ(yaml("a: \"b\\\"\"\n\n"), R"({"a":"b\""})");
}

TEST(Yaml, LinesMayEndWithCrAlone) {
  EXPECT_EQ(yaml("# one\ra: b\rc:\r  - d\r\n  - e\r"), R"({"a":"b","c":["d","e"]})");
  EXPECT_EQ(yaml("a: 'b\r  c'\r"), R"({"a":"b c"})");
  EXPECT_EQ(yaml("a: b\rc: d\ra: e\r"), "error: line 3, column 1: the key 'a' is given twice");
  using Step = std::variant<std::string, std::int64_t>;
  std::vector<Step> const path = {"c"};
  EXPECT_EQ(places_in_document("a: b\rc: d\r", std::vector<DocumentPath>{path}),
            std::vector<std::string>{"line 2, column 4"});
}

TEST(Yaml, PlacesAreFoundInOneGo) {
  using Step = std::variant<std::string, std::int64_t>;
  std::vector<std::vector<Step>> const steps = {
      {}, {"a"}, {"b", std::int64_t{1}}, {"b", std::int64_t{1}, "c"}, {"b", "none"}, {"none"}};
  std::vector<DocumentPath> const paths(steps.begin(), steps.end());
  auto const places = places_in_document("a: 1\nb:\n  - x\n  - c: 2\n    d: 3\n", paths);
  EXPECT_EQ(places,
            (std::vector<std::string>{"line 1, column 1", "line 1, column 4", "line 4, column 5",
                                      "line 4, column 8", "line 3, column 3", "line 1, column 1"}));
  EXPECT_EQ(places_in_document("{\"a\":\n [1, 2]}", std::span(paths).subspan(1, 1)),
            std::vector<std::string>{"line 2, column 2"});
  EXPECT_EQ(places_in_json(
                "{\"a\": 1,\n\t\"\\u0062\":\n [\"\\ud83d\\ude00\\/\",{\"c\":\n2,\"d\":3}]}", paths),
            (std::vector<std::string>{"line 1, column 1", "line 1, column 7", "line 3, column 20",
                                      "line 4, column 1", "line 3, column 2", "line 1, column 1"}));
}

}  // namespace
}  // namespace subforge::describe
