#include "domain/tasks/task.hpp"

#include <algorithm>

namespace subforge::domain {
namespace {

using describe::Api;
using describe::Issues;
using describe::Purpose;
using describe::Where;

constexpr std::int64_t kMicrosPerMinute = 60'000'000;

}  // namespace

bool TaskRecord::depends_on(std::string_view task_id) const {
  return std::ranges::any_of(dependencies,
                             [task_id](auto const& one) { return one.task_id == task_id; });
}

AssignedAgent assigned_agent(TaskRecord const& task) {
  return {task.assigned_agent_id, task.assigned_agent_name};
}

std::vector<std::string> task_dependency_ids(TaskRecord const& task) {
  std::vector<std::string> ids;
  ids.reserve(task.dependencies.size());
  for (auto const& dependency : task.dependencies) ids.push_back(dependency.task_id);
  return ids;
}

void set_task_dependency_ids(TaskRecord& task, std::vector<std::string> ids) {
  task.dependencies.clear();
  for (auto& id : ids) task.dependencies.push_back({std::move(id)});
}

std::string task_description(TaskRecord const& task) { return task.description.value_or(""); }

std::optional<std::string> assigned_agent_text(TaskRecord const& task) {
  if (task.assigned_agent_id) return task.assigned_agent_id->to_string();
  return task.assigned_agent_name;
}

void set_assigned_agent_text(TaskRecord& task, std::optional<std::string> text) {
  auto const id = text ? Uuid::parse(*text) : std::nullopt;
  // Of an agent that stays, the name may be another than its own.
  if (id && id == task.assigned_agent_id) return;
  task.assigned_agent_id = id;
  task.assigned_agent_name = id ? std::nullopt : std::move(text);
}

std::optional<std::int64_t> actual_minutes(TaskRecord const& task) {
  return task.actual_duration_minutes;
}

void set_actual_minutes(TaskRecord& task, std::optional<std::int64_t> minutes) {
  task.actual_duration_minutes = minutes;
}

void change_status(TaskRecord& task, TaskStatus status, Timestamp now) {
  if (status == TaskStatus::in_progress && task.status == TaskStatus::pending) {
    task.started_at = now;
  }
  if (status == TaskStatus::completed) {
    task.completed_at = now;
    task.progress_percentage = 100;
    if (task.started_at) {
      auto const worked = std::max<std::int64_t>(now.micros - task.started_at->micros, 0);
      task.actual_duration_minutes = worked / kMicrosPerMinute;
    }
  }
  task.status = status;
}

void write_json(JsonWriter& out, TaskRecord const& task, Api api) {
  describe::write_record(out, task, api);
}

std::string to_json(TaskRecord const& task, Api api) {
  std::string text;
  text.reserve(1024);
  JsonWriter out(text);
  write_json(out, task, api);
  return text;
}

bool read_task(boost::json::value const& body, TaskRecord& task, Api api, Purpose purpose,
               Issues& issues) {
  return describe::read_record(body, task, api, purpose, Where{nullptr, "body"}, issues);
}

std::string stored_json(TaskRecord const& task) {
  std::string text;
  text.reserve(1024);
  JsonWriter out(text);
  describe::write_stored(out, task);
  return text;
}

TaskRecord task_from_stored(boost::json::object const& object) {
  return describe::read_stored<TaskRecord>(object);
}

void task_schema_v1(JsonWriter& out) { describe::write_schema<TaskRecord>(out, Api::v1); }
void task_schema_v2(JsonWriter& out) { describe::write_schema<TaskRecord>(out, Api::v2); }
void task_create_schema_v1(JsonWriter& out) {
  describe::write_body_schema<TaskRecord>(out, Api::v1, Purpose::create);
}
void task_create_schema_v2(JsonWriter& out) {
  describe::write_body_schema<TaskRecord>(out, Api::v2, Purpose::create);
}
void task_update_schema_v1(JsonWriter& out) {
  describe::write_body_schema<TaskRecord>(out, Api::v1, Purpose::update);
}
void task_update_schema_v2(JsonWriter& out) {
  describe::write_body_schema<TaskRecord>(out, Api::v2, Purpose::update);
}

}  // namespace subforge::domain
