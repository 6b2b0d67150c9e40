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
  JobContext(ClaimedJob&& claimed, store::Store& store, BlockingPool& pool)
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
  // After which the handler is asked to stop, by whichever limit holds for this start: that of the
  // job, or of its definition as it was then. 0: never.
  [[nodiscard]] double soft_limit_seconds() const { return soft_limit_seconds_; }
  // Called once on the loop when the handler is asked to stop, at once if it was already.
  void on_stop(std::move_only_function<void(StopReason)> call);
  // Called once on the loop when nothing more is waited for: kill what can be killed.
  void on_hard_stop(std::move_only_function<void()> call);

  // A start within this one, of another task's handler, which this one's has to await: its lines
  // are this one's, and it is asked to stop with it. One at a time, on the loop, and none once this
  // one was asked to stop. Good until the next one, or as long as this one.
  JobContext& begin_part(std::string name, std::string args);

  // Runs `work`, which returns a Result<T>, on a thread beside the loops.
  template <class Work>
  auto run_blocking(Work work) {
    return pool_.run(std::move(work));
  }

 private:
  friend class Worker;
  void stop(StopReason reason);
  void hard_stop();
  [[nodiscard]] std::optional<ProgressReport> take_news(std::vector<LogLine>& lines);

  ClaimedJob claimed_;
  store::Store& store_;
  BlockingPool& pool_;
  JobContext* whole_ = nullptr;  // Of a part.
  std::unique_ptr<JobContext> part_;
  std::atomic<StopReason> stop_{StopReason::none};
  double soft_limit_seconds_ = 0;
  std::vector<std::move_only_function<void(StopReason)>> on_stop_;
  std::vector<std::move_only_function<void()>> on_hard_stop_;
  bool hard_stopped_ = false;
  // lint: allow(locks): a handler's thread beside the loops tells its progress whenever it likes.
  std::mutex mutex_;
  double percent_ = 0;
  std::string note_;
  bool told_ = false;  // That it runs is news as well.
  std::vector<LogLine> lines_;
  std::size_t lines_seen_ = 0;
};

struct WorkerOptions {
  std::string name = "worker";
  std::vector<std::string> queues{std::string(kDefaultQueue)};
  std::size_t slots = 64;  // Handlers that run at once.
  // How soon it is told how far a job is; a job that ends sooner is told of once, at its end.
  std::int64_t report_ms = 500;
  std::int64_t beat_ms = 1'000;        // While it holds jobs ...
  std::int64_t idle_beat_ms = 60'000;  // ... and while it holds none.
  std::int64_t look_ms = 1'000;        // How often it looks for work by itself.
  std::int64_t grace_ms = 5'000;       // Between asking a handler to stop and no longer asking.
};

// On one event loop, by which all calls have to come unless they say otherwise.
class Worker final : public store::LogFollower {
 public:
  struct Parts {
    store::Store& store;
    Queue& queue;
    Registry const& registry;
    BlockingPool& pool;
    Logger logger;
  };

  // The store must not be opened yet where the worker is to follow it.
  Worker(EventLoop& loop, Parts parts, WorkerOptions options);
  ~Worker();

  void start();
  // Takes nothing new. After `patience_ms` running handlers are asked to stop, and what is still
  // not done some time later goes back to the queue. done() tells when that is over.
  void begin_shutdown(std::int64_t patience_ms);
  [[nodiscard]] bool done() const { return stopped_; }

  // On the database's thread: looks whether something was enqueued or cancelled.
  void on_events(std::span<store::EventPtr const> events) override;

  // Any thread.
  [[nodiscard]] std::size_t running() const { return running_count_.load(); }
  [[nodiscard]] std::uint64_t settled() const { return settled_count_.load(); }
  [[nodiscard]] WorkerOptions const& options() const { return options_; }

 private:
  struct Running {
    Running(ClaimedJob&& job, Parts const& parts)
        : context(std::move(job), parts.store, parts.pool) {}
    JobContext context;
    std::optional<Timer> soft;
    std::optional<Timer> hard;
    bool decided = false;  // Its end is settled, or not this worker's any more.
    bool cancelled = false;
  };
  void wake();
  Task<void> look_for_work();
  Task<void> claim_while_free();
  Task<bool> claim_once();  // Whether to claim again at once.
  void start_job(ClaimedJob&& job);
  Task<void> run(Running& running, std::uint64_t number);
  Task<Outcome> call_handler(JobContext& context);
  Task<void> tell_stopped(Lease lease);
  void bury(std::uint64_t number);
  [[nodiscard]] std::vector<Running*> undecided() const;
  void arm_limits(Running& running);
  void give_up(Running& running, StopReason reason);
  void finish(Settlement settlement);
  Task<void> settle_groups();
  Task<void> settle_alone(Settlement settlement);
  Task<void> settle_each(std::span<Settlement const> settlements);
  void count_settled(std::size_t count);
  void note_verdicts(std::span<Verdict const> verdicts);
  void on_tick();
  Task<void> beat(std::vector<ProgressReport> reports, std::vector<LogLine> lines);
  void keep_lines(std::vector<LogLine> lines);
  void pause_after_error(char const* what, Error const& error);
  void lose_everything();
  void cancel(std::vector<Uuid> const& ids);
  Task<void> look_at_cancelled(std::vector<Lease> leases);
  [[nodiscard]] std::vector<Lease> held() const;
  void look_at_shutdown();
  Task<void> leave();
  [[nodiscard]] std::size_t free_slots() const;
  [[nodiscard]] std::size_t unsettled() const { return finished_.size() + settling_count_; }

  EventLoop& loop_;
  Parts parts_;
  WorkerOptions const options_;
  TaskGroup tasks_;
  std::optional<Uuid> id_;  // Of this enlistment; nothing while it has to enlist anew.
  std::unordered_map<std::uint64_t, std::unique_ptr<Running>> running_;  // By start.
  std::uint64_t starts_ = 0;
  std::vector<std::unique_ptr<Running>> dead_;
  std::vector<Settlement> finished_;
  std::vector<Settlement> group_;    // Of these, what is on its way to the database ...
  std::vector<Lease const*> alone_;  // ... and what is so by itself.
  std::vector<LogLine> lines_;       // Of jobs that have ended, and those that could not be told.
  std::vector<Uuid> not_running_;    // Cancelled while a claim was under way that may bring them.
  std::size_t settling_count_ = 0;   // Results on their way to the database.
  bool settle_asked_ = false;        // At the end of this turn of the loop.
  bool settling_ = false;
  bool claiming_ = false;
  bool hungry_ = true;   // There may be more to claim.
  bool unsure_ = false;  // There may be more that it has than it knows.
  bool lane_freed_ = false;
  bool looking_ = false;
  bool beating_ = false;
  bool stopping_ = false;
  bool leaving_ = false;
  bool stopped_ = false;
  std::int64_t beaten_ns_ = 0;
  std::int64_t looked_ns_ = 0;
  std::int64_t ask_at_ns_ = 0;    // While stopping: when handlers are asked to stop ...
  std::int64_t leave_at_ns_ = 0;  // ... and when what they have is given back.
  std::int64_t trouble_ms_ = 0;   // The pause after an error; doubles up to a bound.
  Timer tick_;
  Timer again_;
  std::atomic<bool> woken_{false};
  std::atomic<std::size_t> running_count_{0};
  std::atomic<std::uint64_t> settled_count_{0};
};

}  // namespace subforge::jobs
