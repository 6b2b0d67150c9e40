// What lists are filtered and sorted by.
// One text for each migration; their order is in migrations.cpp.
#pragma once

#include <string_view>

namespace subforge::store::sql {

// Filters and orders of lists that had to look at every row. Tags are found by their quoted forms,
// as they stand in the lists.
inline constexpr std::string_view kFilters = R"sql(
DROP INDEX tasks_by_type;
CREATE INDEX tasks_by_type ON tasks (task_type, seq, status, priority);

DROP INDEX jobs_open;
DROP INDEX jobs_ended;
CREATE INDEX jobs_by_status ON jobs (status, seq);
CREATE INDEX jobs_by_priority ON jobs (priority, seq);
CREATE INDEX jobs_by_name ON jobs (name, seq);
CREATE INDEX jobs_by_progress ON jobs (progress, seq);
CREATE INDEX jobs_by_queue ON jobs (queue, seq) WHERE queue <> 'default';

CREATE VIRTUAL TABLE task_tags USING fts5(tags, content='',
  tokenize='trigram case_sensitive 1');
INSERT INTO task_tags (rowid, tags) SELECT seq, tags FROM tasks WHERE tags <> '[]';
CREATE TRIGGER task_tags_insert AFTER INSERT ON tasks WHEN new.tags <> '[]' BEGIN
  INSERT INTO task_tags (rowid, tags) VALUES (new.seq, new.tags);
END;
CREATE TRIGGER task_tags_delete AFTER DELETE ON tasks WHEN old.tags <> '[]' BEGIN
  INSERT INTO task_tags (task_tags, rowid, tags) VALUES ('delete', old.seq, old.tags);
END;
CREATE TRIGGER task_tags_update AFTER UPDATE ON tasks WHEN old.tags IS NOT new.tags BEGIN
  INSERT INTO task_tags (task_tags, rowid, tags)
    SELECT 'delete', old.seq, old.tags WHERE old.tags <> '[]';
  INSERT INTO task_tags (rowid, tags) SELECT new.seq, new.tags WHERE new.tags <> '[]';
END;

CREATE VIRTUAL TABLE agent_tags USING fts5(tags, content='',
  tokenize='trigram case_sensitive 1');
INSERT INTO agent_tags (rowid, tags) SELECT seq, tags FROM agents WHERE tags <> '[]';
CREATE TRIGGER agent_tags_insert AFTER INSERT ON agents WHEN new.tags <> '[]' BEGIN
  INSERT INTO agent_tags (rowid, tags) VALUES (new.seq, new.tags);
END;
CREATE TRIGGER agent_tags_delete AFTER DELETE ON agents WHEN old.tags <> '[]' BEGIN
  INSERT INTO agent_tags (agent_tags, rowid, tags) VALUES ('delete', old.seq, old.tags);
END;
CREATE TRIGGER agent_tags_update AFTER UPDATE ON agents WHEN old.tags IS NOT new.tags BEGIN
  INSERT INTO agent_tags (agent_tags, rowid, tags)
    SELECT 'delete', old.seq, old.tags WHERE old.tags <> '[]';
  INSERT INTO agent_tags (rowid, tags) SELECT new.seq, new.tags WHERE new.tags <> '[]';
END;

CREATE VIRTUAL TABLE file_tags USING fts5(tags, content='',
  tokenize='trigram case_sensitive 1');
INSERT INTO file_tags (rowid, tags) SELECT seq, tags FROM files WHERE tags <> '[]';
CREATE TRIGGER file_tags_insert AFTER INSERT ON files WHEN new.tags <> '[]' BEGIN
  INSERT INTO file_tags (rowid, tags) VALUES (new.seq, new.tags);
END;
CREATE TRIGGER file_tags_delete AFTER DELETE ON files WHEN old.tags <> '[]' BEGIN
  INSERT INTO file_tags (file_tags, rowid, tags) VALUES ('delete', old.seq, old.tags);
END;
CREATE TRIGGER file_tags_update AFTER UPDATE ON files WHEN old.tags IS NOT new.tags BEGIN
  INSERT INTO file_tags (file_tags, rowid, tags)
    SELECT 'delete', old.seq, old.tags WHERE old.tags <> '[]';
  INSERT INTO file_tags (rowid, tags) SELECT new.seq, new.tags WHERE new.tags <> '[]';
END;
)sql";
inline constexpr std::string_view kFiltersPostgres = R"sql(
DROP INDEX tasks_by_type;
CREATE INDEX tasks_by_type ON tasks (task_type, seq, status, priority);

DROP INDEX jobs_open;
DROP INDEX jobs_ended;
CREATE INDEX jobs_by_status ON jobs (status, seq);
CREATE INDEX jobs_by_priority ON jobs (priority, seq);
CREATE INDEX jobs_by_name ON jobs (name, seq);
CREATE INDEX jobs_by_progress ON jobs (progress, seq);
CREATE INDEX jobs_by_queue ON jobs (queue, seq) WHERE queue <> 'default';

DO $$
BEGIN
  CREATE EXTENSION IF NOT EXISTS pg_trgm;
  CREATE INDEX tasks_by_tags ON tasks USING gin (tags gin_trgm_ops) WHERE tags <> '[]';
  CREATE INDEX agents_by_tags ON agents USING gin (tags gin_trgm_ops) WHERE tags <> '[]';
  CREATE INDEX files_by_tags ON files USING gin (tags gin_trgm_ops) WHERE tags <> '[]';
EXCEPTION WHEN insufficient_privilege OR undefined_file OR undefined_object
    OR feature_not_supported THEN
  NULL;
END $$;
)sql";

// Few background tasks have started at a time: those of a worker are found among them. And those
// that ended long ago are found by their creation. Each of these indexes cost every task two
// entries, or one.
inline constexpr std::string_view kFewerJobIndexes = R"sql(
DROP INDEX jobs_leased;
DROP INDEX jobs_by_end;
)sql";

// Most are at 0 until they have succeeded, and found by their status then.
inline constexpr std::string_view kProgressBetween = R"sql(
DROP INDEX jobs_by_progress;
CREATE INDEX jobs_by_progress ON jobs (progress, seq) WHERE progress > 0 AND status <> 'success';
)sql";

}  // namespace subforge::store::sql
