// What lies outside the versioned API: the front page, health, metrics and the sockets.
#pragma once

#include <functional>
#include <string>

#include "files/blob_store.hpp"
#include "http/route.hpp"
#include "jobs/jobs.hpp"
#include "realtime/hub.hpp"
#include "runtime/blocking_pool.hpp"
#include "store/store.hpp"

namespace subforge::api {

struct ServerInfo {
  std::string name;
  std::string version;
  std::string description;
  bool docs = true;
  bool redis = false;  // Whether background tasks go over one.
  bool background_tasks = true;
  bool rate_limiting = true;
  bool caching = true;
};

// Finds the hub of the calling event loop.
using HubOfLoop = std::function<realtime::LoopHub&()>;

[[nodiscard]] http::Routes front_routes(ServerInfo const& info);
// What health is asked of.
struct HealthParts {
  store::Store& store;
  realtime::Hub& hub;
  jobs::Jobs& jobs;
  files::BlobStore const& blobs;
  BlockingPool& pool;
};
[[nodiscard]] http::Routes health_routes(ServerInfo const& info, HealthParts parts);
[[nodiscard]] http::Routes socket_routes(std::string const& v1_path, HubOfLoop hub_of_loop);

}  // namespace subforge::api
