// Chooses the adapter behind the database port.
#pragma once

#include <memory>

#include "base/log.hpp"
#include "config/config.hpp"
#include "store/database.hpp"
#include "store/migrations.hpp"

namespace subforge::app {

// Event loops of a server with these settings.
[[nodiscard]] std::size_t loop_count(config::Config const& config);

// Opening it brings its schema up to `schema_version_max`.
[[nodiscard]] std::unique_ptr<store::Database> make_database(
    config::Config const& config, Logger logger, int schema_version_max = store::kAnySchemaVersion);

}  // namespace subforge::app
