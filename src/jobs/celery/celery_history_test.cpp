// The proof of job_history_test.cpp over Redis: besides processes Redis dies, stands still and
// comes back, and so does PostgreSQL. Tasks come by the port and from clients of Celery; each of
// either ends in one final state, its effect is counted once, who sent it finds its result, and
// nothing is left in the lists and in the book.
#include <gmock/gmock.h>

#include "jobs/celery/result_meta.hpp"
#include "jobs/celery/wire.hpp"
#include "jobs/job_history_test.hpp"
#include "redis/client.hpp"
#include "redis/server_test.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::jobs::celery {
namespace {

// What is in Redis in the end.
struct Left {
  std::int64_t waiting = 0;  // In lists.
  std::int64_t unacked = 0;
  std::size_t without_result = 0;
  std::size_t other_result = 0;  // Than the record says.
};

Task<Left> look_at_redis(redis::Client& client, History const& history,
                         std::set<Uuid> const& sent) {
  Left left;
  for (int const band : kBands) {
    auto const length = co_await client.command({"LLEN", list_name(kDefaultQueue, band)});
    left.waiting += length ? length->integer : 1;
  }
  auto const unacked = co_await client.command({"HLEN", kUnacked});
  left.unacked = unacked ? unacked->integer : 1;
  for (auto const& id : sent) {
    auto const key = result_key(id.to_string());
    auto const reply = co_await client.command({"GET", key});
    auto const meta = reply && reply->is_text() ? read_meta(reply->text) : std::nullopt;
    auto const job = history.jobs.find(id);
    if (!meta || !is_final_state(meta->status)) {
      ++left.without_result;
    } else if (job != history.jobs.end() &&
               (meta->status == state::kSuccess) != (job->second == JobStatus::success)) {
      ++left.other_result;
    }
  }
  co_return left;
}

class CeleryHistoryProof : public testing::Test {
 protected:
  void prove(std::string const& database, std::vector<Blow> blows) {
    auto const seed = seed_of_proofs();
    SCOPED_TRACE("SUBFORGE_TEST_SEED=" + std::to_string(seed));
    std::mt19937_64 random(seed);
    auto const opened = open_history_database(database);
    store::Store store(*opened, silent_logger());
    ASSERT_TRUE(store.open());
    blows.push_back([this](std::uint64_t chance) { hurt_redis(chance); });
    Fleet fleet(folder_.path(), {database, server_.url()});
    for (int i = 0; i < 3; ++i) fleet.start("work");
    for (auto const* const role : {"submit", "send"}) fleet.start(role);
    make_trouble(fleet, loop_, random, tests_are_full() ? 60'000 : 5'000, blows);
    make_trouble_until_enough(fleet, loop_, random, {"submit", "send"}, blows);
    for (auto const* const role : {"submit", "send"}) fleet.end_all(role);
    auto const sent = fleet.acknowledged("send");
    auto all = fleet.acknowledged("submit");
    all.insert(sent.begin(), sent.end());
    finish(store, fleet, sent, all);
    store.close();
  }

  store::TemporaryFolder const folder_;
  EventLoop loop_;

 private:
  void hurt_redis(std::uint64_t chance) {
    if (chance % 2 == 0) {
      server_.kill();
      wait_on(loop_, static_cast<std::int64_t>(chance / 2 % 400));
      server_.start();
    } else {
      server_.freeze();
      wait_on(loop_, kHistoryLookMs * 8);
      server_.thaw();
    }
  }

  // Everything has to come to its end, with what is left of the fleet.
  void finish(store::Store& store, Fleet& fleet, std::set<Uuid> const& sent,
              std::set<Uuid> const& all) {
    BlockingPool pool(1, 10);
    redis::RedisOptions options;
    options.url = *redis::parse_redis_url(server_.url(), "test");
    redis::Client client(loop_, pool, options, silent_logger());
    client.start();
    History found;
    Left left;
    auto const over = [&] {
      fleet.revive();
      auto const looked = block_on(loop_, store.read(store::ReadCost::scan, read_history));
      if (!looked) return false;
      found = *looked;
      if (!found.over(all) || !client.up()) return false;
      left = block_on(loop_, look_at_redis(client, found, sent));
      return left.waiting + left.unacked == 0 && left.without_result == 0;
    };
    wait_while_it_goes_on(loop_, found, over);
    check_history(found, all);
    EXPECT_EQ(left.waiting, 0);
    EXPECT_EQ(left.unacked, 0);
    EXPECT_EQ(left.without_result, 0U) << "of " << sent.size();
    EXPECT_EQ(left.other_result, 0U);
    client.stop();
  }

  redis::TestServer server_;
};

TEST_F(CeleryHistoryProof, OnSqliteEachTaskEndsOnceAndItsEffectCountsOnce) {
  prove((folder_.path() / "jobs.db").string(), {});
}

TEST_F(CeleryHistoryProof, OnPostgresqlEachTaskEndsOnceAndItsEffectCountsOnce) {
  store::TestCluster cluster;
  prove(cluster.create_database(), {blow_to(cluster, loop_)});
}

}  // namespace
}  // namespace subforge::jobs::celery
