// The folds of a description, on a record made for it.
#include "describe/record.hpp"

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace subforge::describe {
namespace {

struct Part {
  std::string label;
  std::int64_t weight = 1;
  static constexpr auto describe() {
    return fields(field("label", &Part::label).length(1, 10).required().writable(),
                  field("weight", &Part::weight).range(0, 9).writable());
  }
};

struct Thing {
  Uuid id;
  std::string title;
  std::int64_t size = 3;
  double rate = 0.5;
  std::optional<std::string> note;
  std::string secret = "hidden";
  std::vector<Part> parts;

  static constexpr auto describe();
};

std::string shout(Thing const& thing) { return thing.title + "!"; }
void set_shout(Thing& thing, std::string text) { thing.title = std::move(text); }

constexpr auto Thing::describe() {
  return fields(
      field("id", &Thing::id),
      field("title", &Thing::title)
          .length(1, 5)
          .required()
          .v1({.out = "type", .also = "title", .in = "title"})
          .v2({.out = "title", .in = "title", .update = false})
          .doc("In lists."),
      field("size", &Thing::size).range(0, 100).v1({.out = "info.size", .in = "info.size"}),
      field("rate", &Thing::rate).v1({.out = "info.rate"}).v2({.out = "rate", .in = "rate"}),
      field("note", &Thing::note).writable(), field("secret", &Thing::secret).internal(),
      property("shout", &shout, &set_shout).v2({.out = "shout", .in = "shout", .create = false}),
      field("parts", &Thing::parts).v1({}).v2({.out = "parts", .in = "parts"}));
}

Uuid const kId = *Uuid::parse("8a6e0804-2bd0-4672-b79d-d97027f9071a");

Thing thing() {
  Thing made;
  made.id = kId;
  made.title = "box";
  made.parts = {{"lid", 2}};
  return made;
}

std::string written(Thing const& record, Api api) {
  std::string text;
  JsonWriter json(text);
  write_record(json, record, api);
  return text;
}

// Reads a body and tells all that is wrong with it: "missing body.title; int_type body.size".
std::string wrong(std::string_view body, Thing& record, Api api, Purpose purpose) {
  Issues issues;
  bool const good = read_record(boost::json::parse({body.data(), body.size()}), record, api,
                                purpose, Where{nullptr, "body"}, issues);
  EXPECT_EQ(good, issues.empty());
  std::string all;
  for (auto const& issue : issues.list()) {
    if (!all.empty()) all += "; ";
    all += issue.type + " ";
    for (auto const& step : issue.loc) {
      if (!all.ends_with(' ')) all += ".";
      auto const* name = std::get_if<std::string>(&step);
      all += name != nullptr ? *name : std::to_string(std::get<std::int64_t>(step));
    }
  }
  return all;
}

std::string wrong(std::string_view body, Api api, Purpose purpose) {
  Thing record;
  return wrong(body, record, api, purpose);
}

TEST(WriteRecord, NestsDoublesAndHides) {
  EXPECT_EQ(written(thing(), Api::v1),
            R"({"id":"8a6e0804-2bd0-4672-b79d-d97027f9071a","type":"box","title":"box",)"
            R"("info":{"size":3,"rate":0.5},"note":null})");
  EXPECT_EQ(written(thing(), Api::v2),
            R"({"id":"8a6e0804-2bd0-4672-b79d-d97027f9071a","title":"box","size":3,"rate":0.5,)"
            R"("note":null,"shout":"box!","parts":[{"label":"lid","weight":2}]})");
}

TEST(ReadRecord, CreateSetsWhatIsThere) {
  Thing record;
  EXPECT_EQ(wrong(R"({"title":"crate","info":{"size":7,"rate":9},"note":"n","id":"x","secret":"s",
                      "nobody":1,"type":"other"})",
                  record, Api::v1, Purpose::create),
            "");
  EXPECT_EQ(record.title, "crate");
  EXPECT_EQ(record.size, 7);
  EXPECT_EQ(record.note, "n");
  // Not accepted from clients, and members nobody knows, are passed over.
  EXPECT_EQ(record.rate, 0.5);
  EXPECT_EQ(record.secret, "hidden");
  EXPECT_EQ(record.id, Uuid{});
}

TEST(ReadRecord, UpdateLeavesTheRestAlone) {
  auto record = thing();
  EXPECT_EQ(wrong(R"({"note":"new"})", record, Api::v1, Purpose::update), "");
  EXPECT_EQ(record.title, "box");
  EXPECT_EQ(record.note, "new");
  EXPECT_EQ(wrong(R"({"note":null})", record, Api::v1, Purpose::update), "");
  EXPECT_EQ(record.note, std::nullopt);
}

TEST(ReadRecord, EachPurposeHasItsOwnMembers) {
  auto record = thing();
  EXPECT_EQ(wrong(R"({"title":"no","shout":"hey"})", record, Api::v2, Purpose::update), "");
  EXPECT_EQ(record.title, "hey") << "the title only through the property";
  EXPECT_EQ(wrong(R"({"title":"yes","shout":"hey"})", record, Api::v2, Purpose::create), "");
  EXPECT_EQ(record.title, "yes");
}

TEST(ReadRecord, RequiredIsForCreating) {
  EXPECT_EQ(wrong("{}", Api::v1, Purpose::create), "missing body.title");
  EXPECT_EQ(wrong("{}", Api::v1, Purpose::update), "");
  EXPECT_EQ(wrong(R"({"title":null})", Api::v1, Purpose::create), "string_type body.title");
  EXPECT_EQ(wrong(R"({"title":null})", Api::v1, Purpose::update), "string_type body.title");
}

TEST(ReadRecord, TellsEverythingThatIsWrongAtOnce) {
  EXPECT_EQ(
      wrong(R"({"title":"much too long","info":{"size":101},"note":5})", Api::v1, Purpose::create),
      "string_too_long body.title; less_than_equal body.info.size; string_type body.note");
  EXPECT_EQ(wrong(R"({"title":"t","rate":"x","parts":[{"label":"a"},{"weight":10},7]})", Api::v2,
                  Purpose::create),
            "float_parsing body.rate; missing body.parts.1.label;"
            " less_than_equal body.parts.1.weight; dict_type body.parts.2");
}

TEST(ReadRecord, WhatIsWrongChangesNothing) {
  auto record = thing();
  wrong(R"({"title":"","info":{"size":-1}})", record, Api::v1, Purpose::update);
  EXPECT_EQ(record.title, "box");
  EXPECT_EQ(record.size, 3);
}

TEST(ReadRecord, OnlyObjectsAreBodies) {
  for (auto const* body : {"[]", "null", "1", "\"x\""}) {
    EXPECT_EQ(wrong(body, Api::v1, Purpose::update), "dict_type body") << body;
  }
}

TEST(ReadRecord, AMissingMemberShowsWhatTheObjectHad) {
  Thing record;
  Issues issues;
  read_record(boost::json::parse(R"({"note":"n"})"), record, Api::v1, Purpose::create,
              Where{nullptr, "body"}, issues);
  ASSERT_EQ(issues.list().size(), 1U);
  EXPECT_EQ(issues.list()[0].msg, "Field required");
  EXPECT_EQ(issues.list()[0].input, R"({"note":"n"})");
}

struct Wish {
  Given<std::optional<std::int64_t>> count;
  static constexpr auto describe() { return fields(field("count", &Wish::count).writable()); }
};

TEST(ReadRecord, GivenTellsNullFromAbsent) {
  auto const read = [](std::string_view body) {
    Wish wish;
    Issues issues;
    EXPECT_TRUE(read_record(boost::json::parse({body.data(), body.size()}), wish, Api::v2,
                            Purpose::create, {}, issues));
    return wish.count;
  };
  EXPECT_FALSE(read("{}").given);
  EXPECT_TRUE(read(R"({"count":null})").given);
  EXPECT_EQ(read(R"({"count":null})").value, std::nullopt);
  EXPECT_EQ(read(R"({"count":4})").value, 4);
}

TEST(StoredRecord, ComesBackAsItWent) {
  auto record = thing();
  record.note = "\u00e4 \"quoted\"";
  record.secret = "kept";
  std::string text;
  JsonWriter json(text);
  write_stored(json, record);
  auto const back = read_stored<Thing>(boost::json::parse(text).get_object());
  std::string again;
  JsonWriter json_again(again);
  write_stored(json_again, back);
  EXPECT_EQ(again, text);
  EXPECT_EQ(back.secret, "kept");
  EXPECT_EQ(back.parts.at(0).weight, 2);
  EXPECT_EQ(text.find("shout"), std::string::npos) << "a property is not stored";
}

TEST(StoredRecord, OlderRowsKeepTheDefaults) {
  auto const back = read_stored<Thing>(boost::json::parse(R"({"title":"old"})").get_object());
  EXPECT_EQ(back.title, "old");
  EXPECT_EQ(back.size, 3);
  EXPECT_EQ(back.secret, "hidden");
}

template <class Write>
boost::json::value schema(Write write) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  write(json);
  json.end_object();
  return boost::json::parse(text);
}

TEST(RecordSchema, AnswersNestAsTheyAreWritten) {
  EXPECT_EQ(schema([](JsonWriter& json) { write_schema<Thing>(json, Api::v1); }),
            boost::json::parse(R"({
    "type": "object",
    "properties": {
      "id": {"type": "string", "format": "uuid"},
      "type": {"type": "string", "description": "In lists."},
      "title": {"type": "string", "description": "In lists."},
      "info": {
        "type": "object",
        "properties": {"size": {"type": "integer"}, "rate": {"type": "number"}},
        "required": ["size", "rate"]
      },
      "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}
    },
    "required": ["id", "type", "title", "info", "note"]
  })"));
}

TEST(RecordSchema, RecordsWithinAnswersHaveAllMembersToo) {
  auto const answer = schema([](JsonWriter& json) { write_schema<Thing>(json, Api::v2); });
  EXPECT_EQ(answer.at("properties").at("parts"), boost::json::parse(R"({
    "type": "array",
    "items": {
      "type": "object",
      "properties": {"label": {"type": "string"}, "weight": {"type": "integer"}},
      "required": ["label", "weight"]
    }
  })"));
  auto const optional = schema(&write_answer_schema<std::optional<Part>>);
  EXPECT_EQ(optional.at("anyOf").at(0).at("required"), boost::json::parse(R"(["label","weight"])"));
  auto const body =
      schema([](JsonWriter& json) { write_body_schema<Thing>(json, Api::v2, Purpose::create); });
  EXPECT_EQ(body.at("properties").at("parts").at("items").at("required"),
            boost::json::parse(R"(["label"])"));
}

TEST(RecordSchema, BodiesSayWhatIsAcceptedAndRequired) {
  EXPECT_EQ(
      schema([](JsonWriter& json) { write_body_schema<Thing>(json, Api::v1, Purpose::create); }),
      boost::json::parse(R"({
    "type": "object",
    "properties": {
      "title": {"type": "string", "minLength": 1, "maxLength": 5, "description": "In lists."},
      "info": {
        "type": "object",
        "properties": {"size": {"type": "integer", "minimum": 0.0, "maximum": 100.0}}
      },
      "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}
    },
    "required": ["title"]
  })"));
  auto const update =
      schema([](JsonWriter& json) { write_body_schema<Thing>(json, Api::v2, Purpose::update); });
  auto const& properties = update.at("properties").get_object();
  EXPECT_TRUE(properties.contains("shout"));
  EXPECT_FALSE(properties.contains("title"));
  EXPECT_FALSE(update.get_object().contains("required"));
}

}  // namespace
}  // namespace subforge::describe
