// Background tasks for those who ask for them and look after them: the same with every adapter of
// the queue.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "jobs/job.hpp"
#include "jobs/queue.hpp"
#include "jobs/registry.hpp"
#include "store/listing.hpp"
#include "store/store.hpp"

namespace subforge::jobs {

enum class JobOrder : std::uint8_t { created_at, name, status, priority, progress };

// Every condition that is set must hold.
struct JobFilter {
  std::optional<JobStatus> status = {};
  std::optional<std::int64_t> priority = {};
  std::optional<std::string> name_part = {};  // Somewhere in the name, in any case.
  std::optional<std::string> queue = {};
  std::optional<Uuid> batch_id = {};
  std::optional<Timestamp> created_after = {};   // Or at that time.
  std::optional<Timestamp> created_before = {};  // Or at that time.
  JobOrder order = JobOrder::created_at;
  bool descending = true;
  std::optional<store::Position> after = {};
  std::optional<std::int64_t> until = {};
  std::int64_t skip = 0;
  std::int64_t limit = 100;
};

using JobPage = store::Page<Job>;

struct JobStatistics {
  std::int64_t total = 0;
  std::array<std::int64_t, 6> by_status{};    // In the order of JobStatus.
  std::array<std::int64_t, 4> by_priority{};  // In the order of priority::kNames.
  double average_seconds = 0;                 // From the start to the end, of those that ended.
  double success_rate = 0;                    // Successes among all, in percent.
};

struct QueueFigures {
  std::int64_t pending = 0;
  std::int64_t active = 0;
  std::int64_t failed = 0;
};
struct WorkerFigures {
  Uuid id;
  std::string name;
  std::vector<std::string> queues;
  std::int64_t slots = 0;
  std::int64_t busy = 0;
  Timestamp started_at;
  Timestamp heard_at;
};
struct QueueStatus {
  std::map<std::string, QueueFigures> queues;
  std::vector<WorkerFigures> workers;
  std::int64_t ended_last_minute = 0;
  double average_seconds_last_minute = 0;
};

// What somebody did to a job by hand.
struct JobAction {
  Timestamp at;
  std::string actor;
  std::string action;  // cancelled, retried, put_back, edited.
  std::string detail;
};

// What may be changed of a job that has failed or was revoked, before it is put back.
struct JobEdit {
  std::optional<std::string> args = {};    // A JSON list.
  std::optional<std::string> kwargs = {};  // A JSON object.
  std::optional<std::string> queue = {};
  std::optional<std::int64_t> priority = {};
  std::optional<std::int64_t> max_retries = {};
};

struct StoredLine {
  std::int64_t number = 0;
  Timestamp at;
  LogLevel level = LogLevel::info;
  std::string text;
};

class Jobs {
 public:
  static constexpr std::int64_t kRemovedAtOnce = 5'000;
  static constexpr std::int64_t kRemovedLength = 8LL << 20;
  static constexpr std::int64_t kCountMax = 10'000;  // Matches that are counted one by one.
  // Of a result, or of metadata, in a list: a page has as many as a thousand of each.
  static constexpr std::int64_t kListedBytesMax = 16'384;

  Jobs(store::Store& store, Queue& queue) : store_(store), queue_(queue) {}

  [[nodiscard]] Queue& queue() { return queue_; }
  // In a transaction of their own.
  Task<Result<std::vector<Enqueued>>> enqueue(std::vector<JobSpec> specs);

  Task<Result<Job>> get(Uuid id);
  // Without arguments, tracebacks, and what is longer than kListedBytesMax.
  Task<Result<JobPage>> list(JobFilter filter);
  Task<Result<JobStatistics>> statistics();
  Task<Result<QueueStatus>> queue_status();

  // As the port's verbs, and noted with who did it.
  Task<Result<Job>> cancel(Uuid id, std::string actor);
  Task<Result<Job>> retry(Uuid id, std::string actor);
  // As if it had never been tried: for what has failed for good.
  Task<Result<Job>> put_back(Uuid id, std::string actor);
  Task<Result<Job>> edit(Uuid id, JobEdit edit, std::string actor);
  // The newest first.
  Task<Result<std::vector<JobAction>>> actions(Uuid id);
  // Behind line number `after`, oldest first.
  Task<Result<std::vector<StoredLine>>> lines(Uuid id, std::int64_t after, std::int64_t limit);

  // Removes all that ended before, with their lines, in as many transactions as it takes; how many.
  // Between them it tells what share is done, and goes on unless it is told not to.
  using GoOn = std::function<bool(double)>;
  Task<Result<std::int64_t>> clean_up(Timestamp before, GoOn go_on = {});

 private:
  // In the list of all by the time of their creation.
  struct Place {
    Timestamp created_at = {};
    std::int64_t seq = 0;
  };
  struct Removed {
    std::int64_t count = 0;
    bool more = false;
  };
  // At most kRemovedAtOnce of them that are behind a place, which it moves on, and none once they
  // had kRemovedLength characters.
  Task<Result<Removed>> remove_ended(Timestamp before, Place& after);
  static Task<Result<std::int64_t>> remove_in(store::Transaction& transaction, Uuid id);
  store::Store& store_;
  Queue& queue_;
};

}  // namespace subforge::jobs
