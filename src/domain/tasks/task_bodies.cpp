#include "domain/tasks/task_bodies.hpp"

#include <algorithm>
#include <array>

namespace subforge::domain {
namespace {

using describe::Api;
using describe::Issues;
using describe::Purpose;
using describe::Where;
namespace json = boost::json;

Where const kBody{nullptr, "body"};

template <class T>
bool read_body(json::value const& body, T& out, Issues& issues) {
  return describe::read_record(body, out, Api::v2, Purpose::create, kBody, issues);
}

template <class T>
void schema(JsonWriter& out) {
  describe::write_body_schema<T>(out, Api::v2, Purpose::create);
}

bool read_ids(json::object const& body, std::vector<Uuid>& out, Issues& issues) {
  auto const* member = body.if_contains("task_ids");
  if (member == nullptr) {
    describe::add_missing(body, "task_ids", kBody, issues);
    return false;
  }
  Where const where{&kBody, "task_ids"};
  auto const* list = member->if_array();
  if (list == nullptr || list->empty() || list->size() > kBulkTasksMax) {
    bool const is_list = list != nullptr;
    issues.add(where,
               !is_list        ? "list_type"
               : list->empty() ? "too_short"
                               : "too_long",
               !is_list ? "Input should be a valid list"
               : list->empty()
                   ? "List should have at least 1 item after validation, not 0"
                   : "List should have at most " + std::to_string(kBulkTasksMax) + " items",
               describe::input_text(*member));
    return false;
  }
  bool good = true;
  for (std::size_t i = 0; i < list->size(); ++i) {
    Where const item{&where, static_cast<std::int64_t>(i)};
    good = describe::Codec<Uuid>::read((*list)[i], out.emplace_back(), {}, item, issues) && good;
  }
  return good;
}

}  // namespace

bool read_task_status_body(json::value const& body, TaskStatusBody& out, Issues& issues) {
  return read_body(body, out, issues);
}

bool read_task_progress_body(json::value const& body, TaskProgressBody& out, Issues& issues) {
  if (!read_body(body, out, issues)) return false;
  if (!out.subtasks_completed || !out.subtasks_total ||
      *out.subtasks_completed <= *out.subtasks_total) {
    return true;
  }
  issues.add({&kBody, "subtasks_completed"}, "value_error",
             "Value error, subtasks_completed cannot exceed subtasks_total",
             std::to_string(*out.subtasks_completed));
  return false;
}

bool read_task_assign_body(json::value const& body, TaskAssignBody& out, Issues& issues) {
  return read_body(body, out, issues);
}

bool read_task_dependency_body(json::value const& body, TaskDependencyBody& out, Issues& issues) {
  return read_body(body, out, issues);
}

bool read_task_report_body(json::value const& body, TaskReportBody& out, Issues& issues) {
  return read_body(body, out, issues);
}

bool read_task_bulk_body(json::value const& body, TaskBulkBody& out, Issues& issues) {
  auto const* object = body.if_object();
  if (object == nullptr) {
    describe::add_not_object(body, kBody, issues);
    return false;
  }
  bool const ids_good = read_ids(*object, out.task_ids, issues);
  auto const* updates = object->if_contains("updates");
  if (updates == nullptr) {
    describe::add_missing(*object, "updates", kBody, issues);
    return false;
  }
  Where const where{&kBody, "updates"};
  TaskRecord scratch;
  if (!describe::read_record(*updates, scratch, Api::v1, Purpose::update, where, issues)) {
    return false;
  }
  // Only what a task knows: it is told to everybody as it is.
  describe::for_each_field<TaskRecord>([&](auto const& f) {
    auto const name = f.view(Api::v1).in;
    if (!f.view(Api::v1).accepts(Purpose::update)) return;
    json::string_view const key(name.data(), name.size());
    if (auto const* value = updates->get_object().if_contains(key)) out.updates[key] = *value;
  });
  return ids_good;
}

void accept_old_names(json::value& body) {
  constexpr std::array<std::pair<json::string_view, json::string_view>, 3> kNames{
      {{"agent_id", "assigned_agent_id"},
       {"estimated_duration", "estimated_duration_minutes"},
       {"progress", "progress_percentage"}}};
  if (!body.is_object()) return;
  auto& object = body.get_object();
  for (auto const& [old_name, name] : kNames) {
    auto const* value = object.if_contains(old_name);
    if (value != nullptr && !object.contains(name)) object[name] = json::value(*value);
  }
}

void task_status_body_schema(JsonWriter& out) { schema<TaskStatusBody>(out); }
void task_progress_body_schema(JsonWriter& out) { schema<TaskProgressBody>(out); }
void task_assign_body_schema(JsonWriter& out) { schema<TaskAssignBody>(out); }
void task_dependency_body_schema(JsonWriter& out) { schema<TaskDependencyBody>(out); }
void task_report_body_schema(JsonWriter& out) { schema<TaskReportBody>(out); }

void task_bulk_body_schema(JsonWriter& out) {
  out.member("type", "object");
  out.key("properties");
  out.begin_object();
  out.member_raw("task_ids", R"({"type":"array","minItems":1,"maxItems":1000,)"
                             R"("items":{"type":"string","format":"uuid"}})");
  out.key("updates");
  out.begin_object();
  describe::write_body_schema<TaskRecord>(out, Api::v1, Purpose::update);
  out.end_object();
  out.end_object();
  out.member_raw("required", R"(["task_ids","updates"])");
}

}  // namespace subforge::domain
