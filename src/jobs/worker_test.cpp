#include "jobs/worker.hpp"

#include <atomic>
#include <cstdlib>
#include <functional>
#include <map>

#include <gmock/gmock.h>

#include "jobs/embedded/embedded_queue.hpp"
#include "jobs/queue_contract_test.hpp"

namespace subforge::jobs {
namespace {

using testing::HasSubstr;

// As if the connection broke between a claim's commit and its answer.
class ForgetfulQueue final : public EmbeddedQueue {
 public:
  using EmbeddedQueue::EmbeddedQueue;
  Task<Result<Claim>> claim(ClaimRequest request) override {
    auto claim = co_await EmbeddedQueue::claim(std::move(request));
    bool const lost = claim && !claim->jobs.empty() && std::exchange(forgets, false);
    if (lost) co_return fail(ErrorCode::unavailable, "The answer was lost");
    if (claim && !claim->jobs.empty() && before_answer) co_await before_answer(claim->jobs.front());
    co_return claim;
  }
  Task<Result<Beat>> beat(Uuid worker, std::span<Lease const> held,
                          std::vector<ProgressReport> reports,
                          std::vector<LogLine> lines) override {
    if (!lines.empty() && refused_beats > 0) {
      --refused_beats;
      co_return fail(ErrorCode::unavailable, "The database is away");
    }
    co_return co_await EmbeddedQueue::beat(worker, held, std::move(reports), std::move(lines));
  }
  bool forgets = false;
  int refused_beats = 0;
  std::function<Task<void>(ClaimedJob const&)> before_answer;
};

// A worker in the process of the test, on the loop of the test.
class WorkerTest : public QueueContract {
 protected:
  void begin(WorkerOptions options = {}) { begin(queue(), std::move(options)); }
  void begin(Queue& queue, WorkerOptions options) {
    options.report_ms = 40;
    options.grace_ms = 60;
    worker_of_test_ = std::make_unique<Worker>(
        loop_, Worker::Parts{process_->store(), queue, registry_, pool_, silent_logger()},
        std::move(options));
    loop_.post([this] { worker_of_test_->start(); });
  }
  // The store is open before the worker can follow it: tests wake it by hand.
  void open_with(WorkerOptions options = {}) {
    start();
    begin(std::move(options));
  }
  void wake() {
    store::Event event;
    event.kind = kEnqueued;
    auto const shared = std::make_shared<store::Event const>(event);
    worker_of_test_->on_events(std::span(&shared, 1));
  }
  void tell_cancelled(Uuid id) {
    store::Event event;
    event.kind = "job.cancelled";
    event.payload = R"({"jobs":[{"task_id":")" + id.to_string() + R"("}]})";
    auto const shared = std::make_shared<store::Event const>(event);
    worker_of_test_->on_events(std::span(&shared, 1));
  }
  // Lets the loop turn until the condition holds, ten seconds at most.
  template <class Condition>
  bool until(Condition condition) {
    auto wait = [](EventLoop& loop, Condition& holds) -> Task<bool> {
      for (int i = 0; i < 2'000; ++i) {
        if (holds()) co_return true;
        co_await loop.sleep_ms(5);
      }
      co_return false;
    };
    return run(wait(loop_, condition));
  }
  void sleep_ms(std::int64_t ms) {
    run([](EventLoop& loop, std::int64_t n) -> Task<void> { co_await loop.sleep_ms(n); }(loop_,
                                                                                         ms));
  }
  bool ends(Uuid id, JobStatus status) {
    for (int i = 0; i < 500; ++i) {
      if (job(id).status == status) return true;
      sleep_ms(10);
    }
    ADD_FAILURE() << "it is " << describe::to_text(job(id).status);
    return false;
  }
  void stop(std::int64_t patience_ms = 500) {
    loop_.post([this, patience_ms] { worker_of_test_->begin_shutdown(patience_ms); });
    EXPECT_TRUE(until([this] { return worker_of_test_->done(); }));
    // What was given up may still be on its way out.
    EXPECT_TRUE(until([this] { return worker_of_test_->running() == 0; }));
  }

  static constexpr char const* kEnqueued = "job.enqueued";
  BlockingPool pool_{2, 100};
  std::unique_ptr<ForgetfulQueue> forgetful_;
  std::unique_ptr<Worker> worker_of_test_;
};

TEST_P(WorkerTest, RunsWhatIsEnqueuedInGroups) {
  int runs = 0;
  registry_.add({.name = "count", .handler = [&](JobContext&) -> Task<Outcome> {
                   ++runs;
                   co_return succeeded(std::to_string(runs));
                 }});
  open_with({.slots = 8});
  auto const ids = enqueue_all(std::vector<JobSpec>(100, {.name = "count"}));
  wake();
  EXPECT_TRUE(until([&] { return worker_of_test_->settled() == 100; }));
  EXPECT_EQ(runs, 100);
  for (auto const& id : ids) EXPECT_EQ(job(id).status, JobStatus::success);
  stop();
}

TEST_P(WorkerTest, AnExceptionOrAnUnknownNameIsAFailureWithItsText) {
  registry_.add({.name = "throws", .handler = [](JobContext&) -> Task<Outcome> {
                   throw std::runtime_error("no disk");
                   co_return succeeded();
                 }});
  open_with();
  auto const ids = enqueue_all({{.name = "throws"}, {.name = "nobody_knows"}});
  wake();
  EXPECT_TRUE(ends(ids[0], JobStatus::failure));
  EXPECT_EQ(job(ids[0]).error, "no disk");
  EXPECT_TRUE(ends(ids[1], JobStatus::failure));
  EXPECT_THAT(*job(ids[1]).error, HasSubstr("NotRegistered"));
  stop();
}

TEST_P(WorkerTest, ProgressAndLinesOfARunningJobAreToldMeanwhile) {
  bool go_on = false;
  registry_.add({.name = "tells", .handler = [&](JobContext& context) -> Task<Outcome> {
                   context.progress(250, "too much");
                   context.progress(40, "under way");
                   context.log(LogLevel::info, "begun");
                   while (!go_on) co_await loop_.sleep_ms(5);
                   co_return succeeded();
                 }});
  open_with();
  auto const id = enqueue({.name = "tells"});
  wake();
  EXPECT_TRUE(ends(id, JobStatus::started));
  for (int i = 0; i < 200 && job(id).progress != 40; ++i) sleep_ms(10);
  EXPECT_EQ(job(id).progress, 40);
  EXPECT_EQ(job(id).progress_note, "under way");
  auto const lines = run(jobs().lines(id, 0, 10));
  ASSERT_TRUE(lines);
  ASSERT_EQ(lines->size(), 1U);
  EXPECT_EQ(lines->front().text, "begun");
  go_on = true;
  EXPECT_TRUE(ends(id, JobStatus::success));
  stop();
}

TEST_P(WorkerTest, ACancelledHandlerIsAskedAndThenNoLongerWaitedFor) {
  StopReason heard = StopReason::none;
  bool killed = false;
  registry_.add({.name = "deaf", .handler = [&](JobContext& context) -> Task<Outcome> {
                   context.on_stop([&](StopReason reason) { heard = reason; });
                   context.on_hard_stop([&] { killed = true; });
                   while (!killed) co_await loop_.sleep_ms(5);
                   co_return succeeded("\"too late\"");
                 }});
  open_with();
  auto const id = enqueue({.name = "deaf"});
  wake();
  EXPECT_TRUE(ends(id, JobStatus::started));
  ASSERT_TRUE(run(jobs().cancel(id, "ann")));
  tell_cancelled(id);
  EXPECT_TRUE(until([&] { return worker_of_test_->running() == 0; }));
  EXPECT_EQ(heard, StopReason::cancelled);
  EXPECT_TRUE(killed);
  EXPECT_EQ(job(id).status, JobStatus::revoked);
  EXPECT_EQ(job(id).result.text, "null");
  stop();
}

TEST_P(WorkerTest, ACancelledHandlerThatGoesOnKeepsItsPlace) {
  int at_once = 0;
  int most_at_once = 0;
  bool let_go = false;
  registry_.add({.name = "deaf",
                 .handler = [&](JobContext&) -> Task<Outcome> {
                   most_at_once = std::max(most_at_once, ++at_once);
                   while (!let_go) co_await loop_.sleep_ms(5);
                   --at_once;
                   co_return succeeded();
                 },
                 .concurrency = 1});
  open_with();
  auto const ids = enqueue_all({{.name = "deaf"}, {.name = "deaf"}});
  wake();
  EXPECT_TRUE(ends(ids[0], JobStatus::started));
  ASSERT_TRUE(run(jobs().cancel(ids[0], "ann")));
  tell_cancelled(ids[0]);
  for (int i = 0; i < 10; ++i) {
    wake();
    sleep_ms(20);
  }
  EXPECT_EQ(job(ids[1]).status, JobStatus::pending);
  let_go = true;
  EXPECT_TRUE(ends(ids[1], JobStatus::success));
  EXPECT_EQ(most_at_once, 1);
  stop();
}

TEST_P(WorkerTest, LimitsOfTimeAreSoftAndThenHard) {
  StopReason heard = StopReason::none;
  bool let_go = false;
  registry_.add({.name = "polite", .handler = [&](JobContext& context) -> Task<Outcome> {
                   while (!context.stop_requested()) co_await loop_.sleep_ms(5);
                   heard = context.stop_reason();
                   co_return failed("gave up in time");
                 }});
  registry_.add({.name = "rude", .handler = [&](JobContext& context) -> Task<Outcome> {
                   context.on_hard_stop([&] { let_go = true; });
                   while (!let_go) co_await loop_.sleep_ms(5);
                   co_return succeeded();
                 }});
  open_with();
  auto const ids =
      enqueue_all({{.name = "polite", .soft_limit_seconds = 0.05, .hard_limit_seconds = 5},
                   {.name = "rude", .soft_limit_seconds = 0.02, .hard_limit_seconds = 0.06}});
  wake();
  EXPECT_TRUE(ends(ids[0], JobStatus::failure));
  EXPECT_EQ(job(ids[0]).error, "gave up in time");
  EXPECT_EQ(heard, StopReason::soft_limit);
  EXPECT_TRUE(ends(ids[1], JobStatus::failure));
  EXPECT_THAT(*job(ids[1]).error, HasSubstr("TimeLimitExceeded"));
  EXPECT_TRUE(let_go);
  stop();
}

TEST_P(WorkerTest, HeavyWorkRunsBesideTheLoop) {
  std::thread::id of_work;
  registry_.add({.name = "heavy", .handler = [&](JobContext& context) -> Task<Outcome> {
                   auto const done = co_await context.run_blocking([&]() -> Result<int> {
                     of_work = std::this_thread::get_id();
                     return 42;
                   });
                   co_return succeeded(std::to_string(done.value_or(0)));
                 }});
  open_with();
  auto const id = enqueue({.name = "heavy"});
  wake();
  EXPECT_TRUE(ends(id, JobStatus::success));
  EXPECT_EQ(job(id).result.text, "42");
  EXPECT_NE(of_work, std::this_thread::get_id());
  stop();
}

TEST_P(WorkerTest, AShutdownLetsFinishAndHandsBackTheRest) {
  bool let_go = false;
  registry_.add({.name = "quick", .handler = [&](JobContext&) -> Task<Outcome> {
                   co_await loop_.sleep_ms(60);
                   co_return succeeded();
                 }});
  registry_.add({.name = "endless", .handler = [&](JobContext& context) -> Task<Outcome> {
                   context.on_hard_stop([&] { let_go = true; });
                   while (!let_go) co_await loop_.sleep_ms(5);
                   co_return succeeded();
                 }});
  open_with();
  auto const ids = enqueue_all({{.name = "quick"}, {.name = "endless"}});
  wake();
  EXPECT_TRUE(ends(ids[1], JobStatus::started));
  stop();
  EXPECT_EQ(job(ids[0]).status, JobStatus::success);
  EXPECT_EQ(job(ids[1]).status, JobStatus::pending);
  EXPECT_EQ(job(ids[1]).retry_count, 0);
  EXPECT_EQ(job(ids[1]).losses, 0);
}

// What it has is not started again meanwhile, be it that it runs, or that its end is being written.
TEST_P(WorkerTest, WhatAClaimGaveWhoseAnswerWasLostIsRunAllTheSame) {
  std::map<std::string, int> runs;
  bool let_go = false;
  auto const waits = [&](JobContext& context) -> Task<Outcome> {
    ++runs[context.job().name];
    while (!let_go) co_await loop_.sleep_ms(2);
    co_return succeeded();
  };
  std::atomic<int> writes = 0;
  std::atomic<bool> written = false;
  auto const ends_slowly = [&](JobContext& context) -> Task<Outcome> {
    ++runs[context.job().name];
    co_return succeeded_with("1", [&](store::Transaction&) -> Task<Result<void>> {
      ++writes;
      if (written) co_return {};
      co_return fail(ErrorCode::unavailable, "not yet");
    });
  };
  auto const quick = [&](JobContext& context) -> Task<Outcome> {
    ++runs[context.job().name];
    co_return succeeded();
  };
  registry_.add({.name = "long", .handler = waits});
  registry_.add({.name = "slow_end", .handler = ends_slowly});
  registry_.add({.name = "quick", .handler = quick});
  start();
  forgetful_ =
      std::make_unique<ForgetfulQueue>(process_->store(), registry_, limits_, silent_logger());
  begin(*forgetful_, {.look_ms = 60'000});
  auto const first = enqueue_all({{.name = "long"}, {.name = "slow_end"}});
  wake();
  EXPECT_TRUE(until([&] { return runs.size() == 2 && writes > 0; }));
  auto const second = enqueue_all(std::vector<JobSpec>(3, {.name = "quick"}));
  forgetful_->forgets = true;
  wake();
  EXPECT_TRUE(until([&] { return runs["quick"] == 3; }));
  EXPECT_FALSE(forgetful_->forgets);
  let_go = true;
  written = true;
  for (auto const& id : second) EXPECT_TRUE(ends(id, JobStatus::success));
  for (auto const& id : first) EXPECT_TRUE(ends(id, JobStatus::success));
  EXPECT_EQ(runs, (std::map<std::string, int>{{"long", 1}, {"slow_end", 1}, {"quick", 3}}));
  stop();
}

TEST_P(WorkerTest, ACancelThatMeetsAClaimUnderWayIsHeard) {
  StopReason heard = StopReason::none;
  registry_.add({.name = "long", .handler = [&](JobContext& context) -> Task<Outcome> {
                   while (!context.stop_requested()) co_await loop_.sleep_ms(5);
                   heard = context.stop_reason();
                   co_return succeeded();
                 }});
  start();
  forgetful_ =
      std::make_unique<ForgetfulQueue>(process_->store(), registry_, limits_, silent_logger());
  forgetful_->before_answer = [this](ClaimedJob const& claimed) -> Task<void> {
    auto const id = claimed.job.id;
    auto const cancelled = co_await jobs().cancel(id, "ann");
    EXPECT_TRUE(cancelled);
    tell_cancelled(id);
    co_await loop_.sleep_ms(20);
  };
  begin(*forgetful_, {});
  auto const id = enqueue({.name = "long"});
  wake();
  EXPECT_TRUE(until([&] { return heard != StopReason::none; }));
  EXPECT_EQ(heard, StopReason::cancelled);
  EXPECT_EQ(job(id).status, JobStatus::revoked);
  stop();
}

// It ends at any time between two looks of the worker.
TEST_P(WorkerTest, TheLastLinesBeforeAStopAreKept) {
  registry_.add({.name = "tells", .handler = [&](JobContext& context) -> Task<Outcome> {
                   co_await loop_.sleep_ms(200 + 3 * std::atoll(context.args().c_str() + 1));
                   context.log(LogLevel::info, "last");
                   co_return succeeded();
                 }});
  open_with();
  std::vector<JobSpec> specs;
  for (int i = 0; i < 20; ++i) {
    specs.push_back({.name = "tells", .args = "[" + std::to_string(i) + "]"});
  }
  auto const ids = enqueue_all(std::move(specs));
  wake();
  EXPECT_TRUE(ends(ids.back(), JobStatus::started));
  stop(5'000);
  for (auto const& id : ids) {
    EXPECT_EQ(job(id).status, JobStatus::success);
    auto const lines = run(jobs().lines(id, 0, 10));
    ASSERT_TRUE(lines);
    EXPECT_EQ(lines->size(), 1U);
  }
}

TEST_P(WorkerTest, LinesThatCouldNotBeToldAreToldLater) {
  registry_.add({.name = "tells", .handler = [&](JobContext& context) -> Task<Outcome> {
                   for (auto const* const text : {"first", "second"}) {
                     context.log(LogLevel::info, text);
                     co_await loop_.sleep_ms(100);
                   }
                   co_return succeeded();
                 }});
  start();
  forgetful_ =
      std::make_unique<ForgetfulQueue>(process_->store(), registry_, limits_, silent_logger());
  forgetful_->refused_beats = 2;
  begin(*forgetful_, {});
  auto const id = enqueue({.name = "tells"});
  wake();
  EXPECT_TRUE(ends(id, JobStatus::success));
  std::vector<std::string> texts;
  EXPECT_TRUE(until([&] { return forgetful_->refused_beats == 0; }));
  sleep_ms(200);
  auto const lines = run(jobs().lines(id, 0, 10));
  ASSERT_TRUE(lines);
  for (auto const& line : *lines) texts.push_back(line.text);
  EXPECT_THAT(texts, testing::ElementsAre("first", "second"));
  stop();
}

TEST_P(WorkerTest, OneThatWasTakenForDeadBeginsAnew) {
  int runs = 0;
  bool let_go = false;
  registry_.add({.name = "long", .handler = [&](JobContext& context) -> Task<Outcome> {
                   auto const mine = ++runs;
                   while (!let_go && !context.stop_requested()) co_await loop_.sleep_ms(5);
                   co_return succeeded(std::to_string(mine));
                 }});
  open_with({.beat_ms = 50});
  auto const id = enqueue({.name = "long"});
  wake();
  EXPECT_TRUE(ends(id, JobStatus::started));
  // Somebody else found it silent; here, by hand.
  auto const old = job(id).worker_id;
  ASSERT_TRUE(old);
  ASSERT_TRUE(run(another_process()->queue().resign(*old)));
  EXPECT_TRUE(until([&] { return runs == 2; }));
  let_go = true;
  EXPECT_TRUE(ends(id, JobStatus::success));
  EXPECT_EQ(job(id).result.text, "2");
  EXPECT_NE(job(id).worker_id, old);
  stop();
}

INSTANTIATE_TEST_SUITE_P(Embedded, WorkerTest, testing::Values(sqlite_queue()), name_of_queue);
INSTANTIATE_TEST_SUITE_P(Postgres, WorkerTest, testing::Values(postgres_queue()), name_of_queue);

}  // namespace
}  // namespace subforge::jobs
