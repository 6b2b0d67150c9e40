// What is kept of work that has been done: runs of workflows, their phases, the handoffs between
// them, and how agents performed over a period. Each record is described once; the tables, version
// 1's answers and the OpenAPI schemas follow. Rates in here are fractions of 1.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "base/time.hpp"
#include "base/uuid.hpp"
#include "describe/record.hpp"

namespace subforge::domain {

enum class RunStatus : std::uint8_t { running, completed, failed, cancelled };
constexpr std::array<std::pair<RunStatus, std::string_view>, 4> names_of(RunStatus) {
  using enum RunStatus;
  return {{{running, "running"},
           {completed, "completed"},
           {failed, "failed"},
           {cancelled, "cancelled"}}};
}

enum class PhaseStatus : std::uint8_t { pending, running, completed, failed, skipped };
constexpr std::array<std::pair<PhaseStatus, std::string_view>, 5> names_of(PhaseStatus) {
  using enum PhaseStatus;
  return {{{pending, "pending"},
           {running, "running"},
           {completed, "completed"},
           {failed, "failed"},
           {skipped, "skipped"}}};
}

enum class HandoffStatus : std::uint8_t { pending, in_progress, completed, failed };
constexpr std::array<std::pair<HandoffStatus, std::string_view>, 4> names_of(HandoffStatus) {
  using enum HandoffStatus;
  return {{{pending, "pending"},
           {in_progress, "in_progress"},
           {completed, "completed"},
           {failed, "failed"}}};
}

// How something ended; absent while it goes on, and for what was skipped or cancelled.
enum class WorkResult : std::uint8_t { success, failure, partial };
constexpr std::array<std::pair<WorkResult, std::string_view>, 3> names_of(WorkResult) {
  using enum WorkResult;
  return {{{success, "success"}, {failure, "failure"}, {partial, "partial"}}};
}

struct PhaseCounts {
  std::int64_t total = 0;
  std::int64_t completed = 0;
  std::int64_t failed = 0;
  std::int64_t skipped = 0;
  static constexpr auto describe() {
    using describe::field;
    return describe::fields(field("total", &PhaseCounts::total).writable(),
                            field("completed", &PhaseCounts::completed).writable(),
                            field("failed", &PhaseCounts::failed).writable(),
                            field("skipped", &PhaseCounts::skipped).writable());
  }
};

struct TaskCounts {
  std::int64_t total = 0;
  std::int64_t completed = 0;
  std::int64_t failed = 0;
  static constexpr auto describe() {
    using describe::field;
    return describe::fields(field("total", &TaskCounts::total).writable(),
                            field("completed", &TaskCounts::completed).writable(),
                            field("failed", &TaskCounts::failed).writable());
  }
};

// One run of a workflow.
struct WorkflowHistory {
  Uuid id;
  Uuid workflow_id;
  std::string execution_id;           // Names the run; empty: made up when it is recorded.
  std::int64_t execution_number = 0;  // 0: the next of this workflow.
  std::string workflow_name{"Unknown Workflow"};
  std::optional<std::string> workflow_type{"default"};
  std::optional<std::string> project_id;
  std::optional<std::string> project_name;
  RunStatus status = RunStatus::completed;
  std::optional<WorkResult> final_result;
  Timestamp started_at;  // Zero: now.
  std::optional<Timestamp> completed_at;
  std::optional<double> duration_seconds;
  std::int64_t phases_total = 0;
  std::int64_t phases_completed = 0;
  std::int64_t phases_failed = 0;
  std::int64_t phases_skipped = 0;
  std::int64_t tasks_total = 0;
  std::int64_t tasks_completed = 0;
  std::int64_t tasks_failed = 0;
  double success_rate = 0;
  std::optional<double> quality_score;
  std::optional<double> efficiency_score;
  describe::JsonList agents_assigned;  // Objects with at least `id`, a text.
  describe::JsonText agents_performance;
  describe::JsonList errors;
  describe::JsonList warnings;
  describe::JsonList critical;
  std::int64_t critical_count = 0;  // Follows from `critical`.
  describe::JsonText resource_usage;
  std::optional<std::string> triggered_by;
  describe::JsonValue trigger_event;
  describe::JsonText configuration;
  describe::JsonText parameters;
  describe::JsonText environment_info;
  Timestamp created_at;
  Timestamp updated_at;

  static constexpr auto describe();
};

[[nodiscard]] PhaseCounts phase_counts(WorkflowHistory const& run);
[[nodiscard]] TaskCounts task_counts(WorkflowHistory const& run);

constexpr auto WorkflowHistory::describe() {
  using describe::field;
  using describe::property;
  using W = WorkflowHistory;
  return describe::fields(
      field("id", &W::id), field("workflow_id", &W::workflow_id),
      field("execution_id", &W::execution_id).doc("Names this one run."),
      field("execution_number", &W::execution_number).doc("Counts the runs of the workflow."),
      field("workflow_name", &W::workflow_name).v1({.out = "workflow.name"}),
      field("workflow_type", &W::workflow_type).v1({.out = "workflow.type"}),
      field("project_id", &W::project_id).v1({.out = "workflow.project_id"}),
      field("project_name", &W::project_name).v1({.out = "workflow.project_name"}),
      field("status", &W::status), field("final_result", &W::final_result),
      field("started_at", &W::started_at).v1({.out = "time_tracking.started_at"}),
      field("completed_at", &W::completed_at).v1({.out = "time_tracking.completed_at"}),
      field("duration_seconds", &W::duration_seconds).v1({.out = "time_tracking.duration_seconds"}),
      property("phases", &phase_counts).v1({.out = "progress.phases"}),
      property("tasks", &task_counts).v1({.out = "progress.tasks"}),
      field("phases_total", &W::phases_total).internal(),
      field("phases_completed", &W::phases_completed).internal(),
      field("phases_failed", &W::phases_failed).internal(),
      field("phases_skipped", &W::phases_skipped).internal(),
      field("tasks_total", &W::tasks_total).internal(),
      field("tasks_completed", &W::tasks_completed).internal(),
      field("tasks_failed", &W::tasks_failed).internal(),
      field("success_rate", &W::success_rate)
          .v1({.out = "quality_metrics.success_rate"})
          .doc("A fraction of 1."),
      field("quality_score", &W::quality_score).v1({.out = "quality_metrics.quality_score"}),
      field("efficiency_score", &W::efficiency_score)
          .v1({.out = "quality_metrics.efficiency_score"}),
      field("agents_assigned", &W::agents_assigned).v1({.out = "agents.assigned"}),
      field("agents_performance", &W::agents_performance).v1({.out = "agents.performance_summary"}),
      field("errors", &W::errors).v1({.out = "issues.errors"}),
      field("warnings", &W::warnings).v1({.out = "issues.warnings"}),
      field("critical", &W::critical).v1({.out = "issues.critical"}),
      field("critical_count", &W::critical_count).internal(),
      field("resource_usage", &W::resource_usage),
      field("triggered_by", &W::triggered_by).v1({.out = "trigger.by"}),
      field("trigger_event", &W::trigger_event).v1({.out = "trigger.event"}),
      field("configuration", &W::configuration).internal(),
      field("parameters", &W::parameters).internal(),
      field("environment_info", &W::environment_info).internal(),
      field("created_at", &W::created_at), field("updated_at", &W::updated_at));
}

// One phase of a run: for a workflow of steps, one step.
struct PhaseHistory {
  Uuid id;
  Uuid workflow_history_id;
  std::string phase_name{"Unknown Phase"};
  std::optional<std::string> phase_type{"default"};
  std::int64_t phase_order = 0;
  PhaseStatus status = PhaseStatus::completed;
  std::optional<WorkResult> result;
  std::optional<Timestamp> started_at;
  std::optional<Timestamp> completed_at;
  std::optional<double> duration_seconds;
  Timestamp sort_at;  // started_at, or created_at where it never started: what lists go by.
  std::optional<std::string> agent_id;
  std::optional<std::string> agent_name;
  std::optional<double> agent_utilization;
  describe::JsonText config;
  describe::JsonText input;
  describe::JsonText output;
  std::optional<double> quality_score;
  std::optional<double> performance_score;
  std::int64_t tasks_total = 0;
  std::int64_t tasks_completed = 0;
  std::int64_t tasks_failed = 0;
  describe::JsonList dependencies;
  describe::JsonList dependents;
  describe::JsonList errors;
  describe::JsonList warnings;
  std::int64_t error_count = 0;    // Follows from `errors`,
  std::int64_t warning_count = 0;  // and this from `warnings`.
  describe::JsonText resource_usage;
  Timestamp created_at;
  Timestamp updated_at;

  static constexpr auto describe() {
    using describe::field;
    using P = PhaseHistory;
    return describe::fields(
        field("id", &P::id), field("workflow_history_id", &P::workflow_history_id),
        field("phase_name", &P::phase_name).v1({.out = "phase.name"}),
        field("phase_type", &P::phase_type).v1({.out = "phase.type"}),
        field("phase_order", &P::phase_order).v1({.out = "phase.order"}),
        field("status", &P::status), field("result", &P::result),
        field("started_at", &P::started_at).v1({.out = "time_tracking.started_at"}),
        field("completed_at", &P::completed_at).v1({.out = "time_tracking.completed_at"}),
        field("duration_seconds", &P::duration_seconds)
            .v1({.out = "time_tracking.duration_seconds"}),
        field("sort_at", &P::sort_at).internal(),
        field("agent_id", &P::agent_id).v1({.out = "agent.id"}),
        field("agent_name", &P::agent_name).v1({.out = "agent.name"}),
        field("agent_utilization", &P::agent_utilization)
            .v1({.out = "agent.utilization"})
            .doc("Share of the agent's time."),
        field("config", &P::config), field("input", &P::input).v1({.out = "parameters.input"}),
        field("output", &P::output).v1({.out = "parameters.output"}),
        field("quality_score", &P::quality_score).v1({.out = "quality_metrics.quality_score"}),
        field("performance_score", &P::performance_score)
            .v1({.out = "quality_metrics.performance_score"}),
        field("tasks_total", &P::tasks_total).v1({.out = "tasks.total"}),
        field("tasks_completed", &P::tasks_completed).v1({.out = "tasks.completed"}),
        field("tasks_failed", &P::tasks_failed).v1({.out = "tasks.failed"}),
        field("dependencies", &P::dependencies).v1({.out = "relationships.dependencies"}),
        field("dependents", &P::dependents).v1({.out = "relationships.dependents"}),
        field("errors", &P::errors).v1({.out = "issues.errors"}),
        field("warnings", &P::warnings).v1({.out = "issues.warnings"}),
        field("error_count", &P::error_count).internal(),
        field("warning_count", &P::warning_count).internal(),
        field("resource_usage", &P::resource_usage), field("created_at", &P::created_at),
        field("updated_at", &P::updated_at));
  }
};

// Work handed from one phase, and perhaps agent, to another.
struct HandoffHistory {
  Uuid id;
  Uuid workflow_history_id;
  std::string handoff_name{"Unknown Handoff"};
  std::optional<std::string> handoff_type{"phase_to_phase"};
  std::optional<std::string> source_phase_name;
  std::optional<std::string> source_agent_id;
  std::optional<std::string> target_phase_name;
  std::optional<std::string> target_agent_id;
  HandoffStatus status = HandoffStatus::completed;
  std::optional<WorkResult> result;
  Timestamp initiated_at;  // Zero: now.
  std::optional<Timestamp> completed_at;
  std::optional<double> duration_seconds;
  describe::JsonText handoff_data;
  describe::JsonText validation_rules;
  describe::JsonText validation_results;
  std::optional<double> data_quality_score;
  std::optional<double> handoff_efficiency_score;
  describe::JsonList errors;
  describe::JsonList warnings;
  describe::JsonList validation_failures;
  describe::JsonText context;
  describe::JsonText metadata;
  Timestamp created_at;
  Timestamp updated_at;

  static constexpr auto describe() {
    using describe::field;
    using H = HandoffHistory;
    return describe::fields(
        field("id", &H::id), field("workflow_history_id", &H::workflow_history_id),
        field("handoff_name", &H::handoff_name).v1({.out = "handoff.name"}),
        field("handoff_type", &H::handoff_type).v1({.out = "handoff.type"}),
        field("source_phase_name", &H::source_phase_name).v1({.out = "source.phase_name"}),
        field("source_agent_id", &H::source_agent_id).v1({.out = "source.agent_id"}),
        field("target_phase_name", &H::target_phase_name).v1({.out = "target.phase_name"}),
        field("target_agent_id", &H::target_agent_id).v1({.out = "target.agent_id"}),
        field("status", &H::status), field("result", &H::result),
        field("initiated_at", &H::initiated_at).v1({.out = "time_tracking.initiated_at"}),
        field("completed_at", &H::completed_at).v1({.out = "time_tracking.completed_at"}),
        field("duration_seconds", &H::duration_seconds)
            .v1({.out = "time_tracking.duration_seconds"}),
        field("handoff_data", &H::handoff_data).v1({.out = "data.handoff_data"}),
        field("validation_rules", &H::validation_rules).v1({.out = "data.validation_rules"}),
        field("validation_results", &H::validation_results).v1({.out = "data.validation_results"}),
        field("data_quality_score", &H::data_quality_score)
            .v1({.out = "quality_metrics.data_quality_score"}),
        field("handoff_efficiency_score", &H::handoff_efficiency_score)
            .v1({.out = "quality_metrics.handoff_efficiency_score"}),
        field("errors", &H::errors).v1({.out = "issues.errors"}),
        field("warnings", &H::warnings).v1({.out = "issues.warnings"}),
        field("validation_failures", &H::validation_failures)
            .v1({.out = "issues.validation_failures"}),
        field("context", &H::context), field("metadata", &H::metadata),
        field("created_at", &H::created_at), field("updated_at", &H::updated_at));
  }
};

// Fills in what follows from the rest of a record, and the times it lacks.
void complete(WorkflowHistory& run, Timestamp now);
void complete(PhaseHistory& phase, Timestamp now);
void complete(HandoffHistory& handoff, Timestamp now);

// The folds, made once in history_records.cpp.
void write_json(JsonWriter& json, WorkflowHistory const& run);
void write_json(JsonWriter& json, PhaseHistory const& phase);
void write_json(JsonWriter& json, HandoffHistory const& handoff);
void workflow_history_schema(JsonWriter& json);
void phase_history_schema(JsonWriter& json);
void handoff_history_schema(JsonWriter& json);

}  // namespace subforge::domain
