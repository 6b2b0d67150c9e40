// How the system fares, in both versions, and the use of the API: route tables.
#pragma once

#include <string>

#include "base/json_writer.hpp"
#include "domain/system/api_usage.hpp"
#include "domain/system/sampler.hpp"
#include "domain/system/snapshots.hpp"
#include "http/route.hpp"
#include "jobs/jobs.hpp"
#include "realtime/hub.hpp"
#include "runtime/blocking_pool.hpp"
#include "store/store.hpp"

namespace subforge::api {

// What the handlers work with.
struct SystemParts {
  store::Store& store;
  realtime::Hub& hub;
  BlockingPool& pool;
  domain::Snapshots& snapshots;
  domain::ApiUsage& usage;
  std::string folder;  // Whose file system is measured.
  std::string version;
  std::string environment;
  std::int64_t started_ns = 0;  // Of the clock that never jumps.
  jobs::Jobs* jobs = nullptr;

  // On a pool thread, since a file system may hang.
  [[nodiscard]] Task<Result<domain::MachineReading>> read_machine() const;
};

[[nodiscard]] http::Routes system_v1(SystemParts parts);
[[nodiscard]] http::Routes system_v2(SystemParts parts);

// Seconds as "1d 2h 3m 4s".
[[nodiscard]] std::string duration_text(std::int64_t seconds);
// Whether anybody runs background tasks, and how they stand, as a member of an object.
[[nodiscard]] Task<bool> write_background_health(jobs::Jobs& jobs, JsonWriter& json);
// The Redis that background tasks go over; where none is configured, nothing is wrong with it.
struct RedisHealth {
  bool good = true;
  std::string details;  // JSON: {"status": "up", "down" or "not_configured", ...}.
};
[[nodiscard]] RedisHealth redis_health(jobs::Jobs& jobs);
// A read that shows whether the database answers.
[[nodiscard]] Task<Result<void>> probe_read(store::Store& store);

}  // namespace subforge::api
