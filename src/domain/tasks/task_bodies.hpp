// Bodies of requests about tasks that are not a task themselves.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "domain/tasks/task.hpp"

namespace subforge::domain {

// PATCH /tasks/{id}/status
struct TaskStatusBody {
  TaskStatus status = TaskStatus::pending;
  std::optional<double> progress_percentage;
  std::optional<double> quality_score;
  static constexpr auto describe() {
    using describe::field;
    using B = TaskStatusBody;
    return describe::fields(
        field("status", &B::status).required().writable(),
        field("progress_percentage", &B::progress_percentage).range(0, 100).writable(),
        field("quality_score", &B::quality_score)
            .range(0, 100)
            .writable()
            .doc("Kept only with the status completed."));
  }
};

// PATCH /tasks/{id}/progress
struct TaskProgressBody {
  double progress_percentage = 0;
  std::optional<std::int64_t> subtasks_completed;
  std::optional<std::int64_t> subtasks_total;
  static constexpr auto describe() {
    using describe::field;
    using B = TaskProgressBody;
    return describe::fields(
        field("progress_percentage", &B::progress_percentage).range(0, 100).required().writable(),
        field("subtasks_completed", &B::subtasks_completed).range(0, 1e9).writable(),
        field("subtasks_total", &B::subtasks_total).range(0, 1e9).writable());
  }
};

// PATCH /tasks/{id}/assign
struct TaskAssignBody {
  Uuid assigned_agent_id;
  std::optional<std::string> assigned_agent_name;
  static constexpr auto describe() {
    using describe::field;
    using B = TaskAssignBody;
    return describe::fields(field("assigned_agent_id", &B::assigned_agent_id).required().writable(),
                            field("assigned_agent_name", &B::assigned_agent_name)
                                .length(0, 255)
                                .writable()
                                .doc("In place of the agent's own name."));
  }
};

// POST /tasks/{id}/dependencies
struct TaskDependencyBody {
  std::string dependency_id;
  static constexpr auto describe() {
    return describe::fields(describe::field("dependency_id", &TaskDependencyBody::dependency_id)
                                .length(1, 100)
                                .required()
                                .writable());
  }
};

// PATCH /tasks/{id}/complete and /fail: how an agent reports.
struct TaskReportBody {
  describe::Given<describe::JsonValue> result;
  static constexpr auto describe() {
    return describe::fields(describe::field("result", &TaskReportBody::result).writable());
  }
};

// PATCH /tasks/bulk
struct TaskBulkBody {
  std::vector<Uuid> task_ids;   // In the order given; none twice.
  boost::json::object updates;  // Checked against the description of a task.
};
inline constexpr std::size_t kBulkTasksMax = 1000;

bool read_task_status_body(boost::json::value const& body, TaskStatusBody& out,
                           describe::Issues& issues);
bool read_task_progress_body(boost::json::value const& body, TaskProgressBody& out,
                             describe::Issues& issues);
bool read_task_assign_body(boost::json::value const& body, TaskAssignBody& out,
                           describe::Issues& issues);
bool read_task_dependency_body(boost::json::value const& body, TaskDependencyBody& out,
                               describe::Issues& issues);
bool read_task_report_body(boost::json::value const& body, TaskReportBody& out,
                           describe::Issues& issues);
bool read_task_bulk_body(boost::json::value const& body, TaskBulkBody& out,
                         describe::Issues& issues);
// Names that older clients use for members of a body, put in place of their own: agent_id,
// estimated_duration, progress.
void accept_old_names(boost::json::value& body);

void task_status_body_schema(JsonWriter& json);
void task_progress_body_schema(JsonWriter& json);
void task_assign_body_schema(JsonWriter& json);
void task_dependency_body_schema(JsonWriter& json);
void task_report_body_schema(JsonWriter& json);
void task_bulk_body_schema(JsonWriter& json);

}  // namespace subforge::domain
