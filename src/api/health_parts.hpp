// How the parts of the server fare, as all endpoints that tell of health tell it.
#pragma once

#include <string>
#include <vector>

#include "base/json_writer.hpp"
#include "base/result.hpp"
#include "http/route.hpp"
#include "jobs/jobs.hpp"
#include "runtime/task.hpp"
#include "store/store.hpp"

namespace subforge::api {

// A read that shows whether the database answers.
[[nodiscard]] Task<Result<void>> probe_read(store::Store& store);
// What probe_read() found, and since when it is so where that is bad: an object.
void write_database_health(store::Store& store, Result<void> const& probed, JsonWriter& json);
// Whether anybody runs background tasks; writes an object that tells how they stand.
[[nodiscard]] Task<bool> write_background_health(jobs::Jobs& jobs, JsonWriter& json);
// The Redis that background tasks go over; where none is configured, nothing is wrong with it.
struct RedisHealth {
  bool good = true;
  std::string details;  // JSON: {"status": "up", "down" or "not_configured", ...}.
};
[[nodiscard]] RedisHealth redis_health(jobs::Jobs& jobs);
// What these objects are: DatabaseHealth, BackgroundHealth and RedisHealth.
[[nodiscard]] std::vector<http::Schema> health_schemas();

}  // namespace subforge::api
