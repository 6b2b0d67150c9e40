// Figures for whoever watches the server, in the text format of Prometheus.
#pragma once

#include <string>

#include "http/route.hpp"
#include "jobs/job_figures.hpp"
#include "metrics/metrics.hpp"

namespace subforge::api {

// What this process has counted, and what the database tells of background tasks: of all processes,
// and left out while it cannot be asked.
[[nodiscard]] http::Routes metrics_routes(metrics::Metrics const& metrics, store::Store& store,
                                          jobs::Registry const& registry);

// The lines about background tasks, of the queues with most of them.
[[nodiscard]] std::string metrics_text(jobs::JobFigures const& figures);
inline constexpr std::size_t kQueuesShownMax = 50;

}  // namespace subforge::api
