#include "app/worker_process.hpp"

#include <memory>

#include "app/background.hpp"
#include "app/database.hpp"
#include "app/signals.hpp"
#include "domain/system/api_usage.hpp"

namespace subforge::app {
namespace {

constexpr std::int64_t kTendNs = 1'000'000'000;
constexpr std::int64_t kPollNs = 20'000'000;  // While it stops.

class WorkerProcess {
 public:
  WorkerProcess(config::Config const& config, Logger logger)
      : config_(config),
        logger_(logger),
        database_(make_database(config, logger)),
        store_(*database_, logger),
        usage_(store_),
        blobs_(config.upload_dir, config.disk_free_bytes_min),
        background_(config, store_, blobs_, usage_, loop_, logger) {}
  ~WorkerProcess() { store_.close(); }
  WorkerProcess(WorkerProcess const&) = delete;
  WorkerProcess& operator=(WorkerProcess const&) = delete;

  Result<void> run() {
    background_.add_worker();
    if (auto loaded = background_.load(); !loaded) return loaded;
    if (auto opened = store_.open(); !opened) return opened;
    Signals const signals(loop_, [this] { stop(); });
    tend_.arm(loop_.timers(), monotonic_ns() + kTendNs);
    loop_.post([this] { background_.start(); });
    logger_.info("working", {{"slots", config_.task_slots}});
    loop_.run();
    background_.stop();
    logger_.info("stopped");
    return {};
  }

 private:
  void tend() {
    tend_.arm(loop_.timers(), monotonic_ns() + kTendNs);
    if (tasks_.running() == 0) tasks_.spawn(background_.tend());
  }
  void stop() {
    if (stopping_) return;
    stopping_ = true;
    logger_.info("stopping", {{"seconds_max", config_.shutdown_seconds}});
    tend_.cancel();
    deadline_ns_ = monotonic_ns() + config_.shutdown_seconds * 1'000'000'000;
    background_.begin_shutdown(config_.shutdown_seconds * 1'000);
    look();
  }
  void look() {
    bool const done = background_.done() && tasks_.running() == 0;
    if (done || monotonic_ns() >= deadline_ns_) return loop_.stop();
    poll_.arm(loop_.timers(), monotonic_ns() + kPollNs);
  }

  config::Config const& config_;
  Logger logger_;
  EventLoop loop_;
  std::unique_ptr<store::Database> database_;
  store::Store store_;
  domain::ApiUsage usage_;
  files::BlobStore blobs_;
  Background background_;
  TaskGroup tasks_;
  Timer tend_{[this] { tend(); }};
  Timer poll_{[this] { look(); }};
  bool stopping_ = false;
  std::int64_t deadline_ns_ = 0;
};

}  // namespace

Result<void> run_worker(config::Config const& config, Logger logger) {
  WorkerProcess process(config, logger);
  return process.run();
}

}  // namespace subforge::app
