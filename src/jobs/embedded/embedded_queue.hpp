// The queue whose places are the rows of the jobs themselves, in our own database: nothing else is
// needed, and what a change enqueues is there with its commit. A queue that has its places
// elsewhere keeps in this one what must wait here, and builds on its rules
// (celery/celery_queue.hpp).
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "jobs/job_rows.hpp"
#include "jobs/queue.hpp"

namespace subforge::jobs {

class EmbeddedQueue : public Queue {
 public:
  static constexpr std::int64_t kRipenedAtOnce = 1'000;  // Whose time has come, at each claim.
  static constexpr std::int64_t kTendedAtOnce = 500;

  // What it refers to must outlive it.
  EmbeddedQueue(store::Store& store, Registry const& registry, QueueLimits limits, Logger logger)
      : store_(store), limits_(std::move(limits)), rows_(registry, limits_), logger_(logger) {}

  [[nodiscard]] QueueLimits const& limits() const override { return limits_; }
  Task<Result<std::vector<Enqueued>>> enqueue_in(store::Transaction& transaction,
                                                 std::span<JobSpec const> specs) override;
  Task<Result<Uuid>> open_batch_in(store::Transaction& transaction, JobSpec const& then) override;
  Task<Result<void>> seal_batch_in(store::Transaction& transaction, Uuid batch) override;
  Task<Result<Job>> cancel_in(store::Transaction& transaction, Uuid id, std::string actor,
                              std::string why) override;
  Task<Result<Job>> put_back_in(store::Transaction& transaction, Uuid id, std::string actor,
                                bool fresh) override;

  Task<Result<Uuid>> enlist(WorkerInfo const& info) override;
  Task<Result<Claim>> claim(ClaimRequest request) override;
  Task<Result<bool>> waiting(std::span<std::string const> queues) override;
  Task<Result<std::vector<Verdict>>> settle(Uuid worker_id,
                                            std::span<Settlement const> settlements) override;
  Task<Result<void>> stopped(Lease lease) override;
  Task<Result<void>> release(Uuid worker_id, std::vector<Lease> leases) override;
  Task<Result<Beat>> beat(Uuid worker_id, std::span<Lease const> held,
                          std::vector<ProgressReport> reports, std::vector<LogLine> lines) override;
  Task<Result<void>> resign(Uuid worker_id) override;
  Task<Result<void>> limits_changed() override;
  Task<Result<std::int64_t>> tend() override;

 protected:
  // What claim() does, in a transaction that does more.
  Task<Result<Claim>> claim_in(store::Transaction& transaction, ClaimRequest const& request) const;
  // What a worker has besides what it holds waits again.
  Task<Result<void>> take_unheld(store::Transaction& transaction, Uuid worker,
                                 std::vector<Lease> const& held) const;
  // What else is written with a settlement that was taken. Not on the loop, and perhaps again if
  // the transaction is run again.
  virtual Task<Result<void>> settled_in(store::Transaction& transaction,
                                        Settlement const& settlement,
                                        JobRows::Settled const& settled) {
    (void)transaction, (void)settlement, (void)settled;
    co_return {};
  }
  // The same of a job that has ended without one: it expired, or cost too many workers.
  virtual Task<Result<void>> ended_in(store::Transaction& transaction, Uuid id) {
    (void)transaction, (void)id;
    co_return {};
  }
  // Workers that hold something that no row tells of.
  virtual Task<Result<std::set<Uuid>>> holders() { co_return std::set<Uuid>{}; }
  // Of these workers, those that are not known any more; the others have been heard.
  static Task<Result<std::set<Uuid>>> unknown_of(store::Transaction& transaction,
                                                 std::set<Uuid> const& workers);
  [[nodiscard]] store::Store& store() { return store_; }
  [[nodiscard]] JobRows const& rows() const { return rows_; }
  [[nodiscard]] Logger& logger() { return logger_; }

 private:
  static constexpr std::string_view kHeard =
      "UPDATE job_workers SET beat = beat + 1, heard_at = $1 WHERE id = $2";

  // What a worker has. Few have started at a time: no index tells them apart by worker.
  static constexpr std::string_view kHeld =
      "status = 'started' AND stage = 'leased' AND worker_id = $1";

  // A lane and how many of it may be started now.
  struct Allowance {
    std::string lane;
    std::int64_t most = 0;
    StartRate rate = {};
    std::int64_t rate_next_at = 0;  // As it stands before these starts.
  };
  // How often a worker's beat was looked at without its having moved.
  struct Silence {
    std::int64_t beat = -1;
    std::int64_t looks = 0;
  };

  Task<Result<std::vector<Allowance>>> allowances(store::Transaction& transaction,
                                                  std::int64_t most, Claim& claim) const;
  static Task<Result<std::vector<ClaimedJob>>> take_first(store::Transaction& transaction,
                                                          std::span<Allowance const> lanes,
                                                          ClaimRequest const& request,
                                                          JobChanges& changes);
  static Task<Result<void>> free_unheld(store::Transaction& transaction, Uuid worker,
                                        std::vector<Lease> const& held);
  Task<Result<void>> allow_rate(store::Transaction& transaction, Definition const& definition,
                                Allowance& allowance, Claim& claim) const;
  Task<Result<std::vector<Verdict>>> settle_plain(std::span<Settlement const* const> settlements);
  Task<Result<std::vector<JobRows::Settled>>> settle_in(
      store::Transaction& transaction, std::span<Settlement const* const> settlements,
      JobChanges& changes) const;
  Task<Result<Verdict>> settle_with_effect(Settlement const& settlement);
  Task<Result<std::int64_t>> take_from(Uuid worker_id, std::int64_t beat);
  Task<Result<std::int64_t>> expire();
  Task<Result<std::int64_t>> forget_minutes();

  store::Store& store_;
  QueueLimits const limits_;
  JobRows const rows_;
  Logger logger_;
  std::map<Uuid, Silence> silences_;
  std::int64_t rounds_ = 0;
};

}  // namespace subforge::jobs
