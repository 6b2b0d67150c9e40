// Our jobs whose end nobody will tell: their messages were purged, or acknowledged by a worker of
// Celery's that was killed, or that stores no results. Redis does not say so, but then a message is
// in no list and with no worker, and stays so. What is so for longer than anybody takes has failed:
// it is not pushed again, since it may have run.
//
// How long is counted from where this process first missed a message, by a clock that does not
// jump. Lives on one loop and is used from there.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/log.hpp"
#include "jobs/celery/broker.hpp"
#include "jobs/celery/mirror.hpp"
#include "jobs/celery/results.hpp"
#include "jobs/job_rows.hpp"
#include "store/store.hpp"

namespace subforge::jobs::celery {

class LostTasks {
 public:
  static constexpr std::int64_t kLookedForAtOnce = 500;
  static constexpr std::size_t kMissedMax = 10'000;  // Others have to wait for them to end.
  static constexpr std::int64_t kLookSecondsMax = 60;

  struct Parts {
    store::Store& store;
    Broker& broker;
    Results& results;
    Mirror& mirror;
    JobRows const& rows;
    Logger logger;
  };

  LostTasks(Parts parts, std::int64_t seconds) : parts_(std::move(parts)), seconds_(seconds) {}

  // Once a second; how many have failed.
  Task<Result<std::int64_t>> tend();

 private:
  struct Missed {
    std::int64_t since_ns = 0;
    std::string news;  // What was known of it then: whoever tells anything has it.
  };
  struct Candidate {
    Uuid id;
    std::string task_id;
    std::string queue;
    std::string news;
  };
  Task<Result<std::vector<Candidate>>> candidates(std::int64_t pushed);
  [[nodiscard]] std::vector<Candidate> note(std::span<Candidate const> looked_for,
                                            Broker::Found const& found);
  Task<Result<std::int64_t>> end(std::vector<Candidate> lost);

  Parts parts_;
  std::int64_t const seconds_;
  std::unordered_map<Uuid, Missed> missed_;
  std::int64_t looked_at_ns_ = 0;
  std::int64_t looked_until_ = 0;
};

}  // namespace subforge::jobs::celery
