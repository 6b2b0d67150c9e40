// The event log, what of it each room gets, and messages that wait for users.
// One text for each migration; their order is in migrations.cpp.
#pragma once

#include <string_view>

namespace subforge::store::sql {

inline constexpr std::string_view kEventLog = R"sql(
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
inline constexpr std::string_view kEventLogPostgres = R"sql(
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

// What is for a room is found by the room, also where it is for others too; and what is of a kind
// by the kind.
inline constexpr std::string_view kEventRooms = R"sql(
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

inline constexpr std::string_view kEventRoomsPostgres = R"sql(
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

// Messages to one user, until they are acknowledged.
inline constexpr std::string_view kInbox = R"sql(
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

// Only the histories of agents are found by their subject. What else happens, above all what is
// sent to rooms, needs no place in that index.
inline constexpr std::string_view kEventSubjects = R"sql(
DROP INDEX events_by_subject;
CREATE INDEX events_by_subject ON events (subject, id) WHERE substr(subject, 1, 6) = 'agent:';
)sql";

}  // namespace subforge::store::sql
