#include "store/postgres/postgres_database.hpp"

#include <libpq-fe.h>

#include <atomic>
#include <thread>

#include "store/database_contract_test.hpp"
#include "store/postgres/cluster_test.hpp"

namespace subforge::store {
namespace {

class PostgresPlace final : public DatabasePlace {
 public:
  explicit PostgresPlace(std::string url) : url_(std::move(url)) {}
  std::unique_ptr<Database> open(DatabaseLimits const& limits) override {
    PostgresDatabaseOptions options;
    options.server.url = url_;
    options.writer.queue_jobs_max = limits.write_queue_max;
    options.readers.scan_connections = limits.scan_threads;
    options.readers.scan_queue_max = limits.scan_queue_max;
    return std::make_unique<PostgresDatabase>(options, quiet_logger());
  }
  [[nodiscard]] std::string blob_type() const override { return "BYTEA"; }

 private:
  std::string url_;
};

DatabaseAdapter postgres() {
  return {"postgres",
          [] { return std::make_unique<PostgresPlace>(TestCluster::shared().create_database()); }};
}
// With the tables that a store makes.
DatabaseAdapter postgres_with_tables() {
  return {"postgres",
          [] { return std::make_unique<PostgresPlace>(TestCluster::shared().create_store()); }};
}
std::string name_of(testing::TestParamInfo<DatabaseAdapter> const& info) { return info.param.name; }

class PostgresDatabaseTest : public testing::Test {
 protected:
  std::unique_ptr<OpenStore> open(std::string url, PostgresDatabaseOptions options = {}) {
    options.server.url = std::move(url);
    auto opened = std::make_unique<OpenStore>(
        std::make_unique<PostgresDatabase>(std::move(options), quiet_logger()));
    auto const done = opened->store.open();
    EXPECT_TRUE(done) << done.error().message << ": " << done.error().context;
    return opened;
  }
  Result<std::int64_t> write(OpenStore& one, std::vector<std::string> sql) {
    auto const run = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
      Result<std::int64_t> last = 0;
      for (auto const& statement : sql) {
        last = co_await transaction.execute(statement);
        if (!last) co_return last;
      }
      co_return last;
    };
    return block_on(loop_, one.store.write(run));
  }
  Result<std::int64_t> number(OpenStore& one, std::string sql, ReadCost cost) {
    auto const read = [&](Session& session) -> Task<Result<std::int64_t>> {
      std::int64_t found = -1;
      auto const done =
          co_await session.query(sql, {}, [&](Row const& row) { found = row.integer(0); });
      if (!done) co_return done;
      co_return found;
    };
    return block_on(loop_, one.store.read(cost, read));
  }
  // How long `call` takes, in milliseconds.
  template <class Call>
  std::int64_t timed(Call call) {
    auto const begin_ns = monotonic_ns();
    call();
    return (monotonic_ns() - begin_ns) / 1'000'000;
  }

  EventLoop loop_;
};

TEST_F(PostgresDatabaseTest, APlaceholderTakesNullIntegersAndFloatsInTurn) {
  auto const one = open(TestCluster::shared().create_database());
  ASSERT_TRUE(write(*one, {"CREATE TABLE t (i BIGINT, r DOUBLE PRECISION, w TEXT)"}));
  constexpr std::int64_t kLarge = (1LL << 53) + 1;
  auto const fill = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
    constexpr std::string_view kInsert = "INSERT INTO t (i, r, w) VALUES ($1, $2, $3)";
    for (auto const& values : std::vector<std::vector<Value>>{{nullptr, nullptr, nullptr},
                                                              {1, 1.5, "a"},
                                                              {nullptr, 2, nullptr},
                                                              {kLarge, nullptr, "b"},
                                                              {2, 3.5, "c"}}) {
      auto const done = co_await transaction.execute(kInsert, values);
      if (!done) co_return done;
    }
    co_return 0;
  };
  ASSERT_TRUE(block_on(loop_, one->store.write(fill)));
  EXPECT_EQ(number(*one, "SELECT max(i) FROM t", ReadCost::point), kLarge);
  EXPECT_EQ(number(*one, "SELECT count(*) FROM t WHERE r IN (1.5, 2, 3.5)", ReadCost::point), 3);
  EXPECT_EQ(number(*one, "SELECT count(*) FROM t WHERE w IS NULL", ReadCost::scan), 2);
}

TEST_F(PostgresDatabaseTest, NumbersOfAnyTypeAreRead) {
  auto const one = open(TestCluster::shared().create_database());
  struct Case {
    std::string sql;
    std::int64_t integer;
    double real;
  };
  for (auto const& each :
       std::vector<Case>{{"SELECT 7", 7, 7},
                         {"SELECT 1 = 1", 1, 1},
                         {"SELECT CAST(-3 AS SMALLINT)", -3, -3},
                         {"SELECT CAST(0.5 AS REAL)", 0, 0.5},
                         {"SELECT CAST(123456789.25 AS NUMERIC)", 123456789, 123456789.25},
                         {"SELECT CAST(-0.0001 AS NUMERIC)", 0, -0.0001},
                         {"SELECT CAST(1000000000000 AS NUMERIC)", 1'000'000'000'000, 1e12},
                         {"SELECT CAST(0 AS NUMERIC)", 0, 0},
                         {"SELECT '12'", 12, 12},
                         {"SELECT sum(x) FROM (VALUES (1), (2)) v (x)", 3, 3}}) {
    auto const read = [&](Session& session) -> Task<Result<std::int64_t>> {
      co_return co_await session.query(each.sql, {}, [&](Row const& row) {
        EXPECT_EQ(row.integer(0), each.integer) << each.sql;
        EXPECT_DOUBLE_EQ(row.real(0), each.real) << each.sql;
      });
    };
    EXPECT_TRUE(block_on(loop_, one->store.read(ReadCost::point, read))) << each.sql;
  }
}

TEST_F(PostgresDatabaseTest, AStatementThatTakesTooLongIsEndedAndTheNextOneWorks) {
  PostgresDatabaseOptions options;
  options.server.statement_timeout_ms = 200;
  auto const one = open(TestCluster::shared().create_database(), options);
  for (auto const cost : {ReadCost::point, ReadCost::scan}) {
    auto const slow_ms = timed([&] {
      auto const slow = number(*one, "SELECT 1 FROM pg_sleep(20)", cost);
      ASSERT_FALSE(slow);
      EXPECT_EQ(slow.error().code, ErrorCode::unavailable);
    });
    EXPECT_LT(slow_ms, 5'000);
    EXPECT_EQ(number(*one, "SELECT 5", cost), 5);
  }
}

TEST_F(PostgresDatabaseTest, PointReadsShareOneConnectionAndFollowEachOther) {
  auto const one = open(TestCluster::shared().create_database());
  constexpr int kMany = 500;
  int done = 0;
  auto const ask = [&](int i) -> Task<void> {
    auto const read = [&](Session& session) -> Task<Result<std::int64_t>> {
      std::int64_t found = -1;
      auto const asked = co_await session.query("SELECT CAST($1 AS BIGINT)", {i},
                                                [&](Row const& row) { found = row.integer(0); });
      if (!asked) co_return asked;
      co_return found;
    };
    auto const found = co_await one->store.read(ReadCost::point, read);
    EXPECT_EQ(found, i);
    ++done;
  };
  auto const all = [&]() -> Task<std::int64_t> {
    TaskGroup group;
    for (int i = 0; i < kMany; ++i) group.spawn(ask(i));
    while (group.running() > 0) co_await loop_.sleep_ms(1);
    co_return done;
  };
  EXPECT_EQ(block_on(loop_, all()), kMany);
  // One that all of them shared; besides, the writer's, and soon the pulse's.
  auto const connections =
      number(*one,
             "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
             " AND backend_type = 'client backend'",
             ReadCost::point);
  EXPECT_TRUE(connections == 2 || connections == 3);
}

// Another program's transaction and a job each hold a row that the other one wants.
TEST_F(PostgresDatabaseTest, AJobLostToADeadlockIsRunAgain) {
  auto const url = TestCluster::shared().create_database();
  auto const one = open(url);
  ASSERT_TRUE(write(*one, {"CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)",
                           "INSERT INTO t VALUES (1, 0), (2, 0)"}));
  std::atomic<bool> has_second{false};
  std::atomic<int> runs{0};
  std::thread stranger([&] {
    // Whoever has waited longest is the victim; this one is patient.
    auto* const connection = PQconnectdb(url.c_str());
    for (auto const* const sql :
         {"SET deadlock_timeout = '20s'", "BEGIN", "UPDATE t SET n = n + 10 WHERE id = 2"}) {
      PQclear(PQexec(connection, sql));
    }
    has_second = true;
    while (runs == 0) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    PQclear(PQexec(connection, "UPDATE t SET n = n + 10 WHERE id = 1"));
    PQclear(PQexec(connection, "COMMIT"));
    PQfinish(connection);
  });
  EXPECT_TRUE(eventually([&] { return has_second.load(); }));
  auto const job = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
    auto const first = co_await transaction.execute("UPDATE t SET n = n + 1 WHERE id = 1");
    if (!first) co_return first;
    auto const published = co_await transaction.publish(test_event("deadlock"));
    if (!published) co_return published;
    ++runs;
    co_return co_await transaction.execute("UPDATE t SET n = n + 1 WHERE id = 2");
  };
  EXPECT_EQ(block_on(loop_, one->store.write(job)), 1);
  stranger.join();
  EXPECT_GE(runs.load(), 2);
  EXPECT_EQ(number(*one, "SELECT min(n) FROM t", ReadCost::point), 11);
  EXPECT_EQ(one->follower.ids(), (std::vector<std::int64_t>{1}));
}

TEST_F(PostgresDatabaseTest, WhileTheServerIsGoneAllIsRefusedAtOnceAndThenItGoesOn) {
  TestCluster cluster;
  auto const url = cluster.create_database();
  auto const here = open(url);
  auto const there = open(url);
  ASSERT_TRUE(block_on(loop_, publish_one(here->store, "before")));
  ASSERT_EQ(number(*here, "SELECT count(*) FROM events", ReadCost::point), 1);
  ASSERT_EQ(number(*here, "SELECT count(*) FROM events", ReadCost::scan), 1);
  EXPECT_TRUE(here->database->health().up);
  for (int round = 0; round < 2; ++round) {
    auto const before = Timestamp::now();
    cluster.stop();
    EXPECT_TRUE(eventually([&] { return !here->database->health().up; }));
    for (int i = 0; i < 3; ++i) {
      auto const refused_ms = timed([&] {
        auto const written = block_on(loop_, publish_one(here->store, "lost"));
        auto const point = number(*here, "SELECT 1", ReadCost::point);
        auto const scan = number(*here, "SELECT 1", ReadCost::scan);
        for (auto const* const each : {&written, &point, &scan}) {
          ASSERT_FALSE(*each);
          EXPECT_EQ(each->error().code, ErrorCode::unavailable);
        }
      });
      EXPECT_LT(refused_ms, 1'000);
    }
    auto const health = here->database->health();
    EXPECT_FALSE(health.cause.empty());
    EXPECT_GE(health.since.micros, before.micros);
    EXPECT_LE(health.since.micros, Timestamp::now().micros);
    cluster.start();
    EXPECT_TRUE(
        eventually([&] { return here->database->health().up && there->database->health().up; }));
    auto const id = block_on(loop_, publish_one(there->store, "after"));
    ASSERT_TRUE(id) << id.error().context;
    EXPECT_TRUE(eventually([&] { return here->follower.last() == *id; }));
    EXPECT_EQ(number(*here, "SELECT 1", ReadCost::point), 1);
    EXPECT_EQ(number(*here, "SELECT 1", ReadCost::scan), 1);
  }
  EXPECT_EQ(here->follower.ids(), (std::vector<std::int64_t>{1, 2, 3}));
}

// It keeps its connections and answers nothing, as a machine that lost power does.
TEST_F(PostgresDatabaseTest, AServerThatDoesNotAnswerIsGivenUp) {
  TestCluster cluster;
  PostgresDatabaseOptions options;
  options.server.statement_timeout_ms = 200;
  options.server.connect_timeout_ms = 500;
  auto const one = open(cluster.create_database(), options);
  ASSERT_EQ(number(*one, "SELECT 1", ReadCost::point), 1);
  cluster.freeze();
  auto const point = number(*one, "SELECT 1", ReadCost::point);
  auto const written = block_on(loop_, publish_one(one->store, "lost"));
  cluster.thaw();
  EXPECT_FALSE(point);
  EXPECT_FALSE(written);
  EXPECT_TRUE(eventually([&] { return one->database->health().up; }));
  EXPECT_TRUE(block_on(loop_, publish_one(one->store, "kept")));
  EXPECT_EQ(number(*one, "SELECT 1", ReadCost::point), 1);
}

// The writer is at the first when the server is found silent, and then tries to connect for long.
TEST_F(PostgresDatabaseTest, WhoWaitsBehindAWriteThatIsGivenUpIsToldToo) {
  TestCluster cluster;
  auto const one = open(cluster.create_database());
  ASSERT_TRUE(block_on(loop_, publish_one(one->store, "kept")));
  cluster.freeze();
  auto const begin_ns = monotonic_ns();
  std::thread first([&] {
    EventLoop loop;
    EXPECT_FALSE(block_on(loop, publish_one(one->store, "first")));
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(block_on(loop_, publish_one(one->store, "second")));
  auto const waited_ms = (monotonic_ns() - begin_ns) / 1'000'000;
  cluster.thaw();
  first.join();
  EXPECT_LT(waited_ms, 2'000);
}

// With one connection for all, all but the first have none.
TEST_F(PostgresDatabaseTest, EveryReadThatWaitsForAConnectionIsToldThatTheServerIsGone) {
  TestCluster cluster;
  PostgresDatabaseOptions options;
  options.readers.scan_connections = 1;
  auto const one = open(cluster.create_database(), options);
  ASSERT_EQ(number(*one, "SELECT 1", ReadCost::scan), 1);
  constexpr int kMany = 6;
  int told = 0;
  auto const read = [](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.execute("SELECT 1");
  };
  auto const ask = [&]() -> Task<void> {
    EXPECT_FALSE(co_await one->store.read(ReadCost::scan, read));
    ++told;
  };
  auto const all = [&]() -> Task<int> {
    TaskGroup group;
    cluster.freeze();
    for (int i = 0; i < kMany; ++i) group.spawn(ask());
    auto const deadline_ns = monotonic_ns() + 3'000'000'000;
    while (told < kMany && monotonic_ns() < deadline_ns) co_await loop_.sleep_ms(10);
    int const in_time = told;
    cluster.thaw();
    while (group.running() > 0) {
      // One that was forgotten goes on with the next read.
      (void)co_await one->store.read(ReadCost::scan, read);
      co_await loop_.sleep_ms(10);
    }
    co_return in_time;
  };
  EXPECT_EQ(block_on(loop_, all()), kMany);
}

TEST_F(PostgresDatabaseTest, AServerThatIsNotThereIsToldAtTheStart) {
  PostgresDatabaseOptions options;
  options.server.url = "postgresql:///x?host=/nowhere";
  options.server.connect_timeout_ms = 200;
  PostgresDatabase database(options, quiet_logger());
  auto const migrated = database.migrate();
  ASSERT_FALSE(migrated);
  EXPECT_EQ(migrated.error().code, ErrorCode::unavailable);
  options.server.url = "postgresql:///x?nonsense=1";
  PostgresDatabase misnamed(options, quiet_logger());
  EXPECT_EQ(misnamed.migrate().error().code, ErrorCode::invalid);
}

TEST_F(PostgresDatabaseTest, ADatabaseWithoutUnicodeIsRefused) {
  auto& cluster = TestCluster::shared();
  cluster.run(cluster.url_of("postgres"),
              "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'");
  PostgresDatabaseOptions options;
  options.server.url = cluster.url_of("ascii");
  PostgresDatabase database(options, quiet_logger());
  auto const refused = database.migrate();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("SQL_ASCII"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Postgres, DatabaseContract, testing::Values(postgres()), name_of);
INSTANTIATE_TEST_SUITE_P(Postgres, EventLogContract, testing::Values(postgres_with_tables()),
                         name_of);

}  // namespace
}  // namespace subforge::store
