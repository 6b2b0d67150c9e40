#include "describe/shape.hpp"

#include <stdexcept>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace subforge::describe {
namespace {

std::string schema_of(Shape shape) {
  std::string text;
  JsonWriter json(text);
  write_shape(json, shape);
  return text;
}

std::string fault_of(std::string_view message, Shape shape) {
  auto const fault = find_fault(boost::json::parse(message).as_object(), shape);
  return fault ? fault->text : "";
}

TEST(Shape, IsWrittenAsJsonSchema) {
  EXPECT_EQ(schema_of("a:text b?:integer|null"),
            R"({"type":"object","properties":{"a":{"type":"string"},)"
            R"("b":{"anyOf":[{"type":"integer"},{"type":"null"}]}},"required":["a"]})");
  EXPECT_EQ(schema_of("AgentV2"), R"({"$ref":"#/components/schemas/AgentV2"})");
  EXPECT_EQ(schema_of("*"), R"({"type":"object","properties":{},"additionalProperties":true})");
  EXPECT_EQ(schema_of("x=a; x=b"),
            R"({"oneOf":[{"type":"object",)"
            R"("properties":{"x":{"type":"string","const":"a"}},"required":["x"]},)"
            R"({"type":"object",)"
            R"("properties":{"x":{"type":"string","const":"b"}},"required":["x"]}]})");
  EXPECT_EQ(schema_of("any"), "{}");
  EXPECT_EQ(schema_of("object"), R"({"type":"object"})");
  EXPECT_EQ(schema_of("[id]"), R"({"type":"array","items":{"type":"string","format":"uuid"}})");
  EXPECT_EQ(schema_of("l:[{n:number|null m:[text]}]"),
            R"({"type":"object","properties":{"l":{"type":"array","items":{"type":"object",)"
            R"("properties":{"n":{"anyOf":[{"type":"number"},{"type":"null"}]},)"
            R"("m":{"type":"array","items":{"type":"string"}}},"required":["n","m"]}}},)"
            R"("required":["l"]})");
}

TEST(Shape, OneTextOfSomeIsAnEnumeration) {
  EXPECT_EQ(schema_of("state?=up|down"),
            R"({"type":"object","properties":{"state":{"type":"string","enum":["up","down"]}}})");
  EXPECT_EQ(fault_of(R"({"state":"down"})", "state=up|down"), "");
  EXPECT_EQ(fault_of(R"({"state":"left"})", "state=up|down"), "state must be up or down");
  EXPECT_EQ(fault_of(R"({"state":null})", "state=up|down"), "state must be up or down");
}

TEST(Shape, NoTextHasANul) {
  EXPECT_EQ(fault_of(R"({"room":"a\u0000b"})", "room:text"), "room must be text without U+0000");
  EXPECT_EQ(fault_of(R"({"room":"a\u0000b"})", "room?:text|null"),
            "room must be text or null without U+0000");
  EXPECT_EQ(fault_of(R"({"room":"a\u0000b"})", "room:any"), "");
}

TEST(Shape, MembersOfAMapHaveAnyNameAndOneType) {
  EXPECT_EQ(schema_of("by:{*:integer}"),
            R"({"type":"object","properties":{"by":{"type":"object",)"
            R"("additionalProperties":{"type":"integer"}}},"required":["by"]})");
  EXPECT_EQ(schema_of("by:{*:{a:text}}|null"),
            R"({"type":"object","properties":{"by":{"anyOf":[{"type":"object",)"
            R"("additionalProperties":{"type":"object","properties":{"a":{"type":"string"}},)"
            R"("required":["a"]}},{"type":"null"}]}},"required":["by"]})");
  EXPECT_EQ(fault_of(R"({"by":{}})", "by:{*:integer}"), "");
  EXPECT_EQ(fault_of(R"({"by":{"a":1,"b b":2}})", "by:{*:integer}"), "");
  EXPECT_EQ(fault_of(R"({"by":{"a":1,"b":"2"}})", "by:{*:integer}"), "by must be an object");
  EXPECT_EQ(fault_of(R"({"by":[]})", "by:{*:integer}"), "by must be an object");
}

TEST(Shape, ASentenceDescribesTheMemberBeforeIt) {
  EXPECT_EQ(schema_of("n:integer(Bytes, of [all]; {a|b: c}.) t?=a|b(Which (one).) o:{m:text(In.)}"),
            R"({"type":"object","properties":{)"
            R"("n":{"type":"integer","description":"Bytes, of [all]; {a|b: c}."},)"
            R"("t":{"type":"string","enum":["a","b"],"description":"Which (one)."},)"
            R"("o":{"type":"object","properties":{"m":{"type":"string","description":"In."}},)"
            R"("required":["m"]}},"required":["n","o"]})");
  EXPECT_EQ(schema_of("a:Thing|null(Out.)"),
            R"({"type":"object","properties":{"a":{"anyOf":[)"
            R"({"$ref":"#/components/schemas/Thing"},{"type":"null"}],)"
            R"("description":"Out."}},"required":["a"]})");
  EXPECT_EQ(fault_of(R"({"n":1.5})", "n:integer(Bytes.)"), "n must be a whole number");
}

TEST(Shape, NamesTheFirstMemberThatIsWrong) {
  constexpr Shape kShape = "room:text n?:integer|null list?:[text] in?:{a:boolean} kind?=it *";
  EXPECT_EQ(fault_of(R"({"room":"r"})", kShape), "");
  EXPECT_EQ(
      fault_of(R"({"room":"r","n":null,"list":[],"in":{"a":true},"kind":"it","z":1})", kShape), "");
  EXPECT_EQ(fault_of("{}", kShape), "room is missing");
  EXPECT_EQ(fault_of(R"({"room":5})", kShape), "room must be text");
  EXPECT_EQ(fault_of(R"({"room":"r","n":1.5})", kShape), "n must be a whole number or null");
  EXPECT_EQ(fault_of(R"({"room":"r","list":["a",1]})", kShape),
            "list must be a list, each of it text");
  EXPECT_EQ(fault_of(R"({"room":"r","in":{}})", kShape), "in.a is missing");
  EXPECT_EQ(fault_of(R"({"room":"r","in":{"a":1}})", kShape), "in.a must be true or false");
  EXPECT_EQ(fault_of(R"({"room":"r","in":[]})", kShape), "in must be an object");
  EXPECT_EQ(fault_of(R"({"room":"r","kind":"that"})", kShape), "kind must be it");
  EXPECT_EQ(fault_of(R"({"in":{"list":"a"}})", "in?:{list?:[text]}|null"),
            "in.list must be a list, each of it text");
  EXPECT_EQ(fault_of(R"({"in":[]})", "in?:{list?:[text]}|null"), "in must be an object or null");
  EXPECT_EQ(fault_of(R"({"in":{}})", "in:{a:text}|{b:text}"), "in must be an object or an object");
  EXPECT_EQ(fault_of(R"({"in":{"list":"a"}})", "in?:{list?:[text]}|null"),
            "in.list must be a list, each of it text");
  EXPECT_EQ(fault_of(R"({"in":[]})", "in?:{list?:[text]}|null"), "in must be an object or null");
  EXPECT_EQ(fault_of(R"({"in":{}})", "in:{a:text}|{b:text}"), "in must be an object or an object");
  EXPECT_EQ(fault_of(R"({"data":[]})", "data?:HistoryQuestion|null"),
            "data must be an object or null");
}

TEST(Shape, AMistakeInOneIsABug) {
  EXPECT_THROW(schema_of("a:txt"), std::logic_error);
  EXPECT_THROW(schema_of("a"), std::logic_error);
  EXPECT_THROW(schema_of("a:text b"), std::logic_error);
  EXPECT_THROW(schema_of("by:{*:whole}"), std::logic_error);
}

}  // namespace
}  // namespace subforge::describe
