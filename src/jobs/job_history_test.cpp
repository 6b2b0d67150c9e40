// Processes that submit and processes that work die, stand still for longer than their lease, and
// come back, at random: whatever was acknowledged ends in one final state, and what it changes is
// changed once; PostgreSQL is started anew and stands still meanwhile. And the clocks of those that
// work jump by a day either way, which takes no lease away. The queue over Redis has the same proof
// in celery/celery_history_test.cpp.
#include "jobs/job_history_test.hpp"

#include "jobs/embedded/embedded_queue.hpp"
#include "store/postgres/cluster_test.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::jobs {
namespace {

void prove(std::string const& url, EventLoop& loop, std::vector<Blow> const& blows) {
  store::TemporaryFolder const folder;
  auto const seed = seed_of_proofs();
  SCOPED_TRACE("SUBFORGE_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  auto const place = url.empty() ? (folder.path() / "jobs.db").string() : url;
  auto const database = open_history_database(place);
  store::Store store(*database, silent_logger());
  ASSERT_TRUE(store.open());
  Fleet fleet(folder.path(), {place});
  for (int i = 0; i < 3; ++i) fleet.start("work");
  fleet.start("submit");
  make_trouble(fleet, loop, random, tests_are_full() ? 60'000 : 3'000, blows);
  make_trouble_until_enough(fleet, loop, random, {"submit"}, blows);
  fleet.end_all("submit");
  auto const acknowledged = fleet.acknowledged("submit");
  // Now everything has to come to its end, with what is left of the fleet.
  History found;
  auto const over = [&] {
    fleet.revive();
    auto const looked = block_on(loop, store.read(store::ReadCost::scan, read_history));
    if (looked) found = *looked;
    return looked && found.over(acknowledged);
  };
  wait_while_it_goes_on(loop, found, over);
  check_history(found, acknowledged);
  store.close();
}

TEST(JobHistoryProof, OnSqliteEachTaskEndsOnceAndItsEffectCountsOnce) {
  EventLoop loop;
  prove({}, loop, {});
}

TEST(JobHistoryProof, OnPostgresqlEachTaskEndsOnceAndItsEffectCountsOnce) {
  EventLoop loop;
  store::TestCluster cluster;
  prove(cluster.create_database(), loop, {blow_to(cluster, loop)});
}

// ---- Clocks that jump --------------------------------------------------------------------------

class JobClockProof : public testing::Test {
 protected:
  JobClockProof() {
    fleet_.jump("+0");
    EXPECT_TRUE(store_.open());
  }
  ~JobClockProof() override { store_.close(); }

  Uuid enqueue(JobSpec spec) {
    auto const added = block_on(loop_, jobs_.enqueue({std::move(spec)}));
    EXPECT_TRUE(added);
    return added ? added->front().id : Uuid{};
  }
  Job job(Uuid id) { return block_on(loop_, jobs_.get(id)).value_or(Job{}); }
  bool becomes(Uuid id, JobStatus status) {
    for (int i = 0; i < 300 && job(id).status != status; ++i) sleep_ms(20);
    return job(id).status == status;
  }
  void sleep_ms(std::int64_t ms) {
    block_on(loop_, [](EventLoop& on, std::int64_t n) -> Task<void> {
      co_await on.sleep_ms(n);
    }(loop_, ms));
  }

  store::TemporaryFolder const folder_;
  std::string const place_ = (folder_.path() / "jobs.db").string();
  std::unique_ptr<store::Database> database_ = open_history_database(place_);
  store::Store store_{*database_, silent_logger()};
  Registry registry_;
  EmbeddedQueue queue_{store_, registry_, {}, silent_logger()};
  Jobs jobs_{store_, queue_};
  EventLoop loop_;
  Fleet fleet_{folder_.path(), {place_}};
};

TEST_F(JobClockProof, AJumpTakesNoLeaseAway) {
  for (int i = 0; i < 2; ++i) fleet_.start("work");
  std::vector<Uuid> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(enqueue({.name = "long"}));
  EXPECT_TRUE(becomes(ids.back(), JobStatus::started));
  for (auto const* const offset : {"+1d", "-1d", "+0"}) {
    fleet_.jump(offset);
    sleep_ms(kHistoryLookMs * 3);
  }
  for (auto const& id : ids) {
    ASSERT_TRUE(becomes(id, JobStatus::success)) << describe::to_text(job(id).status);
    EXPECT_EQ(job(id).fence, 1);
  }
}

TEST_F(JobClockProof, WhatPeopleSaidOfTimeFollowsTheClock) {
  fleet_.start("work");
  constexpr std::int64_t kHourUs = 3'600'000'000;
  Timestamp const in_an_hour{Timestamp::now().micros + kHourUs};
  auto const later = enqueue({.name = "plain", .eta = in_an_hour});
  auto const expiring = enqueue({.name = "plain", .queue = "nowhere", .expires_at = in_an_hour});
  fleet_.jump("-1d");
  auto const now = enqueue({.name = "plain"});
  EXPECT_TRUE(becomes(now, JobStatus::success));  // Ready is ready, whatever the clock says.
  EXPECT_EQ(job(later).status, JobStatus::pending);
  EXPECT_EQ(job(expiring).status, JobStatus::pending);
  fleet_.jump("+1d");
  EXPECT_TRUE(becomes(later, JobStatus::success));
  EXPECT_TRUE(becomes(expiring, JobStatus::revoked));
}

}  // namespace
}  // namespace subforge::jobs
