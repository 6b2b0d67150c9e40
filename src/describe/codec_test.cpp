// What each type of a described field takes, and the issue that tells a client why not.
#include "describe/codec.hpp"

#include <limits>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace subforge::describe {
namespace {

using Texts = std::vector<std::string>;
using TextMap = std::map<std::string, std::string>;

enum class Colour : std::uint8_t { red, green };

constexpr std::array<std::pair<Colour, std::string_view>, 2> names_of(Colour) {
  return {{{Colour::red, "red"}, {Colour::green, "green"}}};
}

template <class T>
std::vector<Issue> issues_of(boost::json::value const& in, Bounds const& bounds = {}) {
  T out{};
  Issues issues;
  bool const good = Codec<T>::read(in, out, bounds, Where{nullptr, "field"}, issues);
  EXPECT_EQ(good, issues.empty());
  return issues.list();
}

// The types of all issues, with a space between.
template <class T>
std::string wrong(std::string_view text, Bounds const& bounds) {
  std::string types;
  for (auto const& issue : issues_of<T>(boost::json::parse({text.data(), text.size()}), bounds)) {
    if (!types.empty()) types += " ";
    types += issue.type;
  }
  return types;
}

template <class T>
T value_of(std::string_view text) {
  T out{};
  Issues issues;
  auto const in = boost::json::parse({text.data(), text.size()});
  EXPECT_TRUE(Codec<T>::read(in, out, {}, Where{}, issues)) << text;
  return out;
}

template <class T>
std::string text_of(T const& value) {
  std::string text;
  JsonWriter json(text);
  Codec<T>::write(json, value);
  return text;
}

template <class T>
std::string schema_of(Bounds const& bounds = {}) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  Codec<T>::schema(json, bounds);
  json.end_object();
  return text;
}

Bounds length(std::int64_t least, std::int64_t most) { return {least, most, {}, {}}; }
Bounds range(double least, double most) { return {{}, {}, least, most}; }

TEST(Codec, NamesWhatIsWrong) {
  struct Row {
    std::string (*read)(std::string_view, Bounds const&);
    std::string_view input;
    std::string_view types;  // Empty: accepted.
    Bounds bounds = {};
  };
  Row const rows[] = {
      {&wrong<std::string>, R"("text")", ""},
      {&wrong<std::string>, "1", "string_type"},
      {&wrong<std::string>, "null", "string_type"},
      {&wrong<std::string>, "{}", "string_type"},
      {&wrong<std::string>, R"("")", "string_too_short", length(1, 3)},
      {&wrong<std::string>, R"("abcd")", "string_too_long", length(1, 3)},
      {&wrong<std::string>, R"("a\u0000b")", "value_error"},
      {&wrong<std::int64_t>, "7", ""},
      {&wrong<std::int64_t>, "7.0", ""},
      {&wrong<std::int64_t>, "7.5", "int_from_float"},
      {&wrong<std::int64_t>, R"("7")", "int_parsing"},
      {&wrong<std::int64_t>, "true", "int_type"},
      {&wrong<std::int64_t>, "null", "int_type"},
      {&wrong<std::int64_t>, "9223372036854775807", ""},
      {&wrong<std::int64_t>, "9223372036854775808", "int_parsing_size"},
      {&wrong<std::int64_t>, "1e300", "int_from_float"},
      {&wrong<std::int64_t>, "-1", "greater_than_equal", range(0, 10)},
      {&wrong<std::int64_t>, "11", "less_than_equal", range(0, 10)},
      {&wrong<double>, "0.7", ""},
      {&wrong<double>, "7", ""},
      {&wrong<double>, "18446744073709551615", ""},
      {&wrong<double>, R"("0.7")", "float_parsing"},
      {&wrong<double>, "false", "float_type"},
      {&wrong<double>, "-0.1", "greater_than_equal", range(0, 1)},
      {&wrong<double>, "1.1", "less_than_equal", range(0, 1)},
      {&wrong<bool>, "true", ""},
      {&wrong<bool>, "1", "bool_type"},
      {&wrong<bool>, R"("true")", "bool_type"},
      {&wrong<Uuid>, R"("8a6e0804-2bd0-4672-b79d-d97027f9071a")", ""},
      {&wrong<Uuid>, R"("8a6e0804")", "uuid_parsing"},
      {&wrong<Uuid>, "8", "uuid_type"},
      {&wrong<Timestamp>, R"("2026-01-02T03:04:05Z")", ""},
      {&wrong<Timestamp>, R"("yesterday")", "datetime_parsing"},
      {&wrong<Timestamp>, "1767323045", "datetime_type"},
      {&wrong<JsonText>, R"({"a":[1]})", ""},
      {&wrong<JsonText>, "[]", "dict_type"},
      {&wrong<Texts>, R"(["a"])", ""},
      {&wrong<Texts>, R"("a")", "list_type"},
      {&wrong<Texts>, R"([1,"a",null])", "string_type string_type"},
      {&wrong<TextMap>, R"({"a":"b"})", ""},
      {&wrong<TextMap>, R"({"a":1,"b":2})", "string_type string_type"},
      {&wrong<TextMap>, "[]", "dict_type"},
      {&wrong<Colour>, R"("red")", ""},
      {&wrong<Colour>, R"("blue")", "string_pattern_mismatch"},
      {&wrong<Colour>, "1", "string_type"},
      {&wrong<std::optional<double>>, "null", ""},
      {&wrong<std::optional<double>>, R"("x")", "float_parsing"},
      {&wrong<Given<std::optional<Uuid>>>, "null", ""},
      {&wrong<Given<std::optional<Uuid>>>, "1", "uuid_type"},
  };
  for (auto const& row : rows) {
    EXPECT_EQ(row.read(row.input, row.bounds), row.types) << row.input;
  }
}

TEST(Codec, LengthIsCountedInCharacters) {
  // Four characters in 2, 3, 4 and 1 bytes.
  std::string_view const text = "\"\u00e4\u20ac\U0001f916x\"";
  EXPECT_EQ(wrong<std::string>(text, length(4, 4)), "");
  EXPECT_EQ(wrong<std::string>(text, length(1, 3)), "string_too_long");
  EXPECT_EQ(wrong<std::string>(text, length(5, 9)), "string_too_short");
}

TEST(Codec, BoundsAreToldInTheIssue) {
  auto const shorter = issues_of<std::string>("", length(1, 255));
  ASSERT_EQ(shorter.size(), 1U);
  EXPECT_EQ(shorter[0].msg, "String should have at least 1 character");
  EXPECT_EQ(shorter[0].ctx, R"({"min_length":1})");
  EXPECT_EQ(shorter[0].input, R"("")");
  auto const longer = issues_of<std::string>("abc", length(1, 2));
  ASSERT_EQ(longer.size(), 1U);
  EXPECT_EQ(longer[0].msg, "String should have at most 2 characters");
  EXPECT_EQ(longer[0].ctx, R"({"max_length":2})");
  auto const more = issues_of<double>(100.5, range(0, 100));
  ASSERT_EQ(more.size(), 1U);
  EXPECT_EQ(more[0].msg, "Input should be less than or equal to 100");
  EXPECT_EQ(more[0].ctx, R"({"le":100})");
  EXPECT_EQ(more[0].input, "100.5");
  auto const less = issues_of<double>(0.2, range(0.25, 1));
  ASSERT_EQ(less.size(), 1U);
  EXPECT_EQ(less[0].msg, "Input should be greater than or equal to 0.25");
  EXPECT_EQ(less[0].ctx, R"({"ge":0.25})");
  auto const other = issues_of<Colour>("blue");
  ASSERT_EQ(other.size(), 1U);
  EXPECT_EQ(other[0].msg, "String should match pattern '^(red|green)$'");
  EXPECT_EQ(other[0].ctx, R"({"pattern":"^(red|green)$"})");
}

TEST(Codec, NumbersBeyondADoubleAreRefused) {
  double const infinity = std::numeric_limits<double>::infinity();
  for (auto const& issues : {issues_of<double>(infinity), issues_of<std::int64_t>(infinity)}) {
    EXPECT_EQ(issues.size(), 1U);
  }
  // Deep in a free object they would silently become null.
  boost::json::value const free = {{"a", {{"b", boost::json::array{1, infinity, -infinity}}}}};
  auto const deep = issues_of<JsonText>(free);
  ASSERT_EQ(deep.size(), 2U);
  EXPECT_EQ(deep[0].type, "finite_number");
  ASSERT_EQ(deep[0].loc.size(), 4U);
  EXPECT_EQ(std::get<std::string>(deep[0].loc[2]), "b");
  EXPECT_EQ(std::get<std::int64_t>(deep[0].loc[3]), 1);
}

TEST(Codec, ItemsOfListsAndMapsAreNamedInTheirPlace) {
  auto const list = issues_of<Texts>(boost::json::parse(R"(["a",2])"));
  ASSERT_EQ(list.size(), 1U);
  ASSERT_EQ(list[0].loc.size(), 2U);
  EXPECT_EQ(std::get<std::string>(list[0].loc[0]), "field");
  EXPECT_EQ(std::get<std::int64_t>(list[0].loc[1]), 1);
  auto const map = issues_of<TextMap>(boost::json::parse(R"({"PATH":2})"));
  ASSERT_EQ(map.size(), 1U);
  EXPECT_EQ(std::get<std::string>(map[0].loc[1]), "PATH");
}

TEST(Codec, ListsHaveALimit) {
  boost::json::array list(static_cast<std::size_t>(kListItemsMax), "x");
  EXPECT_TRUE(issues_of<Texts>(list).empty());
  list.emplace_back("x");
  auto const issues = issues_of<Texts>(list);
  ASSERT_EQ(issues.size(), 1U);
  EXPECT_EQ(issues[0].type, "too_long");
  EXPECT_TRUE(issues[0].input.empty()) << "a large input is not echoed";
}

TEST(Issues, LongInputsAreNotEchoedAndTheListEnds) {
  auto const text =
      issues_of<std::string>(boost::json::value(std::string(5000, 'x')), length(0, 10));
  ASSERT_EQ(text.size(), 1U);
  EXPECT_TRUE(text[0].input.empty());
  Issues many;
  for (int i = 0; i < 1000; ++i) many.add(Where{nullptr, std::int64_t{i}}, "missing", "");
  EXPECT_EQ(many.list().size(), Issues::kIssuesMax);
}

TEST(Issues, AreWrittenAsADetail) {
  Issues issues;
  Where const body{nullptr, "body"};
  issues.add(Where{&body, std::int64_t{3}}, "missing", "Field required", "{\"a\":1}", "{\"b\":2}");
  issues.add(body, "json_invalid", "Not JSON");
  std::string text;
  JsonWriter json(text);
  issues.write(json);
  EXPECT_EQ(text, R"([{"type":"missing","loc":["body",3],"msg":"Field required","input":{"a":1},)"
                  R"("ctx":{"b":2}},{"type":"json_invalid","loc":["body"],"msg":"Not JSON"}])");
}

TEST(Codec, ValuesComeBackAsTheyWent) {
  EXPECT_EQ(value_of<std::int64_t>("7.0"), 7);
  EXPECT_EQ(value_of<std::int64_t>("-9223372036854775808"),
            std::numeric_limits<std::int64_t>::min());
  for (auto const* text : {"0.7", "1.0", "-2.5"}) {
    EXPECT_EQ(text_of(value_of<double>(text)), text);
  }
  std::string_view const at = R"("2026-01-02T03:04:05.000006Z")";
  EXPECT_EQ(text_of(value_of<Timestamp>(at)), at);
  std::string_view const id = R"("8a6e0804-2bd0-4672-b79d-d97027f9071a")";
  EXPECT_EQ(text_of(value_of<Uuid>(id)), id);
  EXPECT_EQ(text_of(value_of<Texts>(R"(["a","\"b\""])")), R"(["a","\"b\""])");
  EXPECT_EQ(text_of(value_of<TextMap>(R"({"b":"1","a":"2"})")), R"({"a":"2","b":"1"})");
  EXPECT_EQ(text_of(value_of<JsonText>(R"({ "b" : 0.7, "a" : [ null ] })")),
            R"({"b":0.7,"a":[null]})");
  EXPECT_EQ(value_of<Colour>(R"("green")"), Colour::green);
  EXPECT_EQ(text_of(Colour::green), R"("green")");
  EXPECT_EQ(text_of(std::optional<std::int64_t>()), "null");
  EXPECT_EQ(text_of(std::optional<std::int64_t>(3)), "3");
  EXPECT_TRUE(value_of<Given<std::optional<std::int64_t>>>("null").given);
}

TEST(Codec, SchemasSayWhatReadingChecks) {
  EXPECT_EQ(schema_of<std::string>(length(1, 9)),
            R"({"type":"string","minLength":1,"maxLength":9})");
  EXPECT_EQ(schema_of<std::int64_t>(range(0, 5)),
            R"({"type":"integer","minimum":0.0,"maximum":5.0})");
  EXPECT_EQ(schema_of<double>(Bounds{.above = 0}), R"({"type":"number","exclusiveMinimum":0.0})");
  EXPECT_EQ(schema_of<double>(), R"({"type":"number"})");
  EXPECT_EQ(schema_of<bool>(), R"({"type":"boolean"})");
  EXPECT_EQ(schema_of<Uuid>(), R"({"type":"string","format":"uuid"})");
  EXPECT_EQ(schema_of<Timestamp>(), R"({"type":"string","format":"date-time"})");
  EXPECT_EQ(schema_of<JsonText>(), R"({"type":"object","additionalProperties":true})");
  EXPECT_EQ(schema_of<Texts>(), R"({"type":"array","items":{"type":"string"},"maxItems":1000})");
  EXPECT_EQ(schema_of<Texts>(length(1, 9)),
            R"({"type":"array","items":{"type":"string","minLength":1,"maxLength":9},)"
            R"("maxItems":1000})");
  EXPECT_EQ(schema_of<TextMap>(), R"({"type":"object","additionalProperties":{"type":"string"}})");
  EXPECT_EQ(schema_of<Colour>(), R"({"type":"string","enum":["red","green"]})");
  EXPECT_EQ(schema_of<std::optional<double>>(), R"({"anyOf":[{"type":"number"},{"type":"null"}]})");
}

}  // namespace
}  // namespace subforge::describe
