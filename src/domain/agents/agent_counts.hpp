// How many agents there are, in all, in each state and of each type, and the sums of their figures;
// kept with every change (store/counts.hpp). Sums are of whole millionths, so that they stay exact.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "domain/agents/agent.hpp"
#include "store/store.hpp"

namespace subforge::domain {

// An agent was `before` and is `after`; null stands for no agent.
Task<Result<void>> count_agents(store::Transaction& transaction, Agent const* before,
                                Agent const* after);
// Of all agents in one of these states; without any state, of all agents.
Task<Result<std::int64_t>> counted_agents(store::Session& session,
                                          std::vector<AgentStatus> statuses);

// All that is kept.
struct AgentTotals {
  std::int64_t agents = 0;
  std::map<AgentStatus, std::int64_t> by_status;
  std::map<std::string, std::int64_t> by_type;
  double success_rate = 0;  // Sums.
  double response_time = 0;
  double uptime = 0;
  double tasks_completed = 0;
  double tasks_failed = 0;

  // Of one of the sums.
  [[nodiscard]] double mean(double sum) const {
    return agents > 0 ? sum / static_cast<double>(agents) : 0;
  }
};
Task<Result<AgentTotals>> agent_totals(store::Session& session);

}  // namespace subforge::domain
