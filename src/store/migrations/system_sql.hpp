// Samples of the machine, and figures of what was asked of the API.
// One text for each migration; their order is in migrations.cpp.
#pragma once

#include <string_view>

namespace subforge::store::sql {

inline constexpr std::string_view kSystem = R"sql(
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

}  // namespace subforge::store::sql
