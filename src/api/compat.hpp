// What the reference's own web dashboard asks for without a version in the path (contract,
// dashboard-client.md section 1), from the same data as v1 and v2.
#pragma once

#include <string>

#include "domain/system/dashboard.hpp"
#include "http/route.hpp"
#include "realtime/hub.hpp"

namespace subforge::api {

[[nodiscard]] http::Routes compat_routes(domain::Dashboard& dashboard, realtime::Hub& hub,
                                         std::int64_t started_ns);

// The counts and figures of the front page as a JSON object, which its page also hears of when they
// change.
[[nodiscard]] Task<Result<std::string>> dashboard_overview(domain::Dashboard& dashboard,
                                                           realtime::Hub& hub,
                                                           std::int64_t started_ns);

}  // namespace subforge::api
