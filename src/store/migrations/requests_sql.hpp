// Who may ask, and what was answered already.
// One text for each migration; their order is in migrations.cpp.
#pragma once

#include <string_view>

namespace subforge::store::sql {

inline constexpr std::string_view kApiKeys = R"sql(
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

inline constexpr std::string_view kIdempotencyKeys = R"sql(
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

}  // namespace subforge::store::sql
