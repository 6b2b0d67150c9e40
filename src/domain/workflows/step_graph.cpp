#include "domain/workflows/step_graph.hpp"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/json_writer.hpp"
#include "domain/workflows/workflow.hpp"

namespace subforge::domain {
namespace {

using describe::Issues;
using describe::Where;

std::string quoted(std::string_view text) {
  std::string json;
  append_json_string(json, text);
  return json;
}

void add_value_error(Where const& where, std::string sentence, std::string_view input,
                     Issues& issues) {
  issues.add(where, "value_error", "Value error, " + std::move(sentence), quoted(input));
}

using Positions = std::unordered_map<std::string_view, std::size_t>;

bool check_dependencies(WorkflowStep const& step, Positions const& known, Where const& item,
                        Issues& issues) {
  Where const list{&item, std::string_view("dependencies")};
  if (step.dependencies.size() > Workflow::kStepDependenciesMax) {
    issues.add(list, "too_long", "List should have at most 100 items");
    return false;
  }
  bool good = true;
  std::unordered_set<std::string_view> seen;
  for (std::size_t i = 0; i < step.dependencies.size(); ++i) {
    auto const& name = step.dependencies[i];
    Where const place{&list, static_cast<std::int64_t>(i)};
    if (!known.contains(name)) {
      add_value_error(place, "there is no step with this id", name, issues);
      good = false;
    } else if (!seen.insert(name).second) {
      add_value_error(place, "this dependency is named twice", name, issues);
      good = false;
    }
  }
  return good;
}

std::string cycle_sentence(std::vector<WorkflowStep> const& steps,
                           std::vector<std::size_t> const& path) {
  constexpr std::size_t kNamedMax = 10;
  std::string sentence = "Steps depend on each other in a cycle: ";
  for (std::size_t i = 0; i < std::min(path.size(), kNamedMax); ++i) {
    sentence += steps[path[i]].key + " -> ";
  }
  if (path.size() > kNamedMax) sentence += "... -> ";
  return sentence + steps[path.front()].key;
}

// From a step that is on a cycle or leads to one: each has a dependency that is not yet done, so
// that following those must come back to one seen before.
std::vector<std::size_t> follow_cycle(std::vector<WorkflowStep> const& steps,
                                      Positions const& positions, std::vector<bool> const& done,
                                      std::size_t at) {
  std::vector<std::size_t> path;
  while (std::ranges::find(path, at) == path.end()) {
    path.push_back(at);
    for (auto const& name : steps[at].dependencies) {
      auto const next = positions.at(name);
      if (done[next]) continue;
      at = next;
      break;
    }
  }
  path.erase(path.begin(), std::ranges::find(path, at));
  return path;
}

}  // namespace

bool check_steps(std::vector<WorkflowStep> const& steps, Where const& where, Issues& issues) {
  if (steps.size() > Workflow::kStepsMax) {
    issues.add(where, "too_long",
               "List should have at most " + std::to_string(Workflow::kStepsMax) + " items");
    return false;
  }
  Positions positions;
  bool good = true;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (positions.emplace(steps[i].key, i).second) continue;
    Where const item{&where, static_cast<std::int64_t>(i)};
    add_value_error({&item, std::string_view("id")}, "another step has the same id", steps[i].key,
                    issues);
    good = false;
  }
  for (std::size_t i = 0; i < steps.size(); ++i) {
    Where const item{&where, static_cast<std::int64_t>(i)};
    good = check_dependencies(steps[i], positions, item, issues) && good;
  }
  return good;
}

Result<void> check_acyclic(std::vector<WorkflowStep> const& steps) {
  Positions positions;
  for (std::size_t i = 0; i < steps.size(); ++i) positions.emplace(steps[i].key, i);
  std::vector<bool> done(steps.size());
  auto const is_done = [&](std::string const& name) { return done[positions.at(name)]; };
  // At most a hundred steps, so that plain rounds are quick enough.
  for (bool moved = true; moved;) {
    moved = false;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      if (done[i] || !std::ranges::all_of(steps[i].dependencies, is_done)) continue;
      done[i] = moved = true;
    }
  }
  auto const stuck = std::ranges::find(done, false);
  if (stuck == done.end()) return {};
  auto const first = static_cast<std::size_t>(stuck - done.begin());
  auto const path = follow_cycle(steps, positions, done, first);
  return fail(ErrorCode::conflict, cycle_sentence(steps, path));
}

bool check_task_counts(boost::json::object const& body, Where const& where, Issues& issues) {
  auto const* total = body.if_contains("total_tasks");
  auto const* completed = body.if_contains("completed_tasks");
  if (total == nullptr || completed == nullptr) return true;
  if (!total->is_int64() || !completed->is_int64()) return true;  // Reported where it is wrong.
  if (completed->get_int64() <= total->get_int64()) return true;
  issues.add({&where, std::string_view("completed_tasks")}, "value_error",
             "Value error, completed_tasks cannot exceed total_tasks",
             std::to_string(completed->get_int64()));
  return false;
}

}  // namespace subforge::domain
