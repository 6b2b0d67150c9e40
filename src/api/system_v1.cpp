#include <fmt/format.h>

#include "api/cursor.hpp"
#include "api/handler_parts.hpp"
#include "api/health_parts.hpp"
#include "api/listed.hpp"
#include "api/system.hpp"
#include "base/json_writer.hpp"
#include "domain/system/census.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using domain::Snapshot;
using http::Parameter;
using http::Request;
using http::Response;
using net::Method;

// The contract sets no bounds; these keep the arithmetic within the calendar.
constexpr std::int64_t kDaysMost = 100'000;
constexpr char const* kSystemTag = "system v1";

Response snapshot_response(Result<Snapshot> const& snapshot) {
  if (!snapshot) return Response::from(snapshot.error());
  return Response::json(domain::to_json(*snapshot));
}

Task<Response> health(SystemParts const& parts, Request const&) {
  auto const database = co_await probe_read(parts.store);
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("status", database ? "healthy" : "unhealthy");
  json.member("timestamp", Timestamp::now());
  json.key("checks");
  json.begin_object();
  json.member("database", database.has_value());
  json.member("websocket", true);     // Served by the loop that answers this.
  json.member("file_watcher", true);  // Not configured: nothing is wrong with it.
  json.end_object();
  json.key("details");
  json.begin_object();
  json.key("database");
  write_database_health(parts.store, database, json);
  json.member("file_watcher", "not_configured");
  json.end_object();
  json.member("uptime_seconds", static_cast<double>(monotonic_ns() - parts.started_ns) / 1e9);
  json.member("version", parts.version);
  json.end_object();
  co_return response;
}

void write_overviews(JsonWriter& json, Snapshot const& counts) {
  json.key("agents");
  json.begin_object();
  json.member("total_agents", counts.total_agents);
  json.member("active_agents", counts.active_agents);
  json.member("idle_agents", counts.idle_agents);
  json.member("offline_agents", counts.offline_agents);
  json.end_object();
  json.key("tasks");
  json.begin_object();
  json.member("total_tasks", counts.total_tasks);
  json.member("pending_tasks", counts.pending_tasks);
  json.member("in_progress_tasks", counts.in_progress_tasks);
  json.member("completed_tasks", counts.completed_tasks);
  json.member("failed_tasks", counts.failed_tasks);
  json.end_object();
  json.key("workflows");
  json.begin_object();
  json.member("total_workflows", counts.total_workflows);
  json.member("active_workflows", counts.active_workflows);
  json.member("completed_workflows", counts.completed_workflows);
  json.member("paused_workflows", counts.paused_workflows);
  json.end_object();
}

Task<Response> status(SystemParts const& parts, Request const&) {
  Snapshot counts;
  auto count = [&counts](store::Session& session) { return domain::take_census(session, counts); };
  if (auto const done = co_await parts.store.read(store::ReadCost::scan, count); !done) {
    co_return Response::from(done.error());
  }
  auto const clients = parts.hub.connections();
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("status", "running");
  write_overviews(json, counts);
  json.member("uptime", duration_text((monotonic_ns() - parts.started_ns) / 1'000'000'000));
  json.member("connected_clients", clients);
  json.member("last_updated", Timestamp::now());
  json.end_object();
  co_return response;
}

Task<Response> current(SystemParts const& parts, Request const&) {
  auto reading = co_await parts.read_machine();
  if (!reading) co_return Response::from(reading.error());
  co_return snapshot_response(co_await parts.snapshots.current(*reading));
}

// The range may come in the query, or as the body that the reference reads from a GET.
struct RangeBody {
  Timestamp start_date;
  Timestamp end_date;
  std::string granularity;
  static constexpr auto describe() {
    using describe::field;
    using R = RangeBody;
    return describe::fields(field("start_date", &R::start_date).required().writable(),
                            field("end_date", &R::end_date).required().writable(),
                            field("granularity", &R::granularity).writable());
  }
};

bool read_range_body(boost::json::value const& value, std::optional<RangeBody>& range,
                     describe::Issues& issues) {
  if (value.is_null()) return true;
  describe::Where const where{nullptr, "body"};
  return describe::read_record(value, range.emplace(), describe::Api::v1, describe::Purpose::create,
                               where, issues);
}

Task<Response> history(SystemParts const& parts, Request const& request) {
  domain::SnapshotFilter filter;
  filter.limit = request.integer("limit");
  filter.start = time_of(request, "start_date");
  filter.end = time_of(request, "end_date");
  if (filter.start.has_value() != filter.end.has_value()) {
    describe::Issues issues;
    describe::Where const query{nullptr, "query"};
    issues.add({&query, std::string_view(filter.start ? "end_date" : "start_date")}, "missing",
               "Field required", "null");
    co_return Response::invalid(issues);
  }
  if (!request.body.empty()) {
    auto body = read_body<std::optional<RangeBody>>(request, &read_range_body);
    if (!body) co_return std::move(body.error());
    if (*body) {
      filter.start = (*body)->start_date;
      filter.end = (*body)->end_date;
    }
  }
  auto after = read_cursor(request);
  if (!after) co_return std::move(after.error());
  filter.after = std::move(*after);
  auto const page = co_await parts.snapshots.list(std::move(filter));
  if (!page) co_return Response::from(page.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_array();
  for (auto const& row : page->rows) domain::write_json(json, row);
  json.end_array();
  add_page_fields(response, request, {page->total, page->total_capped}, page->next);
  co_return response;
}

Task<Result<domain::Snapshot>> post_and_tell(SystemParts const& parts, domain::SnapshotBody body,
                                             domain::MachineReading reading, domain::Actor actor) {
  auto posted = co_await parts.snapshots.post(std::move(body), std::move(reading));
  if (posted) {
    parts.hub.tell_news(domain::snapshot_event(*posted, actor), realtime::Hub::Reach::all_servers);
  }
  co_return posted;
}

Task<Response> post(SystemParts const& parts, Request const& request) {
  auto body = read_body<domain::SnapshotBody>(request, &domain::read_snapshot_body);
  if (!body) co_return std::move(body.error());
  auto reading = co_await parts.read_machine();
  if (!reading) co_return Response::from(reading.error());
  co_return co_await pipeline::answer_with(
      request, post_and_tell(parts, std::move(*body), *reading, actor_of(request)),
      snapshot_response);
}

void write_counts(JsonWriter& json, char const* name,
                  std::map<std::string, std::int64_t> const& counts) {
  json.key(name);
  json.begin_object();
  for (auto const& [key, count] : counts) json.member(key, count);
  json.end_object();
}

Task<Response> agent_metrics(SystemParts const& parts, Request const&) {
  auto const figures = co_await parts.store.read(
      store::ReadCost::scan,
      [](store::Session& session) { return domain::agent_figures(session); });
  if (!figures) co_return Response::from(figures.error());
  if (figures->total == 0) co_return Response::json(R"({"total_agents":0,"metrics":{}})");
  auto const total = static_cast<double>(figures->total);
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total_agents", figures->total);
  write_counts(json, "by_status", figures->by_status);
  write_counts(json, "by_type", figures->by_type);
  json.key("performance");
  json.begin_object();
  json.member("avg_success_rate", figures->success_rate_sum / total);
  json.member("avg_response_time", figures->response_time_sum / total);
  json.member("avg_uptime", figures->uptime_sum / total);
  json.member("total_tasks_completed", figures->tasks_completed);
  json.member("total_tasks_failed", figures->tasks_failed);
  json.end_object();
  json.end_object();
  co_return response;
}

double share_of(std::map<std::string, std::int64_t> const& counts, std::int64_t total) {
  auto const completed = counts.find("completed");
  if (completed == counts.end() || total == 0) return 0;
  return static_cast<double>(completed->second) / static_cast<double>(total) * 100;
}

Task<Response> task_metrics(SystemParts const& parts, Request const&) {
  auto const figures = co_await parts.store.read(
      store::ReadCost::scan, [](store::Session& session) { return domain::task_figures(session); });
  if (!figures) co_return Response::from(figures.error());
  if (figures->total == 0) co_return Response::json(R"({"total_tasks":0,"metrics":{}})");
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total_tasks", figures->total);
  write_counts(json, "by_status", figures->by_status);
  write_counts(json, "by_priority", figures->by_priority);
  write_counts(json, "by_type", figures->by_type);
  json.key("performance");
  json.begin_object();
  json.member("completion_rate", share_of(figures->by_status, figures->total));
  json.member("avg_progress", figures->avg_progress);
  json.member("avg_duration", figures->avg_duration_minutes);
  json.member("blocked_count", figures->blocked);
  json.member("urgent_count", figures->urgent);
  json.end_object();
  json.end_object();
  co_return response;
}

Task<Response> workflow_metrics(SystemParts const& parts, Request const&) {
  auto const figures = co_await parts.store.read(
      store::ReadCost::scan,
      [](store::Session& session) { return domain::workflow_figures(session); });
  if (!figures) co_return Response::from(figures.error());
  if (figures->total == 0) co_return Response::json(R"({"total_workflows":0,"metrics":{}})");
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total_workflows", figures->total);
  write_counts(json, "by_status", figures->by_status);
  write_counts(json, "by_type", figures->by_type);
  json.key("performance");
  json.begin_object();
  json.member("completion_rate", share_of(figures->by_status, figures->total));
  json.member("avg_progress", figures->avg_progress);
  json.member("avg_success_rate", figures->avg_success_rate);
  json.member("avg_duration", figures->avg_duration_hours);
  json.member("template_count", figures->templates);
  json.end_object();
  json.end_object();
  co_return response;
}

Task<Response> clean_up_snapshots(SystemParts const& parts, Request const& request) {
  Timestamp const cutoff{Timestamp::now().micros - request.integer("days_to_keep") * kDayUs};
  auto const render = [cutoff](Result<domain::SnapshotCleanup> const& cleaned) {
    if (!cleaned) return Response::from(cleaned.error());
    Response response;
    JsonWriter json(response.body);
    json.begin_object();
    json.member("message", "Cleanup completed");
    json.member("deleted_records", cleaned->deleted);
    json.member("remaining_records", cleaned->remaining);
    json.member("cutoff_date", cutoff);
    json.end_object();
    return response;
  };
  co_return co_await pipeline::answer_with(
      request, parts.snapshots.clean_up(cutoff, actor_of(request)), render);
}

// --- Schemas

constexpr describe::Shape kHealth =
    "status=healthy|unhealthy timestamp:time"
    " checks:{database:boolean websocket:boolean file_watcher:boolean}"
    " details:{database:DatabaseHealth file_watcher:text} uptime_seconds:number version:text";
constexpr describe::Shape kStatus =
    "status=running"
    " agents:{total_agents:integer active_agents:integer idle_agents:integer"
    " offline_agents:integer}"
    " tasks:{total_tasks:integer pending_tasks:integer in_progress_tasks:integer"
    " completed_tasks:integer failed_tasks:integer}"
    " workflows:{total_workflows:integer active_workflows:integer completed_workflows:integer"
    " paused_workflows:integer}"
    " uptime:text connected_clients:integer last_updated:time";
// Of nothing there are no figures; `metrics` is empty then.
constexpr describe::Shape kAgentFigures =
    "total_agents:integer metrics:object;"
    " total_agents:integer by_status:{*:integer} by_type:{*:integer}"
    " performance:{avg_success_rate:number avg_response_time:number avg_uptime:number"
    " total_tasks_completed:number total_tasks_failed:number}";
constexpr describe::Shape kTaskFigures =
    "total_tasks:integer metrics:object;"
    " total_tasks:integer by_status:{*:integer} by_priority:{*:integer} by_type:{*:integer}"
    " performance:{completion_rate:number avg_progress:number avg_duration:number"
    " blocked_count:integer urgent_count:integer}";
constexpr describe::Shape kWorkflowFigures =
    "total_workflows:integer metrics:object;"
    " total_workflows:integer by_status:{*:integer} by_type:{*:integer}"
    " performance:{completion_rate:number avg_progress:number avg_success_rate:number"
    " avg_duration:number template_count:integer}";
constexpr describe::Shape kMetricsCleanup =
    "message:text deleted_records:integer remaining_records:integer cutoff_date:time";

}  // namespace

Task<Result<domain::MachineReading>> SystemParts::read_machine() const {
  auto read = [this]() -> Result<domain::MachineReading> { return domain::read_machine(folder); };
  co_return co_await pool.run(read);
}

std::string duration_text(std::int64_t seconds) {
  return fmt::format("{}d {}h {}m {}s", seconds / 86'400, seconds / 3'600 % 24, seconds / 60 % 60,
                     seconds % 60);
}

http::Routes system_v1(SystemParts parts) {
  using enum http::Access;
  auto const shared = std::make_shared<SystemParts const>(std::move(parts));
  auto const with = [shared](auto handler) -> http::AsyncHandler {
    return [shared, handler](Request const& request) { return handler(*shared, request); };
  };
  http::Schema const snapshot{"SystemMetricsV1", &domain::snapshot_schema};
  http::Routes routes("/api/v1/system");
  routes
      .add({.method = Method::get,
            .path = "/health",
            .name = "v1_system_health",
            .summary = "Whether the parts of the system work",
            .tag = kSystemTag,
            .handler = with(&health),
            .access = read,
            .answers = {{200,
                         "What was found; 200 in bad health too.",
                         {"SystemHealthV1", kHealth, health_schemas()}}}})
      .add({.method = Method::get,
            .path = "/status",
            .name = "v1_system_status",
            .summary = "Counts of records and connections",
            .tag = kSystemTag,
            .handler = with(&status),
            .access = read,
            .answers = {{200, "The counts.", {"SystemStatusV1", kStatus}}}})
      .add({.method = Method::get,
            .path = "/metrics/current",
            .name = "v1_current_metrics",
            .summary = "The newest snapshot of the system",
            .tag = kSystemTag,
            .handler = with(&current),
            .access = read,
            .answers = {{200, "The snapshot.", snapshot}}})
      .add({.method = Method::get,
            .path = "/metrics/history",
            .name = "v1_metrics_history",
            .summary = "Snapshots of the system, newest first",
            .tag = kSystemTag,
            .handler = with(&history),
            .access = read,
            .query = {integer_parameter("limit", 100, 1, kListLimitMax, "How many at most."),
                      cursor_parameter(),
                      time_parameter("start_date", "From this time on; with end_date only."),
                      time_parameter("end_date", "Up to this time; with start_date only."),
                      choice_parameter("granularity", {"minute", "hour", "day", "week"},
                                       "Accepted for older clients, without effect: what is kept "
                                       "grows coarser with age.")},
            .answers = {{200, "The snapshots.", snapshot, http::Shape::list}}})
      .add({.method = Method::post,
            .path = "/metrics",
            .name = "v1_post_metrics",
            .summary = "Store a snapshot in which what is sent replaces what was measured",
            .tag = kSystemTag,
            .handler = with(&post),
            .access = write,
            .body = http::BodySpec{{"SystemMetricsCreateV1", &domain::snapshot_body_schema}},
            .answers = {{200, "The snapshot.", snapshot}}})
      .add({.method = Method::get,
            .path = "/metrics/agents",
            .name = "v1_agent_figures",
            .summary = "Figures about all agents",
            .tag = kSystemTag,
            .handler = with(&agent_metrics),
            .access = read,
            .answers = {{200, "The figures.", {"AgentFiguresV1", kAgentFigures}}}})
      .add({.method = Method::get,
            .path = "/metrics/tasks",
            .name = "v1_task_figures",
            .summary = "Figures about all tasks",
            .tag = kSystemTag,
            .handler = with(&task_metrics),
            .access = read,
            .answers = {{200, "The figures.", {"TaskFiguresV1", kTaskFigures}}}})
      .add({.method = Method::get,
            .path = "/metrics/workflows",
            .name = "v1_workflow_figures",
            .summary = "Figures about all workflows",
            .tag = kSystemTag,
            .handler = with(&workflow_metrics),
            .access = read,
            .answers = {{200, "The figures.", {"WorkflowFiguresV1", kWorkflowFigures}}}})
      .add(
          {.method = Method::post,
           .path = "/maintenance/cleanup",
           .name = "v1_clean_up_metrics",
           .summary = "Remove snapshots older than so many days",
           .tag = kSystemTag,
           .handler = with(&clean_up_snapshots),
           .access = admin,
           .query = {integer_parameter("days_to_keep", 30, -kDaysMost, kDaysMost, "Days to keep.")},
           .answers = {{200, "How many were removed.", {"MetricsCleanupV1", kMetricsCleanup}}}});
  return routes;
}

}  // namespace subforge::api
