#include "domain/system/census.hpp"

#include "domain/agents/agent_counts.hpp"
#include "domain/tasks/task_links.hpp"
#include "domain/workflows/workflow_rows.hpp"
#include "store/counts.hpp"

namespace subforge::domain {

using store::Row;
using store::Session;

namespace {

Task<Result<void>> count_agents(Session& session, Snapshot& snapshot) {
  auto const totals = co_await agent_totals(session);
  if (!totals) co_return std::unexpected(totals.error());
  snapshot.total_agents = totals->agents;
  snapshot.active_agents = snapshot.idle_agents = snapshot.offline_agents = 0;
  for (auto const& [status, count] : totals->by_status) {
    auto const shown = status_in_v1(status);
    if (shown == AgentStatus::active) snapshot.active_agents += count;
    if (shown == AgentStatus::idle) snapshot.idle_agents += count;
    if (shown == AgentStatus::offline) snapshot.offline_agents += count;
  }
  snapshot.agent_success_rate = totals->mean(totals->success_rate);
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
  auto const done = co_await session.query("SELECT status, workflows FROM workflow_totals", {},
                                           [&](Row const& row) {
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

}  // namespace

Task<Result<void>> take_census(Session& session, Snapshot& snapshot) {
  if (auto const done = co_await count_agents(session, snapshot); !done) co_return done;
  if (auto const done = co_await count_tasks(session, snapshot); !done) co_return done;
  co_return co_await count_workflows(session, snapshot);
}

Task<Result<AgentFigures>> agent_figures(Session& session) {
  auto totals = co_await agent_totals(session);
  if (!totals) co_return std::unexpected(totals.error());
  AgentFigures figures;
  figures.total = totals->agents;
  for (auto const& [status, count] : totals->by_status) {
    figures.by_status[std::string(describe::to_text(status_in_v1(status)))] += count;
  }
  figures.by_type = std::move(totals->by_type);
  figures.success_rate_sum = totals->success_rate;
  figures.response_time_sum = totals->response_time;
  figures.uptime_sum = totals->uptime;
  figures.tasks_completed = totals->tasks_completed;
  figures.tasks_failed = totals->tasks_failed;
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
  std::int64_t progress = 0;
  std::int64_t success = 0;
  auto const done = co_await session.query(
      "SELECT status, workflows, templates, progress, success FROM workflow_totals", {},
      [&](Row const& row) {
        if (row.integer(1) == 0) return;
        figures.total += row.integer(1);
        figures.by_status[std::string(row.text(0))] = row.integer(1);
        figures.templates += row.integer(2);
        progress += row.integer(3);
        success += row.integer(4);
      });
  if (!done) co_return std::unexpected(done.error());
  auto const types = co_await store::read_counts(session, std::string(kWorkflowTypes));
  if (!types) co_return std::unexpected(types.error());
  figures.by_type = counted_by(*types, std::string(kWorkflowTypes) + ".");
  if (auto const none = types->find(kWorkflowTypes); none != types->end() && none->second != 0) {
    figures.by_type["unspecified"] += none->second;
  }
  auto const hours = co_await store::read_count(session, std::string(kWorkflowHours));
  if (!hours) co_return std::unexpected(hours.error());
  auto const mean = [](std::int64_t millionths, std::int64_t count) {
    return static_cast<double>(millionths) / store::kMillionths / static_cast<double>(count);
  };
  if (figures.total > 0) {
    figures.avg_progress = mean(progress, figures.total);
    figures.avg_success_rate = mean(success, figures.total);
  }
  auto const completed = figures.by_status.find("completed");
  if (completed != figures.by_status.end()) {
    figures.avg_duration_hours = mean(*hours, completed->second);
  }
  co_return figures;
}

}  // namespace subforge::domain
