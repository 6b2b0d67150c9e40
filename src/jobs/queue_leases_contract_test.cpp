// Of the contract: effects, leases, and limits of names.
#include <algorithm>
#include <set>

#include <gmock/gmock.h>

#include "jobs/queue_contract_test.hpp"
#include "store/write_companion.hpp"

namespace subforge::jobs {
namespace {

using store::Transaction;
using testing::ElementsAre;
using testing::HasSubstr;

JobSpec named(std::string name) { return {.name = std::move(name)}; }

TEST_P(QueueContract, AnEffectCommitsWithTheCompletionOrNotAtAll) {
  start();
  auto const counted = [&](char const* name) {
    return number("SELECT coalesce(sum(n), 0) FROM record_counts WHERE name = '" +
                  std::string(name) + "'");
  };
  enqueue_all({named("one"), named("two"), named("three")});
  auto const claimed = claim(9);
  ASSERT_EQ(claimed.size(), 3U);
  EXPECT_EQ(settle(claimed[0].lease, succeeded_with("1", counting("test one"))), Verdict::taken);
  EXPECT_EQ(settle(claimed[0].lease, succeeded_with("1", counting("test one"))), Verdict::refused);
  EXPECT_EQ(counted("test one"), 1);
  run(jobs().cancel(claimed[1].job.id, "ann"));
  EXPECT_EQ(settle(claimed[1].lease, succeeded_with("1", counting("test two"))), Verdict::refused);
  EXPECT_EQ(counted("test two"), 0);
  Effect const broken = [](Transaction&) -> Task<Result<void>> {
    co_return fail(ErrorCode::conflict, "it does not fit");
  };
  EXPECT_EQ(settle(claimed[2].lease, succeeded_with("1", broken)), Verdict::taken);
  EXPECT_EQ(job(claimed[2].job.id).status, JobStatus::failure);
  EXPECT_EQ(job(claimed[2].job.id).error, "it does not fit");
}

TEST_P(QueueContract, ManyEndTogetherEachForItself) {
  start();
  std::vector<JobSpec> const specs(40, named("plain"));
  enqueue_all(specs);
  auto claimed = claim(40);
  ASSERT_EQ(claimed.size(), 40U);
  run(jobs().cancel(claimed[7].job.id, "ann"));
  std::vector<Settlement> settlements;
  for (std::size_t i = 0; i < claimed.size(); ++i) {
    auto lease = claimed[i].lease;
    if (i == 21) ++lease.fence;
    settlements.push_back({std::move(lease), i == 33 ? failed_for_good("by chance")
                                                     : succeeded(std::to_string(i % 3))});
  }
  settlements.push_back({claimed[8].lease, succeeded("9")});  // It has ended by then.
  auto const verdicts = run(queue().settle(worker_, settlements));
  ASSERT_TRUE(verdicts);
  ASSERT_EQ(verdicts->size(), 41U);
  EXPECT_EQ(verdicts->back(), Verdict::refused);
  for (std::size_t i = 0; i < claimed.size(); ++i) {
    auto const record = job(claimed[i].job.id);
    bool const refused = i == 7 || i == 21;
    EXPECT_EQ((*verdicts)[i], refused ? Verdict::refused : Verdict::taken) << i;
    EXPECT_EQ(record.status, i == 7    ? JobStatus::revoked
                             : i == 21 ? JobStatus::started
                             : i == 33 ? JobStatus::failure
                                       : JobStatus::success)
        << i;
    if (record.status != JobStatus::success) continue;
    EXPECT_EQ(record.result.text, std::to_string(i % 3));
    EXPECT_EQ(record.progress, 100);
    EXPECT_TRUE(record.completed_at);
  }
  EXPECT_EQ(number("SELECT n FROM record_counts WHERE name = 'jobs.status=success'"), 37);
  EXPECT_EQ(number("SELECT n FROM record_counts WHERE name = 'jobs.status=started'"), 1);
}

// Rows that follow each other are written from first to last, others by a list.
TEST_P(QueueContract, WhatStartsAndEndsTogetherNeedNotLieTogether) {
  start();
  std::vector<JobSpec> specs(60, named("plain"));
  for (std::size_t i = 0; i < 30; i += 3) specs[i].priority = priority::kHigh;
  auto const ids = enqueue_all(std::move(specs));
  auto const first = claim(20);  // The urgent ones, and the first ten of the others.
  ASSERT_EQ(first.size(), 20U);
  auto const is_taken = [](std::size_t i) { return i < 30 && (i % 3 == 0 || i < 15); };
  for (std::size_t i = 0; i < ids.size(); ++i) {
    auto const record = job(ids[i]);
    EXPECT_EQ(record.status, is_taken(i) ? JobStatus::started : JobStatus::pending) << i;
    EXPECT_EQ(record.fence, is_taken(i) ? 1 : 0) << i;
    EXPECT_EQ(record.worker_id, is_taken(i) ? std::optional(worker_) : std::nullopt) << i;
    EXPECT_EQ(record.started_at.has_value(), is_taken(i)) << i;
  }
  std::vector<Settlement> settlements;
  for (std::size_t i = 0; i < 18; ++i) settlements.push_back({first[i].lease, succeeded("1")});
  auto const verdicts = run(queue().settle(worker_, settlements));
  ASSERT_TRUE(verdicts);
  EXPECT_EQ(std::ranges::count(*verdicts, Verdict::taken), 18);
  EXPECT_EQ(number("SELECT count(*) FROM jobs WHERE status = 'success' AND result = '1'"), 18);
  for (auto const& one : first) {
    bool const held = one.job.id == first[18].job.id || one.job.id == first[19].job.id;
    EXPECT_EQ(job(one.job.id).status, held ? JobStatus::started : JobStatus::success);
  }
  EXPECT_EQ(claim(60).size(), 40U) << "each of the others, and none twice";
}

class Refusing final : public store::WriteCompanion {
  Task<Result<void>> join(Transaction&, std::type_info const&, void const*) override {
    co_return fail(ErrorCode::conflict, "no");
  }
};

TEST_P(QueueContract, WhatIsRefusedUndoesNothingElseOfItsCommit) {
  start();
  auto const ask = [this](JobSpec spec, Result<std::vector<Enqueued>>& outcome) -> Task<void> {
    outcome = co_await jobs().enqueue({std::move(spec)});
  };
  Result<std::vector<Enqueued>> refused;
  Result<std::vector<Enqueued>> no_batch;
  Result<std::vector<Enqueued>> taken;
  auto const all = [&]() -> Task<void> {
    Refusing companion;
    TaskGroup group;
    auto joined = ask(named("joined"), refused);
    joined.carry(companion);
    group.spawn(std::move(joined));
    group.spawn(ask({.name = "batched", .batch_id = Uuid::random()}, no_batch));
    group.spawn(ask(named("taken"), taken));
    while (group.running() > 0) co_await loop_.sleep_ms(1);
  };
  run(all());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  ASSERT_FALSE(no_batch);
  EXPECT_EQ(no_batch.error().code, ErrorCode::bad_reference);
  EXPECT_TRUE(taken);
  EXPECT_EQ(number("SELECT count(*) FROM jobs"), 1);
}

TEST_P(QueueContract, AUniqueKeyHoldsAmongThoseAskedForTogether) {
  start();
  std::vector<JobSpec> specs(40, named("plain"));
  for (std::size_t const place : {3U, 5U, 38U}) specs[place].unique_key = "one";
  auto const ids = enqueue_all(specs);
  ASSERT_EQ(ids.size(), 40U);
  EXPECT_EQ(ids[5], ids[3]);
  EXPECT_EQ(ids[38], ids[3]);
  EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), 38U);
  EXPECT_EQ(number("SELECT count(*) FROM jobs"), 38);
  EXPECT_EQ(claim(50).size(), 38U);
}

TEST_P(QueueContract, WhatFollowsAFailureCommitsWithItHoweverItCame) {
  // Notes the argument of the job.
  auto const note = [](Transaction& transaction, Job const& job) -> Task<Result<void>> {
    EXPECT_NE(job.status, JobStatus::success);
    co_return co_await count_one(transaction, "after " + job.args.text);
  };
  registry_.add({.name = "watched", .automatic_retries = 1, .backoff_ms = 0, .on_failure = note});
  start({.lease_seconds = 1});
  auto const noted = [&](char const* argument) {
    return number("SELECT coalesce(sum(n), 0) FROM record_counts WHERE name = 'after [" +
                  std::string(argument) + "]'");
  };
  std::vector<JobSpec> specs;
  for (auto const* argument : {"1", "2", "3", "4"}) {
    specs.push_back({.name = "watched", .args = "[" + std::string(argument) + "]"});
  }
  auto const ids = enqueue_all(specs);
  auto claimed = claim(9);
  ASSERT_EQ(claimed.size(), 4U);
  EXPECT_EQ(settle(claimed[0].lease, succeeded()), Verdict::taken);
  EXPECT_EQ(settle(claimed[1].lease, failed("no")), Verdict::retried);
  EXPECT_EQ(noted("2"), 0);  // It is not over.
  EXPECT_EQ(settle(claimed[2].lease, failed_for_good("no")), Verdict::taken);
  ASSERT_TRUE(run(jobs().cancel(ids[3], "ann")));
  EXPECT_EQ(settle(claimed[3].lease, failed("late")), Verdict::refused);
  claimed = claim(9);
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(settle(claimed[0].lease, failed("no")), Verdict::taken);
  EXPECT_EQ(noted("1"), 0);
  for (auto const* argument : {"2", "3", "4"}) EXPECT_EQ(noted(argument), 1) << argument;
  // One that costs too many workers is over, too.
  enqueue({.name = "watched", .args = "[5]"});
  for (int lost = 0; lost < 5; ++lost) {
    auto const worker = enlist(queue());
    ASSERT_EQ(claim(queue(), worker, 1).size(), 1U);
    for (int look = 0; look < 2; ++look) ASSERT_TRUE(run(queue().tend()));
  }
  EXPECT_EQ(noted("5"), 1);
}

TEST_P(QueueContract, WhatASilentWorkerHeldGoesToOthersAndItsResultIsRefused) {
  start({.lease_seconds = 3});
  auto const other = another_process();
  auto const id = enqueue(named("plain"));
  auto const held = claim(1);
  ASSERT_EQ(held.size(), 1U);
  // As long as it is heard, nothing happens.
  for (int look = 0; look < 6; ++look) {
    EXPECT_EQ(run(other->queue().tend()), 0);
    ASSERT_TRUE(run(queue().beat(worker_, {}, {}, {}))->alive);
  }
  std::int64_t taken = 0;
  int looks = 0;
  while (taken == 0 && looks < 10) {
    taken = run(other->queue().tend()).value_or(-1);
    ++looks;
  }
  EXPECT_EQ(taken, 1);
  EXPECT_EQ(looks, 4);  // The first one sees it move.
  EXPECT_EQ(job(id).status, JobStatus::pending);
  auto const second = enlist(other->queue());
  auto const again = claim(other->queue(), second, 1);
  ASSERT_EQ(again.size(), 1U);
  EXPECT_GT(again[0].lease.fence, held[0].lease.fence);
  // It wakes: what it did in the meantime counts for nothing.
  EXPECT_EQ(settle(held[0].lease, succeeded("\"old\"")), Verdict::refused);
  EXPECT_FALSE(run(queue().beat(worker_, {}, {}, {}))->alive);
  EXPECT_EQ(run(queue().claim({worker_, {"default"}, 1})).error().code, ErrorCode::stale);
  EXPECT_EQ(settle(other->queue(), again[0].lease, succeeded("\"new\"")), Verdict::taken);
  EXPECT_EQ(job(id).result.text, "\"new\"");
}

TEST_P(QueueContract, WhatAWorkerWasGivenUnawaresWaitsAgain) {
  start();
  auto const ids = enqueue_all({named("plain"), named("plain"), named("plain")});
  auto const known = claim(1);
  ASSERT_EQ(known.size(), 1U);
  ASSERT_EQ(claim(1).size(), 1U);  // As if nobody had been told.
  EXPECT_EQ(claim(9).size(), 1U);
  std::vector<Lease> const held{known[0].lease};
  auto const again = run(queue().claim({worker_, {"default"}, 9, held}));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_FALSE(again->unsure);
  std::set<Uuid> found;
  for (auto const& one : again->jobs) found.insert(one.job.id);
  EXPECT_EQ(found.size(), 2U);
  EXPECT_FALSE(found.contains(known[0].job.id));
  for (auto const& one : again->jobs) {
    EXPECT_EQ(settle(one.lease, succeeded()), Verdict::taken);
  }
  EXPECT_EQ(settle(known[0].lease, succeeded()), Verdict::taken);
  for (auto const& id : ids) {
    EXPECT_EQ(job(id).status, JobStatus::success);
    EXPECT_EQ(job(id).losses, 0);
    EXPECT_EQ(job(id).retry_count, 0);
  }
}

TEST_P(QueueContract, AJobThatCostsTooManyWorkersFails) {
  start({.lease_seconds = 1});
  auto const id = enqueue(named("plain"));
  for (int lost = 0; lost < 5; ++lost) {
    auto const worker = enlist(queue());
    ASSERT_EQ(claim(queue(), worker, 1).size(), 1U);
    for (int look = 0; look < 2; ++look) ASSERT_TRUE(run(queue().tend()));
  }
  EXPECT_EQ(job(id).status, JobStatus::failure);
  EXPECT_THAT(*job(id).error, HasSubstr("lost 5 times"));
}

TEST_P(QueueContract, WhatIsGivenBackIsThereAtOnceAndCostsNoTry) {
  start();
  enqueue_all({named("one"), named("two")});
  auto const held = claim(9);
  ASSERT_EQ(held.size(), 2U);
  ASSERT_TRUE(run(queue().release(worker_, {held[0].lease})));
  EXPECT_THAT(claimed_names(9), ElementsAre("one"));
  ASSERT_TRUE(run(queue().resign(worker_)));
  worker_ = enlist(queue());
  auto const again = claim(9);
  ASSERT_EQ(again.size(), 2U);
  EXPECT_EQ(again[0].job.retry_count, 0);
  EXPECT_EQ(again[0].job.losses, 0);
}

TEST_P(QueueContract, ProgressAndLinesAreKept) {
  start();
  auto const id = enqueue(named("plain"));
  auto const held = claim(1);
  ASSERT_EQ(held.size(), 1U);
  std::vector<LogLine> lines;
  lines.push_back({id, Timestamp::now(), LogLevel::info, "begins"});
  lines.push_back({id, Timestamp::now(), LogLevel::warning, "hm"});
  ASSERT_TRUE(run(queue().beat(worker_, {}, {{held[0].lease, 40, "half of it"}}, lines)));
  EXPECT_EQ(job(id).progress, 40);
  EXPECT_EQ(job(id).progress_note, "half of it");
  lines.resize(1);
  ASSERT_TRUE(run(queue().beat(worker_, {}, {}, lines)));
  auto const kept = run(jobs().lines(id, 1, 10));
  ASSERT_TRUE(kept);
  ASSERT_EQ(kept->size(), 2U);
  EXPECT_EQ(kept->at(0).text, "hm");
  EXPECT_EQ(kept->at(0).level, LogLevel::warning);
  EXPECT_EQ(kept->at(1).number, 3);
  settle(held[0].lease, succeeded());
  ASSERT_TRUE(run(queue().beat(worker_, {}, {{held[0].lease, 50, "late"}}, {})));
  EXPECT_EQ(job(id).progress, 100);
}

TEST_P(QueueContract, ANameRunsNoOftenerAtOnceThanItMay) {
  start();
  enqueue_all({named("lonely"), named("lonely"), named("plain")});
  auto const first = claim(9);
  ASSERT_EQ(first.size(), 2U);
  EXPECT_TRUE(claim(9).empty());
  auto const& lonely = first[0].job.name == "lonely" ? first[0] : first[1];
  settle(lonely.lease, succeeded());
  EXPECT_THAT(claimed_names(9), ElementsAre("lonely"));
}

// Its program may not have heard of it yet.
TEST_P(QueueContract, ACancelledOneKeepsItsPlaceUntilItHasStopped) {
  start();
  enqueue_all(std::vector<JobSpec>(5, named("lonely")));
  auto const cancelled = [&] {
    auto const claimed = claim(9);
    EXPECT_EQ(claimed.size(), 1U);
    EXPECT_TRUE(run(jobs().cancel(claimed.at(0).job.id, "ann")));
    EXPECT_TRUE(claim(9).empty());
    return claimed.at(0).lease;
  };
  ASSERT_TRUE(run(queue().stopped(cancelled())));
  EXPECT_EQ(settle(cancelled(), succeeded()), Verdict::refused);
  EXPECT_EQ(settle(cancelled(), succeeded_with("1", counting("test"))), Verdict::refused);
  (void)cancelled();
  ASSERT_TRUE(run(queue().resign(worker_)));
  worker_ = enlist(queue());
  EXPECT_THAT(claimed_names(9), ElementsAre("lonely"));
}

TEST_P(QueueContract, LimitsThatChangeWithARestartHoldForWhatWaitsAlready) {
  start();
  enqueue_all({named("lonely"), named("lonely"), named("free"), named("free")});
  registry_.add({.name = "lonely"});
  registry_.add({.name = "free", .concurrency = 1});
  process_ = another_process();
  jobs_ = std::make_unique<Jobs>(process_->store(), process_->queue());
  worker_ = enlist(queue());
  EXPECT_THAT(claimed_names(9), ElementsAre("lonely", "lonely", "free"));
}

TEST_P(QueueContract, LimitsThatChangeWhileItRunsHoldForWhatWaitsAlready) {
  start();
  enqueue_all({named("lonely"), named("lonely"), named("plain"), named("plain")});
  ASSERT_TRUE(registry_.change("lonely", [](Definition& one) { one.concurrency = 0; }));
  ASSERT_TRUE(registry_.change("plain", [](Definition& one) { one.concurrency = 1; }));
  ASSERT_TRUE(run(queue().limits_changed()));
  EXPECT_THAT(claimed_names(9), ElementsAre("lonely", "lonely", "plain"));
  enqueue(named("plain"));
  EXPECT_TRUE(claim(9).empty());
}

TEST_P(QueueContract, ANameStartsNoOftenerInATimeThanItMay) {
  start();
  enqueue_all(std::vector<JobSpec>(5, named("slow")));
  auto claim = run(queue().claim({worker_, {"default"}, 9}));
  ASSERT_TRUE(claim);
  EXPECT_EQ(claim->jobs.size(), 2U);  // The burst.
  ASSERT_TRUE(claim->again_in_us);
  EXPECT_GT(*claim->again_in_us, 1'000'000'000);
  EXPECT_TRUE(this->claim(9).empty());
}

TEST_P(QueueContract, ALookTellsWhetherAnythingWaits) {
  start();
  std::vector<std::string> const queues{"default", "other"};
  auto const waits = [&] { return run(queue().waiting(queues)).value_or(false); };
  EXPECT_FALSE(waits());
  enqueue_all({{.name = "plain", .queue = "nowhere"},
               {.name = "plain", .eta = Timestamp{Timestamp::now().micros + 60'000'000}}});
  EXPECT_FALSE(waits());
  enqueue({.name = "lonely", .queue = "other"});
  EXPECT_TRUE(waits());
  EXPECT_EQ(claim(queue(), worker_, 9, queues).size(), 1U);
  EXPECT_FALSE(waits());
}

TEST_P(QueueContract, ManyClaimersNeverGetTheSameJob) {
  start();
  auto const other = another_process();
  auto const second = enlist(other->queue());
  enqueue_all(std::vector<JobSpec>(60, named("plain")));
  std::set<Uuid> seen;
  for (int round = 0; round < 6; ++round) {
    for (auto const& one : claim(5)) EXPECT_TRUE(seen.insert(one.job.id).second);
    for (auto const& one : claim(other->queue(), second, 5)) {
      EXPECT_TRUE(seen.insert(one.job.id).second);
    }
  }
  EXPECT_EQ(seen.size(), 60U);
}

}  // namespace
}  // namespace subforge::jobs
