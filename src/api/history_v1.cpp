#include "api/history_v1.hpp"

#include "api/cursor.hpp"
#include "api/handler_parts.hpp"
#include "base/json_writer.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using domain::History;
using domain::PartFilter;
using domain::TimeRange;
using http::Parameter;
using http::Request;
using http::Response;
using net::Method;

constexpr std::int64_t kRangeDays = 30;
constexpr std::int64_t kPerformanceDays = 7;
constexpr std::int64_t kLimitMax = 1000;
constexpr std::size_t kAgentIdBytesMax = 255;
constexpr char const* kHistoryTag = "history v1";

http::Schema const kRunSchema{"WorkflowHistoryV1", &domain::workflow_history_schema};
http::Schema const kPhaseSchema{"PhaseHistoryV1", &domain::phase_history_schema};
http::Schema const kHandoffSchema{"HandoffHistoryV1", &domain::handoff_history_schema};
http::Schema const kPerformanceSchema{"AgentPerformanceV1", &domain::agent_performance_schema};

// One end given stands for a range up to now, or of so many days up to it; none for no range.
TimeRange range_of(Request const& request, std::int64_t days) {
  TimeRange range{time_of(request, "start_date"), time_of(request, "end_date")};
  if (range.start && !range.end) range.end = Timestamp::now();
  if (range.end && !range.start) range.start = {Timestamp::now().micros - days * kDayUs};
  return range;
}

template <class Record>
void write_list(JsonWriter& json, std::vector<Record> const& records) {
  json.begin_array();
  for (auto const& record : records) domain::write_json(json, record);
  json.end_array();
}

void write_optional(JsonWriter& json, std::string_view name, std::optional<Timestamp> at) {
  json.key(name);
  at ? json.timestamp(*at) : json.null();
}

Task<Response> list_runs(History& history, Request const& request) {
  domain::RunFilter filter;
  filter.project_id = request.text("project_id");
  filter.status = request.text("status_filter");
  filter.started = range_of(request, kRangeDays);
  filter.limit = request.integer("limit");
  filter.offset = request.integer("offset");
  auto after = read_cursor(request);
  if (!after) co_return std::move(after.error());
  filter.after = std::move(*after);
  auto const limit = filter.limit;
  auto const offset = filter.offset;
  auto const page = co_await history.runs(std::move(filter));
  if (!page) co_return Response::from(page.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.key("workflows");
  write_list(json, page->rows);
  json.key("pagination");
  json.begin_object();
  json.member("limit", limit);
  json.member("offset", offset);
  json.member("total", page->total);
  json.member("has_more", page->next.has_value());
  json.end_object();
  json.end_object();
  add_page_fields(response, request, {page->total, page->total_capped}, page->next);
  co_return response;
}

// The run's own members, and after them its parts.
Task<Response> get_run(History& history, Request const& request) {
  auto const id = Uuid::parse(request.path_values.front());
  if (!id) co_return Response::problem(404, "Workflow history not found");
  auto const detail = co_await history.run(*id);
  if (!detail) co_return Response::from(detail.error());
  Response response;
  JsonWriter run(response.body);
  domain::write_json(run, detail->run);
  response.body.pop_back();
  JsonWriter parts(response.body);
  response.body += ",\"phases\":";
  write_list(parts, detail->phases);
  parts.key("handoffs");
  write_list(parts, detail->handoffs);
  parts.end_object();
  co_return response;
}

std::expected<PartFilter, Response> part_filter(Request const& request) {
  auto after = read_cursor(request);
  if (!after) return std::unexpected(std::move(after.error()));
  return PartFilter{request.text("workflow_history_id"), request.text("agent_id"),
                    request.text("status_filter"), std::move(*after), request.integer("limit")};
}

template <class Record>
Response parts_response(std::string_view name, Request const& request,
                        Result<store::Page<Record>> const& parts) {
  if (!parts) return Response::from(parts.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.key(name);
  write_list(json, parts->rows);
  json.member("total_records", parts->rows.size());
  json.end_object();
  add_page_fields(response, request, {parts->total, parts->total_capped}, parts->next);
  return response;
}

Task<Response> list_phases(History& history, Request const& request) {
  auto filter = part_filter(request);
  if (!filter) co_return std::move(filter.error());
  co_return parts_response("phases", request, co_await history.phases(std::move(*filter)));
}

Task<Response> list_handoffs(History& history, Request const& request) {
  auto filter = part_filter(request);
  if (!filter) co_return std::move(filter.error());
  co_return parts_response("handoffs", request, co_await history.handoffs(std::move(*filter)));
}

Task<Response> list_performances(History& history, Request const& request) {
  domain::PerformanceFilter filter;
  filter.agent_id = request.text("agent_id");
  filter.period_type = request.text("period_type");
  filter.period = range_of(request, kPerformanceDays);
  filter.limit = request.integer("limit");
  auto after = read_cursor(request);
  if (!after) co_return std::move(after.error());
  filter.after = std::move(*after);
  auto const page = co_await history.performances(std::move(filter));
  if (!page) co_return Response::from(page.error());
  auto const& rows = page->rows;
  std::vector<std::string_view> agents;
  for (auto const& row : rows) agents.push_back(row.agent_id);
  std::ranges::sort(agents);
  auto const covered = std::ranges::unique(agents).begin() - agents.begin();
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.key("metrics");
  write_list(json, rows);
  json.key("summary");
  json.begin_object();
  json.member("total_records", rows.size());
  json.member("agents_covered", static_cast<std::int64_t>(covered));
  json.key("date_range");
  json.begin_object();
  for (auto const* name : {"start", "end"}) {
    json.key(name);
    auto const sent = request.text(std::string(name) + "_date");
    sent ? json.string(*sent) : json.null();
  }
  json.end_object();
  json.end_object();
  json.end_object();
  add_page_fields(response, request, {page->total, page->total_capped}, page->next);
  co_return response;
}

// The contract names the figures differently with data and without: both sets are always there.
Task<Response> analytics_summary(History& history, Request const& request) {
  auto const range = range_of(request, kRangeDays);
  auto const summary = co_await history.summary(range);
  if (!summary) co_return Response::from(summary.error());
  auto const share = [](std::int64_t part, std::int64_t whole) {
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0.0;
  };
  auto const duration = summary->average_duration_seconds.value_or(0);
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total_workflows", summary->total);
  json.member("successful_workflows", summary->successful);
  json.member("failed_workflows", summary->total - summary->successful);
  json.member("success_rate", share(summary->successful, summary->total));
  json.member("average_duration_seconds", duration);
  json.member("average_duration", duration);
  json.member("total_tasks", summary->tasks_total);
  json.member("completed_tasks", summary->tasks_completed);
  json.member("task_completion_rate", share(summary->tasks_completed, summary->tasks_total));
  json.member("average_quality_score", summary->average_quality_score.value_or(0));
  json.member("average_efficiency_score", summary->average_efficiency_score.value_or(0));
  write_optional(json, "period_start", range.start);
  write_optional(json, "period_end", range.end);
  json.key("performance_summary");
  json.begin_object();
  for (auto const& [status, count] : summary->by_status) json.member(status, count);
  json.end_object();
  json.end_object();
  co_return response;
}

Task<Response> clean_up_history(History& history, Request const& request) {
  Timestamp const cutoff{Timestamp::now().micros - request.integer("retention_days") * kDayUs};
  auto const cleaned = co_await history.clean_up(cutoff, actor_of(request));
  if (!cleaned) co_return Response::from(cleaned.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("message", "Cleanup completed successfully");
  json.key("deleted_records");
  json.begin_object();
  json.member("workflow_history_deleted", cleaned->runs);
  json.member("performance_metrics_deleted", cleaned->performances);
  json.end_object();
  json.end_object();
  co_return response;
}

describe::Issues issues_of(domain::PerformanceRequest const& wanted) {
  describe::Issues issues;
  describe::Where const path{nullptr, "path"};
  describe::Where const query{nullptr, "query"};
  auto const bad_text = [](std::string const& text) {
    return text.size() > kAgentIdBytesMax || text.contains('\0');
  };
  if (bad_text(wanted.agent_id)) {
    issues.add({&path, "agent_id"}, "value_error", "The id is too long or has a NUL", "null");
  }
  if (bad_text(wanted.period_type)) {
    issues.add({&query, "period_type"}, "value_error", "The type is too long", "null");
  }
  if (wanted.end <= wanted.start) {
    issues.add({&query, "end_date"}, "value_error", "The period must end after its start",
               "\"" + wanted.end.to_string() + "\"");
  }
  return issues;
}

Response calculated_response(Result<domain::AgentPerformance> const& row) {
  if (!row) return Response::from(row.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("message", "Performance calculation completed");
  json.key("metrics");
  domain::write_json(json, *row);
  json.end_object();
  return response;
}

Task<Response> calculate(History& history, Request const& request) {
  auto const now = Timestamp::now();
  domain::PerformanceRequest wanted;
  wanted.agent_id = request.path_values.front();
  wanted.start = time_of(request, "start_date").value_or(Timestamp{now.micros - kDayUs});
  wanted.end = time_of(request, "end_date").value_or(now);
  wanted.period_type = request.text("period_type").value_or("day");
  if (auto const issues = issues_of(wanted); !issues.empty()) co_return Response::invalid(issues);
  co_return co_await pipeline::answer_with(
      request, history.calculate(std::move(wanted), actor_of(request)), calculated_response);
}

// --- Schemas of what is put around the records

void run_detail_schema(JsonWriter& json) {
  json.key("allOf");
  json.begin_array();
  describe::write_shape(json, "WorkflowHistoryV1");
  describe::write_shape(json, "phases:[PhaseHistoryV1] handoffs:[HandoffHistoryV1]");
  json.end_array();
}

constexpr describe::Shape kRunPage =
    "workflows:[WorkflowHistoryV1]"
    " pagination:{limit:integer offset:integer total:integer has_more:boolean}";
constexpr describe::Shape kPhases = "phases:[PhaseHistoryV1] total_records:integer";
constexpr describe::Shape kHandoffs = "handoffs:[HandoffHistoryV1] total_records:integer";
constexpr describe::Shape kPerformances =
    "metrics:[AgentPerformanceV1] summary:{total_records:integer agents_covered:integer"
    " date_range:{start:text|null end:text|null}(As they were asked for.)}";
constexpr describe::Shape kCalculated = "message:text metrics:AgentPerformanceV1";
constexpr describe::Shape kHistorySummary =
    "total_workflows:integer successful_workflows:integer failed_workflows:integer"
    " success_rate:number average_duration_seconds:number average_duration:number"
    " total_tasks:integer completed_tasks:integer task_completion_rate:number"
    " average_quality_score:number average_efficiency_score:number period_start:time|null"
    " period_end:time|null performance_summary:{*:integer}(Runs by status.)";
constexpr describe::Shape kHistoryCleanup =
    "message:text"
    " deleted_records:{workflow_history_deleted:integer performance_metrics_deleted:integer}";

// --- The table

std::string failure(char const* what) { return std::string(what) + ": internal error"; }

// `names` sets the rows of the second prefix apart; only the first is documented.
http::Routes table(History& history, std::string prefix, std::string const& names,
                   bool in_document) {
  using enum http::Access;
  auto const with = [&history](auto handler) -> http::AsyncHandler {
    return [&history, handler](Request const& request) { return handler(history, request); };
  };
  auto const limit = [](std::int64_t fallback) {
    return integer_parameter("limit", fallback, 1, kLimitMax, "How many at most.");
  };
  auto const start = time_parameter("start_date", "From this time on; alone: up to now.");
  auto const end = time_parameter(
      "end_date", "Up to this time; alone: from 30 days (performance: 7 days) before now on.");
  std::vector const part_query{
      text_parameter("workflow_history_id", "Only of this run."),
      text_parameter("agent_id", "Only of this agent."),
      text_parameter("status_filter", "Only in this state."),
      limit(100),
      cursor_parameter(),
  };
  http::Routes routes(std::move(prefix));
  routes
      .add({.method = Method::get,
            .path = "/workflows",
            .name = names + "workflows",
            .summary = "List runs of workflows, newest start first",
            .tag = kHistoryTag,
            .handler = with(&list_runs),
            .access = read,
            .query = {limit(50),
                      integer_parameter("offset", 0, 0, std::nullopt, "How many to leave out."),
                      cursor_parameter(), text_parameter("project_id", "Only of this project."),
                      text_parameter("status_filter", "Only in this state."), start, end},
            .answers = {{200,
                         "The runs; the total is counted to 10000.",
                         {"WorkflowHistoryPageV1", kRunPage, {kRunSchema}}}},
            .failure = failure("Error retrieving workflow history")})
      .add({.method = Method::get,
            .path = "/workflows/{workflow_history_id}",
            .name = names + "workflow",
            .summary = "Get a run with its phases and handoffs",
            .tag = kHistoryTag,
            .handler = with(&get_run),
            .access = read,
            .path_parameters = {{.name = "workflow_history_id", .doc = "The run's id."}},
            .answers = {{200,
                         "The run.",
                         {"WorkflowHistoryDetailV1",
                          &run_detail_schema,
                          {kRunSchema, kPhaseSchema, kHandoffSchema}}},
                        {404, "There is no such run."}},
            .failure = failure("Error retrieving workflow detail")})
      .add({.method = Method::get,
            .path = "/agents/performance",
            .name = names + "performances",
            .summary = "List calculated performances, newest period first",
            .tag = kHistoryTag,
            .handler = with(&list_performances),
            .access = read,
            .query = {text_parameter("agent_id", "Only of this agent."),
                      text_parameter("period_type", "Only of this type: hour, day, week, month."),
                      start, end, limit(100), cursor_parameter()},
            .answers = {{200,
                         "The performances.",
                         {"AgentPerformancesV1", kPerformances, {kPerformanceSchema}}}},
            .failure = failure("Error retrieving agent performance")})
      .add({.method = Method::get,
            .path = "/analytics/summary",
            .name = names + "summary",
            .summary = "Counts and averages over the runs of a time",
            .tag = kHistoryTag,
            .handler = with(&analytics_summary),
            .access = read,
            .query = {start, end},
            .answers = {{200, "The figures.", {"HistorySummaryV1", kHistorySummary}}},
            .failure = failure("Error retrieving analytics summary")})
      .add({.method = Method::get,
            .path = "/phases",
            .name = names + "phases",
            .summary = "List phases of runs, newest start first",
            .tag = kHistoryTag,
            .handler = with(&list_phases),
            .access = read,
            .query = part_query,
            .answers = {{200, "The phases.", {"PhaseHistoriesV1", kPhases, {kPhaseSchema}}}},
            .failure = failure("Error retrieving phase history")})
      .add(
          {.method = Method::get,
           .path = "/handoffs",
           .name = names + "handoffs",
           .summary = "List handoffs of runs, newest start first",
           .tag = kHistoryTag,
           .handler = with(&list_handoffs),
           .access = read,
           .query = part_query,
           .answers = {{200, "The handoffs.", {"HandoffHistoriesV1", kHandoffs, {kHandoffSchema}}}},
           .failure = failure("Error retrieving handoff history")})
      .add({.method = Method::del,
            .path = "/cleanup",
            .name = names + "cleanup",
            .summary = "Remove runs and performances older than so many days",
            .tag = kHistoryTag,
            .handler = with(&clean_up_history),
            .access = admin,
            .query = {integer_parameter("retention_days", 90, 1, 365, "Days to keep.")},
            .answers = {{200, "How many were removed.", {"HistoryCleanupV1", kHistoryCleanup}}},
            .failure = failure("Error during cleanup")})
      .add({.method = Method::post,
            .path = "/agents/{agent_id}/performance",
            .name = names + "calculate",
            .summary = "Calculate an agent's performance over a period and keep it",
            .tag = kHistoryTag,
            .handler = with(&calculate),
            .access = write,
            .path_parameters = {{.name = "agent_id", .doc = "The agent's id, of any form."}},
            .query = {time_parameter("start_date", "Of the period; absent: a day before now."),
                      time_parameter("end_date", "Of the period; absent: now."),
                      text_parameter("period_type", "hour, day, week or month; absent: day.")},
            .answers = {{200,
                         "The performance.",
                         {"PerformanceCalculatedV1", kCalculated, {kPerformanceSchema}}}},
            .failure = failure("Error calculating performance")});
  for (auto& row : routes.rows()) row.in_document = in_document;
  return routes;
}

}  // namespace

http::Routes history_v1(History& history) {
  auto routes = table(history, "/api/v1/history", "v1_history_", true);
  // The reference mounted its router under its own prefix once more; clients know both.
  routes.merge(table(history, "/api/v1/history/history", "v1_history_nested_", false));
  return routes;
}

}  // namespace subforge::api
