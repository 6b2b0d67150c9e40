// The task record: one declaration from which both versions of the API, the table's columns, the
// checks on input, the OpenAPI schemas and the event log's payload follow.
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

enum class TaskStatus : std::uint8_t {
  pending,
  in_progress,
  completed,
  failed,
  blocked,
  cancelled
};

constexpr std::array<std::pair<TaskStatus, std::string_view>, 6> names_of(TaskStatus) {
  using enum TaskStatus;
  return {{{pending, "pending"},
           {in_progress, "in_progress"},
           {completed, "completed"},
           {failed, "failed"},
           {blocked, "blocked"},
           {cancelled, "cancelled"}}};
}

// Whether somebody still has to do something about it.
[[nodiscard]] constexpr bool is_open(TaskStatus status) {
  return status == TaskStatus::pending || status == TaskStatus::in_progress ||
         status == TaskStatus::blocked;
}

enum class TaskPriority : std::uint8_t { low, medium, high, critical };

constexpr std::array<std::pair<TaskPriority, std::string_view>, 4> names_of(TaskPriority) {
  using enum TaskPriority;
  return {{{low, "low"}, {medium, "medium"}, {high, "high"}, {critical, "critical"}}};
}

enum class DependencyType : std::uint8_t { blocking, soft, parallel };

constexpr std::array<std::pair<DependencyType, std::string_view>, 3> names_of(DependencyType) {
  using enum DependencyType;
  return {{{blocking, "blocking"}, {soft, "soft"}, {parallel, "parallel"}}};
}

// That a task waits for another one. Version 1 knows ids alone; what it makes is blocking.
struct TaskDependency {
  std::string task_id;
  DependencyType dependency_type = DependencyType::blocking;

  static constexpr auto describe() {
    using describe::field;
    using D = TaskDependency;
    return describe::fields(field("task_id", &D::task_id).length(1, 100).required().writable(),
                            field("dependency_type", &D::dependency_type).writable());
  }
  friend bool operator==(TaskDependency const&, TaskDependency const&) = default;
};

// An id and a name, as version 1 shows whom a task is assigned to.
struct AssignedAgent {
  std::optional<Uuid> id;
  std::optional<std::string> name;
  static constexpr auto describe() {
    return describe::fields(describe::field("id", &AssignedAgent::id),
                            describe::field("name", &AssignedAgent::name));
  }
};

struct TaskRecord {
  Uuid id;
  std::int64_t version = 1;
  std::string title;
  std::optional<std::string> description;
  TaskStatus status = TaskStatus::pending;
  TaskPriority priority = TaskPriority::medium;
  std::optional<Uuid> assigned_agent_id;
  std::optional<std::string> assigned_agent_name;
  std::optional<Uuid> workflow_id;
  std::optional<std::string> task_type;
  std::vector<std::string> tags;
  describe::JsonText metadata;
  std::optional<std::int64_t> estimated_duration_minutes;
  std::optional<std::int64_t> actual_duration_minutes;
  std::optional<Timestamp> started_at;
  std::optional<Timestamp> completed_at;
  std::optional<Timestamp> ended_at;  // When it became completed or failed; not while it is open.
  std::vector<TaskDependency> dependencies;
  std::vector<std::string> dependents;  // Kept as the inverse of dependencies.
  double progress_percentage = 0;
  std::int64_t subtasks_completed = 0;
  std::int64_t subtasks_total = 0;
  std::optional<double> quality_score;
  std::optional<std::int64_t> complexity_score;
  std::optional<std::int64_t> effort_points;
  bool is_blocked = false;
  bool is_urgent = false;
  bool requires_review = false;
  describe::JsonValue result;  // What the agent reported.
  std::optional<std::string> created_by;
  Timestamp created_at;
  Timestamp updated_at;
  std::optional<Timestamp> due_date;

  [[nodiscard]] bool depends_on(std::string_view task_id) const;

  static constexpr auto describe();
};

// What the two versions compute from the record.
[[nodiscard]] AssignedAgent assigned_agent(TaskRecord const& task);
[[nodiscard]] std::vector<std::string> task_dependency_ids(TaskRecord const& task);
void set_task_dependency_ids(TaskRecord& task, std::vector<std::string> ids);
[[nodiscard]] std::string task_description(TaskRecord const& task);
// Version 2 has one text for the agent: its id, or a name where there is no id.
[[nodiscard]] std::optional<std::string> assigned_agent_text(TaskRecord const& task);
void set_assigned_agent_text(TaskRecord& task, std::optional<std::string> text);
[[nodiscard]] std::optional<std::int64_t> actual_minutes(TaskRecord const& task);
void set_actual_minutes(TaskRecord& task, std::optional<std::int64_t> minutes);

constexpr auto TaskRecord::describe() {
  using describe::field;
  using describe::property;
  using T = TaskRecord;
  return describe::fields(
      field("id", &T::id), field("version", &T::version).internal(),
      field("title", &T::title).length(1, 500).required().writable(),
      field("description", &T::description)
          .length(0, 100'000)
          .v1({.out = "description", .in = "description"})
          .v2({.in = "description"}),
      property("description", &task_description).v2({.out = "description"}),
      field("status", &T::status).writable(), field("priority", &T::priority).writable(),
      field("assigned_agent_id", &T::assigned_agent_id).v1({.in = "assigned_agent_id"}).v2({}),
      field("assigned_agent_name", &T::assigned_agent_name)
          .length(0, 255)
          .v1({.in = "assigned_agent_name"})
          .v2({}),
      property("assigned_agent", &assigned_agent).v1({.out = "assigned_agent"}),
      property("assigned_agent", &assigned_agent_text, &set_assigned_agent_text)
          .length(0, 255)
          .v2({.out = "assigned_agent", .in = "assigned_agent"}),
      field("workflow_id", &T::workflow_id)
          .v1({.out = "workflow_id", .in = "workflow_id"})
          .v2({.out = "workflow_id", .in = "workflow_id"}),
      field("task_type", &T::task_type)
          .length(0, 100)
          .v1({.out = "task_type", .in = "task_type"})
          .v2({.out = "task_type", .in = "task_type"}),
      field("tags", &T::tags).writable(), field("metadata", &T::metadata).writable(),
      field("estimated_duration_minutes", &T::estimated_duration_minutes)
          .range(1, 1e9)
          .v1({.out = "time_tracking.estimated_duration_minutes",
               .in = "estimated_duration_minutes"})
          .v2({.out = "estimated_duration", .in = "estimated_duration"}),
      field("actual_duration_minutes", &T::actual_duration_minutes)
          .range(1, 1e9)
          .v1({.out = "time_tracking.actual_duration_minutes",
               .in = "actual_duration_minutes",
               .create = false})
          .v2({.out = "actual_duration"}),
      // Version 2 takes back what it shows of a task that took no minute.
      property("actual_duration_minutes", &actual_minutes, &set_actual_minutes)
          .range(0, 1e9)
          .v2({.in = "actual_duration"}),
      field("started_at", &T::started_at)
          .v1({.out = "time_tracking.started_at"})
          .v2({.out = "started_at"}),
      field("completed_at", &T::completed_at)
          .v1({.out = "time_tracking.completed_at"})
          .v2({.out = "completed_at"}),
      field("ended_at", &T::ended_at).internal(),
      field("dependencies", &T::dependencies)
          .v1({})
          .v2({.out = "dependencies", .in = "dependencies"}),
      property("dependencies", &task_dependency_ids, &set_task_dependency_ids)
          .length(1, 100)
          .v1({.out = "dependencies", .in = "dependencies", .update = false}),
      field("dependents", &T::dependents),
      field("progress_percentage", &T::progress_percentage)
          .range(0, 100)
          .v1({.out = "progress.percentage", .in = "progress_percentage", .create = false})
          .v2({.out = "progress", .in = "progress"}),
      field("subtasks_completed", &T::subtasks_completed)
          .v1({.out = "progress.subtasks_completed"})
          .v2({}),
      field("subtasks_total", &T::subtasks_total).v1({.out = "progress.subtasks_total"}).v2({}),
      field("quality_score", &T::quality_score)
          .range(0, 100)
          .v1({.out = "quality_metrics.quality_score", .in = "quality_score", .create = false})
          .v2({}),
      field("complexity_score", &T::complexity_score)
          .range(1, 10)
          .v1({.out = "quality_metrics.complexity_score", .in = "complexity_score"})
          .v2({}),
      field("effort_points", &T::effort_points)
          .range(1, 1e9)
          .v1({.out = "quality_metrics.effort_points", .in = "effort_points"})
          .v2({}),
      field("is_blocked", &T::is_blocked)
          .v1({.out = "flags.is_blocked", .in = "is_blocked", .create = false})
          .v2({}),
      field("is_urgent", &T::is_urgent)
          .v1({.out = "flags.is_urgent", .in = "is_urgent", .create = false})
          .v2({}),
      field("requires_review", &T::requires_review)
          .v1({.out = "flags.requires_review", .in = "requires_review", .create = false})
          .v2({}),
      field("result", &T::result).doc("What the agent reported at the end; null before."),
      field("created_by", &T::created_by).v1({}).v2({.out = "created_by"}),
      field("created_at", &T::created_at), field("updated_at", &T::updated_at),
      field("due_date", &T::due_date).writable());
}

// PATCH status (version 1), with its rules: when work began and ended, and what follows for the
// progress.
void change_status(TaskRecord& task, TaskStatus status, Timestamp now);

// The folds, made once here.
[[nodiscard]] std::string to_json(TaskRecord const& task, describe::Api api);
void write_json(JsonWriter& json, TaskRecord const& task, describe::Api api);
bool read_task(boost::json::value const& body, TaskRecord& task, describe::Api api,
               describe::Purpose purpose, describe::Issues& issues);
[[nodiscard]] std::string stored_json(TaskRecord const& task);
[[nodiscard]] TaskRecord task_from_stored(boost::json::object const& object);
void task_schema_v1(JsonWriter& json);
void task_schema_v2(JsonWriter& json);
void task_create_schema_v1(JsonWriter& json);
void task_create_schema_v2(JsonWriter& json);
void task_update_schema_v1(JsonWriter& json);
void task_update_schema_v2(JsonWriter& json);

}  // namespace subforge::domain
