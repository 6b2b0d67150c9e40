#include "domain/system/census.hpp"

#include "domain/agents/agent.hpp"

namespace subforge::domain {

using store::Row;
using store::Session;

namespace {

std::string shown_status_text(std::string_view stored) {
  auto const status = describe::from_text<AgentStatus>(stored);
  return std::string(status ? describe::to_text(status_in_v1(*status)) : stored);
}

}  // namespace

Task<Result<void>> take_census(Session& session, Snapshot& snapshot) {
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

}  // namespace subforge::domain
