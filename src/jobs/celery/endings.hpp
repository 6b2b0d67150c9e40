// What follows the end of a task that is known to Celery: its result for those who wait, the tasks
// that are started by it, and the book of groups and chords; exactly as Celery's own worker does,
// in its order. All of it can be done again: ids that nobody chose are derived from the task's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "jobs/celery/broker.hpp"
#include "jobs/celery/message.hpp"
#include "jobs/celery/result_meta.hpp"
#include "jobs/celery/results.hpp"
#include "jobs/celery/signatures.hpp"
#include "jobs/job.hpp"

namespace subforge::jobs::celery {

struct Ended {
  TaskMessage message;
  JobStatus status = JobStatus::success;  // Or failure, revoked, retry.
  std::string result = "null";            // JSON; of a success.
  Exception error = {};                   // Of the others.
  std::optional<std::string> traceback = {};
  Timestamp at = Timestamp::now();
  // It may have been told before, by a process that died: what has a final result is left alone.
  bool again = false;
};

// As the record of a job says.
[[nodiscard]] Ended ended_of_job(Job const& job, TaskMessage message);
// The error of a record as Python would raise it.
[[nodiscard]] Exception exception_of_job(Job const& job);
[[nodiscard]] Exception revoked_exception(std::string_view why);
[[nodiscard]] Exception not_registered(std::string_view name);

// What is to be done about one end, worked out without anything being done yet.
struct Consequences {
  Expansion sent;
  std::vector<ResultMeta> results;
  std::vector<ChordPart> chord_parts;
  std::vector<boost::json::object> bodies;  // Signatures: what each chord leads to.
};
[[nodiscard]] Consequences consequences_of(Ended const& ended);

class Endings {
 public:
  Endings(Broker& broker, Results& results, std::string origin, Logger logger)
      : broker_(broker), results_(results), origin_(std::move(origin)), logger_(logger) {}

  // Tells all of them, but for what Redis refuses, which is logged. An error means that some may
  // have been told: it is safe to do it again.
  Task<Result<void>> tell(std::span<Ended const> ended);

 private:
  [[nodiscard]] bool goes_on(Result<void> const& done);
  Task<Result<void>> send(Expansion sent);
  Task<Result<void>> end_chord_part(Ended const& ended, ChordPart const& part,
                                    boost::json::object const& body);
  Task<Result<void>> fail_chord(Ended const& ended, ChordEntry const& failed,
                                boost::json::object const& body);

  Broker& broker_;
  Results& results_;
  std::string origin_;
  Logger logger_;
};

}  // namespace subforge::jobs::celery
