#include "api/compat.hpp"

#include <cctype>
#include <cmath>

#include <fmt/format.h>

#include "api/handler_parts.hpp"
#include "base/json_writer.hpp"
#include "domain/page_words.hpp"

namespace subforge::api {
namespace {

using domain::Dashboard;
using domain::DashboardAgent;
using domain::DashboardRange;
using domain::DashboardTask;
using http::Request;
using http::Response;
using net::Method;

constexpr char const* kDashboardTag = "dashboard";

Task<Response> overview(Dashboard& dashboard, realtime::Hub& hub, std::int64_t started_ns) {
  auto overview = co_await dashboard_overview(dashboard, hub, started_ns);
  if (!overview) co_return Response::from(overview.error());
  co_return Response::json(std::move(*overview));
}

void write_agent(JsonWriter& json, DashboardAgent const& agent, bool detailed) {
  json.begin_object();
  json.member("id", agent.id);
  json.member("name", agent.name);
  json.member("type", agent.type);
  // The page's short list knows no agents that are offline.
  bool const unknown = !detailed && agent.status == "offline";
  json.member("status", unknown ? std::string_view("idle") : std::string_view(agent.status));
  json.member("lastActive", domain::ago_text(agent.last_activity));
  json.member("tasksCompleted", agent.tasks_completed);
  if (agent.current_task) json.member("currentTask", *agent.current_task);
  if (detailed) {
    json.member("model", domain::model_badge(agent.model));
    json.key("capabilities");
    json.begin_array();
    for (auto const& capability : agent.capabilities) json.string(capability);
    json.end_array();
    json.member("createdAt", agent.created_at);
    json.key("performance");
    json.begin_object();
    json.member("successRate", agent.success_rate);
    json.member("avgResponseTime", agent.avg_response_time);
    json.member("totalTasks", agent.tasks_completed + agent.tasks_failed);
    json.end_object();
  }
  json.end_object();
}

Task<Response> agents(Dashboard& dashboard, bool detailed) {
  auto const found = co_await dashboard.agents();
  if (!found) co_return Response::from(found.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.key("agents");
  json.begin_array();
  for (auto const& agent : *found) write_agent(json, agent, detailed);
  json.end_array();
  json.end_object();
  co_return response;
}

void write_recent(JsonWriter& json, DashboardTask const& task) {
  json.begin_object();
  json.member("id", task.id);
  json.member("title", task.title);
  json.member("agent", task.agent.value_or("Unassigned"));
  json.member("status", domain::recent_status(task.status));
  json.member("priority", domain::shown_priority(task.priority));
  json.member("timestamp", domain::ago_text(task.updated_at));
  // A task that was reopened may have been started after it was completed.
  if (task.started_at && task.completed_at && *task.started_at <= *task.completed_at) {
    json.member("duration", (task.completed_at->micros - task.started_at->micros) / 1'000'000);
  }
  json.end_object();
}

void write_card(JsonWriter& json, DashboardTask const& task) {
  auto const list = [&](char const* name, std::vector<std::string> const& texts) {
    json.key(name);
    json.begin_array();
    for (auto const& text : texts) json.string(text);
    json.end_array();
  };
  json.begin_object();
  json.member("id", task.id);
  json.member("title", task.title);
  json.member("description", task.description);
  json.member("status", domain::board_status(task.status, task.requires_review));
  json.member("priority", domain::shown_priority(task.priority));
  if (task.agent) json.member("agent", *task.agent);
  if (task.agent) json.member("assignee", *task.agent);
  list("tags", task.tags);
  json.member("createdAt", task.created_at);
  json.member("updatedAt", task.updated_at);
  if (task.due_date) json.member("dueDate", *task.due_date);
  if (task.estimated_minutes) json.member("estimatedTime", *task.estimated_minutes);
  if (task.actual_minutes) json.member("actualTime", *task.actual_minutes);
  list("dependencies", task.dependencies);
  json.end_object();
}

Task<Response> tasks(Dashboard& dashboard, std::int64_t limit,
                     void (*write)(JsonWriter&, DashboardTask const&)) {
  auto const found = co_await dashboard.tasks(limit);
  if (!found) co_return Response::from(found.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.key("tasks");
  json.begin_array();
  for (auto const& task : *found) write(json, task);
  json.end_array();
  json.end_object();
  co_return response;
}

DashboardRange range_of(Request const& request) {
  return describe::from_text<DashboardRange>(request.text("range").value_or("7d"))
      .value_or(DashboardRange::week);
}

std::string date_text(std::int64_t day) {
  return Timestamp{day * kDayUs}.to_string().substr(0, 10);
}

void write_days(JsonWriter& json, domain::DashboardMetrics const& metrics) {
  json.key("taskCompletion");
  json.begin_array();
  for (auto const& day : metrics.days) {
    json.begin_object();
    json.member("date", date_text(day.day));
    json.member("completed", day.completed);
    json.member("failed", day.failed);
    json.member("total", day.completed + day.failed);
    json.end_object();
  }
  json.end_array();
  json.key("productivity");
  json.begin_array();
  for (auto const& day : metrics.days) {
    // The last day is not over.
    auto const begin = day.day * kDayUs;
    auto const end = std::min((day.day + 1) * kDayUs, metrics.end.micros);
    auto const hours = static_cast<double>(end - begin) / 3.6e9;
    auto const ended = day.completed + day.failed;
    json.begin_object();
    json.member("date", date_text(day.day));
    json.member("tasksPerHour", hours > 0 ? static_cast<double>(day.completed) / hours : 0.0);
    json.member("agentsActive", day.agents);
    json.member(
        "efficiency",
        ended > 0 ? static_cast<double>(day.completed) / static_cast<double>(ended) * 100 : 0.0);
    json.end_object();
  }
  json.end_array();
}

Task<Response> metrics(Dashboard& dashboard, Request const& request) {
  auto const found = co_await dashboard.metrics(range_of(request), Timestamp::now());
  if (!found) co_return Response::from(found.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  write_days(json, *found);
  json.key("agentPerformance");
  json.begin_array();
  for (auto const& agent : found->agents) {
    json.begin_object();
    json.member("agentName", agent.name);
    json.member("successRate", agent.success_rate);
    json.member("avgResponseTime", agent.avg_response_time);
    json.member("tasksCompleted", agent.tasks_completed);
    json.end_object();
  }
  json.end_array();
  json.key("systemHealth");
  json.begin_array();
  for (auto const& point : found->health) {
    // The page reckons with numbers: 0 stands for what was not measured.
    json.begin_object();
    json.member("timestamp", point.at);
    json.member("cpu", point.cpu.value_or(0));
    json.member("memory", point.memory.value_or(0));
    json.member("activeConnections", std::int64_t{std::llround(point.connections.value_or(0))});
    json.end_object();
  }
  json.end_array();
  json.end_object();
  co_return response;
}

Task<Response> history(Dashboard& dashboard, Request const& request) {
  auto const found = co_await dashboard.events(range_of(request), Timestamp::now());
  if (!found) co_return Response::from(found.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.key("events");
  json.begin_array();
  for (auto const& event : *found) {
    json.begin_object();
    json.member("id", event.id);
    json.member("type", event.type);
    json.member("title", event.title);
    json.member("description", event.description);
    if (event.agent) json.member("agent", *event.agent);
    if (event.task) json.member("task", *event.task);
    json.member("timestamp", event.at);
    json.member("status", event.status);
    json.end_object();
  }
  json.end_array();
  json.end_object();
  co_return response;
}

// What each of them answers.
http::Schema const kOverview{
    "DashboardOverview",
    "agents:{total:integer active:integer idle:integer error:integer}"
    " tasks:{completed:integer pending:integer failed:integer total:integer}"
    " system:{uptime:integer(Seconds.) cpu:number memory:number connections:integer}"};
http::Schema const kAgents{
    "DashboardAgents",
    "agents:[{id:id name:text type:text status:text lastActive:text tasksCompleted:integer"
    " currentTask?:text}]"};
http::Schema const kDetailedAgents{
    "DashboardDetailedAgents",
    "agents:[{id:id name:text type:text status:text lastActive:text tasksCompleted:integer"
    " currentTask?:text model:text capabilities:[text] createdAt:time"
    " performance:{successRate:number avgResponseTime:number totalTasks:integer}}]"};
http::Schema const kRecentTasks{
    "DashboardRecentTasks",
    "tasks:[{id:id title:text agent:text status=completed|pending|failed|in_progress"
    " priority=low|medium|high timestamp:text duration?:integer(Seconds.)}]"};
http::Schema const kTasks{
    "DashboardTasks",
    "tasks:[{id:id title:text description:text status=todo|in_progress|review|done"
    " priority=low|medium|high agent?:text assignee?:text tags:[text] createdAt:time"
    " updatedAt:time dueDate?:time estimatedTime?:integer(Minutes.) actualTime?:integer(Minutes.)"
    " dependencies:[text]}]"};
http::Schema const kMetrics{
    "DashboardMetrics",
    "taskCompletion:[{date:text completed:integer failed:integer total:integer}]"
    " productivity:[{date:text tasksPerHour:number agentsActive:integer efficiency:number}]"
    " agentPerformance:[{agentName:text successRate:number avgResponseTime:number"
    " tasksCompleted:integer}]"
    " systemHealth:[{timestamp:time cpu:number memory:number activeConnections:integer}]"};
http::Schema const kDashboardHistory{
    "DashboardHistory",
    "events:[{id:text type:text title:text description:text agent?:text task?:text"
    " timestamp:time status=success|error|info}]"};

http::Route row(char const* path, char const* name, char const* summary, http::Schema const& schema,
                http::AsyncHandler handler) {
  http::Route route;
  route.method = Method::get;
  route.path = path;
  route.name = name;
  route.summary = summary;
  route.tag = kDashboardTag;
  route.handler = std::move(handler);
  route.access = http::Access::read;
  route.answers = {{200, "As the page reads it.", schema}};
  return route;
}

}  // namespace

Task<Result<std::string>> dashboard_overview(Dashboard& dashboard, realtime::Hub& hub,
                                             std::int64_t started_ns) {
  auto const found = co_await dashboard.overview();
  if (!found) co_return std::unexpected(found.error());
  auto const& counts = found->counts;
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.key("agents");
  json.begin_object();
  json.member("total", counts.total_agents);
  json.member("active", counts.active_agents + found->busy_agents);
  json.member("idle", counts.idle_agents);
  json.member("error", found->error_agents);
  json.end_object();
  json.key("tasks");
  json.begin_object();
  json.member("completed", counts.completed_tasks);
  json.member("pending", counts.pending_tasks);
  json.member("failed", counts.failed_tasks);
  json.member("total", counts.total_tasks);
  json.end_object();
  // The page fails on anything but numbers: 0 stands for what is not measured yet.
  json.key("system");
  json.begin_object();
  json.member("uptime", (monotonic_ns() - started_ns) / 1'000'000'000);
  json.member("cpu", found->newest.cpu_usage.value_or(0));
  json.member("memory", found->newest.memory_usage.value_or(0));
  json.member("connections", hub.connections());
  json.end_object();
  json.end_object();
  co_return text;
}

http::Routes compat_routes(Dashboard& dashboard, realtime::Hub& hub, std::int64_t started_ns) {
  auto const metrics_range =
      choice_parameter("range", {"24h", "7d", "30d", "90d"}, "How far back; absent: 7d.");
  auto const history_range =
      choice_parameter("range", {"1h", "24h", "7d", "30d", "90d"}, "How far back; absent: 7d.");
  auto by_range =
      row("/metrics", "dashboard_metrics", "Tasks, agents and system over a time", kMetrics,
          [&dashboard](Request const& request) { return metrics(dashboard, request); });
  by_range.query = {metrics_range};
  auto events = row("/history", "dashboard_history", "What happened to tasks and workflows",
                    kDashboardHistory,
                    [&dashboard](Request const& request) { return history(dashboard, request); });
  events.query = {history_range};
  http::Routes routes("/api");
  routes
      .add(row("/dashboard/overview", "dashboard_overview", "Counts and the state of the system",
               kOverview,
               [&dashboard, &hub, started_ns](Request const&) {
                 return overview(dashboard, hub, started_ns);
               }))
      .add(row("/agents", "dashboard_agents", "Agents in short", kAgents,
               [&dashboard](Request const&) { return agents(dashboard, false); }))
      .add(row("/agents/detailed", "dashboard_agents_detailed", "Agents with their performance",
               kDetailedAgents, [&dashboard](Request const&) { return agents(dashboard, true); }))
      .add(row("/tasks/recent", "dashboard_recent_tasks", "The newest tasks", kRecentTasks,
               [&dashboard](Request const&) {
                 return tasks(dashboard, Dashboard::kRecentTasks, &write_recent);
               }))
      .add(row("/tasks", "dashboard_tasks", "Tasks as cards of a board", kTasks,
               [&dashboard](Request const&) {
                 return tasks(dashboard, Dashboard::kTasksMax, &write_card);
               }))
      .add(std::move(by_range))
      .add(std::move(events));
  return routes;
}

}  // namespace subforge::api
