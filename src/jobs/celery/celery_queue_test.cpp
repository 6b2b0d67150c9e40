// The queue over Redis against the contract, with a server of the tests' own, and what it does for
// clients and workers of Celery.
#include "jobs/celery/celery_queue.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <gmock/gmock.h>

#include "jobs/celery/celery_place_test.hpp"
#include "jobs/worker.hpp"

namespace subforge::jobs::celery {
namespace {

INSTANTIATE_TEST_SUITE_P(RedisServer, QueueContract, testing::ValuesIn(celery_queues()),
                         name_of_queue);

// ---- Beyond the contract -----------------------------------------------------------------------

class RedisServerQueue : public CeleryContract {};

TEST_P(RedisServerQueue, ATaskOfSomebodyElseGetsARecordAndAResult) {
  start();
  auto message = task("order 7");
  message.args = "[1]";
  message.retries = 1;
  send(message);
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  auto const id = uuid_of("order 7");
  EXPECT_EQ(claimed[0].job.id, id);
  EXPECT_EQ(job(id).status, JobStatus::started);
  EXPECT_EQ(job(id).retry_count, 1);
  EXPECT_EQ(job(id).metadata.text, R"({"celery_id":"order 7"})");
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 1);
  EXPECT_EQ(settle(claimed[0].lease, succeeded("[2]")), Verdict::taken);
  EXPECT_EQ(job(id).status, JobStatus::success);
  auto const meta = result("order 7");
  ASSERT_TRUE(meta);
  EXPECT_EQ(meta->status, "SUCCESS");
  EXPECT_EQ(meta->result, "[2]");
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 0);
  EXPECT_EQ(ask({"ZCARD", std::string(kUnackedIndex)}).integer, 0);
}

TEST_P(RedisServerQueue, WhatIsNoTaskIsTakenAwayAndToldWhereItCan) {
  start();
  ask({"LPUSH", "celery", "{no json"});
  ask({"LPUSH", "celery", "[1,2]"});
  ask({"LPUSH", "celery", R"({"headers":{"id":"broken","task":"t"},"properties":{}})"});
  send(task("good"));
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(claimed[0].job.id, uuid_of("good"));
  ASSERT_TRUE(result("broken"));
  EXPECT_EQ(result("broken")->status, "FAILURE");
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 1);
}

TEST_P(RedisServerQueue, WhatWaitsForItsTimeWaitsInTheDatabase) {
  start();
  auto message = task("later");
  message.eta = Timestamp{Timestamp::now().micros + 200'000};
  message.callbacks = {boost::json::object{{"task", "next"}, {"args", boost::json::array{}}}};
  send(message);
  auto claimed = run(queue().claim({worker_, {"celery"}, 9}));
  ASSERT_TRUE(claimed);
  EXPECT_TRUE(claimed->jobs.empty());
  ASSERT_TRUE(claimed->again_in_us);
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 0);
  EXPECT_EQ(job(uuid_of("later")).status, JobStatus::pending);
  run([](EventLoop& loop) -> Task<void> { co_await loop.sleep_ms(250); }(loop_));
  auto const started = claim_celery();
  ASSERT_EQ(started.size(), 1U);
  EXPECT_EQ(settle(started[0].lease, succeeded("1")), Verdict::taken);
  // What was to follow it is not forgotten.
  EXPECT_EQ(length("celery"), 1);
}

TEST_P(RedisServerQueue, WhatExpiresHereIsToldToThoseWhoWait) {
  start();
  auto message = task("late");
  message.eta = Timestamp{Timestamp::now().micros + 3'600'000'000};
  message.expires = Timestamp{Timestamp::now().micros + 100'000};
  send(message);
  EXPECT_TRUE(claim_celery().empty());
  run([](EventLoop& loop) -> Task<void> { co_await loop.sleep_ms(150); }(loop_));
  tend();
  EXPECT_EQ(job(uuid_of("late")).status, JobStatus::revoked);
  ASSERT_TRUE(result("late"));
  EXPECT_EQ(result("late")->result, exception_json(revoked_exception("expired")));
}

TEST_P(RedisServerQueue, NamesWithLimitsWaitInTheDatabase) {
  start();
  send(task("one", "lonely"));
  send(task("two", "lonely"));
  auto const first = claim_celery();
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(length("celery"), 0);
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 0);
  EXPECT_EQ(settle(first[0].lease, succeeded("1")), Verdict::taken);
  tend();
  EXPECT_EQ(result("one").value_or(ResultMeta{}).status, "SUCCESS");
  EXPECT_EQ(claim_celery().size(), 1U);
}

TEST_P(RedisServerQueue, OfTwoProcessesOnePushes) {
  start();
  auto const other = another_process();
  enqueue_all(std::vector<JobSpec>(3, {.name = "plain", .queue = "nobody"}));
  ASSERT_TRUE(run(other->queue().tend()));
  tend();
  ASSERT_TRUE(run(other->queue().tend()));
  EXPECT_EQ(length(list_name("nobody", 6)), 3);
}

TEST_P(RedisServerQueue, WhatIsTooLargeNeverLeavesRedis) {
  start();
  auto message = task("large");
  message.args = "[\"" + std::string(900'000, 'x') + "\"]";
  send(message);
  message = task("larger than a record");
  message.args = "[\"" + std::string(300'000, 'x') + "\"]";
  send(message);
  send(task("small"));
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(claimed[0].job.id, uuid_of("small"));
  for (auto const* const id : {"large", "larger than a record"}) {
    ASSERT_TRUE(result(id)) << id;
    EXPECT_EQ(result(id)->status, "FAILURE");
    EXPECT_TRUE(result(id)->result.contains("262144") || result(id)->result.contains("256 KiB"))
        << result(id)->result;
  }
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 1);
}

TEST_P(RedisServerQueue, ACancelledTaskIsToldToThoseWhoWait) {
  start();
  auto const id = enqueue({.name = "plain", .queue = "nobody"});
  tend();
  ASSERT_TRUE(run(jobs().cancel(id, "ann")));
  tend();
  ASSERT_TRUE(result(id.to_string()));
  EXPECT_EQ(result(id.to_string())->status, "REVOKED");
  EXPECT_TRUE(claim(queue(), worker_, 9, {"nobody"}).empty());
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 0);
}

TEST_P(RedisServerQueue, NoQueueIsNamedAsAKeyThatRedisHolds) {
  start();
  for (auto const* const name :
       {"unacked", "unacked_index", "unacked_mutex", "_kombu.binding.celery", "celery-task-meta-1",
        "subforge.1.relayed"}) {
    auto const added = run(jobs().enqueue({{.name = "plain", .queue = name}}));
    ASSERT_FALSE(added) << name;
    EXPECT_EQ(added.error().code, ErrorCode::invalid);
  }
  EXPECT_TRUE(run(jobs().enqueue({{.name = "plain", .queue = "unacked_too"}})));
}

TEST_P(RedisServerQueue, TheLeastUrgentAreNotOvertakenForEver) {
  start();
  for (int i = 0; i < 3 * CeleryQueue::kFairRound; ++i) send(task(Uuid::random().to_string()));
  auto const low = Uuid::random();
  auto message = task(low.to_string());
  message.priority = 9;
  send(message);
  std::int64_t claims = 0;
  for (bool came = false; !came && claims < 3 * CeleryQueue::kFairRound; ++claims) {
    auto const claimed = claim_celery(1);
    ASSERT_EQ(claimed.size(), 1U);
    came = claimed[0].job.id == low;
  }
  EXPECT_LE(claims, CeleryQueue::kFairRound);
}

// ---- What begins without a row -----------------------------------------------------------------

TEST_P(RedisServerQueue, WhatIsOverSoonIsWrittenOnce) {
  start();
  auto const id = Uuid::random();
  auto message = task(id.to_string());
  message.retries = 1;
  send(message);
  send(message);
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);  // The second one is one too many.
  EXPECT_EQ(claimed[0].job.status, JobStatus::started);
  EXPECT_EQ(number("SELECT count(*) FROM jobs"), 0);
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 1);
  EXPECT_EQ(settle(claimed[0].lease, succeeded("[2]")), Verdict::taken);
  EXPECT_EQ(job(id).status, JobStatus::success);
  EXPECT_EQ(job(id).result.text, "[2]");
  EXPECT_EQ(job(id).fence, 1);
  EXPECT_EQ(job(id).retry_count, 1);
  EXPECT_EQ(number("SELECT n FROM record_counts WHERE name = 'jobs.status=success'"), 1);
  EXPECT_EQ(number("SELECT count(*) FROM events WHERE kind = 'job.ended'"), 1);
  EXPECT_EQ(result(id.to_string()).value_or(ResultMeta{}).result, "[2]");
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 0);
  EXPECT_EQ(settle(claimed[0].lease, succeeded("[3]")), Verdict::refused);
  // What has ended is not begun again.
  send(message);
  EXPECT_TRUE(claim_celery().empty());
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 0);
  EXPECT_EQ(job(id).result.text, "[2]");
}

TEST_P(RedisServerQueue, WhatRunsOnHasARow) {
  start();
  std::array const ids{Uuid::random(), Uuid::random()};
  for (auto const& id : ids) send(task(id.to_string()));
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 2U);
  run([](EventLoop& loop) -> Task<void> {
    co_await loop.sleep_ms(CeleryQueue::kRowAfterMs + 150);
  }(loop_));
  for (auto const& id : ids) EXPECT_EQ(job(id).status, JobStatus::started);
  std::vector<ProgressReport> reports{{claimed[0].lease, 40, "so far"}};
  EXPECT_TRUE(run(queue().beat(worker_, {}, std::move(reports), {})));
  EXPECT_EQ(job(claimed[0].job.id).progress, 40);
  EXPECT_EQ(settle(claimed[0].lease, succeeded("1")), Verdict::taken);
  EXPECT_EQ(job(claimed[0].job.id).status, JobStatus::success);
  ASSERT_TRUE(run(jobs().cancel(claimed[1].job.id, "ann")));
  EXPECT_EQ(settle(claimed[1].lease, succeeded("1")), Verdict::refused);
  EXPECT_EQ(job(claimed[1].job.id).status, JobStatus::revoked);
  EXPECT_EQ(number("SELECT count(*) FROM events WHERE kind = 'job.ended'"), 1);
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 0);
}

TEST_P(RedisServerQueue, WhatFailsSoonIsTriedAgainOrTold) {
  start();
  auto const again = Uuid::random();
  auto const bad = Uuid::random();
  send(task(again.to_string(), "stubborn"));
  send(task(bad.to_string()));
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 2U);
  auto const& first = claimed[0].job.id == again ? claimed[0] : claimed[1];
  auto const& second = claimed[0].job.id == again ? claimed[1] : claimed[0];
  EXPECT_EQ(settle(first.lease, failed("not yet")), Verdict::retried);
  EXPECT_EQ(settle(second.lease, failed("no")), Verdict::taken);
  EXPECT_EQ(job(again).retry_count, 1);
  EXPECT_EQ(job(bad).error, "no");
  EXPECT_EQ(result(bad.to_string()).value_or(ResultMeta{}).status, "FAILURE");
  auto const next = claim_celery();
  ASSERT_EQ(next.size(), 1U);
  EXPECT_EQ(next[0].job.id, again);
  EXPECT_EQ(settle(next[0].lease, succeeded("1")), Verdict::taken);
  EXPECT_EQ(job(again).fence, 2);
}

// Its handler ends while it leaves, and nobody has settled it.
TEST_P(RedisServerQueue, WhatAWorkerThatLeavesHadJustBegunWaitsAgain) {
  struct HardStop {
    JobContext& context;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) const {
      context.on_hard_stop([waiting] { waiting.resume(); });
    }
    void await_resume() const noexcept {}
  };
  bool begun = false;
  registry_.add({.name = "endless", .handler = [&](JobContext& context) -> Task<Outcome> {
                   begun = true;
                   co_await HardStop{context};
                   co_return succeeded();
                 }});
  start();
  auto const id = Uuid::random();
  send(task(id.to_string(), "endless"));
  BlockingPool pool(1, 10);
  Worker worker(loop_, {process_->store(), queue(), registry_, pool, silent_logger()},
                {.queues = {"celery"}});
  auto leave = [&]() -> Task<void> {
    worker.start();
    while (!begun) co_await loop_.sleep_ms(1);
    worker.begin_shutdown(0);
    while (!worker.done() || worker.running() > 0) co_await loop_.sleep_ms(1);
  };
  run(leave());
  worker_ = enlist(queue(), {"celery"});
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(claimed[0].job.id, id);
}

TEST_P(RedisServerQueue, WhatASilentWorkerHadBegunIsOthers) {
  start({.lease_seconds = 2});
  auto const id = Uuid::random();
  send(task(id.to_string()));
  auto const first = claim_celery();
  ASSERT_EQ(first.size(), 1U);
  auto const count = [](Uuid job) { return counting("effect." + job.to_string()); };
  // Others look, and hear nothing of it, but that it writes the row where that takes them so long.
  auto const other = another_process();
  auto const worker = enlist(other->queue(), {"celery"});
  std::vector<ClaimedJob> second;
  for (int i = 0; i < 20 && second.empty(); ++i) {
    ASSERT_TRUE(run(other->queue().tend()));
    second = claim(other->queue(), worker, 9, {"celery"});
  }
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].job.id, id);
  EXPECT_FALSE(second[0].lease.draft);  // So that its losses are counted.
  EXPECT_EQ(settle(first[0].lease, succeeded_with("1", count(id))), Verdict::refused);
  EXPECT_EQ(settle(first[0].lease, succeeded("1")), Verdict::refused);
  EXPECT_EQ(job(id).status, JobStatus::started);
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 1);
  EXPECT_EQ(settle(other->queue(), second[0].lease, succeeded_with("2", count(id))),
            Verdict::taken);
  EXPECT_EQ(job(id).result.text, "2");
  EXPECT_EQ(number("SELECT sum(n) FROM record_counts WHERE name LIKE 'effect.%'"), 1);
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 0);
  // The one that was silent is told so, and what it takes meanwhile is given back.
  send(task(Uuid::random().to_string()));
  auto const late = run(queue().claim({worker_, {"celery"}, 9}));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::stale);
  EXPECT_EQ(length("celery"), 1);
}

// Some have a row by then and some have none.
TEST_P(RedisServerQueue, ManyOfOthersEndTogether) {
  start();
  std::vector<Uuid> ids;
  std::vector<ClaimedJob> all;
  for (std::size_t part = 0; part < 2; ++part) {
    for (int i = 0; i < 9; ++i) send(task(ids.emplace_back(Uuid::random()).to_string()));
    for (auto& one : claim_celery()) all.push_back(std::move(one));
    if (part == 0) ASSERT_TRUE(run(dynamic_cast<CeleryQueue&>(queue()).write_rows()));
  }
  ASSERT_EQ(all.size(), 18U);
  EXPECT_EQ(number("SELECT count(*) FROM jobs"), 9);
  // One was cancelled, and one of those without a row has got one of somebody else's: if it took a
  // tenth of a second to get here, it has one of its own.
  run(jobs().cancel(all[3].job.id, "ann"));
  auto const theirs = all[12].job.id;
  auto const add = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "INSERT INTO jobs (id, name, status, priority, progress, result, created_at, retry_count,"
        " max_retries, metadata, queue, progress_note, args, kwargs, stage, lane, rank, due_at,"
        " fence, losses, worker_id) SELECT $1, name, status, priority, progress, result,"
        " created_at, retry_count, max_retries, metadata, queue, progress_note, args, kwargs,"
        " stage, lane, rank, due_at, fence, losses, $2 FROM jobs WHERE id = $3"
        " ON CONFLICT (id) DO UPDATE SET worker_id = excluded.worker_id",
        {theirs, Uuid::random(), all[0].job.id});
  };
  ASSERT_TRUE(run(process_->store().write(add)));
  std::vector<Settlement> settlements;
  for (std::size_t i = 0; i < all.size(); ++i) {
    settlements.push_back(
        {all[i].lease, i == 5 ? failed_for_good("by chance") : succeeded(std::to_string(i))});
  }
  auto const verdicts = run(queue().settle(worker_, settlements));
  ASSERT_TRUE(verdicts);
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto const record = job(all[i].job.id);
    bool const refused = i == 3 || i == 12;
    EXPECT_EQ((*verdicts)[i], refused ? Verdict::refused : Verdict::taken) << i;
    EXPECT_EQ(record.status, i == 3    ? JobStatus::revoked
                             : i == 5  ? JobStatus::failure
                             : i == 12 ? JobStatus::started
                                       : JobStatus::success)
        << i;
    if (record.status == JobStatus::success) EXPECT_EQ(record.result.text, std::to_string(i));
  }
  EXPECT_EQ(number("SELECT count(*) FROM jobs"), 18);
  EXPECT_EQ(number("SELECT n FROM record_counts WHERE name = 'jobs.status=success'"), 15);
}

INSTANTIATE_TEST_SUITE_P(RedisServer, RedisServerQueue, testing::ValuesIn(celery_queues()),
                         name_of_queue);

}  // namespace
}  // namespace subforge::jobs::celery
