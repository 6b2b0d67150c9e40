// What changes beside the rows of jobs in one transaction: counts, figures by the minute, batches
// and the events of the log. They are gathered, so that a group of jobs costs what one does.
//
// An event of the log tells of up to kJobsPerEvent jobs that changed in the same way in the same
// transaction: one by one they would cost more than the jobs.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "jobs/job.hpp"
#include "realtime/live_event.hpp"
#include "store/counts.hpp"
#include "store/store.hpp"

namespace subforge::jobs {

// Kinds of events; each wakes or tells whom it concerns.
inline constexpr std::string_view kEnqueuedEvent = "job.enqueued";  // Workers look for it.
inline constexpr std::string_view kChangedEvent = "job.changed";    // It runs, or is tried again.
inline constexpr std::string_view kEndedEvent = "job.ended";        // By itself.
inline constexpr std::string_view kCancelledEvent =
    "job.cancelled";  // By somebody: who runs it stops.

// The subject of events about one job, and of those about several; what is cached of jobs goes
// stale with either (CachePolicy::subject "job:*").
[[nodiscard]] std::string job_subject(Uuid id);
inline constexpr std::string_view kSeveralJobs = "job:*";

// The ids that an event tells of.
[[nodiscard]] std::vector<Uuid> jobs_of_event(store::Event const& event);

// How live events are shown.
[[nodiscard]] std::span<realtime::Projection const> job_projections();

class JobChanges {
 public:
  static constexpr std::size_t kJobsPerEvent = 100;
  static constexpr std::size_t kErrorBytesTold = 500;

  void added(Job const& job) { count(job, job.status, 1); }
  void moved(Job const& job, JobStatus before);
  void removed(Job const& job) { count(job, job.status, -1); }
  // With its end in the record: figures and its batch.
  void ended(Job const& job);
  // Counted for its batch by its end, and is to count again.
  void reopened(Job const& job, JobStatus before);
  void tell(std::string_view kind, Job const& job, std::string const& actor = {});

  // Writes all of it; what batches wait for becomes ready.
  Task<Result<void>> apply(store::Transaction& transaction);

 private:
  struct Batch {
    std::int64_t succeeded = 0;
    std::int64_t failed = 0;
  };
  struct Figures {
    std::int64_t ended = 0;
    std::int64_t duration_us = 0;
  };
  // Jobs of one queue, status and priority.
  struct Kind {
    JobStatus status;
    std::int64_t priority = 0;
    std::string queue;
    std::int64_t change = 0;
  };
  struct News {
    std::string subject;
    std::string actor;
    std::string jobs;  // JSON objects with commas between.
    std::size_t count = 0;
  };
  void count(Job const& job, JobStatus status, std::int64_t change);
  void count_kinds();
  Task<Result<void>> apply_minutes(store::Transaction& transaction);
  Task<Result<void>> apply_batches(store::Transaction& transaction);
  Task<Result<void>> publish(store::Transaction& transaction);

  store::CountChanges counts_;
  std::vector<Kind> kinds_;
  std::map<JobStatus, Figures> ends_;
  std::map<std::int64_t, Figures> minutes_;
  std::map<Uuid, Batch> batches_;
  std::vector<std::pair<std::string_view, News>> news_;
};

// Starts what a batch waited for, once all of it has ended and it was sealed.
Task<Result<void>> finish_batch(store::Transaction& transaction, Uuid batch, JobChanges& changes);

// Names of counts.
[[nodiscard]] std::string count_of_status(JobStatus status);
[[nodiscard]] std::string count_of_priority(std::int64_t priority);
[[nodiscard]] std::string count_of_both(JobStatus status, std::int64_t priority);
[[nodiscard]] std::string count_in_queue(std::string_view queue, JobStatus status);
inline constexpr std::string_view kDurationCount = "jobs.duration_us";
inline constexpr std::string_view kTimedCount = "jobs.timed";

}  // namespace subforge::jobs
