// Search in agents, tasks and workflows by trigrams.
// One text for each migration; their order is in migrations.cpp.
#pragma once

#include <string_view>

namespace subforge::store::sql {

// Parts of texts are found by their groups of three characters. The texts are put into lower case
// as the search does it, with all letters, so that both mean the same; the index has no texts of
// its own, and is told the old ones to forget them.
inline constexpr std::string_view kSearch = R"sql(
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
inline constexpr std::string_view kSearchPostgres = R"sql(
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

}  // namespace subforge::store::sql
