// The agent record: one declaration from which both versions of the API, the table's columns, the
// checks on input, the OpenAPI schemas and the event log's payload follow.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/time.hpp"
#include "base/uuid.hpp"
#include "describe/record.hpp"

namespace subforge::domain {

enum class AgentStatus : std::uint8_t { active, idle, busy, offline, error, inactive, restarting };

constexpr std::array<std::pair<AgentStatus, std::string_view>, 7> names_of(AgentStatus) {
  using enum AgentStatus;
  return {{{active, "active"},
           {idle, "idle"},
           {busy, "busy"},
           {offline, "offline"},
           {error, "error"},
           {inactive, "inactive"},
           {restarting, "restarting"}}};
}

// Version 1 knows five states; the other two look like their nearest relatives there.
[[nodiscard]] constexpr AgentStatus status_in_v1(AgentStatus status) {
  if (status == AgentStatus::inactive) return AgentStatus::offline;
  if (status == AgentStatus::restarting) return AgentStatus::busy;
  return status;
}

inline constexpr std::string_view kDefaultModel = "claude-3-sonnet";

// The configuration as version 2 sees it. Version 1 keeps `configuration` as a free object; what is
// described here lives in columns of the agent (model, tools, capabilities) and under the same
// names in that free object (the rest).
struct AgentConfiguration {
  std::string model{kDefaultModel};
  std::vector<std::string> tools{"read", "write", "edit"};
  std::vector<std::string> capabilities;
  std::int64_t max_tokens = 4096;
  double temperature = 0.7;
  std::int64_t timeout = 300;
  std::optional<std::string> custom_instructions;
  std::map<std::string, std::string> environment_vars;

  static constexpr auto describe() {
    using describe::field;
    using C = AgentConfiguration;
    return describe::fields(
        field("model", &C::model).length(0, 100).writable().doc("The language model."),
        field("tools", &C::tools).writable().doc("Names of the tools the agent may use."),
        field("capabilities", &C::capabilities).writable(),
        field("max_tokens", &C::max_tokens).range(0, 1e9).writable(),
        field("temperature", &C::temperature).writable(),
        field("timeout", &C::timeout).range(0, 1e9).writable().doc("Seconds."),
        field("custom_instructions", &C::custom_instructions).writable(),
        field("environment_vars", &C::environment_vars).writable());
  }
};

struct CurrentTask {
  std::optional<Uuid> id;
  std::optional<std::string> title;
  static constexpr auto describe() {
    return describe::fields(describe::field("id", &CurrentTask::id),
                            describe::field("title", &CurrentTask::title));
  }
};

struct Agent {
  Uuid id;
  std::int64_t version = 1;
  std::string name;
  std::string agent_type;
  AgentStatus status = AgentStatus::idle;
  Timestamp status_changed_at;
  std::optional<Timestamp> busy_since;
  std::optional<std::string> description;
  std::optional<Uuid> current_task_id;
  std::optional<std::string> current_task_title;
  std::string model{kDefaultModel};
  std::vector<std::string> tools;
  std::vector<std::string> capabilities;
  describe::JsonText configuration;
  std::vector<std::string> tags;
  describe::JsonText metadata;
  double tasks_completed = 0;
  double tasks_failed = 0;
  double success_rate = 0;
  double avg_response_time = 0;
  double uptime_percentage = 100;
  double total_runtime = 0;
  std::int64_t error_count = 0;
  std::optional<Timestamp> last_activity;
  std::optional<Timestamp> last_heartbeat;
  bool is_active = true;
  Timestamp created_at;
  Timestamp updated_at;
  // Until then it counts as alive; none before its first heartbeat, and while it is away.
  std::optional<Timestamp> lease_until;

  static constexpr auto describe();
};

// The configuration in answers of version 2: what configuration_of() gives, written without making
// it where the stored text has the form that version 2 stores.
struct ShownConfiguration {
  Agent const* agent = nullptr;
};

// Of a configuration as JSON that comes in a file: as much as the body of a request may have by
// default. Every event about the agent shows it to everybody who listens.
inline constexpr std::size_t kConfigurationBytesMax = 524'288;

// What version 1 and version 2 compute from the record.
[[nodiscard]] AgentStatus shown_status(Agent const& agent);
[[nodiscard]] CurrentTask current_task(Agent const& agent);
[[nodiscard]] describe::JsonText flat_configuration(Agent const& agent);
[[nodiscard]] ShownConfiguration shown_configuration(Agent const& agent);
[[nodiscard]] AgentConfiguration configuration_of(Agent const& agent);
void set_configuration(Agent& agent, AgentConfiguration configuration);
[[nodiscard]] std::optional<std::string> current_task_text(Agent const& agent);
void set_current_task_text(Agent& agent, std::optional<std::string> text);
// Clients may set any number in version 1; what no integer can hold becomes the nearest that can.
[[nodiscard]] std::int64_t whole(double figure);
[[nodiscard]] std::int64_t completed_count(Agent const& agent);
[[nodiscard]] std::int64_t failed_count(Agent const& agent);

constexpr auto Agent::describe() {
  using describe::field;
  using describe::property;
  return describe::fields(
      field("id", &Agent::id), field("version", &Agent::version).internal(),
      field("name", &Agent::name).length(1, 255).required().writable(),
      field("agent_type", &Agent::agent_type)
          .length(1, 100)
          .required()
          .v1({.out = "type", .also = "agent_type", .in = "agent_type"})
          .v2({.out = "type", .in = "type", .update = false}),
      field("status", &Agent::status)
          .v1({.in = "status"})
          .v2({.out = "status", .in = "status", .create = false}),
      property("status", &shown_status).v1({.out = "status"}),
      field("status_changed_at", &Agent::status_changed_at).internal(),
      field("busy_since", &Agent::busy_since).internal(),
      field("description", &Agent::description)
          .v1({.out = "description", .in = "description"})
          .v2({}),
      field("current_task_id", &Agent::current_task_id)
          .v1({.in = "current_task_id", .create = false})
          .v2({}),
      field("current_task_title", &Agent::current_task_title)
          .length(0, 500)
          .v1({.in = "current_task_title", .create = false})
          .v2({}),
      property("current_task", &current_task).v1({.out = "current_task"}),
      property("current_task", &current_task_text, &set_current_task_text)
          .length(0, 500)
          .v2({.out = "current_task", .in = "current_task", .create = false}),
      field("model", &Agent::model).length(0, 100).v1({.out = "model", .in = "model"}).v2({}),
      field("tools", &Agent::tools).v1({.out = "tools", .in = "tools"}).v2({}),
      field("capabilities", &Agent::capabilities)
          .v1({.out = "capabilities", .in = "capabilities"})
          .v2({}),
      field("configuration", &Agent::configuration).v1({.in = "configuration"}).v2({}),
      property("configuration", &flat_configuration).v1({.out = "configuration"}),
      property("configuration", &shown_configuration).v2({.out = "configuration"}),
      property("configuration", &configuration_of, &set_configuration).v2({.in = "configuration"}),
      field("tags", &Agent::tags).v1({}).v2({.out = "tags", .in = "tags"}),
      field("metadata", &Agent::metadata).v1({}).v2({.out = "metadata", .in = "metadata"}),
      field("tasks_completed", &Agent::tasks_completed)
          .v1({.out = "performance_metrics.tasks_completed"})
          .v2({}),
      property("tasks_completed", &completed_count).v2({.out = "metrics.tasks_completed"}),
      field("tasks_failed", &Agent::tasks_failed)
          .v1({.out = "performance_metrics.tasks_failed"})
          .v2({}),
      property("tasks_failed", &failed_count).v2({.out = "metrics.tasks_failed"}),
      field("success_rate", &Agent::success_rate)
          .v1({.out = "performance_metrics.success_rate"})
          .v2({.out = "metrics.success_rate"})
          .doc("Percent: completed of completed and failed."),
      field("avg_response_time", &Agent::avg_response_time)
          .v1({.out = "performance_metrics.avg_response_time"})
          .v2({.out = "metrics.avg_response_time"}),
      field("uptime_percentage", &Agent::uptime_percentage)
          .v1({.out = "performance_metrics.uptime_percentage"})
          .v2({.out = "metrics.uptime_percentage"}),
      field("total_runtime", &Agent::total_runtime)
          .v1({})
          .v2({.out = "metrics.total_runtime"})
          .doc("Seconds spent busy."),
      field("error_count", &Agent::error_count)
          .v1({})
          .v2({.out = "metrics.error_count"})
          .doc("How often the agent went into the state error."),
      field("last_activity", &Agent::last_activity)
          .v1({.out = "last_activity"})
          .v2({.out = "metrics.last_activity"}),
      field("last_heartbeat", &Agent::last_heartbeat).v1({.out = "last_heartbeat"}).v2({}),
      field("is_active", &Agent::is_active).v1({.out = "is_active"}).v2({}),
      field("created_at", &Agent::created_at), field("updated_at", &Agent::updated_at),
      field("lease_until", &Agent::lease_until).internal());
}

// Sets a new status and what follows from it: when it changed, time spent busy, errors counted.
void change_status(Agent& agent, AgentStatus status, Timestamp now);
void recompute_success_rate(Agent& agent);

// The folds, made once here.
[[nodiscard]] std::string to_json(Agent const& agent, describe::Api api);
void write_json(JsonWriter& json, Agent const& agent, describe::Api api);
[[nodiscard]] std::string metrics_json_v1(Agent const& agent);
[[nodiscard]] std::string metrics_json_v2(Agent const& agent);
bool read_agent(boost::json::value const& body, Agent& agent, describe::Api api,
                describe::Purpose purpose, describe::Issues& issues);
[[nodiscard]] std::string stored_json(Agent const& agent);
[[nodiscard]] Agent from_stored(boost::json::object const& object);
void agent_schema_v1(JsonWriter& json);
void agent_schema_v2(JsonWriter& json);
void agent_create_schema_v1(JsonWriter& json);
void agent_create_schema_v2(JsonWriter& json);
void agent_update_schema_v1(JsonWriter& json);
void agent_update_schema_v2(JsonWriter& json);
void agent_metrics_schema_v1(JsonWriter& json);
void agent_metrics_schema_v2(JsonWriter& json);
void agent_configuration_schema(JsonWriter& json);
[[nodiscard]] std::string to_json(AgentConfiguration const& configuration);
bool read_configuration(boost::json::value const& body, AgentConfiguration& configuration,
                        describe::Issues& issues);

}  // namespace subforge::domain

template <>
struct subforge::describe::Codec<subforge::domain::ShownConfiguration> {
  static void write(JsonWriter& json, domain::ShownConfiguration const& value);
  static void schema(JsonWriter& json, Bounds const&) {
    Codec<domain::AgentConfiguration>::answer_schema(json);
  }
};
