// The workflow record: one declaration from which both versions of the API, the table's columns,
// the checks on input and the OpenAPI schemas follow.
//
// What a client says of progress is a base. A workflow that has steps or tasks of its own derives
// its counters, progress and success rate from those, so that they cannot disagree with them.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "domain/workflows/workflow_step.hpp"

namespace subforge::domain {

enum class WorkflowStatus : std::uint8_t {
  active,
  inactive,
  paused,
  completed,
  failed,
  cancelled,
  running,
  scheduled
};

constexpr std::array<std::pair<WorkflowStatus, std::string_view>, 8> names_of(WorkflowStatus) {
  using enum WorkflowStatus;
  return {{{active, "active"},
           {inactive, "inactive"},
           {paused, "paused"},
           {completed, "completed"},
           {failed, "failed"},
           {cancelled, "cancelled"},
           {running, "running"},
           {scheduled, "scheduled"}}};
}

// What a workflow can be created as; the other two come from executing it.
enum class InitialStatus : std::uint8_t { active, inactive, paused, completed, failed, cancelled };

constexpr std::array<std::pair<InitialStatus, std::string_view>, 6> names_of(InitialStatus) {
  using enum InitialStatus;
  return {{{active, "active"},
           {inactive, "inactive"},
           {paused, "paused"},
           {completed, "completed"},
           {failed, "failed"},
           {cancelled, "cancelled"}}};
}

// The agents a workflow is given to: a list of objects with an id, a name and what else was sent.
struct AssignedAgents {
  static constexpr std::size_t kMax = 1000;
  std::vector<describe::JsonText> entries;
};

// Parts that progress is derived from, counted as they change.
struct PartCounts {
  std::int64_t total = 0;
  std::int64_t completed = 0;
  std::int64_t failed = 0;
};

struct Workflow {
  static constexpr std::size_t kStepsMax = 100;
  static constexpr std::size_t kStepDependenciesMax = 100;

  Uuid id;
  std::int64_t version = 1;
  std::string name;
  std::optional<std::string> description;
  WorkflowStatus status = WorkflowStatus::active;
  std::optional<std::string> workflow_type;
  std::optional<std::string> project_id;
  std::optional<std::string> project_name;
  describe::JsonText configuration;
  describe::JsonText parameters;
  double base_progress = 0;
  std::int64_t base_total = 0;
  std::int64_t base_completed = 0;
  std::int64_t base_failed = 0;
  double base_success = 0;
  std::int64_t steps_total = 0;
  std::int64_t steps_completed = 0;
  std::int64_t steps_failed = 0;
  // Tasks that name this workflow and are not an attempt at one of its steps.
  std::int64_t tasks_total = 0;
  std::int64_t tasks_completed = 0;
  std::int64_t tasks_failed = 0;
  std::int64_t tasks_open = 0;
  std::optional<double> estimated_duration_hours;
  std::optional<double> actual_duration_hours;
  std::optional<Timestamp> started_at;
  std::optional<Timestamp> completed_at;
  std::optional<Timestamp> estimated_completion;
  std::optional<double> quality_score;
  std::optional<double> efficiency_score;
  AssignedAgents assigned_agents;
  describe::JsonText agent_utilization;
  std::vector<std::string> tags;
  describe::JsonText metadata;
  bool is_paused = false;
  bool is_template = false;
  bool requires_approval = false;
  std::string created_by;
  // The run under way, or the last one.
  std::int64_t run_number = 0;
  std::optional<Uuid> run_id;
  bool run_open = false;
  std::string run_by;  // Who executed it; empty: its scheduled time came.
  Timestamp created_at;
  Timestamp updated_at;
  std::optional<Timestamp> scheduled_at;

  // Not columns of its table.
  std::vector<WorkflowStep> steps;
  std::optional<WorkflowStatus> wanted_status;  // What an update asks for.

  static constexpr auto describe();
};

[[nodiscard]] bool has_parts(Workflow const& workflow);
[[nodiscard]] std::int64_t total_count(Workflow const& workflow);
[[nodiscard]] std::int64_t completed_count(Workflow const& workflow);
[[nodiscard]] std::int64_t failed_count(Workflow const& workflow);
[[nodiscard]] double progress_of(Workflow const& workflow);      // Percent.
[[nodiscard]] double success_rate_of(Workflow const& workflow);  // Percent.

// Views and setters of the description.
[[nodiscard]] InitialStatus initial_status(Workflow const& workflow);
void set_initial_status(Workflow& workflow, InitialStatus status);
[[nodiscard]] WorkflowStatus status_of(Workflow const& workflow);
void want_initial_status(Workflow& workflow, InitialStatus status);
void want_status(Workflow& workflow, WorkflowStatus status);
[[nodiscard]] std::string description_text(Workflow const& workflow);
void set_description_text(Workflow& workflow, std::string text);
[[nodiscard]] std::vector<WorkflowStep> steps_of(Workflow const& workflow);
void set_steps(Workflow& workflow, std::vector<WorkflowStep> steps);
void set_base_progress(Workflow& workflow, double percent);
void set_base_total(Workflow& workflow, std::int64_t count);
void set_base_completed(Workflow& workflow, std::int64_t count);
void set_base_failed(Workflow& workflow, std::int64_t count);
void set_base_success(Workflow& workflow, double percent);
[[nodiscard]] std::optional<Timestamp> completion_estimate(Workflow const& workflow);
void set_completion_estimate(Workflow& workflow, std::optional<Timestamp> at);
[[nodiscard]] std::optional<std::string> creator_of(Workflow const& workflow);

}  // namespace subforge::domain

template <>
struct subforge::describe::Codec<subforge::domain::AssignedAgents> {
  static bool read(boost::json::value const& in, domain::AssignedAgents& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, domain::AssignedAgents const& value);
  static void schema(JsonWriter& json, Bounds const& bounds);
};

namespace subforge::domain {

constexpr auto Workflow::describe() {
  using describe::field;
  using describe::property;
  using W = Workflow;
  return describe::fields(
      field("id", &W::id), field("version", &W::version).internal(),
      field("name", &W::name).length(1, 255).required().writable(),
      field("description", &W::description).v1({.out = "description", .in = "description"}).v2({}),
      property("description", &description_text, &set_description_text)
          .v2({.out = "description", .in = "description"}),
      field("status", &W::status),
      property("status", &initial_status, &set_initial_status)
          .v1({.in = "status", .update = false})
          .v2({.in = "status", .update = false}),
      property("status", &initial_status, &want_initial_status)
          .v1({.in = "status", .create = false}),
      property("status", &status_of, &want_status).v2({.in = "status", .create = false}),
      property("steps", &steps_of, &set_steps)
          .v2({.out = "steps", .in = "steps"})
          .doc("A graph without cycles; a step is given out once what it depends on is completed."),
      field("workflow_type", &W::workflow_type)
          .length(0, 100)
          .v1({.out = "workflow_type", .in = "workflow_type"})
          .v2({}),
      field("project_id", &W::project_id)
          .length(0, 255)
          .v1({.out = "project.id", .in = "project_id"})
          .v2({}),
      field("project_name", &W::project_name)
          .length(0, 255)
          .v1({.out = "project.name", .in = "project_name"})
          .v2({}),
      field("configuration", &W::configuration)
          .v1({.out = "configuration", .in = "configuration"})
          .v2({}),
      field("parameters", &W::parameters).v1({.out = "parameters", .in = "parameters"}).v2({}),
      field("base_progress", &W::base_progress).internal(),
      field("base_total", &W::base_total).internal(),
      field("base_completed", &W::base_completed).internal(),
      field("base_failed", &W::base_failed).internal(),
      field("base_success", &W::base_success).internal(),
      field("steps_total", &W::steps_total).internal(),
      field("steps_completed", &W::steps_completed).internal(),
      field("steps_failed", &W::steps_failed).internal(),
      field("tasks_total", &W::tasks_total).internal(),
      field("tasks_completed", &W::tasks_completed).internal(),
      field("tasks_failed", &W::tasks_failed).internal(),
      field("tasks_open", &W::tasks_open).internal(),
      property("progress", &progress_of, &set_base_progress)
          .range(0, 100)
          .v1({.out = "progress.percentage", .in = "progress_percentage", .create = false})
          .v2({.out = "progress"})
          .doc("Percent. Follows from the workflow's steps and tasks where it has any."),
      property("total_tasks", &total_count, &set_base_total)
          .range(0, std::nullopt)
          .v1({.out = "progress.total_tasks", .in = "total_tasks", .create = false}),
      property("completed_tasks", &completed_count, &set_base_completed)
          .range(0, std::nullopt)
          .v1({.out = "progress.completed_tasks", .in = "completed_tasks", .create = false}),
      property("failed_tasks", &failed_count, &set_base_failed)
          .range(0, std::nullopt)
          .v1({.out = "progress.failed_tasks", .in = "failed_tasks", .create = false}),
      field("estimated_duration_hours", &W::estimated_duration_hours)
          .v1({.out = "time_tracking.estimated_duration_hours", .in = "estimated_duration_hours"})
          .v2({})
          .above(0),
      field("actual_duration_hours", &W::actual_duration_hours)
          .v1({.out = "time_tracking.actual_duration_hours",
               .in = "actual_duration_hours",
               .create = false})
          .v2({})
          .above(0),
      field("started_at", &W::started_at).v1({.out = "time_tracking.started_at"}),
      field("completed_at", &W::completed_at).v1({.out = "time_tracking.completed_at"}),
      field("estimated_completion", &W::estimated_completion).internal(),
      property("estimated_completion", &completion_estimate, &set_completion_estimate)
          .v2({.out = "estimated_completion", .in = "estimated_completion"}),
      field("quality_score", &W::quality_score)
          .range(0, 100)
          .v1({.out = "quality_metrics.quality_score", .in = "quality_score", .create = false})
          .v2({}),
      field("efficiency_score", &W::efficiency_score)
          .range(0, 100)
          .v1({.out = "quality_metrics.efficiency_score",
               .in = "efficiency_score",
               .create = false})
          .v2({}),
      property("success_rate", &success_rate_of, &set_base_success)
          .range(0, 100)
          .v1({.out = "quality_metrics.success_rate", .in = "success_rate", .create = false})
          .doc("Percent: completed of completed and failed."),
      field("assigned_agents", &W::assigned_agents)
          .v1({.out = "agents.assigned", .in = "assigned_agents"})
          .v2({}),
      field("agent_utilization", &W::agent_utilization)
          .v1({.out = "agents.utilization", .in = "agent_utilization", .create = false})
          .v2({}),
      field("tags", &W::tags).v1({.out = "tags", .in = "tags"}).v2({}),
      field("metadata", &W::metadata).writable(),
      field("is_paused", &W::is_paused)
          .v1({.out = "flags.is_paused", .in = "is_paused", .create = false})
          .v2({}),
      field("is_template", &W::is_template)
          .v1({.out = "flags.is_template", .in = "is_template"})
          .v2({}),
      field("requires_approval", &W::requires_approval)
          .v1({.out = "flags.requires_approval", .in = "requires_approval"})
          .v2({}),
      field("created_by", &W::created_by).internal(),
      property("created_by", &creator_of).v2({.out = "created_by"}),
      field("run_number", &W::run_number).internal(), field("run_id", &W::run_id).internal(),
      field("run_open", &W::run_open).internal(), field("run_by", &W::run_by).internal(),
      field("created_at", &W::created_at), field("updated_at", &W::updated_at),
      field("scheduled_at", &W::scheduled_at)
          .v1({.out = "scheduled_at", .in = "scheduled_at"})
          .v2({.out = "scheduled_at"}));
}

// The folds, made once in workflow.cpp.
[[nodiscard]] std::string to_json(Workflow const& workflow, describe::Api api);
void write_json(JsonWriter& json, Workflow const& workflow, describe::Api api);
void write_json(JsonWriter& json, WorkflowStep const& step);
// Of a body that lists assigned_agents: each entry's members are texts, and it has an id where that
// is required.
bool check_agent_entries(boost::json::object const& body, bool id_required,
                         describe::Where const& where, describe::Issues& issues);

bool read_workflow(boost::json::value const& body, Workflow& workflow, describe::Api api,
                   describe::Purpose purpose, describe::Issues& issues);
// For the event log: stored fields, and the steps without their outputs.
[[nodiscard]] std::string stored_json(Workflow const& workflow);
[[nodiscard]] Workflow workflow_from_stored(boost::json::object const& object);
void workflow_schema_v1(JsonWriter& json);
void workflow_schema_v2(JsonWriter& json);
void workflow_create_schema_v1(JsonWriter& json);
void workflow_create_schema_v2(JsonWriter& json);
void workflow_update_schema_v1(JsonWriter& json);
void workflow_update_schema_v2(JsonWriter& json);

// The ids named in the list; entries without a text under `id` have none.
[[nodiscard]] std::vector<std::string> agent_ids(AssignedAgents const& agents);

}  // namespace subforge::domain
