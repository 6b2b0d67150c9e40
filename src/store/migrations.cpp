#include "store/migrations.hpp"

namespace subforge::store {
namespace {

// Ids are 16-byte blobs, times integer microseconds since 1970 UTC, JSON is text.

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
  user TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
) WITHOUT ROWID;
)sql";

constexpr Migration kMigrations[] = {
    {1, "event log", kEventLog},
    {2, "agents", kAgents},
    {3, "api keys", kApiKeys},
};

}  // namespace

std::span<Migration const> migrations() { return kMigrations; }

}  // namespace subforge::store
