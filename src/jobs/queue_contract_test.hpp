// What every adapter of the queue must do. The suite in queue_contract_test.cpp runs on each
// adapter that is named by INSTANTIATE_TEST_SUITE_P.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/log.hpp"
#include "jobs/jobs.hpp"
#include "jobs/queue.hpp"
#include "jobs/registry.hpp"
#include "runtime/event_loop.hpp"
#include "store/store.hpp"

namespace subforge::jobs {

// Says nothing below `critical`: what tests provoke would fill the screen.
[[nodiscard]] Logger silent_logger();

// Adds one to the count of that name, and as an effect: one that happened twice is seen.
Task<Result<void>> count_one(store::Transaction& transaction, std::string name);
[[nodiscard]] Effect counting(std::string name);

// One process: its own connections to the same database and broker.
class QueueProcess {
 public:
  virtual ~QueueProcess() = default;
  [[nodiscard]] virtual store::Store& store() = 0;
  [[nodiscard]] virtual Queue& queue() = 0;
};

// A database, and a broker where there is one, empty at first.
class QueuePlace {
 public:
  virtual ~QueuePlace() = default;
  // `followers` hear the log of this process, which lives on the loop.
  virtual std::unique_ptr<QueueProcess> open(EventLoop& loop, Registry const& registry,
                                             QueueLimits const& limits,
                                             std::vector<store::LogFollower*> const& followers) = 0;
};

struct QueueAdapter {
  std::string name;
  std::function<std::unique_ptr<QueuePlace>()> make_place;

  friend std::ostream& operator<<(std::ostream& out, QueueAdapter const& adapter) {
    return out << adapter.name;
  }
};

// The queue in the database, on either.
[[nodiscard]] QueueAdapter sqlite_queue();
[[nodiscard]] QueueAdapter postgres_queue();
[[nodiscard]] std::string name_of_queue(testing::TestParamInfo<QueueAdapter> const& info);

class QueueContract : public testing::TestWithParam<QueueAdapter> {
 protected:
  QueueContract();

  // Opens the first process, after the test has filled the registry.
  void start(QueueLimits limits = {});
  [[nodiscard]] std::unique_ptr<QueueProcess> another_process();
  [[nodiscard]] Queue& queue() { return process_->queue(); }
  [[nodiscard]] Jobs& jobs() { return *jobs_; }

  template <class T>
  T run(Task<T> task) {
    return block_on(loop_, std::move(task));
  }
  Uuid enqueue(JobSpec spec);
  std::vector<Uuid> enqueue_all(std::vector<JobSpec> specs);
  Uuid enlist(Queue& queue, std::vector<std::string> queues = {"default"});
  std::vector<ClaimedJob> claim(Queue& queue, Uuid worker, std::size_t most,
                                std::vector<std::string> queues = {"default"});
  std::vector<ClaimedJob> claim(std::size_t most) { return claim(queue(), worker_, most); }
  Verdict settle(Lease const& lease, Outcome outcome) {
    return settle(queue(), lease, std::move(outcome));
  }
  Verdict settle(Queue& queue, Lease const& lease, Outcome outcome);
  Job job(Uuid id);
  std::int64_t number(std::string sql);
  // The names of what a claim gives, in order.
  std::vector<std::string> claimed_names(std::size_t most);

  EventLoop loop_;
  Registry registry_;
  QueueLimits limits_;
  std::unique_ptr<QueuePlace> place_;
  std::unique_ptr<QueueProcess> process_;
  std::unique_ptr<Jobs> jobs_;
  Uuid worker_;
};

}  // namespace subforge::jobs
