// Figures for whoever watches the server, in the text format of Prometheus.
#pragma once

#include "http/route.hpp"
#include "jobs/registry.hpp"
#include "metrics/metrics.hpp"
#include "store/store.hpp"

namespace subforge::api {

// What this process has counted, and what the database tells of background tasks: of all processes,
// and left out while it cannot be asked.
[[nodiscard]] http::Routes metrics_routes(metrics::Metrics const& metrics, store::Store& store,
                                          jobs::Registry const& registry);

}  // namespace subforge::api
