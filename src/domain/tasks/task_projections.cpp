// What viewers see of task events: one row per kind, v1's and v2's form beside each other.
#include <boost/json/object.hpp>

#include "describe/json_text.hpp"
#include "domain/page_words.hpp"
#include "domain/tasks/tasks.hpp"

namespace subforge::domain {
namespace {

using boost::json::object;
using describe::Api;
using realtime::Message;
using store::Event;

TaskRecord task_in(object const& payload) {
  auto const* stored = payload.if_contains("task");
  return stored != nullptr && stored->is_object() ? task_from_stored(stored->get_object())
                                                  : TaskRecord{};
}

std::optional<Message> v1_created(Event const&, object const& payload) {
  return Message{to_json(task_in(payload), Api::v1)};
}

// A bulk change is told once, by tasks_bulk_updated.
std::optional<Message> v1_updated(Event const&, object const& payload) {
  if (payload.contains("bulk")) return std::nullopt;
  return Message{to_json(task_in(payload), Api::v1)};
}

std::optional<Message> v1_status(Event const&, object const& payload) {
  auto const task = task_in(payload);
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("task_id", task.id);
  json.member("old_status", describe::text_member(payload, "old_status"));
  json.member("new_status", describe::to_text(task.status));
  json.member("progress", task.progress_percentage);
  json.end_object();
  return message;
}

std::optional<Message> v1_progress(Event const&, object const& payload) {
  auto const task = task_in(payload);
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("task_id", task.id);
  json.member("progress", task.progress_percentage);
  json.key("subtasks");
  json.begin_object();
  json.member("completed", task.subtasks_completed);
  json.member("total", task.subtasks_total);
  json.end_object();
  json.end_object();
  return message;
}

std::optional<Message> v1_assigned(Event const&, object const& payload) {
  auto const task = task_in(payload);
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("task_id", task.id);
  json.key("agent_id");
  task.assigned_agent_id ? json.uuid(*task.assigned_agent_id) : json.null();
  json.member("agent_name", describe::text_member(payload, "agent_name"));
  json.end_object();
  return message;
}

std::optional<Message> v1_deleted(Event const&, object const& payload) {
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("task_id", task_in(payload).id);
  json.end_object();
  return message;
}

std::optional<Message> v1_bulk(Event const&, object const& payload) {
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  for (auto const* name : {"task_ids", "updates"}) {
    if (auto const* value = payload.if_contains(name)) {
      json.member_raw(name, describe::json_text(*value));
    }
  }
  json.end_object();
  return message;
}

Message v2_message(Event const& event, object const& payload, char const* what, bool whole) {
  auto const task = task_in(payload);
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("event", what);
  json.member("task_id", task.id);
  if (whole) {
    json.member("status", describe::to_text(task.status));
    json.member("progress", task.progress_percentage);
    json.member_raw("task", to_json(task, Api::v2));
  }
  json.member("updated_by", event.actor);
  json.end_object();
  return message;
}

std::optional<Message> v2_created(Event const& event, object const& payload) {
  return v2_message(event, payload, "task_created", true);
}

std::optional<Message> v2_updated(Event const& event, object const& payload) {
  return v2_message(event, payload, "task_updated", true);
}

std::optional<Message> v2_deleted(Event const& event, object const& payload) {
  return v2_message(event, payload, "task_deleted", false);
}

// The card of the reference's web page.
void write_card(JsonWriter& json, TaskRecord const& task) {
  json.begin_object();
  json.member("id", task.id);
  json.member("title", task.title);
  json.member("description", task.description.value_or(""));
  json.member("status", board_status(describe::to_text(task.status), task.requires_review));
  json.member("priority", shown_priority(describe::to_text(task.priority)));
  if (task.assigned_agent_name) {
    json.member("agent", *task.assigned_agent_name);
    json.member("assignee", *task.assigned_agent_name);
  }
  json.key("tags");
  json.begin_array();
  for (auto const& tag : task.tags) json.string(tag);
  json.end_array();
  json.member("createdAt", task.created_at);
  json.member("updatedAt", task.updated_at);
  if (task.due_date) json.member("dueDate", *task.due_date);
  if (task.estimated_duration_minutes) {
    json.member("estimatedTime", *task.estimated_duration_minutes);
  }
  if (task.actual_duration_minutes) json.member("actualTime", *task.actual_duration_minutes);
  json.end_object();
}

// One object for all readers: the fields of the contract, the row among the recent tasks, and the
// card on the board, whose words for the status differ.
std::optional<Message> socketio_row(Event const& event, object const& payload) {
  auto const task = task_in(payload);
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("task_id", task.id);
  json.member("taskId", task.id);
  json.member("action", event.kind == "task.created"   ? "create"
                        : event.kind == "task.deleted" ? "delete"
                                                       : "update");
  json.member("title", task.title);
  json.member("status", recent_status(describe::to_text(task.status)));
  json.member("agent", task.assigned_agent_name.value_or("Unassigned"));
  json.member("priority", shown_priority(describe::to_text(task.priority)));
  json.member("progress", task.progress_percentage);
  json.key("task");
  write_card(json, task);
  json.end_object();
  return message;
}

constexpr realtime::Form kUpdated{
    "task_update", &v2_updated,
    "event=task_updated task_id:id status:text progress:number task:TaskV2 updated_by:text"};
constexpr realtime::Form kSocketIo{
    "task_update", &socketio_row,
    "task_id:id taskId:id action:text title:text status:text agent:text priority:text"
    " progress:number task:object"};

constexpr realtime::Projection kProjections[] = {
    {"task.created",
     {"task_created", &v1_created, "TaskV1"},
     {"task_update", &v2_created,
      "event=task_created task_id:id status:text progress:number task:TaskV2 updated_by:text"},
     kSocketIo},
    {"task.updated", {"task_updated", &v1_updated, "TaskV1"}, kUpdated, kSocketIo},
    {"task.status",
     {"task_status_updated", &v1_status,
      "task_id:id old_status:text new_status:text progress:number"},
     kUpdated,
     kSocketIo},
    {"task.progress",
     {"task_progress_updated", &v1_progress,
      "task_id:id progress:number subtasks:{completed:integer total:integer}"},
     kUpdated,
     kSocketIo},
    {"task.assigned",
     {"task_assigned", &v1_assigned, "task_id:id agent_id:id|null agent_name:text"},
     kUpdated,
     kSocketIo},
    {"task.linked", {}, kUpdated, kSocketIo},
    {"task.deleted",
     {"task_deleted", &v1_deleted, "task_id:id"},
     {"task_update", &v2_deleted, "event=task_deleted task_id:id updated_by:text"},
     kSocketIo},
    {"tasks.bulk_updated", {"tasks_bulk_updated", &v1_bulk, "task_ids:[id] updates:object"}, {}},
};

}  // namespace

std::span<realtime::Projection const> task_projections() { return kProjections; }

}  // namespace subforge::domain
