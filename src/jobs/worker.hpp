// Runs jobs on an event loop: claims as many as it has free slots, starts their handlers, and
// gives results back in groups. What handlers see of it is the JobContext.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/log.hpp"
#include "jobs/queue.hpp"
#include "jobs/registry.hpp"
#include "runtime/blocking_pool.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::jobs {

// Why a handler is to stop.
enum class StopReason : std::uint8_t {
  none,
  cancelled,   // Somebody does not want it any more; its result will be refused.
  soft_limit,  // It may still clean up and give a result.
  hard_limit,  // It has failed already.
  lost,        // The worker was silent for too long; another one has the job.
  shutdown,    // The process ends: give a result soon, or the job goes back to the queue.
};

// One start of a job, for its handler. What says so may be called from any thread.
class JobContext {
 public:
  JobContext(ClaimedJob claimed, store::Store& store, BlockingPool& pool)
      : claimed_(std::move(claimed)), store_(store), pool_(pool) {}
  JobContext(JobContext const&) = delete;
  JobContext& operator=(JobContext const&) = delete;

  [[nodiscard]] Job const& job() const { return claimed_.job; }
  [[nodiscard]] std::string const& args() const { return claimed_.job.args.text; }
  [[nodiscard]] std::string const& kwargs() const { return claimed_.job.kwargs.text; }
  [[nodiscard]] std::int64_t attempt() const { return claimed_.job.retry_count + 1; }
  [[nodiscard]] store::Store& store() const { return store_; }

  // How far it is, 0 to 100. Any thread, as often as it likes: the newest is kept twice a second.
  void progress(double percent, std::string note = {});
  // A line of the job's own log. Any thread; beyond kLinesMax they are left out and counted.
  void log(LogLevel level, std::string text);
  static constexpr std::size_t kLinesMax = 1'000;      // Of one start.
  static constexpr std::size_t kLineBytesMax = 4'096;  // What is longer is cut.

  // Whether to stop, and why. Any thread; loops and threads that take long ask now and then.
  [[nodiscard]] StopReason stop_reason() const { return stop_.load(std::memory_order_acquire); }
  [[nodiscard]] bool stop_requested() const { return stop_reason() != StopReason::none; }
  // Called once on the loop when the handler is asked to stop, at once if it was already.
  void on_stop(std::move_only_function<void(StopReason)> call);
  // Called once on the loop when nothing more is waited for: kill what can be killed.
  void on_hard_stop(std::move_only_function<void()> call);

  // Runs `work`, which returns a Result<T>, on a thread beside the loops.
  template <class Work>
  auto run_blocking(Work work) {
    return pool_.run(std::move(work));
  }

 private:
  friend class Worker;
  void stop(StopReason reason);
  void hard_stop();

  ClaimedJob claimed_;
  store::Store& store_;
  BlockingPool& pool_;
  std::atomic<StopReason> stop_{StopReason::none};
  std::vector<std::move_only_function<void(StopReason)>> on_stop_;
  std::vector<std::move_only_function<void()>> on_hard_stop_;
  std::mutex mutex_;  // Of what follows.
  double percent_ = 0;
  std::string note_;
  bool told_ = true;
  std::vector<LogLine> lines_;
  std::size_t lines_seen_ = 0;
};

}  // namespace subforge::jobs
