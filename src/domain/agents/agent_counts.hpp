// How many agents there are, in all and in each state; kept with every change (store/counts.hpp).
#pragma once

#include <optional>

#include "domain/agents/agent.hpp"
#include "store/store.hpp"

namespace subforge::domain {

// An agent had the state `before`, and has `after`; nothing stands for no agent.
Task<Result<void>> count_agents(store::Transaction& transaction, std::optional<AgentStatus> before,
                                std::optional<AgentStatus> after);
// Of all agents in one of these states; without any state, of all agents.
Task<Result<std::int64_t>> counted_agents(store::Session& session,
                                          std::vector<AgentStatus> statuses);

}  // namespace subforge::domain
