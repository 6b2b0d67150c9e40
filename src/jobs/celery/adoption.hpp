// What becomes of messages that were taken from Redis: each is a job of ours that is started, one
// of somebody else that gets a record, or one that need not be run any more. Happens in the
// transaction of a claim; what Redis is to be told follows its commit.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "jobs/celery/broker.hpp"
#include "jobs/celery/endings.hpp"
#include "jobs/celery/message.hpp"
#include "jobs/job_rows.hpp"

namespace subforge::jobs::celery {

// A message that can be run.
struct Received {
  std::string list;
  std::string tag;
  std::string text;
  Uuid id;
  std::unique_ptr<TaskMessage> message;
  bool unwanted = false;  // Somebody said so before it came.
};

struct Started {
  ClaimedJob claimed;
  std::int64_t seq = 0;  // Of its row.
  TaskMessage message;
};

struct Adoption {
  std::vector<Started> started;
  // Of what is not to be acknowledged only later, by its end.
  std::vector<std::string> acknowledged;
  std::vector<Ended> ended;
  // Places among what was received: what waits here for its time.
  std::vector<std::size_t> scheduled;
};

class Adopter {
 public:
  explicit Adopter(JobRows const& rows) : rows_(rows) {}

  // The record that a message of somebody else leads to, not started yet. Errors: invalid,
  // too_large.
  [[nodiscard]] Result<Job> draft(Received const& one, Timestamp now) const;
  // Whether it can be started at once, whatever is written about it.
  [[nodiscard]] bool starts_at_once(Received const& one, Timestamp now) const;

  Task<Result<Adoption>> adopt_in(store::Transaction& transaction, Uuid worker,
                                  std::span<Received const> received, JobChanges& changes) const;

 private:
  struct Work;

  Task<Result<void>> start_own(Work& work, std::span<Received const> received) const;
  Task<Result<void>> take_foreign(Work& work, Received const& one, std::size_t place) const;
  Task<Result<void>> take_known(Work& work, Received const& one, std::size_t place, Job job) const;
  Task<Result<void>> keep_waiting(Work& work, Received const& one, std::size_t place,
                                  Job job) const;
  [[nodiscard]] bool limited(std::string_view name) const;

  JobRows const& rows_;
};

}  // namespace subforge::jobs::celery
