// What viewers see of snapshots, in both versions.
#include "domain/system/snapshots.hpp"

namespace subforge::domain {
namespace {

using boost::json::object;
using realtime::Message;

std::optional<Snapshot> snapshot_in(object const& payload) {
  auto const* stored = payload.if_contains("snapshot");
  if (stored == nullptr || !stored->is_object()) return std::nullopt;
  return snapshot_from_stored(stored->get_object());
}

std::optional<Message> v1_metrics(store::Event const&, object const& payload) {
  auto const snapshot = snapshot_in(payload);
  if (!snapshot) return std::nullopt;
  return Message{to_json(*snapshot)};
}

std::optional<Message> v2_metrics(store::Event const&, object const& payload) {
  auto const snapshot = snapshot_in(payload);
  if (!snapshot) return std::nullopt;
  return Message{metrics_json_v2(*snapshot)};
}

constexpr realtime::Projection kProjections[] = {
    {"system.metrics",
     {"system_metrics_updated", &v1_metrics, "SystemMetricsV1"},
     {"metrics_update", &v2_metrics, "SystemMetrics"},
     {"system_metrics_update", &v2_metrics, "SystemMetrics"},
     /*is_news=*/true},
};

}  // namespace

std::span<realtime::Projection const> snapshot_projections() { return kProjections; }

std::string metrics_json_v2(Snapshot const& snapshot) {
  std::string text;
  JsonWriter json(text);
  auto const measured = [&](char const* name, std::optional<double> value) {
    json.key(name);
    value ? json.number(*value) : json.null();
  };
  json.begin_object();
  json.member("total_agents", snapshot.total_agents);
  json.member("active_agents", snapshot.active_agents);
  json.member("total_tasks", snapshot.total_tasks);
  json.member("completed_tasks", snapshot.completed_tasks);
  measured("system_load", snapshot.system_load);
  measured("cpu_usage", snapshot.cpu_usage);
  measured("memory_usage", snapshot.memory_usage);
  measured("disk_usage", snapshot.disk_usage);
  json.key("network_io");
  json.begin_object();
  if (auto const value = snapshot.received_per_second) {
    json.member("bytes_received_per_second", *value);
  }
  if (auto const value = snapshot.sent_per_second) json.member("bytes_sent_per_second", *value);
  json.end_object();
  json.member("avg_response_time", snapshot.avg_response_time_ms);
  json.member("success_rate", snapshot.task_success_rate);
  json.member("uptime", snapshot.uptime_percentage);
  json.member("error_rate", snapshot.error_rate);
  json.member("requests_per_minute", snapshot.api_requests_per_minute);
  json.member("websocket_connections", snapshot.websocket_connections);
  json.member("recorded_at", snapshot.recorded_at);
  json.end_object();
  return text;
}

}  // namespace subforge::domain
