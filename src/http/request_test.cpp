#include "http/request.hpp"

#include <gtest/gtest.h>

#include "http/route.hpp"

namespace subforge::http {
namespace {

TEST(Query, DecodesPairsAndTheLastOneCounts) {
  auto const query = Query::parse("a=1&b=x+y%20z&&empty=&flag&a=2");
  ASSERT_TRUE(query);
  EXPECT_EQ("2", query->find("a"));
  EXPECT_EQ("x y z", query->find("b"));
  EXPECT_EQ("", query->find("empty"));
  EXPECT_EQ("", query->find("flag"));
  EXPECT_FALSE(query->find("missing"));
}

TEST(Query, RefusesWhatCannotBeText) {
  for (auto const* raw : {"a=%", "a=%2", "a=%zz", "a=%ff", "a=%00"}) {
    EXPECT_FALSE(Query::parse(raw)) << raw;
  }
  std::string many;
  for (int i = 0; i < 201; ++i) many += "a=1&";
  EXPECT_FALSE(Query::parse(many));
}

class ParameterTest : public testing::Test {
 protected:
  ParameterTest() {
    using Type = Parameter::Type;
    route_.query = {
        {.name = "n", .type = Type::integer, .doc = "", .fallback = 7, .least = 0, .most = 10},
        {.name = "b", .type = Type::boolean, .doc = ""},
        {.name = "c", .type = Type::choice, .doc = "", .choices = {"asc", "desc"}},
        {.name = "t", .type = Type::timestamp, .doc = ""},
        {.name = "s", .type = Type::text, .doc = ""}};
    route_.path_parameters = {{.name = "id", .type = Type::uuid, .doc = ""}};
    request_.route = &route_;
    request_.path_values = {"1b4e28ba-2fa1-41d2-883f-0016d3cca427"};
  }
  // The types of all issues, joined.
  std::string issues(std::string_view query) {
    request_.query = *Query::parse(query);
    describe::Issues found;
    check_parameters(request_, found);
    std::string types;
    for (auto const& issue : found.list()) {
      types += issue.type + "@" + std::get<std::string>(issue.loc.back()) + " ";
    }
    return types;
  }
  Route route_;
  Request request_;
};

TEST_F(ParameterTest, ChecksWhatIsDeclared) {
  EXPECT_EQ("", issues("n=5&b=YES&c=asc&t=2026-01-02T03:04:05Z&s=&other=1"));
  EXPECT_EQ("int_parsing@n ", issues("n=abc"));
  EXPECT_EQ("int_parsing@n ", issues("n="));
  EXPECT_EQ("int_parsing@n ", issues("n=99999999999999999999"));
  EXPECT_EQ("greater_than_equal@n ", issues("n=-1"));
  EXPECT_EQ("less_than_equal@n ", issues("n=11"));
  EXPECT_EQ("bool_parsing@b string_pattern_mismatch@c ", issues("b=maybe&c=up"));
  EXPECT_EQ("datetime_parsing@t ", issues("t=yesterday"));
  request_.path_values = {"nonsense"};
  EXPECT_EQ("uuid_parsing@id ", issues(""));
}

TEST_F(ParameterTest, GivesTypedValues) {
  (void)issues("n=%2B3&b=off&s=");
  EXPECT_EQ(3, request_.integer("n"));
  EXPECT_EQ(false, request_.boolean("b"));
  EXPECT_FALSE(request_.text("s"));
  (void)issues("");
  EXPECT_EQ(7, request_.integer("n"));
  EXPECT_FALSE(request_.boolean("b"));
}

TEST(JsonBody, SaysWhatIsWrongAndWhere) {
  Request request;
  auto const status = [&](std::string body, std::string type = "application/json") {
    request.body = std::move(body);
    request.content_type = std::move(type);
    auto const parsed = parse_json_body(request);
    return parsed ? 200 : parsed.error().status;
  };
  EXPECT_EQ(200, status("{}"));
  EXPECT_EQ(200, status(" [1] ", ""));
  EXPECT_EQ(200, status("{}", "Application/JSON; charset=utf-8"));
  EXPECT_EQ(200, status("{}", "application/merge-patch+json"));
  EXPECT_EQ(415, status("a=1", "application/x-www-form-urlencoded"));
  EXPECT_EQ(422, status(""));
  EXPECT_EQ(422, status("{"));
  EXPECT_EQ(422, status("{} {}"));
  EXPECT_EQ(422, status("\"\xff\""));
  EXPECT_EQ(422, status(std::string(100, '[') + std::string(100, ']')));
}

}  // namespace
}  // namespace subforge::http
