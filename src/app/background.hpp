// Background tasks of one process: the queue, what can be done, and who does it. The server and
// `subforge worker` are both built on it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/background_tasks.hpp"
#include "app/celery_node.hpp"
#include "base/log.hpp"
#include "builtin/builtin.hpp"
#include "builtin/command_tasks.hpp"
#include "builtin/configuration_tasks.hpp"
#include "builtin/file_tasks.hpp"
#include "config/config.hpp"
#include "jobs/celery/celery_queue.hpp"
#include "jobs/jobs.hpp"
#include "jobs/queue.hpp"
#include "jobs/registry.hpp"
#include "jobs/schedules.hpp"
#include "jobs/worker.hpp"
#include "runtime/blocking_pool.hpp"

namespace subforge::app {

class Background {
 public:
  // `loop` is the one of the worker.
  Background(config::Config const& config, store::Store& store, files::BlobStore& blobs,
             domain::ApiUsage& usage, EventLoop& loop, Logger logger);
  Background(Background const&) = delete;
  Background& operator=(Background const&) = delete;

  // A worker on the loop; before the store is opened.
  void add_worker();
  // Reads the files of command tasks, and says what was wrong with the settings. Error: a sentence
  // for the person who started it.
  Result<void> load();
  // With the store open: makes the schedules that there are to be.
  Task<Result<void>> make_schedules();
  // On the loop, with the store open.
  void start();
  // Asks nothing of a broker any more. On the loop, or after it has ended.
  void stop();
  // Once a second, on one loop: what is due, what was lost.
  Task<void> tend();
  // On the loop: takes nothing new.
  void begin_shutdown(std::int64_t patience_ms);
  [[nodiscard]] bool done() const {
    return (worker_ == nullptr || worker_->done()) && (node_ == nullptr || node_->done());
  }

  [[nodiscard]] jobs::Jobs& jobs() { return jobs_; }
  [[nodiscard]] api::BackgroundTaskParts const& parts() const { return parts_; }
  [[nodiscard]] domain::ConfigurationFollower& configurations() { return configurations_; }
  // Null where there is no broker.
  [[nodiscard]] jobs::celery::CeleryQueue* celery() { return celery_; }
  [[nodiscard]] files::UploadFollower& uploads() { return uploads_; }

  // Any thread.
  [[nodiscard]] std::size_t running() const { return worker_ ? worker_->running() : 0; }
  [[nodiscard]] std::uint64_t settled() const { return worker_ ? worker_->settled() : 0; }

 private:
  std::unique_ptr<jobs::Queue> make_queue();
  Task<void> leave();
  struct OfFile {
    std::string file;
    jobs::Schedule schedule;
  };
  Task<Result<void>> make_schedule(OfFile const& wanted);

  config::Config const& config_;
  store::Store& store_;
  EventLoop& loop_;
  Logger logger_;
  BlockingPool pool_;
  jobs::Registry registry_;
  Result<void> settings_good_;
  jobs::celery::CeleryQueue* celery_ = nullptr;
  std::unique_ptr<jobs::Queue> queue_;
  jobs::Jobs jobs_;
  jobs::Schedules schedules_;
  builtin::ConfigurationTasks configurations_;
  builtin::FileTasks uploads_;
  builtin::Parts builtin_;
  api::BackgroundTaskParts parts_;
  std::vector<OfFile> of_files_;
  std::unique_ptr<jobs::Worker> worker_;
  std::unique_ptr<CeleryNode> node_;  // Of the worker, where there is a broker.
  TaskGroup tasks_;
};

}  // namespace subforge::app
