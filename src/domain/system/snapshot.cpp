#include "domain/system/snapshot.hpp"

#include <algorithm>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"

namespace subforge::domain {
namespace {

using describe::Api;

// The bounds of health (contract, rest-v1.md section 6.1).
constexpr double kUptimeLeast = 95;
constexpr double kErrorRateMost = 5;
constexpr double kLoadMost = 90;
constexpr double kMemoryMost = 85;

// Which share of the overall rate each rate has.
constexpr double kTaskShare = 0.6;
constexpr double kWorkflowShare = 0.3;
constexpr double kAgentShare = 0.1;

double percentage(std::int64_t part, std::int64_t other) {
  auto const whole = part + other;
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) * 100 : 0.0;
}

constexpr std::pair<char const*, describe::JsonText Snapshot::*> kDetails[] = {
    {"agent_metrics", &Snapshot::agent_metrics},
    {"task_metrics", &Snapshot::task_metrics},
    {"workflow_metrics", &Snapshot::workflow_metrics},
};

}  // namespace

void derive(Snapshot& snapshot) {
  auto& s = snapshot;
  s.task_success_rate = percentage(s.completed_tasks, s.failed_tasks);
  s.workflow_success_rate = percentage(s.completed_workflows, s.paused_workflows);
  s.overall_success_rate = s.total_agents == 0 ? 0.0
                                               : kTaskShare * s.task_success_rate +
                                                     kWorkflowShare * s.workflow_success_rate +
                                                     kAgentShare * s.agent_success_rate;
  bool const uptime = s.uptime_percentage > kUptimeLeast;
  bool const errors = s.error_rate < kErrorRateMost;
  bool const load = s.system_load.value_or(0) < kLoadMost;
  bool const memory = s.memory_usage.value_or(0) < kMemoryMost;
  s.is_healthy = uptime && errors && load && memory;
  JsonWriter json(s.health_checks.text = {});
  json.begin_object();
  json.member("uptime", uptime);
  json.member("error_rate", errors);
  json.member("system_load", load);
  json.member("memory", memory);
  json.end_object();
}

void apply(SnapshotBody const& body, Snapshot& snapshot) {
  auto const replace = [](auto& value, auto const& given) {
    if (given) value = *given;
  };
  replace(snapshot.system_load, body.system_load);
  replace(snapshot.memory_usage, body.memory_usage);
  replace(snapshot.cpu_usage, body.cpu_usage);
  replace(snapshot.disk_usage, body.disk_usage);
  replace(snapshot.error_rate, body.error_rate);
  replace(snapshot.websocket_connections, body.websocket_connections);
  replace(snapshot.api_requests_per_minute, body.api_requests_per_minute);
  auto const details = describe::parse_json(body.detailed_metrics.text);
  for (auto const& [name, member] : kDetails) {
    if (auto const* value = details.get_object().if_contains(name)) {
      (snapshot.*member).text = describe::json_text(*value);
    }
  }
  derive(snapshot);
}

Snapshot summarize(std::span<Snapshot const> rows, SnapshotOrigin origin, Timestamp at) {
  auto sum = rows.back();
  auto const mean = [&](double Snapshot::* member) {
    double total = 0;
    for (auto const& row : rows) total += row.*member;
    sum.*member = total / static_cast<double>(rows.size());
  };
  auto const mean_if_any = [&](std::optional<double> Snapshot::* member) {
    double total = 0;
    std::size_t count = 0;
    for (auto const& row : rows) {
      if (!(row.*member)) continue;
      total += *(row.*member);
      ++count;
    }
    (sum.*member).reset();
    if (count > 0) sum.*member = total / static_cast<double>(count);
  };
  for (auto const member :
       {&Snapshot::avg_response_time_ms, &Snapshot::api_requests_per_minute, &Snapshot::error_rate,
        &Snapshot::uptime_percentage, &Snapshot::agent_success_rate}) {
    mean(member);
  }
  for (auto const member : {&Snapshot::system_load, &Snapshot::memory_usage, &Snapshot::cpu_usage,
                            &Snapshot::disk_usage, &Snapshot::received_per_second,
                            &Snapshot::sent_per_second, &Snapshot::process_cpu}) {
    mean_if_any(member);
  }
  for (auto const& row : rows) {
    sum.max_response_time_ms = std::max(sum.max_response_time_ms, row.max_response_time_ms);
    sum.p95_response_time_ms = std::max(sum.p95_response_time_ms, row.p95_response_time_ms);
    sum.websocket_connections = std::max(sum.websocket_connections, row.websocket_connections);
    // A sample without requests has no least time.
    if (row.min_response_time_ms > 0 &&
        (sum.min_response_time_ms == 0 || row.min_response_time_ms < sum.min_response_time_ms)) {
      sum.min_response_time_ms = row.min_response_time_ms;
    }
  }
  sum.id = Uuid::random();
  sum.origin = origin;
  sum.recorded_at = at;
  derive(sum);
  return sum;
}

std::string to_json(Snapshot const& snapshot) {
  std::string text;
  JsonWriter json(text);
  write_json(json, snapshot);
  return text;
}

void write_json(JsonWriter& json, Snapshot const& snapshot) {
  describe::write_record(json, snapshot, Api::v1);
}

std::string stored_json(Snapshot const& snapshot) {
  std::string text;
  JsonWriter json(text);
  describe::write_stored(json, snapshot);
  return text;
}

Snapshot snapshot_from_stored(boost::json::object const& object) {
  return describe::read_stored<Snapshot>(object);
}

void snapshot_schema(JsonWriter& json) { describe::write_schema<Snapshot>(json, Api::v1); }

void snapshot_body_schema(JsonWriter& json) {
  describe::write_body_schema<SnapshotBody>(json, Api::v1, describe::Purpose::create);
}

bool read_snapshot_body(boost::json::value const& value, SnapshotBody& body,
                        describe::Issues& issues) {
  describe::Where const where{nullptr, "body"};
  if (!describe::read_record(value, body, Api::v1, describe::Purpose::create, where, issues)) {
    return false;
  }
  auto const details = describe::parse_json(body.detailed_metrics.text);
  describe::Where const outer{&where, "detailed_metrics"};
  bool good = true;
  for (auto const& [name, member] : kDetails) {
    auto const* part = details.get_object().if_contains(name);
    if (part == nullptr || part->is_object()) continue;
    issues.add({&outer, std::string_view(name)}, "dict_type", "Input should be a valid dictionary",
               describe::input_text(*part));
    good = false;
  }
  return good;
}

}  // namespace subforge::domain
