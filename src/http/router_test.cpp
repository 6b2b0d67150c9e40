#include "http/router.hpp"

#include <gtest/gtest.h>

namespace subforge::http {
namespace {

Route row(net::Method method, std::string path, std::size_t parameters = 0) {
  Route route;
  route.method = method;
  route.path = path;
  route.name = path;
  route.path_parameters.resize(parameters);
  return route;
}

class RouterTest : public testing::Test {
 protected:
  std::vector<Route> const routes_ = {
      row(net::Method::get, "/"),
      row(net::Method::get, "/api/agents/"),
      row(net::Method::post, "/api/agents/"),
      row(net::Method::get, "/api/agents/stats"),
      row(net::Method::get, "/api/agents/{id}", 1),
      row(net::Method::put, "/api/agents/{id}", 1),
      row(net::Method::get, "/api/agents/{id}/tasks/{task}", 2),
      row(net::Method::get, "/api/agents/stats/summary"),
  };
  Router const router_{routes_};
};

TEST_F(RouterTest, FindsRoutes) {
  struct Case {
    net::Method method;
    std::string_view path;
    int index;  // -1: unknown path, -2: other methods only.
    std::vector<std::string_view> values;
  };
  Case const cases[] = {
      {net::Method::get, "/", 0, {}},
      {net::Method::get, "/api/agents", 1, {}},
      {net::Method::get, "/api/agents/", 1, {}},
      {net::Method::head, "/api/agents/", 1, {}},
      {net::Method::post, "/api/agents", 2, {}},
      {net::Method::get, "/api/agents/stats", 3, {}},
      {net::Method::get, "/api/agents/42", 4, {"42"}},
      {net::Method::get, "/api/agents/42/", 4, {"42"}},
      {net::Method::put, "/api/agents/42", 5, {"42"}},
      {net::Method::get, "/api/agents/42/tasks/7", 6, {"42", "7"}},
      {net::Method::get, "/api/agents/stats/summary", 7, {}},
      // A literal that leads nowhere gives way to the parameter.
      {net::Method::get, "/api/agents/stats/tasks/7", 6, {"stats", "7"}},
      {net::Method::del, "/api/agents/42", -2, {}},
      {net::Method::other, "/api/agents/42", -2, {}},
      {net::Method::get, "/api/agents/42/tasks", -1, {}},
      {net::Method::get, "/api", -1, {}},
      {net::Method::get, "/api//42", -1, {}},
      {net::Method::get, "*", -1, {}},
  };
  for (auto const& c : cases) {
    auto const match = router_.find(c.method, c.path);
    EXPECT_EQ(c.index != -1, match.path_known) << c.path;
    ASSERT_EQ(c.index >= 0, match.route != nullptr) << c.path;
    if (match.route == nullptr) continue;
    EXPECT_EQ(static_cast<std::size_t>(c.index), match.index) << c.path;
    ASSERT_EQ(c.values.size(), match.values.count) << c.path;
    for (std::size_t i = 0; i < c.values.size(); ++i) {
      EXPECT_EQ(c.values[i], match.values.values[i]);
    }
  }
  EXPECT_EQ("GET, HEAD, PUT", router_.find(net::Method::del, "/api/agents/1").allow);
}

TEST_F(RouterTest, ContradictionsAreBugs) {
  std::vector<Route> const twice = {row(net::Method::get, "/a"), row(net::Method::get, "/a/")};
  EXPECT_THROW(Router{twice}, std::logic_error);
  std::vector<Route> const undeclared = {row(net::Method::get, "/{id}")};
  EXPECT_THROW(Router{undeclared}, std::logic_error);
}

}  // namespace
}  // namespace subforge::http
