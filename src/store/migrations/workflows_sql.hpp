// Workflows, and the history of their runs.
// One text for each migration; their order is in migrations.cpp.
#pragma once

#include <string_view>

namespace subforge::store::sql {

inline constexpr std::string_view kHistory = R"sql(
CREATE TABLE workflow_history (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  workflow_id BLOB NOT NULL,
  execution_id TEXT NOT NULL,
  execution_number INTEGER NOT NULL,
  workflow_name TEXT NOT NULL,
  workflow_type TEXT,
  project_id TEXT,
  project_name TEXT,
  status TEXT NOT NULL,
  final_result TEXT,
  started_at INTEGER NOT NULL,
  completed_at INTEGER,
  duration_seconds REAL,
  phases_total INTEGER NOT NULL,
  phases_completed INTEGER NOT NULL,
  phases_failed INTEGER NOT NULL,
  phases_skipped INTEGER NOT NULL,
  tasks_total INTEGER NOT NULL,
  tasks_completed INTEGER NOT NULL,
  tasks_failed INTEGER NOT NULL,
  success_rate REAL NOT NULL,
  quality_score REAL,
  efficiency_score REAL,
  agents_assigned TEXT NOT NULL,
  agents_performance TEXT NOT NULL,
  errors TEXT NOT NULL,
  warnings TEXT NOT NULL,
  critical TEXT NOT NULL,
  critical_count INTEGER NOT NULL,
  resource_usage TEXT NOT NULL,
  triggered_by TEXT,
  trigger_event TEXT NOT NULL,
  configuration TEXT NOT NULL,
  parameters TEXT NOT NULL,
  environment_info TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX workflow_history_by_start ON workflow_history (started_at, seq);
CREATE INDEX workflow_history_by_project ON workflow_history (project_id, started_at, seq);
CREATE INDEX workflow_history_by_status ON workflow_history (status, started_at, seq);
CREATE INDEX workflow_history_by_workflow ON workflow_history (workflow_id, execution_number);

CREATE TABLE workflow_history_agents (
  agent_id TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  workflow_history_id BLOB NOT NULL REFERENCES workflow_history (id) ON DELETE CASCADE,
  PRIMARY KEY (agent_id, started_at, workflow_history_id)
) WITHOUT ROWID;
CREATE INDEX workflow_history_agents_by_run ON workflow_history_agents (workflow_history_id);

CREATE TABLE phase_history (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  workflow_history_id BLOB NOT NULL REFERENCES workflow_history (id) ON DELETE CASCADE,
  phase_name TEXT NOT NULL,
  phase_type TEXT,
  phase_order INTEGER NOT NULL,
  status TEXT NOT NULL,
  result TEXT,
  started_at INTEGER,
  completed_at INTEGER,
  duration_seconds REAL,
  sort_at INTEGER NOT NULL,
  agent_id TEXT,
  agent_name TEXT,
  agent_utilization REAL,
  config TEXT NOT NULL,
  input TEXT NOT NULL,
  output TEXT NOT NULL,
  quality_score REAL,
  performance_score REAL,
  tasks_total INTEGER NOT NULL,
  tasks_completed INTEGER NOT NULL,
  tasks_failed INTEGER NOT NULL,
  dependencies TEXT NOT NULL,
  dependents TEXT NOT NULL,
  errors TEXT NOT NULL,
  warnings TEXT NOT NULL,
  error_count INTEGER NOT NULL,
  warning_count INTEGER NOT NULL,
  resource_usage TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX phase_history_by_run ON phase_history (workflow_history_id, sort_at, seq);
CREATE INDEX phase_history_by_agent ON phase_history (agent_id, sort_at, seq);
CREATE INDEX phase_history_by_status ON phase_history (status, sort_at, seq);
CREATE INDEX phase_history_by_start ON phase_history (sort_at, seq);

CREATE TABLE handoff_history (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  workflow_history_id BLOB NOT NULL REFERENCES workflow_history (id) ON DELETE CASCADE,
  handoff_name TEXT NOT NULL,
  handoff_type TEXT,
  source_phase_name TEXT,
  source_agent_id TEXT,
  target_phase_name TEXT,
  target_agent_id TEXT,
  status TEXT NOT NULL,
  result TEXT,
  initiated_at INTEGER NOT NULL,
  completed_at INTEGER,
  duration_seconds REAL,
  handoff_data TEXT NOT NULL,
  validation_rules TEXT NOT NULL,
  validation_results TEXT NOT NULL,
  data_quality_score REAL,
  handoff_efficiency_score REAL,
  errors TEXT NOT NULL,
  warnings TEXT NOT NULL,
  validation_failures TEXT NOT NULL,
  context TEXT NOT NULL,
  metadata TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX handoff_history_by_run ON handoff_history (workflow_history_id, initiated_at, seq);
CREATE INDEX handoff_history_by_source ON handoff_history (source_agent_id, initiated_at, seq);
CREATE INDEX handoff_history_by_target ON handoff_history (target_agent_id, initiated_at, seq);
CREATE INDEX handoff_history_by_status ON handoff_history (status, initiated_at, seq);
CREATE INDEX handoff_history_by_start ON handoff_history (initiated_at, seq);

CREATE TABLE agent_performance (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  agent_id TEXT NOT NULL,
  agent_name TEXT NOT NULL,
  agent_type TEXT,
  period_start INTEGER NOT NULL,
  period_end INTEGER NOT NULL,
  period_type TEXT NOT NULL,
  workflows_total INTEGER NOT NULL,
  workflows_successful INTEGER NOT NULL,
  workflows_failed INTEGER NOT NULL,
  phases_total INTEGER NOT NULL,
  phases_successful INTEGER NOT NULL,
  phases_failed INTEGER NOT NULL,
  tasks_total INTEGER NOT NULL,
  tasks_successful INTEGER NOT NULL,
  tasks_failed INTEGER NOT NULL,
  active_seconds REAL NOT NULL,
  average_task_seconds REAL,
  average_phase_seconds REAL,
  average_quality_score REAL,
  average_performance_score REAL,
  consistency_score REAL,
  utilization_percentage REAL NOT NULL,
  idle_seconds REAL NOT NULL,
  overload_incidents INTEGER NOT NULL,
  total_errors INTEGER NOT NULL,
  total_warnings INTEGER NOT NULL,
  critical_issues INTEGER NOT NULL,
  average_cpu_usage REAL,
  average_memory_usage REAL,
  peak_resource_usage TEXT NOT NULL,
  successful_handoffs INTEGER NOT NULL,
  failed_handoffs INTEGER NOT NULL,
  average_handoff_seconds REAL,
  task_category_performance TEXT NOT NULL,
  skill_proficiency_scores TEXT NOT NULL,
  performance_trend TEXT,
  trend_confidence REAL,
  learning_rate REAL,
  adaptation_score REAL,
  improvement_rate REAL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  calculated_at INTEGER NOT NULL
);
CREATE INDEX agent_performance_by_start ON agent_performance (period_start, seq);
CREATE INDEX agent_performance_by_agent ON agent_performance (agent_id, period_start, seq);
CREATE INDEX agent_performance_by_type ON agent_performance (period_type, period_start, seq);
)sql";

inline constexpr std::string_view kWorkflows = R"sql(
CREATE TABLE workflows (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  name TEXT NOT NULL,
  description TEXT,
  status TEXT NOT NULL,
  workflow_type TEXT,
  project_id TEXT,
  project_name TEXT,
  configuration TEXT NOT NULL,
  parameters TEXT NOT NULL,
  base_progress REAL NOT NULL,
  base_total INTEGER NOT NULL,
  base_completed INTEGER NOT NULL,
  base_failed INTEGER NOT NULL,
  base_success REAL NOT NULL,
  steps_total INTEGER NOT NULL,
  steps_completed INTEGER NOT NULL,
  steps_failed INTEGER NOT NULL,
  tasks_total INTEGER NOT NULL,
  tasks_completed INTEGER NOT NULL,
  tasks_failed INTEGER NOT NULL,
  tasks_open INTEGER NOT NULL,
  estimated_duration_hours REAL,
  actual_duration_hours REAL,
  started_at INTEGER,
  completed_at INTEGER,
  estimated_completion INTEGER,
  quality_score REAL,
  efficiency_score REAL,
  assigned_agents TEXT NOT NULL,
  agent_utilization TEXT NOT NULL,
  tags TEXT NOT NULL,
  metadata TEXT NOT NULL,
  is_paused INTEGER NOT NULL,
  is_template INTEGER NOT NULL,
  requires_approval INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  run_number INTEGER NOT NULL,
  run_id BLOB,
  run_open INTEGER NOT NULL,
  run_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  scheduled_at INTEGER
);
CREATE INDEX workflows_by_status ON workflows (status, seq);
CREATE INDEX workflows_by_type ON workflows (workflow_type, seq);
CREATE INDEX workflows_by_project ON workflows (project_id, seq);
CREATE INDEX workflows_by_template ON workflows (is_template, seq);
CREATE INDEX workflows_scheduled ON workflows (scheduled_at) WHERE status = 'scheduled';

CREATE TABLE workflow_steps (
  workflow_id BLOB NOT NULL,
  position INTEGER NOT NULL,
  step_key TEXT NOT NULL,
  name TEXT NOT NULL,
  task_template TEXT NOT NULL,
  agent_id BLOB,
  dependencies TEXT NOT NULL,
  timeout INTEGER NOT NULL,
  max_retries INTEGER NOT NULL,
  status TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  task_id BLOB,
  deadline_at INTEGER,
  started_at INTEGER,
  completed_at INTEGER,
  output TEXT,
  PRIMARY KEY (workflow_id, position)
) WITHOUT ROWID;
CREATE INDEX workflow_steps_due ON workflow_steps (deadline_at) WHERE deadline_at IS NOT NULL;

-- Every task that was given out for a step: what it reports is about that step, once.
CREATE TABLE workflow_attempts (
  task_id BLOB PRIMARY KEY,
  workflow_id BLOB NOT NULL,
  position INTEGER NOT NULL,
  attempt INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX workflow_attempts_by_workflow ON workflow_attempts (workflow_id);

-- Kept with each change of a workflow. Progress and success are sums in millionths of a percent.
CREATE TABLE workflow_totals (
  status TEXT PRIMARY KEY,
  workflows INTEGER NOT NULL,
  templates INTEGER NOT NULL,
  progress INTEGER NOT NULL,
  success INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO workflow_totals (status, workflows, templates, progress, success) VALUES
  ('active', 0, 0, 0, 0), ('inactive', 0, 0, 0, 0), ('paused', 0, 0, 0, 0),
  ('completed', 0, 0, 0, 0), ('failed', 0, 0, 0, 0), ('cancelled', 0, 0, 0, 0),
  ('running', 0, 0, 0, 0), ('scheduled', 0, 0, 0, 0);
)sql";

// With the status in front it is chosen before the index by status, which would visit every start
// that is still to come.
inline constexpr std::string_view kWorkflowStarts = R"sql(
DROP INDEX workflows_scheduled;
CREATE INDEX workflows_due ON workflows (status, scheduled_at) WHERE scheduled_at IS NOT NULL;
)sql";

// Sums over the runs that began in each hour, kept with every change of a run.
inline constexpr std::string_view kRunSums = R"sql(
CREATE TABLE workflow_history_hours (
  hour INTEGER NOT NULL,
  status TEXT NOT NULL,
  runs INTEGER NOT NULL,
  successful INTEGER NOT NULL,
  tasks_total INTEGER NOT NULL,
  tasks_completed INTEGER NOT NULL,
  duration INTEGER NOT NULL,
  durations INTEGER NOT NULL,
  quality INTEGER NOT NULL,
  qualities INTEGER NOT NULL,
  efficiency INTEGER NOT NULL,
  efficiencies INTEGER NOT NULL,
  PRIMARY KEY (hour, status)
);
INSERT INTO workflow_history_hours
  SELECT started_at - ((started_at % 3600000000) + 3600000000) % 3600000000, status, count(*),
    count(CASE WHEN final_result = 'success' THEN 1 END),
    coalesce(sum(tasks_total), 0), coalesce(sum(tasks_completed), 0),
    coalesce(sum(CAST(round((CASE WHEN duration_seconds > 1e8 THEN 1e8 ELSE duration_seconds
      END) * 1e6) AS BIGINT)), 0), count(duration_seconds),
    coalesce(sum(CAST(round((CASE WHEN quality_score > 1e8 THEN 1e8 ELSE quality_score
      END) * 1e6) AS BIGINT)), 0), count(quality_score),
    coalesce(sum(CAST(round((CASE WHEN efficiency_score > 1e8 THEN 1e8 ELSE efficiency_score
      END) * 1e6) AS BIGINT)), 0), count(efficiency_score)
  FROM workflow_history GROUP BY 1, 2;
)sql";

// The totals are made anew: runs that were deleted before a step of theirs was open had been taken
// from a status that they did not have.
inline constexpr std::string_view kWorkflowTotalsAnew = R"sql(
UPDATE workflow_totals SET (workflows, templates, progress, success) = (
  SELECT count(*), coalesce(sum(is_template), 0),
    coalesce(sum(CAST(floor(CASE WHEN progress > 100 THEN 100 ELSE progress END * 1e6 + 0.5)
      AS BIGINT)), 0),
    coalesce(sum(CAST(floor(CASE WHEN success > 100 THEN 100 ELSE success END * 1e6 + 0.5)
      AS BIGINT)), 0)
  FROM (SELECT status, is_template,
      CASE WHEN steps_total + tasks_total = 0 THEN base_progress
        ELSE CAST(steps_completed + tasks_completed AS REAL)
          / CAST(steps_total + tasks_total AS REAL) * 100 END AS progress,
      CASE WHEN steps_total + tasks_total = 0 THEN base_success
        WHEN steps_completed + tasks_completed + steps_failed + tasks_failed = 0 THEN 0
        ELSE CAST(steps_completed + tasks_completed AS REAL) / CAST(
          steps_completed + tasks_completed + steps_failed + tasks_failed AS REAL) * 100
        END AS success
    FROM workflows) AS shares
  WHERE shares.status = workflow_totals.status);
)sql";

}  // namespace subforge::store::sql
