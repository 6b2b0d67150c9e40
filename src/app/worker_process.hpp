// `subforge worker`: background tasks alone, without HTTP; any number of them.
#pragma once

#include "base/log.hpp"
#include "base/result.hpp"
#include "config/config.hpp"

namespace subforge::app {

// Works until SIGTERM or SIGINT, and what is under way is done or handed back. Error: a sentence
// for the person who started it.
[[nodiscard]] Result<void> run_worker(config::Config const& config, Logger logger);

}  // namespace subforge::app
