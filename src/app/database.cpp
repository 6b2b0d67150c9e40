#include "app/database.hpp"

#include "store/sqlite/sqlite_database.hpp"

namespace subforge::app {

std::unique_ptr<store::Database> make_database(config::Config const& config, Logger logger) {
  store::SqliteDatabaseOptions options;
  options.connection.path = config.database_path;
  return std::make_unique<store::SqliteDatabase>(std::move(options), logger);
}

}  // namespace subforge::app
