// Chooses the adapter behind the database port.
#pragma once

#include <memory>

#include "base/log.hpp"
#include "config/config.hpp"
#include "store/database.hpp"

namespace subforge::app {

// Event loops of a server with these settings.
[[nodiscard]] std::size_t loop_count(config::Config const& config);

[[nodiscard]] std::unique_ptr<store::Database> make_database(config::Config const& config,
                                                             Logger logger);

}  // namespace subforge::app
