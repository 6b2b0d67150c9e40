#include "store/migrations.hpp"

#include "store/migrations/agents_sql.hpp"
#include "store/migrations/filters_sql.hpp"
#include "store/migrations/log_sql.hpp"
#include "store/migrations/requests_sql.hpp"
#include "store/migrations/search_sql.hpp"
#include "store/migrations/sums_sql.hpp"
#include "store/migrations/system_sql.hpp"
#include "store/migrations/tasks_sql.hpp"
#include "store/migrations/workflows_sql.hpp"

namespace subforge::store {
namespace {

using namespace sql;

// Ids are 16-byte blobs, times integer microseconds since 1970 UTC, JSON is text. Texts are in
// SQLite's dialect and mean the same on PostgreSQL after store/postgres/postgres_schema.hpp has
// translated the types; a migration that needs more than that brings a second text.

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

// Whose programs may still run, though they were cancelled: they keep their places among those of
// their names.
constexpr std::string_view kJobsStopping = R"sql(
CREATE TABLE jobs_stopping (
  job_id BLOB NOT NULL,
  fence INTEGER NOT NULL,
  lane TEXT NOT NULL,
  worker_id BLOB NOT NULL,
  PRIMARY KEY (job_id, fence)
);
)sql";

// Of a row of its own, since lists read the rows of files.
constexpr std::string_view kThumbnails = R"sql(
CREATE TABLE file_thumbnails (
  file_id TEXT NOT NULL PRIMARY KEY,
  mime_type TEXT NOT NULL,
  bytes BLOB NOT NULL
);
)sql";

// The index of the texts of files in parts (src/files/processing.hpp), each written by itself:
// row 8 * seq is the name, those behind it are the parts that file_parts tells of. What merges its
// segments is told to do so a little at a time, so that no write waits for a large one.
constexpr std::string_view kFileParts = R"sql(
DROP TRIGGER file_texts_insert;
DROP TRIGGER file_texts_delete;
DROP TRIGGER file_texts_update;
DROP TABLE file_texts;
CREATE TABLE file_parts (
  file_seq INTEGER NOT NULL,
  part INTEGER NOT NULL,
  PRIMARY KEY (file_seq, part)
);
CREATE VIRTUAL TABLE file_texts USING fts5(lower_text, content='',
  tokenize='trigram case_sensitive 1');
CREATE TRIGGER file_texts_insert AFTER INSERT ON files BEGIN
  INSERT INTO file_texts (rowid, lower_text) VALUES (8 * new.seq, lower(new.original_filename));
  INSERT INTO file_texts (file_texts, rank) VALUES ('merge', 8);
END;
CREATE TRIGGER file_texts_delete BEFORE DELETE ON files BEGIN
  DELETE FROM file_parts WHERE file_seq = old.seq;
  INSERT INTO file_texts (file_texts, rowid, lower_text)
    VALUES ('delete', 8 * old.seq, lower(old.original_filename));
END;
CREATE TRIGGER file_texts_update BEFORE UPDATE OF content ON files
WHEN old.content IS NOT new.content BEGIN
  DELETE FROM file_parts WHERE file_seq = old.seq;
END;
CREATE TRIGGER file_parts_insert AFTER INSERT ON file_parts BEGIN
  INSERT INTO file_texts (rowid, lower_text)
    SELECT 8 * seq + new.part, lower(substr(content, 16384 * (new.part - 1) + 1, 16384 + 256))
    FROM files WHERE seq = new.file_seq;
  INSERT INTO file_texts (file_texts, rank) VALUES ('merge', 32);
END;
CREATE TRIGGER file_parts_delete AFTER DELETE ON file_parts BEGIN
  INSERT INTO file_texts (file_texts, rowid, lower_text)
    SELECT 'delete', 8 * seq + old.part,
      lower(substr(content, 16384 * (old.part - 1) + 1, 16384 + 256))
    FROM files WHERE seq = old.file_seq;
  INSERT INTO file_texts (file_texts, rank) VALUES ('merge', 32);
END;
INSERT INTO file_texts (rowid, lower_text) SELECT 8 * seq, lower(original_filename) FROM files;
INSERT INTO file_parts (file_seq, part)
  SELECT seq, part FROM files
  JOIN (SELECT 1 AS part UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4)
    ON length(content) > 16384 * (part - 1);
INSERT INTO file_texts (file_texts, rank) VALUES ('automerge', 0);
INSERT INTO file_texts (file_texts, rank) VALUES ('crisismerge', 256);
)sql";
constexpr std::string_view kFilePartsPostgres = R"sql(
CREATE TABLE file_parts (
  file_seq BIGINT NOT NULL,
  part BIGINT NOT NULL,
  PRIMARY KEY (file_seq, part)
);
INSERT INTO file_parts (file_seq, part)
  SELECT seq, part FROM files JOIN generate_series(1, 4) AS part
    ON length(content) > 16384 * (part - 1);
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
    {29, "thumbnails of files", kThumbnails},
    {30, "filters and orders of lists", kFilters, kFiltersPostgres},
    {31, "subjects of events", kEventSubjects},
    {32, "totals of workflows anew", kWorkflowTotalsAnew},
    {33, "fewer indexes of background tasks", kFewerJobIndexes},
    {34, "ends of tasks", kTaskEnds},
    {35, "sums over agents in two counts", kAgentSumsInTwo},
    {36, "background tasks under way by progress", kProgressBetween},
    {37, "background tasks that are stopping", kJobsStopping},
    {38, "search in parts of files", kFileParts, kFilePartsPostgres},
};

}  // namespace

std::span<Migration const> migrations() { return kMigrations; }

}  // namespace subforge::store
