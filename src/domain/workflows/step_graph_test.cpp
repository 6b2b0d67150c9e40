// Graphs of steps: what is refused, and why.
#include "domain/workflows/step_graph.hpp"

#include <random>

#include <gtest/gtest.h>

#include "domain/workflows/workflow.hpp"

namespace subforge::domain {
namespace {

WorkflowStep step(std::string key, std::vector<std::string> dependencies = {}) {
  WorkflowStep made;
  made.key = std::move(key);
  made.dependencies = std::move(dependencies);
  return made;
}

std::size_t issues_of(std::vector<WorkflowStep> const& steps) {
  describe::Issues issues;
  EXPECT_EQ(check_steps(steps, {nullptr, "steps"}, issues), issues.empty());
  return issues.list().size();
}

std::string cycle_of(std::vector<WorkflowStep> const& steps) {
  auto const good = check_acyclic(steps);
  if (good) return {};
  EXPECT_EQ(good.error().code, ErrorCode::conflict);
  return good.error().message;
}

TEST(StepGraph, EverythingThatIsWrongIsTold) {
  EXPECT_EQ(issues_of({}), 0U);
  EXPECT_EQ(issues_of({step("a"), step("b", {"a"})}), 0U);
  EXPECT_EQ(issues_of({step("b", {"a"}), step("a")}), 0U) << "their order does not matter";
  EXPECT_EQ(issues_of({step("a"), step("a"), step("b", {"x", "a", "a", "y"})}), 4U);
  EXPECT_EQ(issues_of(std::vector(Workflow::kStepsMax + 1, step("a"))), 1U);
}

TEST(StepGraph, ACycleIsNamedWithoutWhatOnlyLeadsToIt) {
  EXPECT_EQ(cycle_of({step("a"), step("b", {"a"}), step("c", {"a", "b"})}), "");
  std::string const words = "Steps depend on each other in a cycle: ";
  EXPECT_EQ(cycle_of({step("a", {"a"})}), words + "a -> a");
  EXPECT_EQ(cycle_of({step("x", {"a"}), step("a", {"b"}), step("b", {"a"})}),
            words + "a -> b -> a");
}

// Whether some order puts every step behind its dependencies, found by trying the other way round.
bool has_cycle(std::vector<std::vector<bool>> reach) {
  auto const count = reach.size();
  for (std::size_t via = 0; via < count; ++via) {
    for (std::size_t from = 0; from < count; ++from) {
      for (std::size_t to = 0; to < count; ++to) {
        if (reach[from][via] && reach[via][to]) reach[from][to] = true;
      }
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (reach[i][i]) return true;
  }
  return false;
}

TEST(StepGraph, FindsACycleWhereThereIsOne) {
  std::mt19937 random(7);
  int cyclic = 0;
  for (int round = 0; round < 500; ++round) {
    auto const count = std::uniform_int_distribution<std::size_t>(1, 9)(random);
    std::bernoulli_distribution edge(0.15);
    std::vector reach(count, std::vector<bool>(count));
    std::vector<WorkflowStep> steps;
    for (std::size_t i = 0; i < count; ++i) {
      steps.push_back(step(std::to_string(i)));
      for (std::size_t other = 0; other < count; ++other) {
        if (!edge(random)) continue;
        reach[i][other] = true;
        steps.back().dependencies.push_back(std::to_string(other));
      }
    }
    bool const expected = has_cycle(reach);
    cyclic += expected ? 1 : 0;
    EXPECT_EQ(!cycle_of(steps).empty(), expected);
  }
  EXPECT_GT(cyclic, 50);
  EXPECT_LT(cyclic, 450);
}

}  // namespace
}  // namespace subforge::domain
