#include "app/database.hpp"

#include <algorithm>
#include <thread>

#include "store/postgres/postgres_database.hpp"
#include "store/sqlite/sqlite_database.hpp"

namespace subforge::app {
namespace {

store::PostgresDatabaseOptions postgres_options(config::Config const& config) {
  store::PostgresDatabaseOptions options;
  options.server.url = config.database.url;
  options.server.statement_timeout_ms = config.database_statement_timeout_seconds * 1'000;
  options.server.connect_timeout_ms = config.database_connect_timeout_seconds * 1'000;
  options.server.silence_ms = config.database_silence_ms;
  options.server.reader_connect_timeout_ms = config.database_silence_ms + 200;
  auto const per_loop = static_cast<std::size_t>(config.database_pool_size) / loop_count(config);
  options.readers.scan_connections = std::max<std::size_t>(per_loop, 2) - 1;
  return options;
}

}  // namespace

std::size_t loop_count(config::Config const& config) {
  auto const cores = std::max(std::thread::hardware_concurrency(), 1U);
  return config.loops > 0 ? static_cast<std::size_t>(config.loops) : cores;
}

std::unique_ptr<store::Database> make_database(config::Config const& config, Logger logger,
                                               int schema_version_max) {
  if (config.database.kind == config::DatabaseUrl::Kind::postgresql) {
    auto options = postgres_options(config);
    options.schema_version_max = schema_version_max;
    return std::make_unique<store::PostgresDatabase>(std::move(options), logger);
  }
  store::SqliteDatabaseOptions options;
  options.connection.path = config.database.path;
  options.schema_version_max = schema_version_max;
  return std::make_unique<store::SqliteDatabase>(std::move(options), logger);
}

}  // namespace subforge::app
