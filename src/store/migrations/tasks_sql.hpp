// Tasks, their counts and figures.
// One text for each migration; their order is in migrations.cpp.
#pragma once

#include <string_view>

namespace subforge::store::sql {

inline constexpr std::string_view kTasks = R"sql(
-- Kept in the transactions that change what they count; see store/counts.hpp.
CREATE TABLE record_counts (
  name TEXT PRIMARY KEY,
  n INTEGER NOT NULL
);

CREATE TABLE tasks (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  title TEXT NOT NULL,
  description TEXT,
  status TEXT NOT NULL,
  priority TEXT NOT NULL,
  assigned_agent_id BLOB,
  assigned_agent_name TEXT,
  workflow_id BLOB,
  task_type TEXT,
  tags TEXT NOT NULL,
  metadata TEXT NOT NULL,
  estimated_duration_minutes INTEGER,
  actual_duration_minutes INTEGER,
  started_at INTEGER,
  completed_at INTEGER,
  dependencies TEXT NOT NULL,
  dependents TEXT NOT NULL,
  progress_percentage REAL NOT NULL,
  subtasks_completed INTEGER NOT NULL,
  subtasks_total INTEGER NOT NULL,
  quality_score REAL,
  complexity_score INTEGER,
  effort_points INTEGER,
  is_blocked INTEGER NOT NULL,
  is_urgent INTEGER NOT NULL,
  requires_review INTEGER NOT NULL,
  result TEXT NOT NULL,
  created_by TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  due_date INTEGER
);
CREATE INDEX tasks_by_status ON tasks (status, seq);
CREATE INDEX tasks_by_priority ON tasks (priority, seq);
CREATE INDEX tasks_by_agent ON tasks (assigned_agent_id, seq);
CREATE INDEX tasks_of_agents ON tasks (assigned_agent_id, status, seq);
CREATE INDEX tasks_by_agent_name ON tasks (assigned_agent_name, seq);
CREATE INDEX tasks_by_workflow ON tasks (workflow_id, seq);
CREATE INDEX tasks_by_type ON tasks (task_type, seq);
CREATE INDEX tasks_blocked ON tasks (seq) WHERE is_blocked = 1;
CREATE INDEX tasks_urgent ON tasks (seq) WHERE is_urgent = 1;
)sql";

// What ended when; only finished tasks are in it, so that work under way pays nothing for it.
inline constexpr std::string_view kTasksEnded = R"sql(
CREATE INDEX tasks_ended ON tasks (updated_at) WHERE status IN ('completed', 'failed');
)sql";

// What figures about tasks need is counted with their changes too. One that has no type counts
// under the name alone.
inline constexpr std::string_view kTaskFigures = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'task_types' || coalesce('.' || task_type, ''), count(*) FROM tasks GROUP BY task_type;
INSERT INTO record_counts (name, n)
  SELECT 'tasks.completed_minutes', coalesce(sum(actual_duration_minutes), 0) FROM tasks
  WHERE status = 'completed';
)sql";

// Both of the filters that lists of tasks are asked for most, and their total without the rows.
inline constexpr std::string_view kTasksByStatusAndPriority = R"sql(
CREATE INDEX tasks_by_status_and_priority ON tasks (status, priority, seq);
)sql";

// How many tasks there are of each status and priority together.
inline constexpr std::string_view kTasksByBoth = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'tasks.status,priority=' || status || ',' || priority, count(*) FROM tasks
  GROUP BY status, priority;
)sql";

// How many tasks ended on each day, and whose they were; the agent is written in hexadecimal, and
// empty for none.
inline constexpr std::string_view kTaskDays = R"sql(
CREATE TABLE task_days (
  day INTEGER NOT NULL,
  agent TEXT NOT NULL,
  completed INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  PRIMARY KEY (day, agent)
);
INSERT INTO task_days (day, agent, completed, failed)
  SELECT (coalesce(completed_at, updated_at)
      - ((coalesce(completed_at, updated_at) % 86400000000) + 86400000000) % 86400000000)
      / 86400000000, coalesce(lower(hex(assigned_agent_id)), ''),
    count(CASE WHEN status = 'completed' THEN 1 END), count(CASE WHEN status = 'failed' THEN 1 END)
  FROM tasks WHERE status IN ('completed', 'failed') GROUP BY 1, 2;
DROP INDEX tasks_ended;
)sql";

inline constexpr std::string_view kTaskDaysPostgres = R"sql(
CREATE TABLE task_days (
  day BIGINT NOT NULL,
  agent TEXT NOT NULL,
  completed BIGINT NOT NULL,
  failed BIGINT NOT NULL,
  PRIMARY KEY (day, agent)
);
INSERT INTO task_days (day, agent, completed, failed)
  SELECT (coalesce(completed_at, updated_at)
      - ((coalesce(completed_at, updated_at) % 86400000000) + 86400000000) % 86400000000)
      / 86400000000, coalesce(encode(assigned_agent_id, 'hex'), ''),
    count(CASE WHEN status = 'completed' THEN 1 END), count(CASE WHEN status = 'failed' THEN 1 END)
  FROM tasks WHERE status IN ('completed', 'failed') GROUP BY 1, 2;
DROP INDEX tasks_ended;
)sql";

// When a task became completed or failed, which the other times do not tell once it was reopened.
inline constexpr std::string_view kTaskEnds = R"sql(
ALTER TABLE tasks ADD COLUMN ended_at INTEGER;
UPDATE tasks SET ended_at = coalesce(completed_at, updated_at)
  WHERE status IN ('completed', 'failed');
)sql";

// How many tasks each agent has; its id is written in hexadecimal.
inline constexpr std::string_view kTasksByAgent = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'task_agents.' || lower(hex(assigned_agent_id)), count(*) FROM tasks
  WHERE assigned_agent_id IS NOT NULL GROUP BY assigned_agent_id;
)sql";

inline constexpr std::string_view kTasksByAgentPostgres = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'task_agents.' || encode(assigned_agent_id, 'hex'), count(*) FROM tasks
  WHERE assigned_agent_id IS NOT NULL GROUP BY assigned_agent_id;
)sql";

}  // namespace subforge::store::sql
