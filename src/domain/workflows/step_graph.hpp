// What makes a list of steps one that can be run: unique ids, dependencies that exist, no cycle.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "base/result.hpp"
#include "describe/issues.hpp"
#include "domain/workflows/workflow_step.hpp"

namespace subforge::domain {

// Adds an issue for each id given twice, each dependency that is no step, and for too many steps.
bool check_steps(std::vector<WorkflowStep> const& steps, describe::Where const& where,
                 describe::Issues& issues);

// Error: conflict, naming a cycle. For steps that passed check_steps.
[[nodiscard]] Result<void> check_acyclic(std::vector<WorkflowStep> const& steps);

// "completed_tasks" and "total_tasks" of one body.
bool check_task_counts(boost::json::object const& body, describe::Where const& where,
                       describe::Issues& issues);

}  // namespace subforge::domain
