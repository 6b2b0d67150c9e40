// The queue over Redis against the contract, with a server of the tests' own, and what it does for
// clients and workers of Celery.
#include "jobs/celery/celery_queue.hpp"

#include <array>
#include <set>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <gmock/gmock.h>

#include "jobs/celery/celery_place_test.hpp"
#include "jobs/celery/relay.hpp"
#include "jobs/worker.hpp"

namespace subforge::jobs::celery {
namespace {

INSTANTIATE_TEST_SUITE_P(RedisServer, QueueContract,
                         testing::Values(celery_queue(), celery_queue_on_postgres()),
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

TEST_P(RedisServerQueue, ARedisThatLostEverythingGetsItAgain) {
  start();
  auto const id = enqueue({.name = "plain"});
  tend();
  EXPECT_EQ(length(list_name("default", 6)), 1);
  ask({"FLUSHALL"});
  process_.reset();
  process_ = another_process();
  jobs_ = std::make_unique<Jobs>(process_->store(), process_->queue());
  worker_ = enlist(queue());
  auto const claimed = claim(9);
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(claimed[0].job.id, id);
}

// As one into whose place an older copy was put: what it gives again Redis has had already.
TEST_P(RedisServerQueue, ADatabaseThatIsBehindItsRedisLosesNoTask) {
  start();
  auto const early = enqueue({.name = "plain", .queue = "nobody"});
  tend();
  auto const prefix = celery().broker().tag_of(0);
  auto const mark = prefix.substr(0, prefix.size() - 1) + "relayed";
  auto const list = list_name("nobody", 6);
  EXPECT_EQ(ask({"GET", mark}).text, std::to_string(number("SELECT max(seq) FROM job_outbox")));
  ask({"SET", mark, "1000"});
  ask({"DEL", list});
  // With servers that were there all the time, and with one that is started.
  auto const other = another_process();
  auto const late = enqueue({.name = "plain", .queue = "nobody"});
  tend();
  ASSERT_TRUE(run(other->queue().tend()));
  EXPECT_EQ(length(list), 2);
  EXPECT_EQ(number("SELECT min(seq) FROM job_outbox"), 1'001);
  enqueue({.name = "plain", .queue = "nobody"});
  ASSERT_TRUE(run(other->queue().tend()));
  tend();
  EXPECT_EQ(length(list), 3);
  std::set<Uuid> claimed;
  for (auto const& one : claim(queue(), worker_, 9, {"nobody"})) claimed.insert(one.job.id);
  EXPECT_EQ(claimed.size(), 3U);
  EXPECT_TRUE(claimed.contains(early) && claimed.contains(late));
}

TEST_P(RedisServerQueue, WhatAWorkerTookBeforeItDiedComesBack) {
  start();
  auto const id = enqueue({.name = "plain"});
  send(task("foreign"));
  tend();
  // It died between taking the messages and noting it.
  auto const dead = Uuid::random();
  std::vector<std::string> const lists{list_name("default", 6), "celery"};
  auto take = [](Broker& broker, std::vector<std::string> all, Uuid worker) -> Task<std::size_t> {
    auto const popped = co_await broker.pop(all, 9, worker);
    co_return popped ? popped->size() : 0;
  };
  EXPECT_EQ(run(take(celery().broker(), lists, dead)), 2U);
  EXPECT_TRUE(claim(queue(), worker_, 9, {"default", "celery"}).empty());
  tend();
  auto const claimed = claim(queue(), worker_, 9, {"default", "celery"});
  ASSERT_EQ(claimed.size(), 2U);
  std::set<Uuid> const ids{claimed[0].job.id, claimed[1].job.id};
  EXPECT_TRUE(ids.contains(id) && ids.contains(uuid_of("foreign")));
}

TEST_P(RedisServerQueue, WhatWasTakenOfWhichTheAnswerWasLostWaitsAgain) {
  start();
  send(task(Uuid::random().to_string()));
  auto const known = claim_celery();
  ASSERT_EQ(known.size(), 1U);
  // One list gives something, and the next one an error.
  auto const id = Uuid::random();
  send(task(id.to_string()));
  ask({"SET", list_name("celery", 9), "no list"});
  auto const lost = run(queue().claim({worker_, {"celery"}, 9}));
  ASSERT_TRUE(lost) << lost.error().message;
  EXPECT_TRUE(lost->jobs.empty());
  EXPECT_TRUE(lost->unsure);
  EXPECT_TRUE(lost->again_in_us);
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 2);
  ask({"DEL", list_name("celery", 9)});
  std::vector<Lease> const held{known[0].lease};
  auto const again = run(queue().claim({worker_, {"celery"}, 9, held}));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_FALSE(again->unsure);
  ASSERT_EQ(again->jobs.size(), 1U);
  EXPECT_EQ(again->jobs[0].job.id, id);
  EXPECT_EQ(settle(again->jobs[0].lease, succeeded("1")), Verdict::taken);
  EXPECT_EQ(settle(known[0].lease, succeeded("1")), Verdict::taken);
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 0);
}

TEST_P(RedisServerQueue, WhatWasTakenBeforeAnErrorIsOthersOnceTheWorkerDies) {
  start();
  auto const id = Uuid::random();
  send(task(id.to_string()));
  ask({"SET", list_name("celery", 9), "no list"});
  auto const lost = run(queue().claim({worker_, {"celery"}, 9}));
  ASSERT_TRUE(lost) << lost.error().message;
  EXPECT_TRUE(lost->unsure);
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 1);
  ask({"DEL", list_name("celery", 9)});
  auto forget = [](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute("DELETE FROM job_workers");
  };
  ASSERT_TRUE(run(process_->store().write(forget)));
  tend();
  worker_ = enlist(queue(), {"celery"});
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(claimed[0].job.id, id);
}

TEST_P(RedisServerQueue, AnEndThatRedisWasNotToldOfIsToldByOthers) {
  start({.lease_seconds = 1});
  auto message = task("foreign");
  message.callbacks = {boost::json::object{{"task", "next"}, {"args", boost::json::array{}}}};
  send(message);
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  // Its row is written, and then the process dies.
  auto write = [](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    (void)co_await transaction.execute("DELETE FROM job_workers");
    co_return co_await transaction.execute(
        "UPDATE jobs SET stage = 'ended', status = 'success', result = '5', completed_at = 1");
  };
  ASSERT_TRUE(run(process_->store().write(write)));
  tend();
  EXPECT_EQ(result("foreign").value_or(ResultMeta{}).result, "5");
  EXPECT_EQ(length("celery"), 1);
  EXPECT_EQ(ask({"HLEN", std::string(kUnacked)}).integer, 0);
}

TEST_P(RedisServerQueue, OthersTellWhatTheyMadeOfOurJobs) {
  start();
  auto const good = enqueue({.name = "python.good", .queue = "python"});
  auto const bad = enqueue({.name = "python.bad", .queue = "python"});
  tend();
  // Until all of it is seen in the records.
  auto const tell = [&](std::vector<ResultMeta> const& metas, auto const& seen) {
    for (auto const& one : metas) tell_as_others(one);
    (void)soon(seen);
  };
  ResultMeta meta;
  meta.task_id = good.to_string();
  meta.status = "PROGRESS";
  meta.result = R"({"current":1,"total":4,"note":"a quarter"})";
  tell({meta}, [&] { return job(good).progress == 25; });
  EXPECT_EQ(job(good).status, JobStatus::started);
  EXPECT_EQ(job(good).progress, 25);
  EXPECT_EQ(job(good).progress_note, "a quarter");
  meta.status = "SUCCESS";
  meta.result = "[1]";
  ResultMeta failure;
  failure.task_id = bad.to_string();
  failure.status = "FAILURE";
  failure.result = exception_json(exception("ValueError", "no"));
  failure.traceback = "Traceback";
  tell({meta, failure}, [&] {
    return job(good).status == JobStatus::success && job(bad).status == JobStatus::failure;
  });
  EXPECT_EQ(job(good).status, JobStatus::success);
  EXPECT_EQ(job(good).result.text, "[1]");
  EXPECT_EQ(job(bad).status, JobStatus::failure);
  EXPECT_EQ(job(bad).error, "ValueError: no");
  EXPECT_EQ(job(bad).traceback, "Traceback");
  // Put back, it waits again: what is stored of its last try does not count.
  ASSERT_TRUE(run(jobs().put_back(bad, "ann")));
  tend(6);
  EXPECT_EQ(job(bad).status, JobStatus::pending);
  EXPECT_FALSE(result(bad.to_string()));
}

// A clock that is wrong, and an error that is no exception.
TEST_P(RedisServerQueue, WhatOthersTellOfTimeIsWithinWhatCanBe) {
  start();
  auto const tell = [&](std::string const& when, std::string const& status) {
    auto const before = Timestamp::now();
    auto const id = enqueue({.name = "python", .queue = "python"});
    tend();
    tell_as_others(id.to_string(), R"({"status": ")" + status + R"(", "result": "so it is",)" +
                                       R"( "traceback": null, "children": [], "date_done": ")" +
                                       when + R"(", "task_id": ")" + id.to_string() + "\"}");
    EXPECT_TRUE(soon([&] { return is_final(job(id).status); }));
    auto told = job(id);
    EXPECT_GE(told.completed_at, before) << when;
    EXPECT_LE(told.completed_at, Timestamp::now()) << when;
    EXPECT_LE(told.started_at, told.completed_at);
    return told;
  };
  EXPECT_EQ(tell("9999-12-31T00:00:00", "SUCCESS").result.text, R"("so it is")");
  EXPECT_EQ(tell("0001-01-01T00:00:00", "FAILURE").error, "so it is");
}

TEST_P(RedisServerQueue, EachRetryThatOthersTellCountsThoughItSaysTheSame) {
  start();
  auto const id = enqueue({.name = "python.flaky", .queue = "python"});
  tend();
  ResultMeta meta;
  meta.task_id = id.to_string();
  meta.status = "RETRY";
  meta.result = exception_json(exception("ValueError", "not yet"));
  for (int i = 0; i < 3; ++i) {
    tell_as_others(meta);
    wait_ms(400);
  }
  EXPECT_EQ(job(id).retry_count, 3);
  tend(6);  // What lies there has been heard.
  EXPECT_EQ(job(id).retry_count, 3);
}

// As Celery shows people an argument in the headers.
TEST_P(RedisServerQueue, WhatOnlyPythonReadsIsToldToHaveFailed) {
  start();
  auto text = write_message(task("odd"));
  auto const at = text.find("\"argsrepr\":\"");
  ASSERT_NE(at, std::string::npos);
  text.insert(at + 12, "\\ud800");
  auto const body = text.find("\"body\":\"") + 8;
  text.replace(body, text.find('"', body) - body, "W1tOYU5dLCB7fSwge31d");  // [[NaN], {}, {}]
  ask({"LPUSH", "celery", text});
  EXPECT_TRUE(claim_celery().empty());
  EXPECT_EQ(result("odd").value_or(ResultMeta{}).status, "FAILURE");
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

TEST_P(RedisServerQueue, NothingIsTakenThatCannotBeEnteredInTheBook) {
  start();
  for (auto const key : {kUnacked, kUnackedIndex}) {
    ask({"SET", std::string(key), "mine"});
    send(task(Uuid::random().to_string()));
    auto const refused = run(queue().claim({worker_, {"celery"}, 9}));
    ASSERT_TRUE(refused) << refused.error().message;
    EXPECT_TRUE(refused->jobs.empty());
    EXPECT_EQ(length("celery"), 1) << key;
    ask({"DEL", std::string(key)});
    auto const claimed = claim_celery();
    ASSERT_EQ(claimed.size(), 1U) << key;
    EXPECT_EQ(settle(claimed[0].lease, succeeded("1")), Verdict::taken);
  }
}

TEST_P(RedisServerQueue, ARedisThatIsEmptiedWhileItIsThereGetsEverythingAgain) {
  start();
  enqueue({.name = "plain", .queue = "nobody"});
  tend();
  auto const list = list_name("nobody", 6);
  EXPECT_EQ(length(list), 1);
  ask({"FLUSHALL"});
  tend();
  EXPECT_EQ(length(list), 1);
  // What comes next is not taken for all there is.
  ask({"FLUSHALL"});
  enqueue({.name = "plain", .queue = "nobody"});
  tend();
  EXPECT_EQ(length(list), 2);
  tend();
  EXPECT_EQ(length(list), 2);
}

TEST_P(RedisServerQueue, ARedisThatRefusesWhatItIsToldIsNoHealthyOne) {
  start();
  tend();
  EXPECT_TRUE(queue().broker_health()->up);
  ask({"CONFIG", "SET", "maxmemory", "1"});
  auto const id = enqueue({.name = "plain", .queue = "nobody"});
  tend(2);
  auto const health = queue().broker_health();
  EXPECT_FALSE(health->up);
  EXPECT_NE(health->cause.find("OOM"), std::string::npos) << health->cause;
  ask({"CONFIG", "SET", "maxmemory", "0"});
  tend();
  EXPECT_TRUE(queue().broker_health()->up);
  EXPECT_EQ(length(list_name("nobody", 6)), 1);
  EXPECT_EQ(job(id).status, JobStatus::pending);
}

TEST_P(RedisServerQueue, WhatCannotBePushedIsPushedOnceItCan) {
  start();
  auto const list = list_name("nobody", 6);
  ask({"SET", list, "mine"});
  auto const id = enqueue({.name = "plain", .queue = "nobody"});
  enqueue({.name = "plain", .queue = "others"});
  tend();
  EXPECT_EQ(length(list_name("others", 6)), 1);
  EXPECT_EQ(ask({"GET", list}).text, "mine");
  ask({"DEL", list});
  wait_ms(Relay::kPutOffUs / 1'000 + 50);
  tend();
  EXPECT_EQ(length(list), 1);
  EXPECT_EQ(job(id).status, JobStatus::pending);
  EXPECT_EQ(number("SELECT n FROM record_counts WHERE name = 'jobs.status=pending'"), 2);
}

// Each process tells of an end when it gets to it, and hears of it when it gets to that.
TEST_P(RedisServerQueue, AnEndThatIsToldLateIsNotThatOfTheNextRun) {
  start();
  auto const id = enqueue({.name = "plain", .queue = "nobody"});
  tend();
  ASSERT_TRUE(run(jobs().cancel(id, "ann")));
  tend();
  auto const told = ask({"GET", result_key(id.to_string())}).text;
  EXPECT_THAT(told, testing::HasSubstr("REVOKED"));
  ASSERT_TRUE(run(jobs().retry(id, "ann")));
  tend();
  tell_as_others(id.to_string(), told);
  wait_ms(100);
  tend(6);  // It is found there as well.
  EXPECT_EQ(job(id).status, JobStatus::pending);
  ResultMeta meta;
  meta.task_id = id.to_string();
  meta.status = "SUCCESS";
  meta.result = "1";
  tell_as_others(meta);
  EXPECT_TRUE(soon([&] { return job(id).status == JobStatus::success; }));
}

TEST_P(RedisServerQueue, WhatAWorkerOfOthersHadBegunIsCountedOnceOursHasIt) {
  start();
  auto const count = [&](std::string const& status) {
    return number("SELECT n FROM record_counts WHERE name = 'jobs.status=" + status + "'");
  };
  auto const id = enqueue({.name = "plain", .queue = "python"});
  tend();
  ResultMeta meta;
  meta.task_id = id.to_string();
  meta.status = "PROGRESS";
  meta.result = R"({"current":1,"total":4})";
  tell_as_others(meta);
  ASSERT_TRUE(soon([&] { return job(id).status == JobStatus::started; }));
  EXPECT_EQ(count("started"), 1);
  // That worker died, and its message is in the list again.
  auto const claimed = claim(queue(), worker_, 9, {"python"});
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(job(id).status, JobStatus::started);
  EXPECT_EQ(settle(claimed[0].lease, succeeded("1")), Verdict::taken);
  EXPECT_EQ(count("pending"), 0);
  EXPECT_EQ(count("started"), 0);
  EXPECT_EQ(count("success"), 1);
}

TEST_P(RedisServerQueue, WhatExpiresInAListIsTakenOutOfItAtOnce) {
  start();
  auto const list = list_name("nobody", 6);
  Timestamp const soon_over{Timestamp::now().micros + 200'000};
  auto const id = enqueue({.name = "plain", .queue = "nobody", .expires_at = soon_over});
  auto const stays = enqueue({.name = "plain", .queue = "nobody"});
  tend();
  EXPECT_EQ(length(list), 2);
  wait_ms(250);
  tend();
  EXPECT_EQ(job(id).status, JobStatus::revoked);
  EXPECT_EQ(job(stays).status, JobStatus::pending);
  EXPECT_EQ(length(list), 1);
  tend();
  EXPECT_EQ(result(id.to_string()).value_or(ResultMeta{}).status, "REVOKED");
}

// A worker of Celery tells of a start only if it is asked to, and acknowledges before it runs.
TEST_P(RedisServerQueue, WhatAWorkerOfOthersMayHaveBegunInTimeDoesNotExpire) {
  start();
  Timestamp const soon_over{Timestamp::now().micros + 200'000};
  auto const id = enqueue({.name = "plain", .queue = "python", .expires_at = soon_over});
  tend();
  EXPECT_TRUE(ask({"RPOP", list_name("python", 6)}).is_text());
  wait_ms(250);
  tend(2);
  EXPECT_EQ(job(id).status, JobStatus::pending);
  ResultMeta meta;
  meta.task_id = id.to_string();
  meta.status = "SUCCESS";
  meta.result = "16";
  tell_as_others(meta);
  EXPECT_TRUE(soon([&] { return job(id).status == JobStatus::success; }));
}

// A message that was purged, or acknowledged by a worker that was killed then.
TEST_P(RedisServerQueue, WhatNobodyHasAnyMoreAndNobodyTellsOfHasFailed) {
  auto& options = dynamic_cast<CeleryPlace&>(*place_).options();
  options.lost_seconds = options.visibility_seconds = 2;
  start();
  auto const list = list_name("python", 6);
  auto const add = [&](std::string const& key) {
    auto const id = enqueue({.name = "plain", .queue = "python", .unique_key = key});
    tend();
    return id;
  };
  auto const take = [&] { return ask({"RPOP", list}).text; };
  auto const taken = [&](std::string const& id) {
    auto const text = take();
    EXPECT_NE(text.find(id), std::string::npos);
    return text;
  };
  auto const lost = add("lost");
  taken(lost.to_string());
  auto const told = add("told");
  taken(told.to_string());
  auto const held = add("held");
  ask({"HSET", std::string(kUnacked), "a tag",
       "[" + taken(held.to_string()) + R"(, "", "python"])"});
  auto const waiting = add("waiting");
  // It looks once a second.
  auto const look = [&] {
    wait_ms(1'050);
    tend();
  };
  look();
  ResultMeta meta;
  meta.task_id = told.to_string();
  meta.status = "PROGRESS";
  meta.result = R"({"percent": 5})";
  tell_as_others(meta);
  EXPECT_TRUE(soon([&] { return job(told).progress == 5; }));
  look();
  EXPECT_EQ(job(lost).status, JobStatus::pending) << "somebody may run it";
  look();
  EXPECT_EQ(job(lost).status, JobStatus::failure);
  EXPECT_EQ(job(lost).error,
            "Nobody told of its end: for 2 seconds its message was in no list and with no worker");
  EXPECT_EQ(job(told).status, JobStatus::started);
  EXPECT_EQ(job(held).status, JobStatus::pending);
  EXPECT_EQ(job(waiting).status, JobStatus::pending);
  EXPECT_NE(add("lost"), lost) << "its key is free again";
  EXPECT_TRUE(soon([&] { return result(lost.to_string()).has_value(); }));
  EXPECT_EQ(result(lost.to_string()).value_or(ResultMeta{}).status, "FAILURE");
  // So it does not lie in Redis a second time.
  EXPECT_EQ(length(list), 2);
  EXPECT_EQ(number("SELECT count(*) FROM job_outbox WHERE kind = 'push'"), 4);
}

// An end that was told while nobody listened counts.
TEST_P(RedisServerQueue, WhatWasToldUnheardIsNotLost) {
  auto& options = dynamic_cast<CeleryPlace&>(*place_).options();
  options.lost_seconds = options.visibility_seconds = 2;
  start();
  auto const id = enqueue({.name = "plain", .queue = "python"});
  tend();
  ask({"DEL", list_name("python", 6)});
  wait_ms(1'050);
  tend();
  ResultMeta meta;
  meta.task_id = id.to_string();
  meta.status = "SUCCESS";
  meta.result = "16";
  ask({"SET", result_key(meta.task_id), write_meta(meta)});
  EXPECT_EQ(job(id).status, JobStatus::pending);
  wait_ms(2'050);
  tend();
  EXPECT_EQ(job(id).status, JobStatus::success);
}

TEST_P(RedisServerQueue, AResultThatOnlyPythonReadsArrivesAsFarAsItCan) {
  start();
  std::vector<std::pair<std::string, std::string>> const told = {
      {"NaN", R"("NaN")"},
      {R"({"a": -Infinity})", R"({"a":"-Infinity"})"},
      {R"("\ud800")", "\"\uFFFD\""},
      {std::string(900, '[') + std::string(900, ']'), "nested too deeply"}};
  std::vector<Uuid> ids;
  for (std::size_t i = 0; i < told.size(); ++i)
    ids.push_back(enqueue({.name = "python.odd", .queue = "python"}));
  tend();
  for (std::size_t i = 0; i < told.size(); ++i) {
    auto const id = ids[i].to_string();
    tell_as_others(id, R"({"status": "SUCCESS", "result": )" + told[i].first +
                           R"(, "traceback": null, "children": [], "task_id": ")" + id + "\"}");
    EXPECT_TRUE(soon([&] { return job(ids[i]).status == JobStatus::success; })) << i;
    EXPECT_THAT(job(ids[i]).result.text, testing::HasSubstr(told[i].second));
  }
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
  // One was cancelled, and one of those without a row has got one of somebody else's.
  run(jobs().cancel(all[3].job.id, "ann"));
  auto const theirs = all[12].job.id;
  auto const add = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "INSERT INTO jobs (id, name, status, priority, progress, result, created_at, retry_count,"
        " max_retries, metadata, queue, progress_note, args, kwargs, stage, lane, rank, due_at,"
        " fence, losses, worker_id) SELECT $1, name, status, priority, progress, result,"
        " created_at, retry_count, max_retries, metadata, queue, progress_note, args, kwargs,"
        " stage, lane, rank, due_at, fence, losses, $2 FROM jobs WHERE id = $3",
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

INSTANTIATE_TEST_SUITE_P(RedisServer, RedisServerQueue,
                         testing::Values(celery_queue(), celery_queue_on_postgres()),
                         name_of_queue);

}  // namespace
}  // namespace subforge::jobs::celery
