// The port of the queue: what it takes to hand jobs to workers and their results back, on whatever
// broker. The record of each job is a row of our database with every adapter, written in the same
// transaction as what caused it; an adapter decides how a job gets from there to a worker:
//
//   embedded/  the row itself is the queue
//   celery/    lists of Redis, filled from an outbox that is part of the transaction
//
// What only reads or changes records (lists, edits, log lines, schedules, clearing up) is the same
// for all: jobs.hpp. One suite runs on every adapter: queue_contract_test.hpp.
//
// The life of a job: enqueue_in -> claim -> settle. A worker says that it lives by beat(); one that
// is silent for too long has lost what it held, which goes to others. Whatever was lost meanwhile
// is refused by settle(), since its fence is an older one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "jobs/job.hpp"
#include "jobs/registry.hpp"
#include "store/store.hpp"

namespace subforge::jobs {

struct QueueLimits {
  // A worker that was not heard for so many looks, one a second, has lost what it held.
  std::int64_t lease_seconds = 5;
  std::size_t payload_bytes_max = 262'144;   // Of args, kwargs and metadata together.
  std::size_t result_bytes_max = 1'048'576;  // A larger one fails the job.
  std::size_t error_bytes_max = 16'384;      // What is longer is cut.
  std::map<std::string, std::string, std::less<>> routes = {};  // Names of jobs to queues.
};

struct Enqueued {
  Uuid id;
  bool fresh = true;  // False: there is one with this unique key already, and this is its id.
};

struct WorkerInfo {
  std::string name;  // For people: host, process, number.
  std::vector<std::string> queues;
  std::int64_t slots = 0;
};

// What the end of a job is counted and told by, as it was when it was started: nothing changes it
// before the end.
struct Start {
  Uuid worker_id;
  std::string name;
  std::string queue;
  std::int64_t priority = 0;
  Timestamp created_at;
  std::optional<Timestamp> started_at;
  std::int64_t retry_count = 0;
  std::optional<Uuid> batch_id;
};

// What a worker gets with a job; what it needs to give the result back.
struct Lease {
  Uuid id;
  std::int64_t fence = 0;
  std::string receipt = {};  // The adapter's own.
  // Of a job that has no row yet: what the row says once the job is started. Where the end comes
  // soon, the row is written with it.
  std::shared_ptr<Job const> draft = {};
  std::int64_t seq = 0;             // Where its row is, for who knows ...
  std::optional<Start> start = {};  // ... and what that says, so that it is not read again.
};

struct ClaimedJob {
  Job job;  // As it is once started.
  Lease lease;
};

struct ClaimRequest {
  Uuid worker_id;
  std::vector<std::string> queues;
  std::size_t most = 1;
  // All that the worker has, where its last claim may have given it more than it was told of:
  // whatever else is with it goes back first.
  std::optional<std::vector<Lease>> held = {};
};

struct Claim {
  std::vector<ClaimedJob> jobs;
  // When it is worth asking again though nothing is enqueued: microseconds from now; nothing if
  // nothing is to come by itself.
  std::optional<std::int64_t> again_in_us;
  // The worker may have been given more than this.
  bool unsure = false;
};

struct Settlement {
  Lease lease;
  Outcome outcome;
};

// What became of a settlement.
enum class Verdict : std::uint8_t {
  taken,
  retried,  // Taken, and the job will be started again.
  refused,  // The lease was lost, or the job cancelled: nothing was written.
};

// Whether a broker elsewhere can be reached, since when that is so, and if not, why.
struct BrokerHealth {
  bool up = true;
  std::string server;  // Without passwords.
  Timestamp since;
  std::string cause;
};

// What a running job tells: only the newest of it is kept.
struct ProgressReport {
  Lease lease;
  double percent = 0;
  std::string note = {};
};

struct LogLine {
  Uuid id;
  Timestamp at;
  LogLevel level = LogLevel::info;
  std::string text;
};

struct Beat {
  // False: this worker was silent for too long. All that it held is lost; it has to enlist anew.
  bool alive = true;
};

class Queue {
 public:
  virtual ~Queue() = default;

  [[nodiscard]] virtual QueueLimits const& limits() const = 0;
  // Nothing where the database is the broker. Any thread.
  [[nodiscard]] virtual std::optional<BrokerHealth> broker_health() const { return std::nullopt; }

  // ---- Those who want something done ---------------------------------------------------------

  // Adds jobs in the caller's transaction: they are there once it commits, and not at all if it
  // does not. The newest event of the log then wakes the workers. Errors: invalid (no such queue or
  // priority, no JSON), too_large (payload), bad_reference (no such batch).
  virtual Task<Result<std::vector<Enqueued>>> enqueue_in(store::Transaction& transaction,
                                                         std::span<JobSpec const> specs) = 0;
  // A batch: what is enqueued with its id belongs to it, and once all of that has ended, and the
  // batch was sealed, `then` is started; its metadata has `batch: {id, total, succeeded, failed}`.
  virtual Task<Result<Uuid>> open_batch_in(store::Transaction& transaction,
                                           JobSpec const& then) = 0;
  virtual Task<Result<void>> seal_batch_in(store::Transaction& transaction, Uuid batch) = 0;
  // Ends a job that has not ended, as revoked; who runs it is told to stop. Errors: not_found,
  // invalid (it has ended).
  virtual Task<Result<Job>> cancel_in(store::Transaction& transaction, Uuid id, std::string actor,
                                      std::string why) = 0;
  // Starts a failed or revoked job again under its id. `fresh`: as if it had never been tried, for
  // dead letters; else it is one more of its tries. Errors: not_found, invalid (it has not failed,
  // or no try is left).
  virtual Task<Result<Job>> put_back_in(store::Transaction& transaction, Uuid id, std::string actor,
                                        bool fresh) = 0;

  // ---- Workers -------------------------------------------------------------------------------

  // From then on the worker has to be heard; its id is a new one each time.
  virtual Task<Result<Uuid>> enlist(WorkerInfo const& info) = 0;
  // Up to `most` jobs that this worker has from now on, the most urgent first. Where the answer of
  // a database or a broker was lost, it may have some that it is not told of: after an error, or
  // what is `unsure`, its next claim tells what it `held`.
  virtual Task<Result<Claim>> claim(ClaimRequest request) = 0;
  // Whether a claim from these queues might give anything just now: a cheap look, for a worker that
  // nobody told of a retry whose time has come, or whose waker died.
  virtual Task<Result<bool>> waiting(std::span<std::string const> queues) {
    (void)queues;
    co_return false;
  }
  // `call` is called on the worker's loop whenever there may be something to claim that no event of
  // the log tells of. One worker a queue.
  virtual void on_arrival(std::function<void()> call) { (void)call; }
  // Results, many in one commit; one verdict for each. What has an effect is written by itself. An
  // error has written nothing of what has none, and is to be tried again: settling twice is safe.
  // The settlements must live until it is done.
  virtual Task<Result<std::vector<Verdict>>> settle(Uuid worker_id,
                                                    std::span<Settlement const> settlements) = 0;
  // Unstarted or interrupted ones go back to where they were, without a try being counted.
  virtual Task<Result<void>> release(Uuid worker_id, std::vector<Lease> leases) = 0;
  // The handler of a job that was cancelled has stopped: there is nothing to settle, but its place
  // among those of its name is free. On the worker's loop.
  virtual Task<Result<void>> stopped(Lease lease) = 0;
  // Once a second at most: that the worker lives, how far its jobs are, what they logged.
  virtual Task<Result<Beat>> beat(Uuid worker_id, std::span<Lease const> held,
                                  std::vector<ProgressReport> reports,
                                  std::vector<LogLine> lines) = 0;
  // The worker is gone for good, and what it still held is for others.
  virtual Task<Result<void>> resign(Uuid worker_id) = 0;
  // Definitions have other limits than when workers enlisted: what waits goes by the new ones.
  virtual Task<Result<void>> limits_changed() = 0;

  // ---- By itself -----------------------------------------------------------------------------

  // Once a second, by every process: takes from silent workers what they hold, and revokes what
  // has expired. How many jobs that were.
  virtual Task<Result<std::int64_t>> tend() = 0;
};

}  // namespace subforge::jobs
