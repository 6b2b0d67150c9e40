#include "jobs/embedded/embedded_queue.hpp"

#include "jobs/embedded/claim_sql.hpp"
#include "jobs/queue_contract_test.hpp"
#include "store/postgres/cluster_test.hpp"
#include "store/postgres/postgres_database.hpp"
#include "store/sqlite/sqlite_database.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::jobs {
namespace {

class EmbeddedProcess final : public QueueProcess {
 public:
  EmbeddedProcess(std::unique_ptr<store::Database> database, Registry const& registry,
                  QueueLimits const& limits, std::vector<store::LogFollower*> const& followers)
      : database_(std::move(database)),
        store_(*database_, silent_logger()),
        queue_(store_, registry, limits, silent_logger()) {
    for (auto* const follower : followers) store_.follow(*follower);
    auto const opened = store_.open();
    EXPECT_TRUE(opened) << opened.error().message << ": " << opened.error().context;
  }
  ~EmbeddedProcess() override { store_.close(); }
  EmbeddedProcess(EmbeddedProcess const&) = delete;
  EmbeddedProcess& operator=(EmbeddedProcess const&) = delete;

  [[nodiscard]] store::Store& store() override { return store_; }
  [[nodiscard]] Queue& queue() override { return queue_; }

 private:
  std::unique_ptr<store::Database> database_;
  store::Store store_;
  EmbeddedQueue queue_;
};

class SqlitePlace final : public QueuePlace {
 public:
  std::unique_ptr<QueueProcess> open(EventLoop&, Registry const& registry,
                                     QueueLimits const& limits,
                                     std::vector<store::LogFollower*> const& followers) override {
    store::SqliteDatabaseOptions options;
    options.connection.path = (folder_.path() / "jobs.db").string();
    return std::make_unique<EmbeddedProcess>(
        std::make_unique<store::SqliteDatabase>(std::move(options), silent_logger()), registry,
        limits, followers);
  }

 private:
  store::TemporaryFolder folder_;
};

class PostgresPlace final : public QueuePlace {
 public:
  std::unique_ptr<QueueProcess> open(EventLoop&, Registry const& registry,
                                     QueueLimits const& limits,
                                     std::vector<store::LogFollower*> const& followers) override {
    store::PostgresDatabaseOptions options;
    options.server.url = url_;
    options.server.silence_ms = 10'000;  // Beside other tests it may take a while to answer.
    return std::make_unique<EmbeddedProcess>(
        std::make_unique<store::PostgresDatabase>(options, silent_logger()), registry, limits,
        followers);
  }

 private:
  std::string url_ = store::TestCluster::shared().create_store();
};

}  // namespace

QueueAdapter sqlite_queue() {
  return {"sqlite", [] { return std::make_unique<SqlitePlace>(); }};
}
QueueAdapter postgres_queue() {
  return {"postgres", [] { return std::make_unique<PostgresPlace>(); }};
}
std::string name_of_queue(testing::TestParamInfo<QueueAdapter> const& info) {
  return info.param.name;
}

namespace {

INSTANTIATE_TEST_SUITE_P(Embedded, QueueContract, testing::Values(sqlite_queue()), name_of_queue);
INSTANTIATE_TEST_SUITE_P(Postgres, QueueContract, testing::Values(postgres_queue()), name_of_queue);

TEST(Rate, ABurstAndThenOneAnInterval) {
  StartRate const rate{.count = 10, .per_seconds = 60, .burst = 3};
  Timestamp now{1'000'000'000};
  EXPECT_EQ(rate_interval_us(rate), 6'000'000);
  EXPECT_EQ(allowed_by_rate(rate, 0, now), 3);
  auto next = next_rate_time(rate, 0, now, 3);
  EXPECT_EQ(allowed_by_rate(rate, next, now), 0);
  EXPECT_EQ(allowed_by_rate(rate, next, {now.micros + 5'999'999}), 0);
  EXPECT_EQ(allowed_by_rate(rate, next, {now.micros + 6'000'000}), 1);
  EXPECT_EQ(allowed_by_rate(rate, next, {now.micros + 60'000'000}), 3);
  // The clock went back a day: the limit goes on from now.
  EXPECT_EQ(allowed_by_rate(rate, next, {now.micros - 86'400'000'000 + 18'000'000}), 0);
}

}  // namespace
}  // namespace subforge::jobs
