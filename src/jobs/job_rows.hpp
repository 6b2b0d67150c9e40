// What happens to the rows of jobs, in a transaction that others may have parts in: the same rules
// for every adapter of the queue, which differ only in how a job gets to a worker.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/job_changes.hpp"
#include "jobs/job_checks.hpp"
#include "jobs/queue.hpp"

namespace subforge::jobs {

// Lower goes first. A job's priority is worth a head start: one of higher priority overtakes those
// that were due no longer before it than the difference, so that nothing waits for ever.
[[nodiscard]] std::int64_t head_start_us(std::int64_t priority);
[[nodiscard]] std::int64_t rank_of(Timestamp due_at, std::int64_t priority);

// Error: not_found.
Task<Result<Job>> select_job(store::Session& session, Uuid id);
// Those that meet a condition.
Task<Result<std::vector<Job>>> select_jobs(store::Session& session, std::string_view where,
                                           std::vector<store::Value> values);

// The time for all processes on this database, whose machines may have clocks of their own.
Task<Result<Timestamp>> shared_clock(store::Session& session);

class JobRows {
 public:
  // Of a worker that died with a job in hand so many times, the job is to blame.
  static constexpr std::int64_t kLossesMax = 5;

  JobRows(Registry const& registry, QueueLimits const& limits)
      : registry_(registry), limits_(limits) {}

  [[nodiscard]] Registry const& registry() const { return registry_; }
  [[nodiscard]] QueueLimits const& limits() const { return limits_; }

  // The record that a wish leads to. Errors: invalid, too_large.
  [[nodiscard]] Result<Job> draft(JobSpec const& spec, Timestamp now) const;
  // Adds the rows of jobs whose stage is set. What has a unique key that is taken is not added; the
  // others are left in `jobs`. Error: bad_reference (no such batch).
  Task<Result<std::vector<Enqueued>>> insert(store::Transaction& transaction,
                                             std::vector<Job>& jobs, JobChanges& changes) const;

  // Puts what has not ended into the lanes that the names have now: limits may have been given to a
  // name, or taken from it, since. Once for each worker that begins.
  Task<Result<void>> set_lanes(store::Transaction& transaction) const;

  Task<Result<Uuid>> open_batch(store::Transaction& transaction, Job then,
                                JobChanges& changes) const;
  static Task<Result<void>> seal_batch(store::Transaction& transaction, Uuid batch,
                                       JobChanges& changes);

  struct Settled {
    Verdict verdict = Verdict::refused;
    Job job;  // What is known of it without reading the row: see settle().
  };
  // Writes the end of a start, or that it is to be tried again, if the lease still holds. A retry
  // gets the stage `waiting`. Of the job: id, name, status, queue, priority, times, tries, batch.
  // Of a lease with a draft the worker must be known to be alive, as no row is there to tell.
  Task<Result<Settled>> settle(store::Transaction& transaction, Settlement const& settlement,
                               JobChanges& changes) const;

  // Whether it needs no more than that its row is written.
  [[nodiscard]] bool ends_well(Settlement const& settlement) const;
  // The same of several, most of which end well: their rows are written together.
  Task<Result<std::vector<Settled>>> settle_all(store::Transaction& transaction,
                                                std::span<Settlement const* const> settlements,
                                                JobChanges& changes) const;

  // Writes the row of a draft, that it is started. False: there is a row of this id already.
  static Task<Result<bool>> write_draft(store::Transaction& transaction, Job const& draft,
                                        JobChanges& changes);

  Task<Result<Job>> cancel(store::Transaction& transaction, Uuid id, std::string const& actor,
                           std::string const& why, JobChanges& changes) const;
  // Of what was cancelled while it ran, once it does not run any more.
  static Task<Result<void>> free_place(store::Transaction& transaction, Lease const& lease);
  // Leaves the row to be put where it waits: the stage is `stage`.
  Task<Result<Job>> put_back(store::Transaction& transaction, Uuid id, std::string const& actor,
                             bool fresh, Stage stage, JobChanges& changes) const;
  // Takes a job from a worker that was lost: it waits again as `stage`, or has failed if it cost
  // too many workers.
  Task<Result<void>> take_back(store::Transaction& transaction, Job job, Stage stage, bool lost,
                               JobChanges& changes) const;
  // Of jobs that were not started in time.
  static Task<Result<void>> expire(store::Transaction& transaction, Job job, JobChanges& changes);

  // What its definition says that an end without success brings with it, once that is written.
  Task<Result<void>> after_failure(store::Transaction& transaction, Job const& job) const;

  static Task<Result<void>> note_action(store::Transaction& transaction, Uuid id, std::string actor,
                                        std::string action, std::string detail);

 private:
  // What a settlement comes down to.
  struct Ending {
    JobStatus status = JobStatus::success;
    std::string error = {};
    std::int64_t wait_us = 0;  // Of a retry.
  };
  [[nodiscard]] Ending ending_of(Outcome const& outcome, Job const& job) const;
  Task<Result<Settled>> settle_draft(store::Transaction& transaction, Settlement const& settlement,
                                     JobChanges& changes) const;
  static Task<Result<std::vector<std::size_t>>> end_drafts(
      store::Transaction& transaction, std::span<Settlement const* const> settlements,
      std::span<std::size_t const> places, std::vector<Settled>& all, JobChanges& changes);
  static Task<Result<void>> end_rows(store::Transaction& transaction,
                                     std::span<Settlement const* const> settlements,
                                     std::span<std::size_t const> places, std::vector<Settled>& all,
                                     JobChanges& changes);
  static Task<Result<void>> end_known(store::Transaction& transaction,
                                      std::span<Settlement const* const> settlements,
                                      std::span<std::size_t const> places,
                                      std::vector<Settled>& all, JobChanges& changes);
  static Task<Result<void>> write_success(store::Transaction& transaction,
                                          Settlement const& settlement, Settled& settled);
  Task<Result<void>> write_other(store::Transaction& transaction, Settlement const& settlement,
                                 Settled& settled) const;
  Registry const& registry_;
  QueueLimits const& limits_;
};

}  // namespace subforge::jobs
