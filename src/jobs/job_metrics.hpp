// What the database tells of background tasks, in the text format of Prometheus.
#pragma once

#include <cstddef>
#include <string>

#include "jobs/job_figures.hpp"

namespace subforge::jobs {

inline constexpr std::size_t kQueuesShownMax = 50;

// Of the queues with most tasks.
[[nodiscard]] std::string metrics_text(JobFigures const& figures);

}  // namespace subforge::jobs
