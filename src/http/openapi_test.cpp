#include "http/openapi.hpp"

#include <boost/json/parse.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace subforge::http {
namespace {

namespace json = boost::json;
using testing::ElementsAre;

void thing_schema(JsonWriter& out) {
  out.member("type", "object");
  out.member_raw("properties", R"({"name":{"type":"string"}})");
}
void other_schema(JsonWriter& out) { out.member("type", "string"); }

Schema const kThing{"Thing", &thing_schema};

Route row(net::Method method, std::string path, std::string name) {
  Route route;
  route.method = method;
  route.path = std::move(path);
  route.name = std::move(name);
  route.summary = "Does something";
  route.tag = "things";
  route.access = Access::open;
  route.answers = {{200, "Done.", kThing}};
  return route;
}

DocumentInfo const kInfo{
    "Name", "1.2.3",    "What \"it\" is.",
    "None", "/licence", {{"unused", "Nobody has it."}, {"things", "All about things."}}};

json::value document(std::vector<Route> const& routes) {
  return json::parse(openapi_document(kInfo, routes));
}

std::vector<std::string> keys(json::value const& object) {
  std::vector<std::string> names;
  for (auto const& member : object.as_object()) names.emplace_back(member.key());
  return names;
}

TEST(OpenApi, SaysWhatTheServerIsAndNamesTheTagsInUse) {
  auto routes = std::vector{row(net::Method::get, "/a", "a"), row(net::Method::get, "/b", "b")};
  routes[1].tag = "rest";
  auto const value = document(routes);
  EXPECT_EQ(value.at("openapi"), "3.1.0");
  EXPECT_EQ(value.at("info").at("title"), "Name");
  EXPECT_EQ(value.at("info").at("version"), "1.2.3");
  EXPECT_EQ(value.at("info").at("description"), "What \"it\" is.");
  EXPECT_EQ(value.at("info").at("license").at("url"), "/licence");
  EXPECT_EQ(value.at("tags"), json::parse(R"([{"name":"things","description":"All about things."},
                                              {"name":"rest"}])"));
}

TEST(OpenApi, GathersTheMethodsOfAPathAndDropsTheTrailingSlash) {
  auto const value = document(
      {row(net::Method::get, "/things/", "list"), row(net::Method::get, "/", "front"),
       row(net::Method::post, "/things", "create"), row(net::Method::del, "/things", "clear")});
  EXPECT_THAT(keys(value.at("paths")), ElementsAre("/things", "/"));
  auto const& things = value.at("paths").at("/things");
  EXPECT_THAT(keys(things), ElementsAre("get", "post", "delete"));
  EXPECT_EQ(things.at("post").at("operationId"), "create");
}

TEST(OpenApi, LeavesOutRowsThatAreNotForIt) {
  auto routes = std::vector{row(net::Method::get, "/a", "a"), row(net::Method::get, "/b", "b")};
  routes[1].in_document = false;
  routes[1].answers = {{200, "Done.", {"Hidden", &other_schema}}};
  auto const value = document(routes);
  EXPECT_THAT(keys(value.at("paths")), ElementsAre("/a"));
  EXPECT_THAT(keys(value.at("components").at("schemas")),
              ElementsAre("Thing", "Problem", "ValidationIssue"));
}

TEST(OpenApi, DescribesParameters) {
  using Type = Parameter::Type;
  auto route = row(net::Method::get, "/things/{id}", "get");
  route.path_parameters = {{.name = "id", .type = Type::uuid, .doc = "Which."}};
  route.query = {
      {.name = "limit", .type = Type::integer, .doc = {}, .fallback = 5, .least = 1, .most = 9},
      {.name = "order", .type = Type::choice, .doc = {}, .choices = {"asc", "desc"}},
      {.name = "all", .type = Type::boolean, .doc = {}},
      {.name = "since", .type = Type::timestamp, .doc = {}},
      {.name = "q", .type = Type::text, .doc = {}}};
  auto const value = document({route});
  EXPECT_EQ(value.at("paths").at("/things/{id}").at("get").at("parameters"), json::parse(R"([
    {"name":"id","in":"path","required":true,"description":"Which.",
     "schema":{"type":"string","format":"uuid"}},
    {"name":"limit","in":"query","required":false,
     "schema":{"type":"integer","default":5,"minimum":1,"maximum":9}},
    {"name":"order","in":"query","required":false,
     "schema":{"type":"string","enum":["asc","desc"]}},
    {"name":"all","in":"query","required":false,"schema":{"type":"boolean"}},
    {"name":"since","in":"query","required":false,
     "schema":{"type":"string","format":"date-time"}},
    {"name":"q","in":"query","required":false,"schema":{"type":"string"}}])"));
}

TEST(OpenApi, DescribesFieldsThatRoutesRead) {
  auto route = row(net::Method::get, "/things", "get");
  route.reads = {"upload-offset", "range"};
  auto const value = document({route});
  auto const& parameters = value.at("paths").at("/things").at("get").at("parameters").as_array();
  ASSERT_EQ(parameters.size(), 2U);
  EXPECT_EQ(parameters[0].at("name"), "Upload-Offset");
  EXPECT_EQ(parameters[0].at("in"), "header");
  EXPECT_EQ(parameters[0].at("required"), true);
  EXPECT_EQ(parameters[0].at("schema").at("type"), "integer");
  EXPECT_EQ(parameters[1].at("name"), "Range");
  EXPECT_EQ(parameters[1].at("required"), false);
  route.reads = {"x-unknown"};
  EXPECT_THROW(document({route}), std::logic_error);
}

TEST(OpenApi, ConditionalRoutesTakeIfMatchAndMayAnswer412) {
  auto plain = row(net::Method::put, "/things/{id}", "put");
  plain.path_parameters = {{.name = "id", .doc = {}}};
  auto conditional = row(net::Method::del, "/things/{id}", "delete");
  conditional.path_parameters = plain.path_parameters;
  conditional.conditional = true;
  auto const value = document({plain, conditional});
  auto const& item = value.at("paths").at("/things/{id}");
  EXPECT_EQ(item.at("put").at("parameters").as_array().size(), 1U);
  EXPECT_FALSE(item.at("put").at("responses").as_object().contains("412"));
  auto const& parameters = item.at("delete").at("parameters").as_array();
  ASSERT_EQ(parameters.size(), 2U);
  EXPECT_EQ(parameters[1].at("name"), "If-Match");
  EXPECT_EQ(parameters[1].at("in"), "header");
  EXPECT_TRUE(item.at("delete").at("responses").as_object().contains("412"));
}

TEST(OpenApi, PostsOfCoroutinesTakeAnIdempotencyKey) {
  auto sync = row(net::Method::post, "/sync", "sync");
  auto async = row(net::Method::post, "/async", "async");
  async.handler = AsyncHandler([](Request const&) -> Task<Response> { co_return Response{}; });
  auto once = async;
  once.path = "/once";
  once.name = "once";
  once.repeatable = false;
  auto const value = document({sync, async, once});
  auto const& paths = value.at("paths");
  EXPECT_FALSE(paths.at("/sync").at("post").as_object().contains("parameters"));
  EXPECT_FALSE(paths.at("/once").at("post").as_object().contains("parameters"));
  auto const& operation = paths.at("/async").at("post");
  EXPECT_EQ(operation.at("parameters").at(0).at("name"), "Idempotency-Key");
  EXPECT_THAT(keys(operation.at("responses")), ElementsAre("200", "400", "409", "422", "default"));
}

TEST(OpenApi, DerivesTheStandardAnswersFromTheRow) {
  auto plain = row(net::Method::get, "/plain", "plain");
  auto guarded = row(net::Method::get, "/guarded", "guarded");
  guarded.access = Access::write;
  auto limited = row(net::Method::get, "/limited", "limited");
  limited.limit.per_minute = 3;
  auto asked = row(net::Method::get, "/asked", "asked");
  asked.query = {{.name = "q", .doc = {}}};
  auto posted = row(net::Method::post, "/posted", "posted");
  posted.body = BodySpec{kThing};
  auto uploaded = row(net::Method::post, "/uploaded", "uploaded");
  uploaded.body = BodySpec{kThing, "multipart/form-data"};

  auto const value = document({plain, guarded, limited, asked, posted, uploaded});
  auto const answers = [&](char const* path, char const* method) {
    return keys(value.at("paths").at(path).at(method).at("responses"));
  };
  EXPECT_THAT(answers("/plain", "get"), ElementsAre("200", "400", "default"));
  EXPECT_THAT(answers("/guarded", "get"), ElementsAre("200", "400", "401", "403", "default"));
  EXPECT_THAT(answers("/limited", "get"), ElementsAre("200", "400", "429", "default"));
  EXPECT_THAT(answers("/asked", "get"), ElementsAre("200", "400", "422", "default"));
  EXPECT_THAT(answers("/posted", "post"),
              ElementsAre("200", "400", "413", "415", "422", "default"));
  EXPECT_THAT(answers("/uploaded", "post"), ElementsAre("200", "400", "413", "422", "default"));
  auto const& limit = value.at("components").at("responses").at("TooManyRequests");
  EXPECT_TRUE(limit.at("headers").as_object().contains("Retry-After"));
  auto const& content = value.at("paths").at("/uploaded").at("post").at("requestBody");
  EXPECT_THAT(keys(content.at("content")), ElementsAre("multipart/form-data"));
}

TEST(OpenApi, LeavesOutStandardAnswersThatNobodyRefersTo) {
  auto const value = document({row(net::Method::get, "/plain", "plain")});
  EXPECT_THAT(keys(value.at("components").at("responses")), ElementsAre("BadRequest", "Failure"));
}

TEST(OpenApi, TakesARowsOwnAnswersFirst) {
  auto route = row(net::Method::post, "/things", "create");
  route.access = Access::read;
  route.answers = {{201, "Made.", kThing, Shape::list},
                   {401, "No key."},
                   {503, "Down.", {"Down", &other_schema}},
                   {.status = 204, .doc = "Nothing."}};
  auto const value = document({route});
  auto const& responses = value.at("paths").at("/things").at("post").at("responses");
  EXPECT_EQ(responses.at("201").at("content").at("application/json").at("schema"),
            json::parse(R"({"type":"array","items":{"$ref":"#/components/schemas/Thing"}})"));
  EXPECT_EQ(responses.at("401").at("description"), "No key.");
  EXPECT_EQ(responses.at("401").at("content").at("application/json").at("schema").at("$ref"),
            "#/components/schemas/Problem");
  EXPECT_EQ(responses.at("503").at("content").at("application/json").at("schema").at("$ref"),
            "#/components/schemas/Down");
  EXPECT_FALSE(responses.at("204").as_object().contains("content"));
  EXPECT_EQ(responses.at("403").at("$ref"), "#/components/responses/Forbidden");
}

TEST(OpenApi, ASchemaMayBeALineWithParts) {
  auto route = row(net::Method::get, "/pages", "pages");
  Schema const part{"Part", "number:integer"};
  route.answers = {{200, "Them.", {"Pages", "things:[Thing] part:Part|null", {part}}, Shape::list},
                   {404, "None.", {"NoPages", "why:text", {part}}}};
  auto const value = document({row(net::Method::get, "/things", "things"), route});
  auto const& schemas = value.at("components").at("schemas");
  EXPECT_THAT(keys(schemas),
              ElementsAre("Thing", "Pages", "Part", "NoPages", "Problem", "ValidationIssue"));
  EXPECT_EQ(schemas.at("Pages"), json::parse(R"({"type":"object","properties":{
    "things":{"type":"array","items":{"$ref":"#/components/schemas/Thing"}},
    "part":{"anyOf":[{"$ref":"#/components/schemas/Part"},{"type":"null"}]}},
    "required":["things","part"]})"));
  EXPECT_EQ(schemas.at("Part").at("required"), json::parse(R"(["number"])"));
}

TEST(OpenApi, AsksForCredentialsOnlyWhereTheyAreNeeded) {
  auto guarded = row(net::Method::get, "/guarded", "guarded");
  guarded.access = Access::read;
  auto const value = document({row(net::Method::get, "/open", "open"), guarded});
  auto const& paths = value.at("paths");
  EXPECT_EQ(paths.at("/open").at("get").at("security"), json::parse("[]"));
  EXPECT_EQ(paths.at("/guarded").at("get").at("security"), json::parse(R"([{"bearer":[]}])"));
  EXPECT_EQ(value.at("components").at("securitySchemes").at("bearer").at("scheme"), "bearer");
}

TEST(OpenApi, RefusesWhatOnlyABugCanAskFor) {
  auto first = row(net::Method::get, "/a", "a");
  auto second = row(net::Method::get, "/b", "b");
  second.answers.front().schema.content = &other_schema;  // Under the same name.
  EXPECT_THROW(document({first, second}), std::logic_error);
  second.answers.front().schema = {"Seconds", "first:First"};
  EXPECT_THROW(document({first, second}), std::logic_error);
  first.answers.clear();
  EXPECT_THROW(document({first}), std::logic_error);
}

}  // namespace
}  // namespace subforge::http
