// How the system fares, in both versions, and the use of the API: route tables.
#pragma once

#include <string>

#include "base/json_writer.hpp"
#include "domain/system/api_usage.hpp"
#include "domain/system/sampler.hpp"
#include "domain/system/snapshots.hpp"
#include "files/blob_store.hpp"
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
  files::BlobStore const& blobs;
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

}  // namespace subforge::api
