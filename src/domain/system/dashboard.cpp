#include "domain/system/dashboard.hpp"

#include <algorithm>
#include <map>

#include "describe/parse_json.hpp"
#include "domain/agents/agent_counts.hpp"
#include "domain/system/census.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

using store::Row;
using store::Session;

constexpr std::int64_t kDayUs = 86'400'000'000;

std::optional<std::string> optional_text(Row const& row, int column) {
  if (row.is_null(column)) return std::nullopt;
  return std::string(row.text(column));
}
std::optional<std::int64_t> optional_integer(Row const& row, int column) {
  if (row.is_null(column)) return std::nullopt;
  return row.integer(column);
}
std::optional<Timestamp> optional_time(Row const& row, int column) {
  if (row.is_null(column)) return std::nullopt;
  return row.timestamp(column);
}
std::vector<std::string> texts(Row const& row, int column) {
  std::vector<std::string> list;
  store::Column<std::vector<std::string>>::read(row, column, list);
  return list;
}

constexpr std::string_view kAgentColumns =
    "SELECT id, name, agent_type, status, model, capabilities, current_task_title, tasks_completed,"
    " tasks_failed, success_rate, avg_response_time, last_activity, created_at FROM agents";

DashboardAgent agent_of(Row const& row) {
  DashboardAgent agent;
  agent.id = row.uuid(0);
  agent.name = row.text(1);
  agent.type = row.text(2);
  auto const status = describe::from_text<AgentStatus>(row.text(3));
  agent.status = describe::to_text(status_in_v1(status.value_or(AgentStatus::offline)));
  agent.model = row.text(4);
  agent.capabilities = texts(row, 5);
  agent.current_task = optional_text(row, 6);
  agent.tasks_completed = whole(row.real(7));
  agent.tasks_failed = whole(row.real(8));
  agent.success_rate = row.real(9);
  agent.avg_response_time = row.real(10);
  agent.last_activity = optional_time(row, 11);
  agent.created_at = row.timestamp(12);
  return agent;
}

// The dependencies' ids, of objects {"task_id": ...} or plain texts.
std::vector<std::string> dependency_ids(std::string_view json) {
  std::vector<std::string> ids;
  boost::system::error_code error;
  auto const list = describe::parse_json(json, error);
  if (error || !list.is_array()) return ids;
  for (auto const& item : list.get_array()) {
    auto const* id = item.is_object() ? item.get_object().if_contains("task_id") : &item;
    if (id != nullptr && id->is_string()) ids.emplace_back(id->get_string().c_str());
  }
  return ids;
}

DashboardTask task_of(Row const& row) {
  DashboardTask task;
  task.id = row.uuid(0);
  task.title = row.text(1);
  task.description = row.is_null(2) ? std::string() : std::string(row.text(2));
  task.status = row.text(3);
  task.priority = row.text(4);
  task.requires_review = row.integer(5) != 0;
  task.agent = optional_text(row, 6);
  task.tags = texts(row, 7);
  task.dependencies = dependency_ids(row.text(8));
  task.estimated_minutes = optional_integer(row, 9);
  task.actual_minutes = optional_integer(row, 10);
  task.started_at = optional_time(row, 11);
  task.completed_at = optional_time(row, 12);
  task.due_date = optional_time(row, 13);
  task.created_at = row.timestamp(14);
  task.updated_at = row.timestamp(15);
  return task;
}

Task<Result<void>> read_days(Session& session, DashboardMetrics& metrics) {
  std::map<std::int64_t, DashboardDay> days;
  auto const last = metrics.end.micros / kDayUs;
  for (auto day = metrics.start.micros / kDayUs; day <= last; ++day) days[day].day = day;
  auto const done = co_await session.query(
      "SELECT day, CAST(sum(completed) AS BIGINT), CAST(sum(failed) AS BIGINT),"
      " count(CASE WHEN agent <> '' THEN 1 END) FROM task_days WHERE day >= $1 AND day <= $2"
      " GROUP BY day",
      {days.begin()->first, last}, [&](Row const& row) {
        auto& day = days[row.integer(0)];
        day.completed = row.integer(1);
        day.failed = row.integer(2);
        day.agents = row.integer(3);
      });
  if (!done) co_return std::unexpected(done.error());
  for (auto const& [day, counts] : days) metrics.days.push_back(counts);
  co_return {};
}

Task<Result<void>> read_health(Session& session, DashboardMetrics& metrics) {
  auto const part = (metrics.end.micros - metrics.start.micros) / Dashboard::kHealthPoints;
  for (std::int64_t i = 0; i < Dashboard::kHealthPoints; ++i) {
    metrics.health.push_back({{metrics.start.micros + i * part}, {}, {}, {}});
  }
  auto const done = co_await session.query(
      "SELECT (recorded_at - $1) / $2, avg(cpu_usage), avg(memory_usage),"
      " avg(websocket_connections) FROM system_metrics WHERE recorded_at >= $1"
      " AND recorded_at < $3 AND origin <> 'posted' GROUP BY 1",
      {metrics.start, part, metrics.end}, [&](Row const& row) {
        auto const index = static_cast<std::size_t>(row.integer(0));
        if (index >= metrics.health.size()) return;
        auto& point = metrics.health[index];
        if (!row.is_null(1)) point.cpu = row.real(1);
        if (!row.is_null(2)) point.memory = row.real(2);
        if (!row.is_null(3)) point.connections = row.real(3);
      });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

// --- Events

std::optional<std::string> member(boost::json::object const& record, std::string_view name) {
  auto const* value = record.if_contains(name);
  if (value == nullptr || !value->is_string()) return std::nullopt;
  return std::string(value->get_string().c_str());
}

DashboardEvent event_named(char const* type, char const* title, char const* status) {
  DashboardEvent event;
  event.type = type;
  event.title = title;
  event.status = status;
  return event;
}

// What an event about a task is on the page: nothing, or what happened to it, newest first.
std::vector<DashboardEvent> task_events(std::string_view kind, boost::json::object const& payload,
                                        boost::json::object const& task) {
  auto const status = member(task, "status").value_or("");
  bool const created = kind == "task.created";
  bool const moved = created || member(payload, "old_status").value_or(status) != status;
  bool const assigned = created ? member(task, "assigned_agent_id").has_value()
                                : kind == "task.assigned" || payload.contains("newly_assigned");
  std::vector<DashboardEvent> events;
  if (moved && status == "completed") {
    events.push_back(event_named("task_completed", "Task completed", "success"));
  }
  if (moved && status == "failed") {
    events.push_back(event_named("task_failed", "Task failed", "error"));
  }
  if (assigned) events.push_back(event_named("agent_assigned", "Task assigned", "info"));
  if (created) events.push_back(event_named("task_created", "Task created", "info"));
  for (auto& event : events) {
    event.task = member(task, "title");
    event.description = event.task.value_or("");
    event.agent = member(task, "assigned_agent_name");
  }
  return events;
}

std::optional<DashboardEvent> workflow_event(std::string_view kind, std::string_view subject,
                                             boost::json::object const& payload) {
  std::optional<DashboardEvent> event;
  if (kind == "workflow.executed") {
    event = event_named("workflow_started", "Workflow started", "info");
  }
  if (kind == "workflow.status" && member(payload, "new_status") == "completed") {
    event = event_named("workflow_completed", "Workflow completed", "success");
  }
  if (event) event->workflow_id = Uuid::parse(subject.substr(subject.find(':') + 1));
  return event;
}

std::vector<DashboardEvent> events_of(Row const& row) {
  boost::system::error_code error;
  auto const text = row.text(4);
  auto const payload = describe::parse_json(text, error);
  if (error || !payload.is_object()) return {};
  auto const& object = payload.get_object();
  auto const kind = row.text(2);
  std::vector<DashboardEvent> events;
  if (auto const* task = object.if_contains("task"); task != nullptr && task->is_object()) {
    events = task_events(kind, object, task->get_object());
  } else if (auto event = workflow_event(kind, row.text(3), object)) {
    events.push_back(std::move(*event));
  }
  for (std::size_t i = 0; i < events.size(); ++i) {
    events[i].id = std::to_string(row.integer(0));
    if (i > 0) events[i].id.append(".").append(std::to_string(i));
    events[i].at = row.timestamp(1);
  }
  return events;
}

// Events name workflows by id; the page shows names, of those that are still there.
Task<Result<void>> name_workflows(Session& session, std::vector<DashboardEvent>& events) {
  std::map<Uuid, std::string> names;
  for (auto& event : events) {
    if (!event.workflow_id) continue;
    auto const [name, unknown] = names.try_emplace(*event.workflow_id);
    if (unknown) {
      auto const done =
          co_await session.query("SELECT name FROM workflows WHERE id = $1", {*event.workflow_id},
                                 [&](Row const& row) { name->second = row.text(0); });
      if (!done) co_return std::unexpected(done.error());
    }
    event.description = name->second;
  }
  co_return {};
}

}  // namespace

Timestamp start_of(DashboardRange range, Timestamp now) {
  auto const span = [range] {
    switch (range) {
      case DashboardRange::hour: return kDayUs / 24;
      case DashboardRange::day: return kDayUs;
      case DashboardRange::week: return 7 * kDayUs;
      case DashboardRange::month: return 30 * kDayUs;
      case DashboardRange::quarter: return 90 * kDayUs;
    }
    return kDayUs;
  }();
  return {now.micros - span};
}

Task<Result<DashboardOverview>> Dashboard::overview() {
  auto read = [](Session& session) -> Task<Result<DashboardOverview>> {
    DashboardOverview overview;
    if (auto const done = co_await take_census(session, overview.counts); !done) {
      co_return std::unexpected(done.error());
    }
    auto const agents = co_await agent_totals(session);
    if (!agents) co_return std::unexpected(agents.error());
    for (auto const& [status, count] : agents->by_status) {
      if (status == AgentStatus::error) overview.error_agents += count;
      if (status_in_v1(status) == AgentStatus::busy) overview.busy_agents += count;
    }
    auto const measured = co_await session.query(
        "SELECT cpu_usage, memory_usage FROM system_metrics WHERE origin = 'sample'"
        " ORDER BY recorded_at DESC LIMIT 1",
        {}, [&](Row const& row) {
          if (!row.is_null(0)) overview.newest.cpu_usage = row.real(0);
          if (!row.is_null(1)) overview.newest.memory_usage = row.real(1);
        });
    if (!measured) co_return std::unexpected(measured.error());
    co_return overview;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<std::vector<DashboardAgent>>> Dashboard::agents() {
  auto read = [](Session& session) -> Task<Result<std::vector<DashboardAgent>>> {
    std::vector<DashboardAgent> agents;
    auto const done =
        co_await session.query(std::string(kAgentColumns) + " ORDER BY seq LIMIT $1", {kAgentsMax},
                               [&](Row const& row) { agents.push_back(agent_of(row)); });
    if (!done) co_return std::unexpected(done.error());
    co_return agents;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<std::vector<DashboardTask>>> Dashboard::tasks(std::int64_t limit) {
  auto read = [limit](Session& session) -> Task<Result<std::vector<DashboardTask>>> {
    std::vector<DashboardTask> tasks;
    auto const done = co_await session.query(
        "SELECT id, title, description, status, priority, requires_review, assigned_agent_name,"
        " tags, dependencies, estimated_duration_minutes, actual_duration_minutes, started_at,"
        " completed_at, due_date, created_at, updated_at FROM tasks ORDER BY seq DESC LIMIT $1",
        {limit}, [&](Row const& row) { tasks.push_back(task_of(row)); });
    if (!done) co_return std::unexpected(done.error());
    co_return tasks;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<DashboardMetrics>> Dashboard::metrics(DashboardRange range, Timestamp now) {
  auto read = [range, now](Session& session) -> Task<Result<DashboardMetrics>> {
    DashboardMetrics metrics;
    metrics.start = start_of(range, now);
    metrics.end = now;
    if (auto const done = co_await read_days(session, metrics); !done) {
      co_return std::unexpected(done.error());
    }
    if (auto const done = co_await read_health(session, metrics); !done) {
      co_return std::unexpected(done.error());
    }
    auto const done = co_await session.query(
        std::string(kAgentColumns) + " ORDER BY tasks_completed DESC, seq LIMIT $1",
        {kPerformingAgents}, [&](Row const& row) { metrics.agents.push_back(agent_of(row)); });
    if (!done) co_return std::unexpected(done.error());
    co_return metrics;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<std::vector<DashboardEvent>>> Dashboard::events(DashboardRange range, Timestamp now) {
  auto const oldest = store_.last_event_id() - kEventsScanned;
  auto read = [since = start_of(range, now),
               oldest](Session& session) -> Task<Result<std::vector<DashboardEvent>>> {
    std::vector<DashboardEvent> events;
    auto const done = co_await session.query(
        "SELECT id, at, kind, subject, payload FROM events WHERE id > $1 AND at >= $2 AND (kind IN"
        " ('task.created', 'task.assigned', 'task.status', 'workflow.executed', 'workflow.status')"
        " OR (kind IN ('task.updated', 'task.progress') AND (payload LIKE '%\"old_status\":%'"
        " OR payload LIKE '%\"newly_assigned\":%'))) ORDER BY id DESC LIMIT $3",
        {oldest, since, kEventsMax}, [&](Row const& row) {
          for (auto& event : events_of(row)) {
            if (std::ssize(events) < kEventsMax) events.push_back(std::move(event));
          }
        });
    if (!done) co_return std::unexpected(done.error());
    if (auto const named = co_await name_workflows(session, events); !named) {
      co_return std::unexpected(named.error());
    }
    co_return events;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

}  // namespace subforge::domain
