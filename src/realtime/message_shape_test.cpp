#include "realtime/message_shape.hpp"

#include <stdexcept>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "realtime/messages.hpp"

namespace subforge::realtime {
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

TEST(MessageShape, IsWrittenAsJsonSchema) {
  EXPECT_EQ(schema_of("a:text b?:integer|null"),
            R"({"type":"object","properties":{"a":{"type":"string"},)"
            R"("b":{"anyOf":[{"type":"integer"},{"type":"null"}]}},"required":["a"]})");
  EXPECT_EQ(schema_of("AgentV2"), R"({"$ref":"#/components/schemas/AgentV2"})");
  EXPECT_EQ(schema_of("*"), R"({"type":"object","properties":{},"additionalProperties":true})");
  EXPECT_EQ(schema_of("x=a; x=b"),
            R"({"oneOf":[{"type":"object","properties":{"x":{"const":"a"}},"required":["x"]},)"
            R"({"type":"object","properties":{"x":{"const":"b"}},"required":["x"]}]})");
  EXPECT_EQ(schema_of("l:[{n:number|null m:[text]}]"),
            R"({"type":"object","properties":{"l":{"type":"array","items":{"type":"object",)"
            R"("properties":{"n":{"anyOf":[{"type":"number"},{"type":"null"}]},)"
            R"("m":{"type":"array","items":{"type":"string"}}},"required":["n","m"]}}},)"
            R"("required":["l"]})");
}

TEST(MessageShape, NamesTheFirstMemberThatIsWrong) {
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
  EXPECT_EQ(fault_of(R"({"data":[]})", "data?:HistoryQuestion|null"),
            "data must be an object or null");
}

TEST(MessageShape, AMistakeInOneIsABug) {
  EXPECT_THROW(schema_of("a:txt"), std::logic_error);
  EXPECT_THROW(schema_of("a"), std::logic_error);
}

TEST(MessageShape, EveryRowCanBeWritten) {
  for (auto const& row : client_messages()) EXPECT_NO_THROW(schema_of(row.shape)) << row.type;
  for (auto const& row : server_messages()) EXPECT_NO_THROW(schema_of(row.shape)) << row.type;
}

}  // namespace
}  // namespace subforge::realtime
