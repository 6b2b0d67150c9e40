#include "domain/system/census.hpp"

#include "domain/agents/agent.hpp"
#include "domain/tasks/task_links.hpp"
#include "store/counts.hpp"

namespace subforge::domain {

using store::Row;
using store::Session;

namespace {

std::string shown_status_text(std::string_view stored) {
  auto const status = describe::from_text<AgentStatus>(stored);
  return std::string(status ? describe::to_text(status_in_v1(*status)) : stored);
}

}  // namespace

namespace {

Task<Result<void>> count_agents(Session& session, Snapshot& snapshot) {
  snapshot.total_agents = snapshot.active_agents = snapshot.idle_agents = 0;
  snapshot.offline_agents = 0;
  snapshot.agent_success_rate = 0;
  double success = 0;
  auto const agents = co_await session.query(
      "SELECT status, count(*), sum(success_rate) FROM agents GROUP BY status", {},
      [&](Row const& row) {
        auto const status = shown_status_text(row.text(0));
        auto const count = row.integer(1);
        success += row.real(2);
        snapshot.total_agents += count;
        if (status == "active") snapshot.active_agents += count;
        if (status == "idle") snapshot.idle_agents += count;
        if (status == "offline") snapshot.offline_agents += count;
      });
  if (!agents) co_return std::unexpected(agents.error());
  if (snapshot.total_agents > 0) {
    snapshot.agent_success_rate = success / static_cast<double>(snapshot.total_agents);
  }
  co_return {};
}

// Tasks are counted while they change.
Task<Result<void>> count_tasks(Session& session, Snapshot& snapshot) {
  auto const counts = co_await store::read_counts(session, "tasks");
  if (!counts) co_return std::unexpected(counts.error());
  auto const of = [&counts](std::string_view name) {
    auto const found = counts->find(name);
    return found == counts->end() ? 0 : found->second;
  };
  snapshot.total_tasks = of("tasks");
  snapshot.pending_tasks = of("tasks.status=pending");
  snapshot.in_progress_tasks = of("tasks.status=in_progress");
  snapshot.completed_tasks = of("tasks.status=completed");
  snapshot.failed_tasks = of("tasks.status=failed");
  co_return {};
}

Task<Result<void>> count_workflows(Session& session, Snapshot& snapshot) {
  snapshot.total_workflows = snapshot.active_workflows = 0;
  snapshot.completed_workflows = snapshot.paused_workflows = 0;
  auto const done = co_await session.query("SELECT status, count(*) FROM workflows GROUP BY status",
                                           {}, [&](Row const& row) {
                                             auto const status = row.text(0);
                                             auto const count = row.integer(1);
                                             snapshot.total_workflows += count;
                                             // One that runs is an active one to readers who know
                                             // no other word for it.
                                             if (status == "active" || status == "running")
                                               snapshot.active_workflows += count;
                                             if (status == "completed")
                                               snapshot.completed_workflows += count;
                                             if (status == "paused")
                                               snapshot.paused_workflows += count;
                                           });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

std::string type_text(Row const& row, int column) {
  return row.is_null(column) ? "unspecified" : std::string(row.text(column));
}

}  // namespace

Task<Result<void>> take_census(Session& session, Snapshot& snapshot) {
  if (auto const done = co_await count_agents(session, snapshot); !done) co_return done;
  if (auto const done = co_await count_tasks(session, snapshot); !done) co_return done;
  co_return co_await count_workflows(session, snapshot);
}

Task<Result<AgentFigures>> agent_figures(Session& session) {
  AgentFigures figures;
  auto const done = co_await session.query(
      "SELECT status, agent_type, count(*), sum(success_rate), sum(avg_response_time),"
      " sum(uptime_percentage), sum(tasks_completed), sum(tasks_failed)"
      " FROM agents GROUP BY status, agent_type",
      {}, [&](Row const& row) {
        auto const count = row.integer(2);
        figures.total += count;
        figures.by_status[shown_status_text(row.text(0))] += count;
        figures.by_type[std::string(row.text(1))] += count;
        figures.success_rate_sum += row.real(3);
        figures.response_time_sum += row.real(4);
        figures.uptime_sum += row.real(5);
        figures.tasks_completed += row.real(6);
        figures.tasks_failed += row.real(7);
      });
  if (!done) co_return std::unexpected(done.error());
  co_return figures;
}

namespace {

// Those of the counts whose names begin so, by what follows; none that are 0.
std::map<std::string, std::int64_t> counted_by(store::Counts const& counts,
                                               std::string_view prefix) {
  std::map<std::string, std::int64_t> by;
  for (auto const& [name, count] : counts) {
    if (count != 0 && name.starts_with(prefix)) by[name.substr(prefix.size())] = count;
  }
  return by;
}

}  // namespace

Task<Result<TaskFigures>> task_figures(Session& session) {
  auto const counts = co_await store::read_counts(session, "tasks");
  if (!counts) co_return std::unexpected(counts.error());
  auto const types = co_await store::read_counts(session, "task_types");
  if (!types) co_return std::unexpected(types.error());
  auto const of = [](store::Counts const& all, std::string_view name) {
    auto const found = all.find(name);
    return found == all.end() ? 0 : found->second;
  };
  TaskFigures figures;
  figures.total = of(*counts, "tasks");
  figures.by_status = counted_by(*counts, "tasks.status=");
  figures.by_priority = counted_by(*counts, "tasks.priority=");
  figures.by_type = counted_by(*types, "task_types.");
  if (auto const none = of(*types, "task_types"); none != 0) figures.by_type["unspecified"] += none;
  figures.blocked = of(*counts, "tasks.is_blocked");
  figures.urgent = of(*counts, "tasks.is_urgent");
  if (figures.total > 0) {
    figures.avg_progress = static_cast<double>(of(*counts, "tasks.progress")) / kProgressUnit /
                           static_cast<double>(figures.total);
  }
  if (auto const completed = of(*counts, "tasks.status=completed"); completed > 0) {
    figures.avg_duration_minutes = static_cast<double>(of(*counts, "tasks.completed_minutes")) /
                                   static_cast<double>(completed);
  }
  co_return figures;
}

Task<Result<WorkflowFigures>> workflow_figures(Session& session) {
  WorkflowFigures figures;
  double progress = 0;
  double success = 0;
  double hours = 0;
  // Progress and success as progress_of and success_rate_of (domain/workflows) have them.
  auto const done = co_await session.query(
      "SELECT status, workflow_type, count(*), sum(CASE WHEN steps_total + tasks_total > 0 THEN"
      " (steps_completed + tasks_completed) * 100.0 / (steps_total + tasks_total)"
      " ELSE base_progress END),"
      " sum(CASE WHEN steps_total + tasks_total = 0 THEN base_success"
      " WHEN steps_completed + tasks_completed + steps_failed + tasks_failed = 0 THEN 0.0"
      " ELSE (steps_completed + tasks_completed) * 100.0 /"
      " (steps_completed + tasks_completed + steps_failed + tasks_failed) END),"
      " sum(CASE WHEN status = 'completed' THEN coalesce(actual_duration_hours, 0.0)"
      " ELSE 0.0 END), sum(is_template) FROM workflows GROUP BY status, workflow_type",
      {}, [&](Row const& row) {
        auto const count = row.integer(2);
        figures.total += count;
        figures.by_status[std::string(row.text(0))] += count;
        figures.by_type[type_text(row, 1)] += count;
        progress += row.real(3);
        success += row.real(4);
        hours += row.real(5);
        figures.templates += row.integer(6);
      });
  if (!done) co_return std::unexpected(done.error());
  if (figures.total > 0) {
    figures.avg_progress = progress / static_cast<double>(figures.total);
    figures.avg_success_rate = success / static_cast<double>(figures.total);
  }
  auto const completed = figures.by_status.find("completed");
  if (completed != figures.by_status.end()) {
    figures.avg_duration_hours = hours / static_cast<double>(completed->second);
  }
  co_return figures;
}

}  // namespace subforge::domain
