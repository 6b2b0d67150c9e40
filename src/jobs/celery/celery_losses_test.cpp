// What dies, loses what it had or refuses what it is told while tasks travel over Redis: none of
// them is lost.
#include <set>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <gmock/gmock.h>

#include "jobs/celery/celery_place_test.hpp"
#include "jobs/celery/celery_queue.hpp"
#include "jobs/celery/relay.hpp"

namespace subforge::jobs::celery {
namespace {

class RedisServerLosses : public CeleryContract {};

TEST_P(RedisServerLosses, ARedisThatLostEverythingGetsItAgain) {
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
TEST_P(RedisServerLosses, ADatabaseThatIsBehindItsRedisLosesNoTask) {
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

TEST_P(RedisServerLosses, WhatAWorkerTookBeforeItDiedComesBack) {
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

TEST_P(RedisServerLosses, WhatWasTakenOfWhichTheAnswerWasLostWaitsAgain) {
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

TEST_P(RedisServerLosses, WhatWasTakenBeforeAnErrorIsOthersOnceTheWorkerDies) {
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

TEST_P(RedisServerLosses, AnEndThatRedisWasNotToldOfIsToldByOthers) {
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

TEST_P(RedisServerLosses, NothingIsTakenThatCannotBeEnteredInTheBook) {
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

TEST_P(RedisServerLosses, ARedisThatIsEmptiedWhileItIsThereGetsEverythingAgain) {
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

TEST_P(RedisServerLosses, ARedisThatRefusesWhatItIsToldIsNoHealthyOne) {
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

TEST_P(RedisServerLosses, WhatCannotBePushedIsPushedOnceItCan) {
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

// A message that was purged, or acknowledged by a worker that was killed then.
TEST_P(RedisServerLosses, WhatNobodyHasAnyMoreAndNobodyTellsOfHasFailed) {
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
TEST_P(RedisServerLosses, WhatWasToldUnheardIsNotLost) {
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

INSTANTIATE_TEST_SUITE_P(RedisServer, RedisServerLosses, testing::ValuesIn(celery_queues()),
                         name_of_queue);

}  // namespace
}  // namespace subforge::jobs::celery
