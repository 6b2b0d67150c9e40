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

std::optional<Message> v1_posted(store::Event const&, object const& payload) {
  auto const snapshot = snapshot_in(payload);
  if (!snapshot) return std::nullopt;
  return Message{to_json(*snapshot)};
}

std::optional<Message> v2_posted(store::Event const&, object const& payload) {
  auto const snapshot = snapshot_in(payload);
  if (!snapshot) return std::nullopt;
  return Message{metrics_json_v2(*snapshot)};
}

constexpr realtime::Projection kProjections[] = {
    {"system.metrics",
     {"system_metrics_updated", &v1_posted, "SystemMetricsV1"},
     {"metrics_update", &v2_posted, "SystemMetrics"},
     {"system_metrics_update", &v2_posted, "SystemMetrics"},
     /*is_news=*/true},
};

constexpr char const* kNumber = R"({"type":"number"})";
constexpr char const* kOptionalNumber = R"({"anyOf":[{"type":"number"},{"type":"null"}]})";

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

void metrics_schema_v2(JsonWriter& json) {
  json.member("type", "object");
  json.key("properties");
  json.begin_object();
  for (auto const* name : {"total_agents", "active_agents", "total_tasks", "completed_tasks",
                           "websocket_connections"}) {
    json.member_raw(name, R"({"type":"integer"})");
  }
  for (auto const* name : {"system_load", "cpu_usage", "memory_usage", "disk_usage"}) {
    json.member_raw(name, kOptionalNumber);
  }
  json.member_raw("network_io",
                  R"({"type":"object","additionalProperties":{"type":"number"},)"
                  R"("description":"Bytes per second; empty where they are not known."})");
  json.member_raw("avg_response_time", R"({"type":"number","description":"Milliseconds."})");
  for (auto const* name : {"success_rate", "uptime", "error_rate", "requests_per_minute"}) {
    json.member_raw(name, kNumber);
  }
  json.member_raw("recorded_at", R"({"type":"string","format":"date-time"})");
  json.end_object();
}

}  // namespace subforge::domain
