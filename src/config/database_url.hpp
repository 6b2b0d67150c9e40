// DATABASE_URL: which database, and where.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"

namespace subforge::config {

struct DatabaseUrl {
  enum class Kind : std::uint8_t { sqlite, postgresql };
  Kind kind = Kind::sqlite;
  std::string path;  // Of SQLite's file.
  std::string url;   // Of PostgreSQL, as libpq takes it.
};

// sqlite:///relative/path, sqlite:////absolute/path or postgresql://user:password@host/database,
// also written postgres:// or with a driver's name (postgresql+asyncpg://), which means nothing
// here. `name` is what the sentence of an error begins with. Error: invalid.
[[nodiscard]] Result<DatabaseUrl> parse_database_url(std::string const& text,
                                                     std::string_view name = "DATABASE_URL");

// The URL without the password it may hold, for what people read and paste elsewhere.
[[nodiscard]] std::string without_password(std::string url);

}  // namespace subforge::config
