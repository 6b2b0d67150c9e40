// What viewers see of agent events: one row per kind, v1's and v2's form beside each other.
#include <boost/json/object.hpp>

#include "describe/json_text.hpp"
#include "domain/agents/agents.hpp"
#include "domain/page_words.hpp"

namespace subforge::domain {
namespace {

using boost::json::object;
using describe::Api;
using realtime::Message;
using store::Event;

Agent agent_in(object const& payload) {
  auto const* stored = payload.if_contains("agent");
  return stored != nullptr && stored->is_object() ? from_stored(stored->get_object()) : Agent{};
}

// Told as one bulk_operation in version 2.
bool in_bulk(object const& payload) { return payload.contains("bulk"); }

std::optional<Message> v1_whole(Event const&, object const& payload) {
  return Message{to_json(agent_in(payload), Api::v1)};
}

std::optional<Message> v1_status(Event const&, object const& payload) {
  auto const agent = agent_in(payload);
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("agent_id", agent.id);
  json.member("status", describe::to_text(status_in_v1(agent.status)));
  json.key("current_task");
  describe::Codec<CurrentTask>::write(json, current_task(agent));
  json.end_object();
  return message;
}

std::optional<Message> v1_metrics(Event const&, object const& payload) {
  auto const agent = agent_in(payload);
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("agent_id", agent.id);
  json.member_raw("metrics", metrics_json_v1(agent));
  json.end_object();
  return message;
}

std::optional<Message> v1_deleted(Event const&, object const& payload) {
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("agent_id", agent_in(payload).id);
  json.end_object();
  return message;
}

std::optional<Message> v2_created(Event const&, object const& payload) {
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("event", "agent_created");
  json.member_raw("agent", to_json(agent_in(payload), Api::v2));
  auto const* const task = payload.if_contains("background_task_id");
  json.key("background_task_id");
  task != nullptr && task->is_string() ? json.string(task->get_string()) : json.null();
  json.end_object();
  return message;
}

std::optional<Message> v2_updated(Event const& event, object const& payload) {
  if (in_bulk(payload)) return std::nullopt;
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("event", "agent_updated");
  json.member_raw("agent", to_json(agent_in(payload), Api::v2));
  json.member("updated_by", event.actor);
  json.end_object();
  return message;
}

std::optional<Message> v2_deleted(Event const& event, object const& payload) {
  if (in_bulk(payload)) return std::nullopt;
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("event", "agent_deleted");
  json.member("agent_id", agent_in(payload).id);
  json.member("deleted_by", event.actor);
  json.end_object();
  return message;
}

std::optional<Message> v2_bulk(Event const& event, object const& payload) {
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("event", "bulk_operation");
  for (auto const* name : {"operation", "results"}) {
    if (auto const* value = payload.if_contains(name)) {
      json.member_raw(name, describe::json_text(*value));
    }
  }
  json.member("performed_by", event.actor);
  json.end_object();
  return message;
}

// The row of the reference's web page, which looks for camelCase, and the fields of the contract.
std::optional<Message> socketio_row(Event const& event, object const& payload) {
  auto const agent = agent_in(payload);
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("agent_id", agent.id);
  json.member("agentId", agent.id);
  json.member("action", event.kind == "agent.created"   ? "create"
                        : event.kind == "agent.deleted" ? "delete"
                                                        : "update");
  json.member("name", agent.name);
  json.member("type", agent.agent_type);
  json.member("status", describe::to_text(status_in_v1(agent.status)));
  json.member_or_null("currentTask", agent.current_task_title);
  json.member("tasksCompleted", static_cast<std::int64_t>(agent.tasks_completed));
  json.member("lastActive", ago_text(agent.last_activity));
  json.end_object();
  return message;
}

constexpr realtime::Form kWhole{"agent_updated", &v1_whole, "AgentV1"};
constexpr realtime::Form kStatus{
    "agent_status_updated", &v1_status,
    "agent_id:id status:text current_task:{id:id|null title:text|null}"};
constexpr realtime::Form kUpdated{"agent_update", &v2_updated,
                                  "event=agent_updated agent:AgentV2 updated_by:text"};
constexpr realtime::Form kSocketIo{
    "agent_status_update", &socketio_row,
    "agent_id:id agentId:id action:text name:text type:text status:text currentTask:text|null"
    " tasksCompleted:integer lastActive:text"};

constexpr realtime::Projection kProjections[] = {
    {"agent.created",
     {"agent_created", &v1_whole, "AgentV1"},
     {"agent_update", &v2_created,
      "event=agent_created agent:AgentV2 background_task_id:text|null"},
     kSocketIo},
    {"agent.updated", kWhole, kUpdated, kSocketIo},
    {"agent.configured", kWhole, kUpdated, kSocketIo},
    {"agent.status", kStatus, kUpdated, kSocketIo},
    {"agent.metrics",
     {"agent_metrics_updated", &v1_metrics, "agent_id:id metrics:object"},
     kUpdated,
     kSocketIo},
    {"agent.lapsed", kStatus, kUpdated, kSocketIo},
    {"agent.heartbeat", {}, kUpdated, kSocketIo},
    {"agent.deleted",
     {"agent_deleted", &v1_deleted, "agent_id:id"},
     {"agent_update", &v2_deleted, "event=agent_deleted agent_id:id deleted_by:text"},
     kSocketIo},
    {"agents.bulk_operation",
     {},
     {"agent_update", &v2_bulk,
      "event=bulk_operation operation:text results:[object] performed_by:text"}},
};

}  // namespace

std::span<realtime::Projection const> agent_projections() { return kProjections; }

}  // namespace subforge::domain
