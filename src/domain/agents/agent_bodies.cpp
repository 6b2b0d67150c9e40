#include "domain/agents/agent_bodies.hpp"

#include <algorithm>

namespace subforge::domain {
namespace {

using describe::Api;
using describe::Issues;
using describe::Purpose;
using describe::Where;

template <class T>
bool read_body(boost::json::value const& body, T& out, Issues& issues) {
  return describe::read_record(body, out, Api::v2, Purpose::create, Where{nullptr, "body"}, issues);
}

template <class T>
void schema(JsonWriter& json) {
  describe::write_body_schema<T>(json, Api::v2, Purpose::create);
}

}  // namespace

bool read_status_body(boost::json::value const& body, StatusBody& out, Issues& issues) {
  return read_body(body, out, issues);
}
bool read_metrics_body(boost::json::value const& body, MetricsBody& out, Issues& issues) {
  return read_body(body, out, issues);
}
bool read_heartbeat_body(boost::json::value const& body, HeartbeatBody& out, Issues& issues) {
  if (!read_body(body, out, issues)) return false;
  if (out.agent_id.given || out.timestamp.given) return true;
  describe::add_missing(body.get_object(), "timestamp", Where{nullptr, "body"}, issues);
  return false;
}
bool read_bulk_body(boost::json::value const& body, BulkBody& out, Issues& issues) {
  return read_body(body, out, issues);
}

void status_body_schema(JsonWriter& json) { schema<StatusBody>(json); }
void metrics_body_schema(JsonWriter& json) { schema<MetricsBody>(json); }
void heartbeat_body_schema(JsonWriter& json) {
  schema<HeartbeatBody>(json);
  json.member_raw("anyOf", R"([{"required":["agent_id"]},{"required":["timestamp"]}])");
}
void bulk_body_schema(JsonWriter& json) { schema<BulkBody>(json); }

std::string BulkOutcome::results_json() const {
  std::string text;
  JsonWriter json(text);
  json.begin_array();
  for (auto const& item : items) {
    json.begin_object();
    json.member("agent_id", item.agent_id);
    json.member("success", item.success);
    item.success ? json.member("action", item.action) : json.member("error", item.error);
    json.end_object();
  }
  json.end_array();
  return text;
}

std::int64_t BulkOutcome::successful() const {
  return std::ranges::count(items, true, &BulkItem::success);
}

}  // namespace subforge::domain
