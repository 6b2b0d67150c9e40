// The queue over Redis against the contract, with a server of the tests' own, and what it does for
// clients and workers of Celery.
#include "jobs/celery/celery_queue.hpp"

#include <gmock/gmock.h>

#include "jobs/queue_contract_test.hpp"
#include "redis/server_test.hpp"
#include "store/sqlite/sqlite_database.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::jobs::celery {
namespace {

redis::TestServer& shared_server() {
  static redis::TestServer server;
  return server;
}

class CeleryProcess final : public QueueProcess {
 public:
  CeleryProcess(std::unique_ptr<store::Database> database, EventLoop& loop,
                Registry const& registry, QueueLimits const& limits, CeleryOptions options,
                std::vector<store::LogFollower*> const& followers)
      : loop_(loop),
        database_(std::move(database)),
        store_(*database_, silent_logger()),
        queue_(loop, pool_, store_, registry, limits, std::move(options), silent_logger()) {
    for (auto* const follower : followers) store_.follow(*follower);
    auto const opened = store_.open();
    EXPECT_TRUE(opened) << opened.error().message << ": " << opened.error().context;
    queue_.start();
    EXPECT_TRUE(block_on(loop, queue_.connected(5'000)));
  }
  ~CeleryProcess() override {
    queue_.stop();
    store_.close();
    // What was under way ends before what it works with.
    auto rest = [](EventLoop& loop) -> Task<void> { co_await loop.sleep_ms(1); };
    block_on(loop_, rest(loop_));
  }
  CeleryProcess(CeleryProcess const&) = delete;
  CeleryProcess& operator=(CeleryProcess const&) = delete;

  [[nodiscard]] store::Store& store() override { return store_; }
  [[nodiscard]] CeleryQueue& queue() override { return queue_; }

 private:
  EventLoop& loop_;
  BlockingPool pool_{1, 10};
  std::unique_ptr<store::Database> database_;
  store::Store store_;
  CeleryQueue queue_;
};

class CeleryPlace final : public QueuePlace {
 public:
  CeleryPlace() {
    auto const url = redis::parse_redis_url(shared_server().url(), "test");
    options_.broker.url = options_.results.url = *url;
    options_.visibility_seconds = 3'600;
    auto empty = [](EventLoop& loop, redis::RedisOptions options) -> Task<void> {
      BlockingPool pool(1, 10);
      redis::Client client(loop, pool, std::move(options), silent_logger());
      client.start();
      while (!client.up()) co_await loop.sleep_ms(1);
      (void)co_await client.command({"FLUSHALL"});
      client.stop();
    };
    EventLoop loop;
    block_on(loop, empty(loop, options_.broker));
  }
  std::unique_ptr<QueueProcess> open(EventLoop& loop, Registry const& registry,
                                     QueueLimits const& limits,
                                     std::vector<store::LogFollower*> const& followers) override {
    store::SqliteDatabaseOptions options;
    options.connection.path = (folder_.path() / "jobs.db").string();
    return std::make_unique<CeleryProcess>(
        std::make_unique<store::SqliteDatabase>(std::move(options), silent_logger()), loop,
        registry, limits, options_, followers);
  }

 private:
  store::TemporaryFolder folder_;
  CeleryOptions options_;
};

QueueAdapter celery_queue() {
  return {"redis", [] { return std::make_unique<CeleryPlace>(); }};
}

INSTANTIATE_TEST_SUITE_P(RedisServer, QueueContract, testing::Values(celery_queue()),
                         name_of_queue);

}  // namespace
}  // namespace subforge::jobs::celery
