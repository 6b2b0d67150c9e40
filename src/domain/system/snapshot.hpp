// A snapshot of how the system fares: what the records count up to, what the machine and this
// process measured. Described once; version 1's answers, the table and the schema follow.
// Percentages are of 100. A value that could not be measured is null; figures of requests are 0
// where there were none.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include <boost/json/value.hpp>

#include "base/time.hpp"
#include "base/uuid.hpp"
#include "describe/record.hpp"

namespace subforge::domain {

// Where a row comes from. Hours and days are means of the samples they replace.
enum class SnapshotOrigin : std::uint8_t { sample, posted, hour, day };
constexpr std::array<std::pair<SnapshotOrigin, std::string_view>, 4> names_of(SnapshotOrigin) {
  using enum SnapshotOrigin;
  return {{{sample, "sample"}, {posted, "posted"}, {hour, "hour"}, {day, "day"}}};
}

struct Snapshot {
  Uuid id;
  SnapshotOrigin origin = SnapshotOrigin::sample;
  std::int64_t total_agents = 0;
  std::int64_t active_agents = 0;
  std::int64_t idle_agents = 0;
  std::int64_t offline_agents = 0;
  std::int64_t total_tasks = 0;
  std::int64_t pending_tasks = 0;
  std::int64_t in_progress_tasks = 0;
  std::int64_t completed_tasks = 0;
  std::int64_t failed_tasks = 0;
  std::int64_t total_workflows = 0;
  std::int64_t active_workflows = 0;
  std::int64_t completed_workflows = 0;
  std::int64_t paused_workflows = 0;
  std::optional<double> system_load;
  std::optional<double> memory_usage;
  std::optional<double> cpu_usage;
  std::optional<double> disk_usage;
  double avg_response_time_ms = 0;
  double min_response_time_ms = 0;
  double max_response_time_ms = 0;
  double p95_response_time_ms = 0;
  double task_success_rate = 0;
  double workflow_success_rate = 0;
  double agent_success_rate = 0;
  double overall_success_rate = 0;
  std::int64_t websocket_connections = 0;
  double api_requests_per_minute = 0;
  double error_rate = 0;
  std::optional<double> received_per_second;
  std::optional<double> sent_per_second;
  double uptime_percentage = 100;
  std::optional<Timestamp> last_restart;
  bool is_healthy = true;
  describe::JsonText health_checks;
  describe::JsonText agent_metrics;
  describe::JsonText task_metrics;
  describe::JsonText workflow_metrics;
  describe::JsonText hourly_stats;
  describe::JsonText daily_stats;
  describe::JsonText weekly_stats;
  std::optional<double> process_cpu;
  std::optional<std::int64_t> process_resident_bytes;
  std::optional<std::int64_t> process_open_files;
  std::optional<double> process_uptime_seconds;
  Timestamp recorded_at;
  Timestamp created_at;
  Timestamp updated_at;

  static constexpr auto describe();
};

constexpr auto Snapshot::describe() {
  using describe::field;
  using S = Snapshot;
  return describe::fields(
      field("id", &S::id), field("origin", &S::origin).internal(),
      field("total_agents", &S::total_agents).v1({.out = "system_overview.total_agents"}),
      field("active_agents", &S::active_agents).v1({.out = "system_overview.active_agents"}),
      field("idle_agents", &S::idle_agents).v1({.out = "system_overview.idle_agents"}),
      field("offline_agents", &S::offline_agents).v1({.out = "system_overview.offline_agents"}),
      field("total_tasks", &S::total_tasks).v1({.out = "task_overview.total_tasks"}),
      field("pending_tasks", &S::pending_tasks).v1({.out = "task_overview.pending_tasks"}),
      field("in_progress_tasks", &S::in_progress_tasks)
          .v1({.out = "task_overview.in_progress_tasks"}),
      field("completed_tasks", &S::completed_tasks).v1({.out = "task_overview.completed_tasks"}),
      field("failed_tasks", &S::failed_tasks).v1({.out = "task_overview.failed_tasks"}),
      field("total_workflows", &S::total_workflows)
          .v1({.out = "workflow_overview.total_workflows"}),
      field("active_workflows", &S::active_workflows)
          .v1({.out = "workflow_overview.active_workflows"}),
      field("completed_workflows", &S::completed_workflows)
          .v1({.out = "workflow_overview.completed_workflows"}),
      field("paused_workflows", &S::paused_workflows)
          .v1({.out = "workflow_overview.paused_workflows"}),
      field("system_load", &S::system_load)
          .v1({.out = "performance_metrics.system_load_percentage"})
          .doc("One-minute load per core, at most 100."),
      field("memory_usage", &S::memory_usage)
          .v1({.out = "performance_metrics.memory_usage_percentage"}),
      field("cpu_usage", &S::cpu_usage)
          .v1({.out = "performance_metrics.cpu_usage_percentage"})
          .doc("Of the machine since the sample before; null in the first."),
      field("disk_usage", &S::disk_usage)
          .v1({.out = "performance_metrics.disk_usage_percentage"})
          .doc("Of the file system that holds the database, or the working directory."),
      field("avg_response_time_ms", &S::avg_response_time_ms)
          .v1({.out = "response_time_metrics.avg_response_time_ms"}),
      field("min_response_time_ms", &S::min_response_time_ms)
          .v1({.out = "response_time_metrics.min_response_time_ms"}),
      field("max_response_time_ms", &S::max_response_time_ms)
          .v1({.out = "response_time_metrics.max_response_time_ms"}),
      field("p95_response_time_ms", &S::p95_response_time_ms)
          .v1({.out = "response_time_metrics.p95_response_time_ms"})
          .doc("Least, greatest and percentiles are at most 1/16 off."),
      field("task_success_rate", &S::task_success_rate)
          .v1({.out = "success_rates.task_success_rate"}),
      field("workflow_success_rate", &S::workflow_success_rate)
          .v1({.out = "success_rates.workflow_success_rate"}),
      field("agent_success_rate", &S::agent_success_rate)
          .v1({.out = "success_rates.agent_success_rate"}),
      field("overall_success_rate", &S::overall_success_rate)
          .v1({.out = "success_rates.overall_success_rate"}),
      field("websocket_connections", &S::websocket_connections)
          .v1({.out = "network_metrics.websocket_connections"}),
      field("api_requests_per_minute", &S::api_requests_per_minute)
          .v1({.out = "network_metrics.api_requests_per_minute"}),
      field("error_rate", &S::error_rate)
          .v1({.out = "network_metrics.error_rate_percentage"})
          .doc("Answers of 5xx, of all answers."),
      field("received_per_second", &S::received_per_second)
          .v1({.out = "network_metrics.bytes_received_per_second"}),
      field("sent_per_second", &S::sent_per_second)
          .v1({.out = "network_metrics.bytes_sent_per_second"}),
      field("uptime_percentage", &S::uptime_percentage)
          .v1({.out = "system_health.uptime_percentage"})
          .doc("Share of the last 24 hours, or since the first start, in which a server ran."),
      field("last_restart", &S::last_restart).v1({.out = "system_health.last_restart"}),
      field("is_healthy", &S::is_healthy).v1({.out = "system_health.is_healthy"}),
      field("health_checks", &S::health_checks).v1({.out = "system_health.health_checks"}),
      field("agent_metrics", &S::agent_metrics).v1({.out = "detailed_metrics.agent_metrics"}),
      field("task_metrics", &S::task_metrics).v1({.out = "detailed_metrics.task_metrics"}),
      field("workflow_metrics", &S::workflow_metrics)
          .v1({.out = "detailed_metrics.workflow_metrics"}),
      field("hourly_stats", &S::hourly_stats).v1({.out = "time_series.hourly_stats"}),
      field("daily_stats", &S::daily_stats).v1({.out = "time_series.daily_stats"}),
      field("weekly_stats", &S::weekly_stats)
          .v1({.out = "time_series.weekly_stats"})
          .doc("Means of the hour, day and week up to the snapshot; in the current one alone."),
      field("process_cpu", &S::process_cpu)
          .v1({.out = "process_metrics.cpu_percentage"})
          .doc("Of one core, since the sample before."),
      field("process_resident_bytes", &S::process_resident_bytes)
          .v1({.out = "process_metrics.resident_bytes"}),
      field("process_open_files", &S::process_open_files).v1({.out = "process_metrics.open_files"}),
      field("process_uptime_seconds", &S::process_uptime_seconds)
          .v1({.out = "process_metrics.uptime_seconds"}),
      field("recorded_at", &S::recorded_at), field("created_at", &S::created_at),
      field("updated_at", &S::updated_at));
}

// What a client may say of the system (MetricsCreate): each value given replaces the measured one.
struct SnapshotBody {
  std::optional<double> system_load;
  std::optional<double> memory_usage;
  std::optional<double> cpu_usage;
  std::optional<double> disk_usage;
  std::optional<double> error_rate;
  std::optional<std::int64_t> websocket_connections;
  std::optional<double> api_requests_per_minute;
  describe::JsonText detailed_metrics;

  static constexpr auto describe() {
    using describe::field;
    using B = SnapshotBody;
    return describe::fields(
        field("system_load_percentage", &B::system_load).range(0, 100).writable(),
        field("memory_usage_percentage", &B::memory_usage).range(0, 100).writable(),
        field("cpu_usage_percentage", &B::cpu_usage).range(0, 100).writable(),
        field("disk_usage_percentage", &B::disk_usage).range(0, 100).writable(),
        field("error_rate_percentage", &B::error_rate).range(0, 100).writable(),
        field("websocket_connections", &B::websocket_connections).range(0, 1e9).writable(),
        field("api_requests_per_minute", &B::api_requests_per_minute).range(0, 1e12).writable(),
        field("detailed_metrics", &B::detailed_metrics)
            .writable()
            .doc("Its members agent_metrics, task_metrics and workflow_metrics, objects, replace "
                 "those of the snapshot."));
  }
};

// Success rates that follow from counts, and health, which follows from the rest.
void derive(Snapshot& snapshot);
// Replaces what the body gives, then derives anew.
void apply(SnapshotBody const& body, Snapshot& snapshot);
// One row for many of a time, oldest first and at least one: counts are those of the last, measured
// values the means of those that were measured.
[[nodiscard]] Snapshot summarize(std::span<Snapshot const> rows, SnapshotOrigin origin,
                                 Timestamp at);

// The folds, made once in snapshot.cpp.
[[nodiscard]] std::string to_json(Snapshot const& snapshot);
void write_json(JsonWriter& json, Snapshot const& snapshot);
[[nodiscard]] std::string stored_json(Snapshot const& snapshot);
[[nodiscard]] Snapshot snapshot_from_stored(boost::json::object const& object);
void snapshot_schema(JsonWriter& json);
void snapshot_body_schema(JsonWriter& json);
bool read_snapshot_body(boost::json::value const& value, SnapshotBody& body,
                        describe::Issues& issues);

}  // namespace subforge::domain
