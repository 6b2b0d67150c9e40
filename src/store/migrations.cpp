#include "store/migrations.hpp"

namespace subforge::store {
namespace {

// Ids are 16-byte blobs, times integer microseconds since 1970 UTC, JSON is text. Texts are in
// SQLite's dialect and mean the same on PostgreSQL after store/postgres/postgres_schema.hpp has
// translated the types; a migration that needs more than that brings a second text.

constexpr std::string_view kEventLog = R"sql(
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

-- Replaced when a backup is restored, so that ids given out before never name other events.
INSERT INTO meta (key, value) VALUES ('log_epoch', lower(hex(randomblob(4))));

-- AUTOINCREMENT: an id is never given twice, not even after the newest rows were removed.
CREATE TABLE events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  level INTEGER NOT NULL,
  subject TEXT NOT NULL,
  actor TEXT NOT NULL,
  audience TEXT NOT NULL,
  version INTEGER NOT NULL,
  correlation_id TEXT NOT NULL,
  payload TEXT NOT NULL
);
CREATE INDEX events_by_subject ON events (subject, id);
)sql";

// No sequence: what a transaction that was undone took from one is lost, and ids would have gaps.
// All writers hold one lock from the begin to the commit, so that the newest row tells the next id.
constexpr std::string_view kEventLogPostgres = R"sql(
CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

INSERT INTO meta (key, value) VALUES ('log_epoch', left(CAST(gen_random_uuid() AS TEXT), 8));

CREATE TABLE events (
  id BIGINT PRIMARY KEY,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  level BIGINT NOT NULL,
  subject TEXT NOT NULL,
  actor TEXT NOT NULL,
  audience TEXT NOT NULL,
  version BIGINT NOT NULL,
  correlation_id TEXT NOT NULL,
  payload TEXT NOT NULL
);
CREATE INDEX events_by_subject ON events (subject, id);

-- The highest id that was ever removed: it is not given again.
CREATE TABLE events_removed (id BIGINT NOT NULL);
INSERT INTO events_removed (id) VALUES (0);

CREATE FUNCTION next_event_id() RETURNS BIGINT LANGUAGE plpgsql AS $$
BEGIN
  RETURN greatest((SELECT max(id) FROM events), (SELECT id FROM events_removed)) + 1;
END $$;
ALTER TABLE events ALTER COLUMN id SET DEFAULT next_event_id();

CREATE FUNCTION note_removed_events() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
  UPDATE events_removed SET id = greatest(id, (SELECT max(removed.id) FROM removed));
  RETURN NULL;
END $$;
CREATE TRIGGER events_removal AFTER DELETE ON events REFERENCING OLD TABLE AS removed
  FOR EACH STATEMENT EXECUTE FUNCTION note_removed_events();
)sql";

constexpr std::string_view kAgents = R"sql(
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

constexpr std::string_view kApiKeys = R"sql(
CREATE TABLE api_keys (
  id BLOB PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  secret_hash BLOB NOT NULL UNIQUE,
  role TEXT NOT NULL,
  "user" TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
) WITHOUT ROWID;
)sql";

constexpr std::string_view kHistory = R"sql(
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

constexpr std::string_view kIdempotencyKeys = R"sql(
CREATE TABLE idempotency_keys (
  client TEXT NOT NULL,
  route TEXT NOT NULL,
  key TEXT NOT NULL,
  request_hash BLOB NOT NULL,
  status INTEGER NOT NULL,
  fields TEXT NOT NULL,
  body TEXT,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (client, route, key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
)sql";

constexpr std::string_view kWorkflows = R"sql(
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

constexpr std::string_view kSystem = R"sql(
CREATE TABLE system_metrics (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB NOT NULL UNIQUE,
  origin TEXT NOT NULL,
  total_agents INTEGER NOT NULL,
  active_agents INTEGER NOT NULL,
  idle_agents INTEGER NOT NULL,
  offline_agents INTEGER NOT NULL,
  total_tasks INTEGER NOT NULL,
  pending_tasks INTEGER NOT NULL,
  in_progress_tasks INTEGER NOT NULL,
  completed_tasks INTEGER NOT NULL,
  failed_tasks INTEGER NOT NULL,
  total_workflows INTEGER NOT NULL,
  active_workflows INTEGER NOT NULL,
  completed_workflows INTEGER NOT NULL,
  paused_workflows INTEGER NOT NULL,
  system_load REAL,
  memory_usage REAL,
  cpu_usage REAL,
  disk_usage REAL,
  avg_response_time_ms REAL NOT NULL,
  min_response_time_ms REAL NOT NULL,
  max_response_time_ms REAL NOT NULL,
  p95_response_time_ms REAL NOT NULL,
  task_success_rate REAL NOT NULL,
  workflow_success_rate REAL NOT NULL,
  agent_success_rate REAL NOT NULL,
  overall_success_rate REAL NOT NULL,
  websocket_connections INTEGER NOT NULL,
  api_requests_per_minute REAL NOT NULL,
  error_rate REAL NOT NULL,
  received_per_second REAL,
  sent_per_second REAL,
  uptime_percentage REAL NOT NULL,
  last_restart INTEGER,
  is_healthy INTEGER NOT NULL,
  health_checks TEXT NOT NULL,
  agent_metrics TEXT NOT NULL,
  task_metrics TEXT NOT NULL,
  workflow_metrics TEXT NOT NULL,
  hourly_stats TEXT NOT NULL,
  daily_stats TEXT NOT NULL,
  weekly_stats TEXT NOT NULL,
  process_cpu REAL,
  process_resident_bytes INTEGER,
  process_open_files INTEGER,
  process_uptime_seconds REAL,
  recorded_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);
CREATE INDEX system_metrics_by_time ON system_metrics (recorded_at, seq);
CREATE INDEX system_metrics_by_origin ON system_metrics (origin, recorded_at, seq);

-- When a server ran, one row per process.
CREATE TABLE server_runs (
  id BLOB PRIMARY KEY,
  started_at INTEGER NOT NULL,
  last_seen_at INTEGER NOT NULL
) WITHOUT ROWID;

-- Requests counted by minute, hour and day (span, in seconds): of all, by route and by user.
CREATE TABLE api_usage (
  span INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  scope TEXT NOT NULL,
  name TEXT NOT NULL,
  requests INTEGER NOT NULL,
  client_errors INTEGER NOT NULL,
  server_errors INTEGER NOT NULL,
  duration_us INTEGER NOT NULL,
  latencies TEXT NOT NULL,
  PRIMARY KEY (span, started_at, scope, name)
) WITHOUT ROWID;
)sql";

constexpr std::string_view kTasks = R"sql(
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

// With the status in front it is chosen before the index by status, which would visit every start
// that is still to come.
constexpr std::string_view kWorkflowStarts = R"sql(
DROP INDEX workflows_scheduled;
CREATE INDEX workflows_due ON workflows (status, scheduled_at) WHERE scheduled_at IS NOT NULL;
)sql";

// What ended when; only finished tasks are in it, so that work under way pays nothing for it.
constexpr std::string_view kTasksEnded = R"sql(
CREATE INDEX tasks_ended ON tasks (updated_at) WHERE status IN ('completed', 'failed');
)sql";

// From here on counts of agents are kept with their changes, as those of tasks are.
constexpr std::string_view kAgentCounts = R"sql(
INSERT INTO record_counts (name, n) SELECT 'agents', count(*) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.status=' || status, count(*) FROM agents GROUP BY status;
)sql";

// Parts of texts are found by their groups of three characters. The texts are put into lower case
// as the search does it, with all letters, so that both mean the same; the index has no texts of
// its own, and is told the old ones to forget them.
constexpr std::string_view kSearch = R"sql(
CREATE VIRTUAL TABLE task_texts USING fts5(lower_title, lower_description, content='',
  tokenize='trigram case_sensitive 1');
INSERT INTO task_texts (rowid, lower_title, lower_description)
  SELECT seq, lower(title), lower(description) FROM tasks;
CREATE TRIGGER task_texts_insert AFTER INSERT ON tasks BEGIN
  INSERT INTO task_texts (rowid, lower_title, lower_description)
    VALUES (new.seq, lower(new.title), lower(new.description));
END;
CREATE TRIGGER task_texts_delete AFTER DELETE ON tasks BEGIN
  INSERT INTO task_texts (task_texts, rowid, lower_title, lower_description)
    VALUES ('delete', old.seq, lower(old.title), lower(old.description));
END;
CREATE TRIGGER task_texts_update AFTER UPDATE ON tasks
  WHEN old.title IS NOT new.title OR old.description IS NOT new.description BEGIN
  INSERT INTO task_texts (task_texts, rowid, lower_title, lower_description)
    VALUES ('delete', old.seq, lower(old.title), lower(old.description));
  INSERT INTO task_texts (rowid, lower_title, lower_description)
    VALUES (new.seq, lower(new.title), lower(new.description));
END;

CREATE VIRTUAL TABLE agent_texts USING fts5(lower_name, content='',
  tokenize='trigram case_sensitive 1');
INSERT INTO agent_texts (rowid, lower_name) SELECT seq, lower(name) FROM agents;
CREATE TRIGGER agent_texts_insert AFTER INSERT ON agents BEGIN
  INSERT INTO agent_texts (rowid, lower_name) VALUES (new.seq, lower(new.name));
END;
CREATE TRIGGER agent_texts_delete AFTER DELETE ON agents BEGIN
  INSERT INTO agent_texts (agent_texts, rowid, lower_name)
    VALUES ('delete', old.seq, lower(old.name));
END;
CREATE TRIGGER agent_texts_update AFTER UPDATE ON agents WHEN old.name IS NOT new.name BEGIN
  INSERT INTO agent_texts (agent_texts, rowid, lower_name)
    VALUES ('delete', old.seq, lower(old.name));
  INSERT INTO agent_texts (rowid, lower_name) VALUES (new.seq, lower(new.name));
END;
)sql";

// Who may not install the extension does without the index, and searches read every row.
constexpr std::string_view kSearchPostgres = R"sql(
DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
  CREATE INDEX tasks_by_text ON tasks
    USING gin (lower(title) gin_trgm_ops, lower(description) gin_trgm_ops);
  CREATE INDEX agents_by_text ON agents USING gin (lower(name) gin_trgm_ops);
EXCEPTION WHEN insufficient_privilege OR undefined_file OR undefined_object
    OR feature_not_supported THEN
  NULL;
END $$;
)sql";

// What figures about tasks need is counted with their changes too. One that has no type counts
// under the name alone.
constexpr std::string_view kTaskFigures = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'task_types' || coalesce('.' || task_type, ''), count(*) FROM tasks GROUP BY task_type;
INSERT INTO record_counts (name, n)
  SELECT 'tasks.completed_minutes', coalesce(sum(actual_duration_minutes), 0) FROM tasks
  WHERE status = 'completed';
)sql";

// Both of the filters that lists of tasks are asked for most, and their total without the rows.
constexpr std::string_view kTasksByStatusAndPriority = R"sql(
CREATE INDEX tasks_by_status_and_priority ON tasks (status, priority, seq);
)sql";

// What is for a room is found by the room, also where it is for others too; and what is of a kind
// by the kind.
constexpr std::string_view kEventRooms = R"sql(
CREATE TABLE event_rooms (
  room TEXT NOT NULL,
  event_id INTEGER NOT NULL,
  PRIMARY KEY (room, event_id)
) WITHOUT ROWID;
INSERT INTO event_rooms (room, event_id)
  SELECT DISTINCT part.value, events.id FROM events, json_each(events.audience) AS part
  WHERE part.key > 0 AND json_extract(events.audience, '$[0]') IN ('all', 'rooms');
CREATE INDEX events_by_kind ON events (kind, id);
)sql";
constexpr std::string_view kEventRoomsPostgres = R"sql(
CREATE TABLE event_rooms (
  room TEXT NOT NULL,
  event_id BIGINT NOT NULL,
  PRIMARY KEY (room, event_id)
);
INSERT INTO event_rooms (room, event_id)
  SELECT DISTINCT part.value, events.id FROM events,
    jsonb_array_elements_text(CAST(events.audience AS JSONB)) WITH ORDINALITY AS part (value, n)
  WHERE part.n > 1 AND CAST(events.audience AS JSONB) ->> 0 IN ('all', 'rooms');
CREATE INDEX events_by_kind ON events (kind, id);
)sql";

// Agents that have sent a heartbeat count as alive for a time; the index is of those alone.
constexpr std::string_view kAgentLeases = R"sql(
ALTER TABLE agents ADD COLUMN lease_until INTEGER;
CREATE INDEX agents_by_lease ON agents (lease_until) WHERE lease_until IS NOT NULL;
)sql";

// Messages to one user, until they are acknowledged.
constexpr std::string_view kInbox = R"sql(
CREATE TABLE inbox (
  user_id TEXT NOT NULL,
  event_id INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  actor TEXT NOT NULL,
  correlation_id TEXT NOT NULL,
  payload TEXT NOT NULL,
  PRIMARY KEY (user_id, event_id)
);
CREATE INDEX inbox_by_time ON inbox (at);
)sql";

// Sums over agents and workflows in millionths, and how many there are of each type; kept with
// their changes.
constexpr std::string_view kSums = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'agents.success_rate', coalesce(sum(CAST(
    (CASE WHEN success_rate > 1e8 THEN 1e8 ELSE success_rate END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.response_time', coalesce(sum(CAST(
    (CASE WHEN avg_response_time > 1e8 THEN 1e8 ELSE avg_response_time END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.uptime', coalesce(sum(CAST(
    (CASE WHEN uptime_percentage > 1e8 THEN 1e8 ELSE uptime_percentage END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.tasks_completed', coalesce(sum(CAST(
    (CASE WHEN tasks_completed > 1e8 THEN 1e8 ELSE tasks_completed END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.tasks_failed', coalesce(sum(CAST(
    (CASE WHEN tasks_failed > 1e8 THEN 1e8 ELSE tasks_failed END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'workflows.completed_hours', coalesce(sum(CAST(
    (CASE WHEN actual_duration_hours > 1e8 THEN 1e8 ELSE actual_duration_hours END) * 1e6 + 0.5
  AS INTEGER)), 0) FROM workflows WHERE status = 'completed';
INSERT INTO record_counts (name, n)
  SELECT 'agent_types.' || agent_type, count(*) FROM agents GROUP BY agent_type;
INSERT INTO record_counts (name, n)
  SELECT 'workflow_types' || coalesce('.' || workflow_type, ''), count(*) FROM workflows
  GROUP BY workflow_type;
)sql";
constexpr std::string_view kSumsPostgres = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'agents.success_rate', coalesce(sum(CAST(floor(
    (CASE WHEN success_rate > 1e8 THEN 1e8 ELSE success_rate END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.response_time', coalesce(sum(CAST(floor(
    (CASE WHEN avg_response_time > 1e8 THEN 1e8 ELSE avg_response_time END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.uptime', coalesce(sum(CAST(floor(
    (CASE WHEN uptime_percentage > 1e8 THEN 1e8 ELSE uptime_percentage END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.tasks_completed', coalesce(sum(CAST(floor(
    (CASE WHEN tasks_completed > 1e8 THEN 1e8 ELSE tasks_completed END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'agents.tasks_failed', coalesce(sum(CAST(floor(
    (CASE WHEN tasks_failed > 1e8 THEN 1e8 ELSE tasks_failed END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n)
  SELECT 'workflows.completed_hours', coalesce(sum(CAST(floor(
    (CASE WHEN actual_duration_hours > 1e8 THEN 1e8 ELSE actual_duration_hours END) * 1e6 + 0.5
  ) AS BIGINT)), 0) FROM workflows WHERE status = 'completed';
INSERT INTO record_counts (name, n)
  SELECT 'agent_types.' || agent_type, count(*) FROM agents GROUP BY agent_type;
INSERT INTO record_counts (name, n)
  SELECT 'workflow_types' || coalesce('.' || workflow_type, ''), count(*) FROM workflows
  GROUP BY workflow_type;
)sql";

// Sums over the runs that began in each hour, kept with every change of a run.
constexpr std::string_view kRunSums = R"sql(
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

// How many tasks there are of each status and priority together.
constexpr std::string_view kTasksByBoth = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'tasks.status,priority=' || status || ',' || priority, count(*) FROM tasks
  GROUP BY status, priority;
)sql";

// Sums that a figure far below zero had spoiled are made anew.
constexpr std::string_view kSumsAnew = R"sql(
DELETE FROM record_counts WHERE name IN (
  'agents.success_rate',
  'agents.response_time',
  'agents.uptime',
  'agents.tasks_completed',
  'agents.tasks_failed',
  'workflows.completed_hours');
INSERT INTO record_counts (name, n) SELECT 'agents.success_rate', coalesce(sum(CAST(round(
    CASE WHEN success_rate > 1e8 THEN 1e8 WHEN success_rate < -1e8 THEN -1e8
    ELSE success_rate END * 1e6) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n) SELECT 'agents.response_time', coalesce(sum(CAST(round(
    CASE WHEN avg_response_time > 1e8 THEN 1e8 WHEN avg_response_time < -1e8 THEN -1e8
    ELSE avg_response_time END * 1e6) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n) SELECT 'agents.uptime', coalesce(sum(CAST(round(
    CASE WHEN uptime_percentage > 1e8 THEN 1e8 WHEN uptime_percentage < -1e8 THEN -1e8
    ELSE uptime_percentage END * 1e6) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n) SELECT 'agents.tasks_completed', coalesce(sum(CAST(round(
    CASE WHEN tasks_completed > 1e8 THEN 1e8 WHEN tasks_completed < -1e8 THEN -1e8
    ELSE tasks_completed END * 1e6) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n) SELECT 'agents.tasks_failed', coalesce(sum(CAST(round(
    CASE WHEN tasks_failed > 1e8 THEN 1e8 WHEN tasks_failed < -1e8 THEN -1e8
    ELSE tasks_failed END * 1e6) AS BIGINT)), 0) FROM agents;
INSERT INTO record_counts (name, n) SELECT 'workflows.completed_hours', coalesce(sum(CAST(round(
    CASE WHEN actual_duration_hours > 1e8 THEN 1e8 WHEN actual_duration_hours < -1e8 THEN -1e8
    ELSE actual_duration_hours END * 1e6) AS BIGINT)), 0) FROM workflows WHERE status = 'completed';
)sql";

// How many tasks ended on each day, and whose they were; the agent is written in hexadecimal, and
// empty for none.
constexpr std::string_view kTaskDays = R"sql(
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
constexpr std::string_view kTaskDaysPostgres = R"sql(
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

// The orders that agents are asked for beside those of kAgents.
constexpr std::string_view kAgentOrders = R"sql(
CREATE INDEX agents_by_lower_name ON agents (lower(name), seq);
CREATE INDEX agents_by_completed ON agents (tasks_completed DESC, seq);
)sql";

// How many tasks each agent has; its id is written in hexadecimal.
constexpr std::string_view kTasksByAgent = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'task_agents.' || lower(hex(assigned_agent_id)), count(*) FROM tasks
  WHERE assigned_agent_id IS NOT NULL GROUP BY assigned_agent_id;
)sql";
constexpr std::string_view kTasksByAgentPostgres = R"sql(
INSERT INTO record_counts (name, n)
  SELECT 'task_agents.' || encode(assigned_agent_id, 'hex'), count(*) FROM tasks
  WHERE assigned_agent_id IS NOT NULL GROUP BY assigned_agent_id;
)sql";

// Background tasks. A row is the record that clients see and, where the queue is embedded, the
// place in the queue as well; partial indexes hold only what waits, runs, or has ended, so that one
// change of state costs few of them.
constexpr std::string_view kJobs = R"sql(
CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  name TEXT NOT NULL,
  status TEXT NOT NULL,
  priority INTEGER NOT NULL,
  progress REAL NOT NULL,
  result TEXT NOT NULL,
  error TEXT,
  created_at INTEGER NOT NULL,
  started_at INTEGER,
  completed_at INTEGER,
  retry_count INTEGER NOT NULL,
  max_retries INTEGER NOT NULL,
  metadata TEXT NOT NULL,
  queue TEXT NOT NULL,
  eta INTEGER,
  expires_at INTEGER,
  progress_note TEXT NOT NULL,
  args TEXT NOT NULL,
  kwargs TEXT NOT NULL,
  traceback TEXT,
  soft_limit_seconds REAL,
  hard_limit_seconds REAL,
  unique_key TEXT,
  batch_id BLOB,
  created_by TEXT,
  stage TEXT NOT NULL,
  lane TEXT NOT NULL,
  rank INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  losses INTEGER NOT NULL,
  worker_id BLOB
);
CREATE INDEX jobs_ready ON jobs (lane, queue, rank, seq) WHERE stage = 'ready';
CREATE INDEX jobs_delayed ON jobs (due_at) WHERE stage = 'delayed';
CREATE INDEX jobs_leased ON jobs (worker_id) WHERE stage = 'leased';
CREATE INDEX jobs_in_lane ON jobs (lane) WHERE stage = 'leased' AND lane <> '';
CREATE INDEX jobs_open ON jobs (seq) WHERE completed_at IS NULL;
CREATE INDEX jobs_ended ON jobs (status, seq) WHERE completed_at IS NOT NULL;
CREATE INDEX jobs_by_end ON jobs (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX jobs_by_creation ON jobs (created_at, seq);
CREATE INDEX jobs_expiring ON jobs (expires_at)
  WHERE expires_at IS NOT NULL AND completed_at IS NULL;
CREATE UNIQUE INDEX jobs_unique ON jobs (unique_key)
  WHERE unique_key IS NOT NULL AND completed_at IS NULL;
CREATE INDEX jobs_by_batch ON jobs (batch_id) WHERE batch_id IS NOT NULL;

-- One that is not heard for a while has lost what it held.
CREATE TABLE job_workers (
  id BLOB PRIMARY KEY,
  name TEXT NOT NULL,
  queues TEXT NOT NULL,
  slots INTEGER NOT NULL,
  beat INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  heard_at INTEGER NOT NULL
);

CREATE TABLE job_batches (
  id BLOB PRIMARY KEY,
  total INTEGER NOT NULL,
  succeeded INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  sealed INTEGER NOT NULL,
  done INTEGER NOT NULL,
  then_id BLOB NOT NULL,
  created_at INTEGER NOT NULL
);

CREATE TABLE job_lines (
  job_id BLOB NOT NULL,
  number INTEGER NOT NULL,
  at INTEGER NOT NULL,
  level INTEGER NOT NULL,
  line TEXT NOT NULL,
  PRIMARY KEY (job_id, number)
) WITHOUT ROWID;

-- What somebody did by hand.
CREATE TABLE job_actions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id BLOB NOT NULL,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  detail TEXT NOT NULL
);
CREATE INDEX job_actions_by_job ON job_actions (job_id, seq);

-- When the next start of a name that has a rate would be on time.
CREATE TABLE job_rates (
  name TEXT PRIMARY KEY,
  next_at INTEGER NOT NULL
);

CREATE TABLE job_schedules (
  name TEXT PRIMARY KEY,
  task TEXT NOT NULL,
  args TEXT NOT NULL,
  kwargs TEXT NOT NULL,
  cron TEXT,
  every_seconds INTEGER,
  queue TEXT NOT NULL,
  priority INTEGER NOT NULL,
  missed TEXT NOT NULL,
  overlap INTEGER NOT NULL,
  enabled INTEGER NOT NULL,
  next_at INTEGER,
  last_at INTEGER,
  last_job_id BLOB,
  version INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL
);
CREATE INDEX job_schedules_due ON job_schedules (next_at) WHERE next_at IS NOT NULL;

-- How many ended in each minute, and how long they took together.
CREATE TABLE job_minutes (
  minute INTEGER NOT NULL PRIMARY KEY,
  ended INTEGER NOT NULL,
  duration_us INTEGER NOT NULL
);
)sql";

// Files that were uploaded, with the text that they are found by. What `content` holds is not
// shown.
constexpr std::string_view kFiles = R"sql(
CREATE TABLE files (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  filename TEXT NOT NULL,
  original_filename TEXT NOT NULL,
  file_type TEXT NOT NULL,
  file_size INTEGER NOT NULL,
  mime_type TEXT NOT NULL,
  upload_path TEXT NOT NULL,
  uploaded_by TEXT NOT NULL,
  uploaded_at INTEGER NOT NULL,
  metadata TEXT NOT NULL,
  tags TEXT NOT NULL,
  checksum TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  analysis TEXT NOT NULL,
  content TEXT NOT NULL DEFAULT ''
);
CREATE INDEX files_by_time ON files (uploaded_at, seq);
CREATE INDEX files_by_type ON files (file_type, uploaded_at, seq);
CREATE INDEX files_by_type_alone ON files (file_type, seq);
CREATE INDEX files_by_user ON files (uploaded_by, uploaded_at, seq);
CREATE INDEX files_by_mime ON files (mime_type, uploaded_at, seq);
CREATE INDEX files_by_name ON files (lower(original_filename), seq);
CREATE INDEX files_by_size ON files (file_size, seq);
CREATE INDEX files_by_content ON files (sha256);
)sql";
constexpr std::string_view kFileTexts = R"sql(
CREATE VIRTUAL TABLE file_texts USING fts5(lower_name, lower_content, content='',
  tokenize='trigram case_sensitive 1');
CREATE TRIGGER file_texts_insert AFTER INSERT ON files BEGIN
  INSERT INTO file_texts (rowid, lower_name, lower_content)
    VALUES (new.seq, lower(new.original_filename), lower(new.content));
END;
CREATE TRIGGER file_texts_delete AFTER DELETE ON files BEGIN
  INSERT INTO file_texts (file_texts, rowid, lower_name, lower_content)
    VALUES ('delete', old.seq, lower(old.original_filename), lower(old.content));
END;
CREATE TRIGGER file_texts_update AFTER UPDATE ON files WHEN old.content IS NOT new.content BEGIN
  INSERT INTO file_texts (file_texts, rowid, lower_name, lower_content)
    VALUES ('delete', old.seq, lower(old.original_filename), lower(old.content));
  INSERT INTO file_texts (rowid, lower_name, lower_content)
    VALUES (new.seq, lower(new.original_filename), lower(new.content));
END;
)sql";
constexpr std::string_view kFileTextsPostgres = R"sql(
DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
  CREATE INDEX files_by_text ON files
    USING gin (lower(original_filename) gin_trgm_ops, lower(content) gin_trgm_ops);
EXCEPTION WHEN insufficient_privilege OR undefined_file OR undefined_object
    OR feature_not_supported THEN
  NULL;
END $$;
)sql";

// What has to be said to Celery's broker, in the order in which it was written: a row lives until
// it was said, and one that pushes a task until the task was started or has ended. And messages
// that others sent and that say more than the record does.
constexpr std::string_view kJobOutbox = R"sql(
CREATE TABLE job_outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id BLOB NOT NULL,
  kind TEXT NOT NULL
);
CREATE INDEX job_outbox_by_job ON job_outbox (job_id);
CREATE TABLE job_messages (
  job_id BLOB PRIMARY KEY,
  task_id TEXT NOT NULL,
  message TEXT NOT NULL
);
CREATE INDEX jobs_outbound ON jobs (seq) WHERE stage = 'outbound';
)sql";

constexpr Migration kMigrations[] = {
    {1, "event log", kEventLog, kEventLogPostgres},
    {2, "agents", kAgents},
    {3, "api keys", kApiKeys},
    {4, "history", kHistory},
    {5, "idempotency keys", kIdempotencyKeys},
    {6, "workflows", kWorkflows},
    {7, "system metrics", kSystem},
    {8, "tasks", kTasks},
    {9, "starts of workflows", kWorkflowStarts},
    {10, "ended tasks", kTasksEnded},
    {11, "counts of agents", kAgentCounts},
    {12, "search", kSearch, kSearchPostgres},
    {13, "figures about tasks", kTaskFigures},
    {14, "tasks by status and priority", kTasksByStatusAndPriority},
    {15, "rooms of events", kEventRooms, kEventRoomsPostgres},
    {16, "leases of agents", kAgentLeases},
    {17, "inbox", kInbox},
    {18, "sums over agents and workflows", kSums, kSumsPostgres},
    {19, "sums over runs", kRunSums},
    {20, "counts of tasks by status and priority", kTasksByBoth},
    {21, "sums within bounds", kSumsAnew},
    {22, "days of tasks", kTaskDays, kTaskDaysPostgres},
    {23, "orders of agents", kAgentOrders},
    {24, "counts of tasks by agent", kTasksByAgent, kTasksByAgentPostgres},
    {25, "background tasks", kJobs},
    {26, "files", kFiles},
    {27, "search in files", kFileTexts, kFileTextsPostgres},
    {28, "outbox of background tasks", kJobOutbox},
};

}  // namespace

std::span<Migration const> migrations() { return kMigrations; }

}  // namespace subforge::store
