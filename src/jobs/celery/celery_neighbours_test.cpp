// Two databases that share a broker, and a queue.
#include <map>
#include <set>

#include <gmock/gmock.h>

#include "jobs/celery/celery_place_test.hpp"
#include "jobs/celery/celery_queue.hpp"

namespace subforge::jobs::celery {
namespace {

class RedisServerNeighbours : public CeleryContract {
 protected:
  void start_both() {
    start();
    others_process_ = others_.open(loop_, registry_, {}, {});
    others_jobs_ = std::make_unique<Jobs>(others().store(), others().queue());
  }
  QueueProcess& others() { return *others_process_; }
  Uuid enqueue_there(JobSpec spec) {
    auto const added = run(others_jobs_->enqueue({std::move(spec)}));
    EXPECT_TRUE(added) << added.error().message;
    return added ? added->front().id : Uuid{};
  }
  Job job_there(Uuid id) { return run(others_jobs_->get(id)).value_or(Job{}); }
  Verdict settle_there(Uuid worker, Lease const& lease) {
    Settlement const one{lease, succeeded("2")};
    auto const verdicts = run(others().queue().settle(worker, std::span(&one, 1)));
    EXPECT_TRUE(verdicts) << verdicts.error().message;
    return verdicts ? verdicts->front() : Verdict::refused;
  }
  void tend_there() { EXPECT_TRUE(run(others().queue().tend())); }

  CeleryPlace others_;  // Before the first process has anything in Redis.
  std::unique_ptr<QueueProcess> others_process_;
  std::unique_ptr<Jobs> others_jobs_;
};

// What its tasks do is done to its own data.
TEST_P(RedisServerNeighbours, EachRunsWhatWasAskedOfIt) {
  constexpr int kOfEach = 12;
  start_both();
  auto const worker = enlist(others().queue());
  std::set<Uuid> here;
  std::set<Uuid> there;
  for (int i = 0; i < kOfEach; ++i) {
    here.insert(enqueue({.name = "plain"}));
    there.insert(enqueue_there({.name = "plain"}));
  }
  tend();
  tend_there();
  std::map<Uuid, int> starts;
  for (int round = 0; round < 4 * kOfEach; ++round) {
    for (auto const& one : claim(queue(), worker_, 3)) {
      EXPECT_TRUE(here.contains(one.job.id));
      ++starts[one.job.id];
      EXPECT_EQ(settle(one.lease, succeeded("1")), Verdict::taken);
    }
    for (auto const& one : claim(others().queue(), worker, 3)) {
      EXPECT_TRUE(there.contains(one.job.id));
      ++starts[one.job.id];
      EXPECT_EQ(settle_there(worker, one.lease), Verdict::taken);
    }
  }
  EXPECT_EQ(starts.size(), here.size() + there.size());
  for (auto const& [id, count] : starts) EXPECT_EQ(count, 1);
  for (auto const& id : here) EXPECT_EQ(job(id).result.text, "1");
  for (auto const& id : there) EXPECT_EQ(job_there(id).result.text, "2");
  EXPECT_EQ(number("SELECT count(*) FROM jobs"), kOfEach);
}

TEST_P(RedisServerNeighbours, WhatIsLeftToTheOtherWaitsForItsWorkersInItsOrder) {
  start_both();
  auto const worker = enlist(others().queue());
  auto const first = enqueue({.name = "plain"});
  auto const second = enqueue({.name = "plain"});
  auto const urgent = enqueue({.name = "plain", .priority = 10});
  tend();
  EXPECT_TRUE(claim(others().queue(), worker, 2).empty());
  EXPECT_TRUE(claim(others().queue(), worker, 2).empty());
  tend(2);
  EXPECT_EQ(job(first).status, JobStatus::pending);
  std::vector<Uuid> ids;
  for (auto const& one : claim(9)) ids.push_back(one.job.id);
  EXPECT_THAT(ids, testing::ElementsAre(urgent, first, second));
}

// It hears that something came though nothing came into the list that both look into.
TEST_P(RedisServerNeighbours, WhoseTasksWereLeftIsWoken) {
  start_both();
  auto const worker = enlist(others().queue());
  (void)enqueue({.name = "plain"});
  tend();
  EXPECT_TRUE(claim(others().queue(), worker, 9).empty());
  EXPECT_TRUE(run(queue().waiting(std::vector<std::string>{"default"})).value_or(false));
  EXPECT_EQ(claim(9).size(), 1U);
  bool woken = false;
  queue().on_arrival([&] { woken = true; });
  EXPECT_TRUE(claim(9).empty());
  wait_ms(20);
  woken = false;
  // As another one leaves it.
  auto const list = celery().broker().own_list(list_name("default", 6));
  block_on(loop_, [](CeleryQueue& other, std::string key) -> Task<void> {
    (void)co_await other.broker().client().command({"LPUSH", key, write_message(task("left"))});
  }(dynamic_cast<CeleryQueue&>(others().queue()), list));
  EXPECT_TRUE(soon([&] { return woken; }));
}

// As a worker of Celery's does for it.
TEST_P(RedisServerNeighbours, AQueueThatOnlyTheOtherServesIsRunThere) {
  start_both();
  auto const worker = enlist(others().queue(), {"theirs"});
  auto const id = enqueue({.name = "plain", .queue = "theirs"});
  tend();
  auto const claimed = claim(others().queue(), worker, 9, {"theirs"});
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(settle_there(worker, claimed[0].lease), Verdict::taken);
  EXPECT_TRUE(soon([&] { return job(id).status == JobStatus::success; }));
  EXPECT_EQ(job(id).result.text, "2");
  EXPECT_EQ(job_there(id).result.text, "2");
}

TEST_P(RedisServerNeighbours, AWorkerThatDiesLosesNothingOfTheOthers) {
  start_both();
  auto const worker = enlist(others().queue(), {"theirs"});
  auto const id = enqueue({.name = "plain", .queue = "theirs"});
  auto const kept = enqueue_there({.name = "plain", .queue = "theirs"});
  tend();
  tend_there();
  EXPECT_EQ(claim(others().queue(), worker, 9, {"theirs"}).size(), 2U);
  // Killed: nobody resigns. Here nothing is taken from it, given back or ended.
  others_jobs_.reset();
  others_process_.reset();
  tend(8);
  EXPECT_TRUE(claim(queue(), enlist(queue(), {"theirs"}), 9, {"theirs"}).empty());
  EXPECT_EQ(job(id).status, JobStatus::pending);
  // Those who share its database find what it held.
  others_process_ = others_.open(loop_, registry_, {}, {});
  others_jobs_ = std::make_unique<Jobs>(others().store(), others().queue());
  for (int i = 0; i < 10; ++i) tend_there();
  auto const heir = enlist(others().queue(), {"theirs"});
  std::set<Uuid> found;
  for (int i = 0; i < 3; ++i) {
    for (auto const& one : claim(others().queue(), heir, 9, {"theirs"})) found.insert(one.job.id);
    for (auto const& one : claim(queue(), worker_, 9, {"theirs"})) found.insert(one.job.id);
  }
  EXPECT_THAT(found, testing::UnorderedElementsAre(id, kept));
}

// What was asked for since the backup is nowhere else.
TEST_P(RedisServerNeighbours, WhatWasRestoredTakesWhatItWasAskedForBefore) {
  start_both();
  auto const id = enqueue({.name = "plain"});
  tend();
  auto note = [this](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    auto const names = "0badc0de " + process_->store().epoch();
    co_return co_await transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('log_epochs_before', $1)", {names});
  };
  ASSERT_TRUE(run(others().store().write(note)));
  auto const worker = enlist(others().queue());
  auto const claimed = claim(others().queue(), worker, 9);
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(claimed[0].job.id, id);
}

INSTANTIATE_TEST_SUITE_P(RedisServer, RedisServerNeighbours, testing::ValuesIn(celery_queues()),
                         name_of_queue);

}  // namespace
}  // namespace subforge::jobs::celery
