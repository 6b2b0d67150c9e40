// What the records count up to, in SQL.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "domain/system/snapshot.hpp"
#include "store/database.hpp"

namespace subforge::domain {

// Sets the counts by status of agents, tasks and workflows, and the agents' mean success rate.
Task<Result<void>> take_census(store::Session& session, Snapshot& snapshot);

// Figures about one kind of record (GET /api/v1/system/metrics/agents and its like).
struct AgentFigures {
  std::int64_t total = 0;
  std::map<std::string, std::int64_t> by_status;  // As version 1 shows it.
  std::map<std::string, std::int64_t> by_type;
  double success_rate_sum = 0;
  double response_time_sum = 0;
  double uptime_sum = 0;
  double tasks_completed = 0;
  double tasks_failed = 0;
};
Task<Result<AgentFigures>> agent_figures(store::Session& session);

struct TaskFigures {
  std::int64_t total = 0;
  std::map<std::string, std::int64_t> by_status;
  std::map<std::string, std::int64_t> by_priority;
  std::map<std::string, std::int64_t> by_type;  // "unspecified" for none.
  double avg_progress = 0;
  double avg_duration_minutes = 0;  // Of completed ones; one without a duration counts as 0.
  std::int64_t blocked = 0;
  std::int64_t urgent = 0;
};
Task<Result<TaskFigures>> task_figures(store::Session& session);

struct WorkflowFigures {
  std::int64_t total = 0;
  std::map<std::string, std::int64_t> by_status;
  std::map<std::string, std::int64_t> by_type;  // "unspecified" for none.
  double avg_progress = 0;
  double avg_success_rate = 0;
  double avg_duration_hours = 0;  // Of completed ones; one without a duration counts as 0.
  std::int64_t templates = 0;
};
Task<Result<WorkflowFigures>> workflow_figures(store::Session& session);

}  // namespace subforge::domain
