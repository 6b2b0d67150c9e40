// Events about workflows: how they are made, and what viewers see of them, one row per kind.
#include <boost/json/object.hpp>

#include "describe/json_text.hpp"
#include "domain/workflows/workflow_change.hpp"
#include "domain/workflows/workflows.hpp"

namespace subforge::domain {
namespace {

using boost::json::object;
using describe::Api;
using realtime::Message;
using store::Event;

Workflow workflow_in(object const& payload) {
  auto const* stored = payload.if_contains("workflow");
  return stored != nullptr && stored->is_object() ? workflow_from_stored(stored->get_object())
                                                  : Workflow{};
}

std::optional<Message> v1_whole(Event const&, object const& payload) {
  return Message{to_json(workflow_in(payload), Api::v1)};
}

std::optional<Message> v1_deleted(Event const&, object const& payload) {
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("workflow_id", workflow_in(payload).id);
  json.end_object();
  return message;
}

std::optional<Message> v1_as_stored(Event const&, object const& payload) {
  return Message{describe::json_text(payload)};
}

std::optional<Message> v1_progress(Event const&, object const& payload) {
  object shown = payload;
  shown.erase("steps");
  return Message{describe::json_text(shown)};
}

// In version 2 all are one type; `event` tells which.
Message v2_message(char const* event_name) {
  Message message{"{\"event\":"};
  append_json_string(message.data, event_name);
  return message;
}

void end_v2(Message& message, char const* by, Event const& event) {
  message.data.append(",\"").append(by).append("\":");
  append_json_string(message.data, event.actor);
  message.data.push_back('}');
}

Message v2_full(char const* event_name, char const* by, Event const& event, object const& payload) {
  auto message = v2_message(event_name);
  message.data.append(",\"workflow\":").append(to_json(workflow_in(payload), Api::v2));
  end_v2(message, by, event);
  return message;
}

Message v2_small(char const* event_name, char const* by, Event const& event,
                 object const& payload) {
  auto message = v2_message(event_name);
  auto const members = describe::json_text(payload);
  if (members.size() > 2) message.data.append(",").append(members, 1, members.size() - 2);
  end_v2(message, by, event);
  return message;
}

std::optional<Message> v2_created(Event const& event, object const& payload) {
  return v2_full("workflow_created", "created_by", event, payload);
}

std::optional<Message> v2_updated(Event const& event, object const& payload) {
  return v2_full("workflow_updated", "updated_by", event, payload);
}

std::optional<Message> v2_deleted(Event const& event, object const& payload) {
  auto message = v2_message("workflow_deleted");
  message.data.append(",\"workflow_id\":\"");
  workflow_in(payload).id.append_to(message.data);
  message.data.push_back('"');
  end_v2(message, "deleted_by", event);
  return message;
}

std::optional<Message> v2_status(Event const& event, object const& payload) {
  return v2_small("workflow_status_updated", "updated_by", event, payload);
}

std::optional<Message> v2_progress(Event const& event, object const& payload) {
  return v2_small("workflow_progress_updated", "updated_by", event, payload);
}

std::optional<Message> v2_agent_assigned(Event const& event, object const& payload) {
  return v2_small("workflow_agent_assigned", "updated_by", event, payload);
}

std::optional<Message> v2_agent_removed(Event const& event, object const& payload) {
  return v2_small("workflow_agent_removed", "updated_by", event, payload);
}

std::optional<Message> v2_executed(Event const& event, object const& payload) {
  return v2_small("workflow_executed", "executed_by", event, payload);
}

constexpr std::string_view kV2 = "workflow_update";

// One event for all; `event_type` tells which. Whole workflows are left for their readers to fetch.
std::optional<Message> socketio_event(Event const& event, object const& payload) {
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("workflow_id", std::string_view(event.subject).substr(event.subject.find(':') + 1));
  json.member("event_type", "workflow_" + event.kind.substr(event.kind.find('.') + 1));
  if (payload.contains("workflow")) {
    auto const workflow = workflow_in(payload);
    json.member("name", workflow.name);
    json.member("status", describe::to_text(workflow.status));
  }
  for (auto const& [name, value] : payload) {
    if (name == "workflow" || name == "workflow_id") continue;
    json.member_raw(std::string_view(name), describe::json_text(value));
  }
  json.end_object();
  return message;
}

constexpr realtime::Form kEvent{"workflow_event", &socketio_event,
                                "workflow_id:id event_type:text name?:text status?:text *"};

constexpr realtime::Projection kProjections[] = {
    {"workflow.created",
     {"workflow_created", &v1_whole, "WorkflowV1"},
     {kV2, &v2_created, "event=workflow_created workflow:WorkflowV2 created_by:text"},
     kEvent},
    {"workflow.template_created",
     {},
     {kV2, &v2_created, "event=workflow_created workflow:WorkflowV2 created_by:text"},
     kEvent},
    {"workflow.updated",
     {"workflow_updated", &v1_whole, "WorkflowV1"},
     {kV2, &v2_updated, "event=workflow_updated workflow:WorkflowV2 updated_by:text"},
     kEvent},
    {"workflow.status",
     {"workflow_status_updated", &v1_as_stored,
      "workflow_id:id old_status:text new_status:text progress:number"},
     {kV2, &v2_status,
      "event=workflow_status_updated workflow_id:id old_status:text new_status:text"
      " progress:number updated_by:text"},
     kEvent},
    {"workflow.progress",
     {"workflow_progress_updated", &v1_progress,
      "workflow_id:id progress:number tasks:{total:integer completed:integer failed:integer}"},
     {kV2, &v2_progress,
      "event=workflow_progress_updated workflow_id:id progress:number"
      " tasks:{total:integer completed:integer failed:integer}"
      " steps:[{id:text status:text retry_count:integer task_id:id|null}] updated_by:text"},
     kEvent},
    {"workflow.agent_assigned",
     {"workflow_agent_assigned", &v1_as_stored, "workflow_id:id agent_id:text agent_name?:text"},
     {kV2, &v2_agent_assigned,
      "event=workflow_agent_assigned workflow_id:id agent_id:text agent_name?:text"
      " updated_by:text"},
     kEvent},
    {"workflow.agent_removed",
     {"workflow_agent_removed", &v1_as_stored, "workflow_id:id agent_id:text agent_name?:text"},
     {kV2, &v2_agent_removed,
      "event=workflow_agent_removed workflow_id:id agent_id:text agent_name?:text updated_by:text"},
     kEvent},
    {"workflow.executed",
     {"workflow_executed", &v1_as_stored, "workflow_id:id status:text scheduled_at:time|null"},
     {kV2, &v2_executed,
      "event=workflow_executed workflow_id:id status:text scheduled_at:time|null executed_by:text"},
     kEvent},
    {"workflow.deleted",
     {"workflow_deleted", &v1_deleted, "workflow_id:id"},
     {kV2, &v2_deleted, "event=workflow_deleted workflow_id:id deleted_by:text"},
     kEvent},
};

// What a step's row shows while a run goes on; its output is read with the workflow.
void write_step_state(JsonWriter& json, WorkflowStep const& step) {
  json.begin_object();
  json.member("id", step.key);
  json.member("status", describe::to_text(step.status));
  json.member("retry_count", retry_count(step));
  json.key("task_id");
  describe::Codec<std::optional<Uuid>>::write(json, step.task_id);
  json.end_object();
}

}  // namespace

std::span<realtime::Projection const> workflow_projections() { return kProjections; }

store::Event workflow_event(Workflow const& workflow, std::string kind, Actor const& actor) {
  store::Event event;
  event.kind = std::move(kind);
  event.subject = "workflow:" + workflow.id.to_string();
  event.actor = actor.user;
  event.audience = store::Audience::everybody({"workflows", event.subject});
  event.version = workflow.version;
  return event;
}

std::string status_data(Workflow const& workflow, WorkflowStatus old_status) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("workflow_id", workflow.id);
  json.member("old_status", describe::to_text(old_status));
  json.member("new_status", describe::to_text(workflow.status));
  json.member("progress", progress_of(workflow));
  json.end_object();
  return data;
}

std::string progress_data(Workflow const& workflow, std::vector<bool> const& steps) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("workflow_id", workflow.id);
  json.member("progress", progress_of(workflow));
  json.key("tasks");
  json.begin_object();
  json.member("total", total_count(workflow));
  json.member("completed", completed_count(workflow));
  json.member("failed", failed_count(workflow));
  json.end_object();
  json.key("steps");
  json.begin_array();
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i]) write_step_state(json, workflow.steps[i]);
  }
  json.end_array();
  json.end_object();
  return data;
}

std::string executed_data(Workflow const& workflow) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("workflow_id", workflow.id);
  json.member("status", describe::to_text(workflow.status));
  json.key("scheduled_at");
  describe::Codec<std::optional<Timestamp>>::write(json, workflow.scheduled_at);
  json.end_object();
  return data;
}

std::string agent_data(Workflow const& workflow, std::string_view agent_id,
                       std::optional<std::string> const& agent_name) {
  std::string data;
  JsonWriter json(data);
  json.begin_object();
  json.member("workflow_id", workflow.id);
  json.member("agent_id", agent_id);
  if (agent_name) json.member("agent_name", *agent_name);
  json.end_object();
  return data;
}

}  // namespace subforge::domain
