// The worker of this process among the nodes of Celery: what others ask of it by remote control is
// done to our own tasks and limits.
#pragma once

#include <string>
#include <vector>

#include "base/log.hpp"
#include "config/config.hpp"
#include "jobs/celery/celery_queue.hpp"
#include "jobs/celery/node.hpp"
#include "jobs/jobs.hpp"
#include "jobs/registry.hpp"
#include "runtime/blocking_pool.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::app {

class CeleryNode {
 public:
  struct Parts {
    EventLoop& loop;
    BlockingPool& resolver;
    config::Config const& config;
    redis::RedisOptions redis;
    jobs::Registry& registry;
    jobs::Jobs& jobs;
    jobs::celery::CeleryQueue& queue;
    Logger logger;
  };
  // What it refers to must outlive it.
  explicit CeleryNode(Parts parts);

  [[nodiscard]] jobs::celery::Node& node() { return node_; }
  // On the loop.
  void start() { node_.start(); }
  void stop() { node_.stop(); }
  [[nodiscard]] bool done() const { return node_.done() && tasks_.running() == 0; }

 private:
  [[nodiscard]] jobs::celery::NodeOptions options() const;
  [[nodiscard]] jobs::celery::NodeActions actions();
  Task<void> revoke(std::vector<std::string> ids, bool terminate);
  Task<void> revoke_known(std::vector<std::string>& ids, bool terminate);
  Task<void> tell_revoked(std::vector<std::string> const& ids);
  Task<void> tell_of_limits();

  Parts parts_;
  TaskGroup tasks_;
  jobs::celery::Node node_;
};

}  // namespace subforge::app
