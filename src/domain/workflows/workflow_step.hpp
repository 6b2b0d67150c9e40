// A step of a workflow: a node of a checked acyclic graph, and where its present run stands.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/time.hpp"
#include "base/uuid.hpp"
#include "describe/record.hpp"

namespace subforge::domain {

enum class StepStatus : std::uint8_t { pending, running, completed, failed, cancelled };

constexpr std::array<std::pair<StepStatus, std::string_view>, 5> names_of(StepStatus) {
  using enum StepStatus;
  return {{{pending, "pending"},
           {running, "running"},
           {completed, "completed"},
           {failed, "failed"},
           {cancelled, "cancelled"}}};
}

inline constexpr std::int64_t kStepTimeoutSecondsMax = 30 * 24 * 3600;
inline constexpr std::int64_t kStepRetriesMax = 100;

struct WorkflowStep {
  Uuid workflow_id;
  std::int64_t position = 0;
  std::string key;  // Its id, as the client names it; unique within the workflow.
  std::string name;
  std::string task_template;
  std::optional<Uuid> agent_id;
  std::vector<std::string> dependencies;
  std::int64_t timeout = 300;
  std::int64_t max_retries = 3;
  StepStatus status = StepStatus::pending;
  std::int64_t attempts = 0;
  std::optional<Uuid> task_id;           // Of the newest attempt.
  std::optional<Timestamp> deadline_at;  // Only while an attempt is under way.
  std::optional<Timestamp> started_at;
  std::optional<Timestamp> completed_at;
  std::optional<describe::JsonText> output;

  static constexpr auto describe();
};

[[nodiscard]] std::int64_t retry_count(WorkflowStep const& step);

constexpr auto WorkflowStep::describe() {
  using describe::field;
  using describe::property;
  using S = WorkflowStep;
  return describe::fields(
      field("workflow_id", &S::workflow_id).internal(), field("position", &S::position).internal(),
      field("step_key", &S::key)
          .length(1, 100)
          .required()
          .v2({.out = "id", .in = "id"})
          .doc("Unique within the workflow; dependencies name it."),
      field("name", &S::name).length(1, 255).required().writable(),
      field("task_template", &S::task_template)
          .length(1, 20'000)
          .required()
          .writable()
          .doc("What the agent is to do; the description of the step's task."),
      field("agent_id", &S::agent_id).writable(),
      field("dependencies", &S::dependencies)
          .writable()
          .doc("Ids of the steps that have to be completed before."),
      field("timeout", &S::timeout)
          .range(1, kStepTimeoutSecondsMax)
          .writable()
          .doc("Seconds for one attempt."),
      property("retry_count", &retry_count).v2({.out = "retry_count"}),
      field("max_retries", &S::max_retries).range(0, kStepRetriesMax).writable(),
      field("status", &S::status), field("attempts", &S::attempts).internal(),
      field("task_id", &S::task_id).doc("The task of the newest attempt."),
      field("deadline_at", &S::deadline_at), field("started_at", &S::started_at),
      field("completed_at", &S::completed_at),
      field("output", &S::output).doc("What the agent reported; offered to the steps after it."));
}

}  // namespace subforge::domain
