// Whoever waits for a result of Celery's is told, whatever is lost between the row that says how a
// task ended and Redis: a message is acknowledged once its result is there, and not before.
#include <future>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <gmock/gmock.h>

#include "jobs/celery/celery_place_test.hpp"

namespace subforge::jobs::celery {
namespace {

using testing::ElementsAre;

constexpr auto kHide = "ALTER TABLE jobs RENAME TO jobs_away";
constexpr auto kShow = "ALTER TABLE jobs_away RENAME TO jobs";

Effect running(std::string sql) {
  return [sql = std::move(sql)](store::Transaction& transaction) -> Task<Result<void>> {
    auto const done = co_await transaction.execute(sql);
    if (!done) co_return std::unexpected(done.error());
    co_return {};
  };
}

class RedisServerResults : public CeleryContract {
 protected:
  std::int64_t unacknowledged() { return ask({"HLEN", std::string(kUnacked)}).integer; }
  std::string state_of(std::string const& id) { return result(id).value_or(ResultMeta{}).status; }
};

// As if PostgreSQL went away between the commit and the look at what it made of the task.
TEST_P(RedisServerResults, AnEndWhoseRowCannotBeSeenIsToldOnceItCan) {
  start();
  auto const brief = Uuid::random().to_string();
  std::vector<std::string> const ids{"answer lost", brief, "answered"};
  for (auto const& id : ids) send(task(id));
  std::map<Uuid, Lease> leases;
  for (auto const& one : claim_celery()) leases[one.job.id] = one.lease;
  ASSERT_EQ(leases.size(), 3U);
  EXPECT_TRUE(leases[uuid_of(brief)].draft);
  // Of two the end was written, and its writer told of an error.
  for (auto const& id : {ids[0], ids[1]}) {
    Settlement const one{leases[uuid_of(id)], succeeded("1")};
    ASSERT_TRUE(run(celery().EmbeddedQueue::settle(worker_, std::span(&one, 1))));
  }
  std::vector<Settlement> const settlements{
      {leases[uuid_of(ids[0])], succeeded_with("1", running("SELECT 1"))},
      {leases[uuid_of(ids[1])], succeeded_with("1", running("SELECT 1"))},
      {leases[uuid_of(ids[2])], succeeded_with("1", running(kHide))}};
  auto const verdicts = run(queue().settle(worker_, settlements));
  ASSERT_TRUE(verdicts);
  EXPECT_THAT(*verdicts, ElementsAre(Verdict::refused, Verdict::refused, Verdict::taken));
  EXPECT_EQ(unacknowledged(), 3);
  ASSERT_TRUE(run(process_->store().write(running(kShow))));
  tend();
  for (auto const& id : ids) EXPECT_EQ(state_of(id), "SUCCESS") << id;
  EXPECT_EQ(unacknowledged(), 0);
}

// Neither a key in the place of its result nor one in the place of a list.
TEST_P(RedisServerResults, AKeyOfSomebodyElsesCostsNoOtherResult) {
  start();
  std::vector<std::string> const ids{"before", "taken", "linked", "after"};
  for (auto const& id : ids) {
    auto message = task(id);
    boost::json::object const options{{"queue", "no list"}};
    boost::json::object const next{
        {"task", "next"}, {"args", boost::json::array{}}, {"options", options}};
    if (id == "linked") message.callbacks = {next};
    send(message);
  }
  ask({"LPUSH", result_key("taken"), "theirs"});
  ask({"SET", "no list", "theirs"});
  std::vector<Settlement> settlements;
  for (auto const& one : claim_celery()) settlements.push_back({one.lease, succeeded("1")});
  ASSERT_EQ(settlements.size(), 4U);
  ASSERT_TRUE(run(queue().settle(worker_, settlements)));
  for (auto const& id : {ids[0], ids[2], ids[3]}) EXPECT_EQ(state_of(id), "SUCCESS") << id;
  EXPECT_EQ(ask({"LRANGE", result_key("taken"), "0", "-1"}).items.front().text, "theirs");
  EXPECT_EQ(ask({"GET", "no list"}).text, "theirs");
  EXPECT_EQ(unacknowledged(), 0);
}

// A worker stood still after it wrote an end, others took it for dead, and it hears of that first.
TEST_P(RedisServerResults, WhatALostWorkerHadEndedIsToldByOthers) {
  struct Follower final : store::LogFollower {
    void on_events(std::span<store::EventPtr const> events) override {
      for (auto const& event : events) {
        if (event->kind == kEndedEvent && at_end) std::exchange(at_end, {})();
      }
    }
    std::function<void()> at_end;
  };
  Follower follower;
  start();
  process_ = place_->open(loop_, registry_, limits_, {&follower});
  jobs_ = std::make_unique<Jobs>(process_->store(), process_->queue());
  worker_ = enlist(queue(), {"celery"});
  send(task("foreign"));
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  send(task(Uuid::random().to_string()));
  std::promise<ErrorCode> heard;
  TaskGroup group;
  auto hear = [&]() -> Task<void> {
    auto const late = co_await queue().claim({worker_, {"celery"}, 9});
    heard.set_value(late ? ErrorCode::internal : late.error().code);
  };
  auto future = heard.get_future();
  follower.at_end = [&] {
    loop_.post([&] { group.spawn(hear()); });
    EXPECT_EQ(future.wait_for(std::chrono::seconds(5)), std::future_status::ready);
  };
  EXPECT_EQ(settle(claimed[0].lease, succeeded_with("1", running("DELETE FROM job_workers"))),
            Verdict::taken);
  EXPECT_EQ(future.get(), ErrorCode::stale);
  EXPECT_EQ(unacknowledged(), 1);
  tend();
  EXPECT_EQ(state_of("foreign"), "SUCCESS");
  EXPECT_EQ(unacknowledged(), 0);
}

// Several processes find a dead worker at once. What the slower ones would do with its messages
// must not touch them any more once somebody else has them, who may die, too, before its results
// are told.
TEST_P(RedisServerResults, WhatIsFoundOfADeadWorkerIsSeenToOnce) {
  start();
  auto& broker = celery().broker();
  auto const dead = Uuid::random();
  auto const alive = Uuid::random();
  std::vector<std::string> const lists{"celery"};
  auto const pop = [&](Uuid worker) { return run(broker.pop(lists, 9, worker)).value(); };
  send(task("first"));
  send(task("second"));
  auto const found = pop(dead);
  ASSERT_EQ(found.size(), 2U);
  std::vector<GivenBack> back;
  std::vector<std::string> tags;
  for (auto const& one : found) {
    back.push_back({one.tag, one.list, one.text});
    tags.push_back(one.tag);
  }
  ASSERT_TRUE(run(broker.give_back(dead, back)));
  EXPECT_EQ(pop(alive).size(), 2U);
  ASSERT_TRUE(run(broker.give_back(dead, back)));
  EXPECT_EQ(length("celery"), 0);
  ASSERT_TRUE(run(broker.take_away(dead, tags)));
  EXPECT_EQ(unacknowledged(), 2);
  // What the one that was taken for dead takes meanwhile is found the next time.
  send(task("third"));
  EXPECT_EQ(pop(dead).size(), 1U);
  ASSERT_TRUE(run(broker.forget(dead)));
  EXPECT_EQ(run(broker.held_by(dead)).value().size(), 1U);
  EXPECT_EQ(run(broker.takers()).value().size(), 2U);
  ASSERT_TRUE(run(broker.take_away(alive, tags)));
  EXPECT_EQ(unacknowledged(), 1);
  ASSERT_TRUE(run(broker.forget(alive)));
  EXPECT_THAT(run(broker.takers()).value(), ElementsAre(dead));
}

// As if both the database and Redis were away for a moment.
TEST_P(RedisServerResults, WhatCouldNotBeGivenBackIsTakenAgain) {
  start();
  auto const brief = Uuid::random().to_string();
  std::vector<std::string> const ids{"foreign", brief};
  for (auto const& id : ids) send(task(id));
  ASSERT_TRUE(run(process_->store().write(running(kHide))));
  ask({"ACL", "SETUSER", "default", "-srem"});
  EXPECT_FALSE(run(queue().claim({worker_, {"celery"}, 9})));
  ask({"ACL", "SETUSER", "default", "+srem"});
  ASSERT_TRUE(run(process_->store().write(running(kShow))));
  EXPECT_EQ(unacknowledged(), 2);
  auto const claimed = run(queue().claim({worker_, {"celery"}, 9, std::vector<Lease>{}}));
  ASSERT_TRUE(claimed) << claimed.error().message;
  EXPECT_FALSE(claimed->unsure);
  EXPECT_EQ(claimed->jobs.size(), 2U);
  for (auto const& one : claimed->jobs)
    EXPECT_EQ(settle(one.lease, succeeded("1")), Verdict::taken);
  for (auto const& id : ids) EXPECT_EQ(state_of(id), "SUCCESS") << id;
  EXPECT_EQ(unacknowledged(), 0);
}

TEST_P(RedisServerResults, WhatIsTriedAgainForItsEffectsSakeHasNoSuccessYet) {
  start();
  send(task("flaky", "stubborn"));
  auto claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  auto const refuse = [](store::Transaction&) -> Task<Result<void>> {
    co_return fail(ErrorCode::conflict, "not now");
  };
  EXPECT_EQ(settle(claimed[0].lease, succeeded_with("1", refuse)), Verdict::retried);
  auto const told = result("flaky").value_or(ResultMeta{});
  EXPECT_EQ(told.status, "RETRY");
  EXPECT_EQ(told.result, exception_json(exception_of("not now")));
  claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(settle(claimed[0].lease, succeeded_with("1", running("SELECT 1"))), Verdict::taken);
  EXPECT_EQ(unacknowledged(), 0);
  tend();
  EXPECT_EQ(state_of("flaky"), "SUCCESS");
}

// Told late, by a process that stood still meanwhile.
TEST_P(RedisServerResults, AStateInBetweenDoesNotHideAnEnd) {
  start();
  send(task("bad"));
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(settle(claimed[0].lease, failed_for_good("no")), Verdict::taken);
  auto const store = [&](std::string_view state, std::string const& result) {
    ResultMeta meta;
    meta.task_id = "bad";
    meta.status = state;
    meta.result = result;
    auto all = [](Results& results, ResultMeta const& one) -> Task<void> {
      EXPECT_TRUE(co_await results.store(std::span(&one, 1)));
    };
    run(all(celery().results(), meta));
    return state_of("bad");
  };
  EXPECT_EQ(store("PROGRESS", R"({"current":50})"), "FAILURE");
  EXPECT_EQ(store("RETRY", "null"), "FAILURE");
  EXPECT_EQ(store("SUCCESS", "1"), "SUCCESS");
  EXPECT_EQ(store("FAILURE", "null"), "SUCCESS");
}

TEST_P(RedisServerResults, WhatRedisDoesNotKeepUpWithIsToldLater) {
  dynamic_cast<CeleryPlace&>(*place_).options().results.commands_max = 1;
  start();
  send(task("foreign"));
  auto const claimed = claim_celery();
  ASSERT_EQ(claimed.size(), 1U);
  Timestamp const later{Timestamp::now().micros + 3'600'000'000};
  auto const cancelled = enqueue({.name = "plain", .eta = later});
  tend();
  shared_server().freeze();
  ResultMeta other;
  other.task_id = "other";
  other.status = "PROGRESS";
  celery().results().tell(std::span(&other, 1));  // One is under way, and no more may be.
  TaskGroup group;
  auto thaw = [](EventLoop& loop) -> Task<void> {
    co_await loop.sleep_ms(300);
    shared_server().thaw();
  };
  group.spawn(thaw(loop_));
  EXPECT_TRUE(run(jobs().cancel(cancelled, "ann")));
  EXPECT_EQ(settle(claimed[0].lease, succeeded("1")), Verdict::taken);
  wait_ms(500);
  tend();
  EXPECT_EQ(state_of("foreign"), "SUCCESS");
  EXPECT_EQ(state_of(cancelled.to_string()), "REVOKED");
  EXPECT_EQ(unacknowledged(), 0);
}

INSTANTIATE_TEST_SUITE_P(RedisServer, RedisServerResults, testing::ValuesIn(celery_queues()),
                         name_of_queue);

}  // namespace
}  // namespace subforge::jobs::celery
