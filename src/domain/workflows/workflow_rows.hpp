// The tables of workflows, steps, attempts and totals. Totals follow each change of a row inside
// its transaction, so that counts and averages never need a scan.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "domain/workflows/workflow.hpp"
#include "store/store.hpp"

namespace subforge::domain {

// What the totals keep of a workflow; taken before a change and given to the write after it.
struct WorkflowMark {
  WorkflowStatus status = WorkflowStatus::active;
  bool is_template = false;
  std::int64_t progress = 0;  // Millionths of a percent: sums of integers stay exact.
  std::int64_t success = 0;
  std::string type_count = {};       // The name of the count of its type.
  std::int64_t completed_hours = 0;  // Millionths.

  friend bool operator==(WorkflowMark const&, WorkflowMark const&) = default;
};
// Counts beside the totals (store/counts.hpp): of each type, and hours that completed ones took.
inline constexpr std::string_view kWorkflowTypes = "workflow_types";
inline constexpr std::string_view kWorkflowHours = "workflows.completed_hours";
[[nodiscard]] WorkflowMark mark_of(Workflow const& workflow);

// Sums over workflows of one status, or of all.
struct WorkflowTotals {
  std::int64_t workflows = 0;
  std::int64_t templates = 0;
  std::int64_t progress = 0;
  std::int64_t success = 0;
};

// Which attempt at which step a task is.
struct StepAttempt {
  Uuid workflow_id;
  std::int64_t position = 0;
  std::int64_t attempt = 0;
};

// The columns of a workflow in a SELECT, for read_row.
[[nodiscard]] std::string const& workflow_columns();

// Error: not_found.
Task<Result<Workflow>> select_workflow(store::Session& session, Uuid id);
// Fills in the steps of each.
Task<Result<void>> select_steps(store::Session& session, std::span<Workflow> workflows);

Task<Result<void>> insert_workflow(store::Transaction& transaction, Workflow const& workflow);
Task<Result<void>> update_workflow(store::Transaction& transaction, WorkflowMark before,
                                   Workflow const& workflow);
// With its steps and attempts.
Task<Result<void>> delete_workflow(store::Transaction& transaction, Workflow const& workflow);
// Replaces all steps.
Task<Result<void>> replace_steps(store::Transaction& transaction, Workflow const& workflow);
Task<Result<void>> update_step(store::Transaction& transaction, WorkflowStep const& step);

Task<Result<void>> insert_attempt(store::Transaction& transaction, Uuid task_id,
                                  StepAttempt attempt);
Task<Result<std::optional<StepAttempt>>> select_attempt(store::Session& session, Uuid task_id);
Task<Result<void>> delete_attempt(store::Transaction& transaction, Uuid task_id);

// Of workflows with `status`; of all if none is given.
Task<Result<WorkflowTotals>> select_totals(store::Session& session,
                                           std::optional<WorkflowStatus> status);

// The name of the agent with this id; nothing if there is none.
Task<Result<std::optional<std::string>>> select_agent_name(store::Session& session, Uuid id);

}  // namespace subforge::domain
