// Agents, their counts, leases and orders.
// One text for each migration; their order is in migrations.cpp.
#pragma once

#include <string_view>

namespace subforge::store::sql {

inline constexpr std::string_view kAgents = R"sql(
CREATE TABLE agents (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  name TEXT NOT NULL,
  agent_type TEXT NOT NULL,
  status TEXT NOT NULL,
  status_changed_at INTEGER NOT NULL,
  busy_since INTEGER,
  description TEXT,
  current_task_id BLOB,
  current_task_title TEXT,
  model TEXT NOT NULL,
  tools TEXT NOT NULL,
  capabilities TEXT NOT NULL,
  configuration TEXT NOT NULL,
  tags TEXT NOT NULL,
  metadata TEXT NOT NULL,
  tasks_completed REAL NOT NULL,
  tasks_failed REAL NOT NULL,
  success_rate REAL NOT NULL,
  avg_response_time REAL NOT NULL,
  uptime_percentage REAL NOT NULL,
  total_runtime REAL NOT NULL,
  error_count INTEGER NOT NULL,
  last_activity INTEGER,
  last_heartbeat INTEGER,
  is_active INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX agents_by_name ON agents (name, agent_type);
CREATE INDEX agents_by_status ON agents (status, seq);
CREATE INDEX agents_by_type ON agents (agent_type, seq);
CREATE INDEX agents_by_updated ON agents (updated_at);
CREATE INDEX agents_restarting ON agents (status_changed_at) WHERE status = 'restarting';
)sql";

// From here on counts of agents are kept with their changes, as those of tasks are.
inline constexpr std::string_view kAgentCounts = R"sql(
INSERT INTO record_counts (name, n) SELECT 'agents', count(*) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.status=' || status, count(*) FROM agents GROUP BY status;
)sql";

// Agents that have sent a heartbeat count as alive for a time; the index is of those alone.
inline constexpr std::string_view kAgentLeases = R"sql(
ALTER TABLE agents ADD COLUMN lease_until INTEGER;
CREATE INDEX agents_by_lease ON agents (lease_until) WHERE lease_until IS NOT NULL;
)sql";

// The orders that agents are asked for beside those of kAgents.
inline constexpr std::string_view kAgentOrders = R"sql(
CREATE INDEX agents_by_lower_name ON agents (lower(name), seq);
CREATE INDEX agents_by_completed ON agents (tasks_completed DESC, seq);
)sql";

}  // namespace subforge::store::sql
