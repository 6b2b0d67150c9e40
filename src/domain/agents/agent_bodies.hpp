// Bodies of requests about agents that are not an agent themselves.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "domain/agents/agent.hpp"

namespace subforge::domain {

// PATCH /agents/{id}/status: absent members leave the task alone, null clears it.
struct StatusBody {
  AgentStatus status = AgentStatus::idle;
  describe::Given<std::optional<Uuid>> current_task_id;
  describe::Given<std::optional<std::string>> current_task_title;
  static constexpr auto describe() {
    using describe::field;
    return describe::fields(
        field("status", &StatusBody::status).required().writable(),
        field("current_task_id", &StatusBody::current_task_id).writable(),
        field("current_task_title", &StatusBody::current_task_title).length(0, 500).writable());
  }
};

// PATCH /agents/{id}/metrics: null and absent both leave a figure alone.
struct MetricsBody {
  std::optional<double> tasks_completed;
  std::optional<double> tasks_failed;
  std::optional<double> avg_response_time;
  std::optional<double> uptime_percentage;
  static constexpr auto describe() {
    using describe::field;
    return describe::fields(
        field("tasks_completed", &MetricsBody::tasks_completed).writable(),
        field("tasks_failed", &MetricsBody::tasks_failed).writable(),
        field("avg_response_time", &MetricsBody::avg_response_time).writable(),
        field("uptime_percentage", &MetricsBody::uptime_percentage).range(0, 100).writable());
  }
};

// The figures a heartbeat may set; anything else in its `metrics` is ignored.
struct HeartbeatMetrics {
  std::optional<double> tasks_completed;
  std::optional<double> tasks_failed;
  std::optional<double> success_rate;
  std::optional<double> avg_response_time;
  std::optional<double> uptime_percentage;
  static constexpr auto describe() {
    using describe::field;
    using M = HeartbeatMetrics;
    return describe::fields(
        field("tasks_completed", &M::tasks_completed).writable(),
        field("tasks_failed", &M::tasks_failed).writable(),
        field("success_rate", &M::success_rate).range(0, 100).writable(),
        field("avg_response_time", &M::avg_response_time).writable(),
        field("uptime_percentage", &M::uptime_percentage).range(0, 100).writable());
  }
};

// POST /agents/{id}/heartbeat: with the status must come agent_id or timestamp (or both).
struct HeartbeatBody {
  AgentStatus status = AgentStatus::idle;
  describe::Given<std::optional<Uuid>> agent_id;
  describe::Given<std::optional<Timestamp>> timestamp;
  std::optional<Uuid> current_task_id;
  std::optional<HeartbeatMetrics> metrics;
  static constexpr auto describe() {
    using describe::field;
    return describe::fields(field("status", &HeartbeatBody::status).required().writable(),
                            field("agent_id", &HeartbeatBody::agent_id).writable(),
                            field("timestamp", &HeartbeatBody::timestamp).writable(),
                            field("current_task_id", &HeartbeatBody::current_task_id).writable(),
                            field("metrics", &HeartbeatBody::metrics).writable());
  }
};

// POST /agents/bulk-operation
struct BulkBody {
  std::vector<std::string> agent_ids;
  std::string operation;
  std::optional<describe::JsonText> parameters;
  static constexpr auto describe() {
    using describe::field;
    return describe::fields(field("agent_ids", &BulkBody::agent_ids).required().writable(),
                            field("operation", &BulkBody::operation)
                                .required()
                                .writable()
                                .doc("start, stop, restart, delete or update."),
                            field("parameters", &BulkBody::parameters).writable());
  }
};

struct BulkItem {
  std::string agent_id;
  bool success = false;
  std::string action;  // Of a success.
  std::string error;   // Of a failure.
};

struct BulkOutcome {
  std::string operation;
  std::vector<BulkItem> items;
  [[nodiscard]] std::string results_json() const;
  [[nodiscard]] std::int64_t successful() const;
};

bool read_status_body(boost::json::value const& body, StatusBody& out, describe::Issues& issues);
bool read_metrics_body(boost::json::value const& body, MetricsBody& out, describe::Issues& issues);
bool read_heartbeat_body(boost::json::value const& body, HeartbeatBody& out,
                         describe::Issues& issues);
bool read_bulk_body(boost::json::value const& body, BulkBody& out, describe::Issues& issues);
void status_body_schema(JsonWriter& json);
void metrics_body_schema(JsonWriter& json);
void heartbeat_body_schema(JsonWriter& json);
void bulk_body_schema(JsonWriter& json);

}  // namespace subforge::domain
