#include "store/database_contract_test.hpp"

#include <limits>
#include <stdexcept>
#include <thread>

namespace subforge::store {
namespace {

constexpr std::string_view kInsert = "INSERT INTO sample (id, number) VALUES ($1, $2)";

Task<Result<void>> insert(Session& session, std::int64_t id) {
  auto const done = co_await session.execute(kInsert, {id, 0});
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Event event_with(std::int64_t id) {
  Event event;
  event.id = id;
  return event;
}

// ---- Values ----------------------------------------------------------------------------------

TEST_P(DatabaseContract, IntegersAndFloatsComeBackAsTheyWere) {
  start();
  struct Pair {
    std::int64_t number;
    double amount;
  };
  std::vector<Pair> const pairs = {
      {0, 0.0},
      {-1, -1.5},
      {std::numeric_limits<std::int64_t>::max(), std::numeric_limits<double>::max()},
      {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<double>::denorm_min()},
      {(1LL << 53) + 1, 0.1}};
  ASSERT_TRUE(write([&](Session& session) -> Task<Result<void>> {
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      auto const done = co_await session.execute(
          "INSERT INTO sample (id, number, amount) VALUES ($1, $2, $3)",
          {static_cast<std::int64_t>(i), pairs[i].number, pairs[i].amount});
      if (!done) co_return std::unexpected(done.error());
    }
    co_return {};
  }));
  std::size_t seen = 0;
  for (auto const cost : {ReadCost::point, ReadCost::scan}) {
    ASSERT_TRUE(read(cost, [&](Session& session) -> Task<void> {
      auto const done = co_await session.query(
          "SELECT id, number, amount FROM sample ORDER BY id", {}, [&](Row const& row) {
            auto const& expected = pairs.at(static_cast<std::size_t>(row.integer(0)));
            EXPECT_EQ(row.integer(1), expected.number);
            EXPECT_EQ(row.real(2), expected.amount);
            EXPECT_FALSE(row.is_null(1));
            ++seen;
          });
      EXPECT_TRUE(done);
    }));
  }
  EXPECT_EQ(seen, 2 * pairs.size());
}

TEST_P(DatabaseContract, TextAndBlobsComeBackByteForByte) {
  start();
  std::string every_byte;
  for (int i = 0; i < 512; ++i) every_byte.push_back(static_cast<char>(i));
  std::string const large(3U << 20, '\xff');
  std::vector<std::pair<std::string, std::string>> const pairs = {
      {"", ""},
      {"plain", "plain"},
      {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 'quoted' \"\\ $1 -- ;", std::string(1, '\0')},
      {std::string(1U << 20, 'x'), every_byte},
      {"large", large},
      {"nul at the end", std::string("a\0", 2)}};
  ASSERT_TRUE(write([&](Session& session) -> Task<Result<void>> {
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      auto const done = co_await session.execute(
          "INSERT INTO sample (id, words, bytes) VALUES ($1, $2, $3)",
          {static_cast<std::int64_t>(i), pairs[i].first, Value::blob(pairs[i].second)});
      if (!done) co_return std::unexpected(done.error());
    }
    co_return {};
  }));
  std::size_t seen = 0;
  ASSERT_TRUE(read(ReadCost::scan, [&](Session& session) -> Task<void> {
    auto const done =
        co_await session.query("SELECT id, words, bytes FROM sample", {}, [&](Row const& row) {
          auto const& expected = pairs.at(static_cast<std::size_t>(row.integer(0)));
          EXPECT_FALSE(row.is_null(1));
          EXPECT_FALSE(row.is_null(2));
          EXPECT_TRUE(row.text(1) == expected.first) << expected.first.size();
          EXPECT_TRUE(row.blob(2) == expected.second) << expected.second.size();
          ++seen;
        });
    EXPECT_TRUE(done);
  }));
  EXPECT_EQ(seen, pairs.size());
}

TEST_P(DatabaseContract, NullIsNeitherZeroNorEmpty) {
  start();
  ASSERT_TRUE(write([](Session& session) -> Task<Result<void>> {
    std::optional<std::string> const no_text;
    std::optional<std::string> const empty_text{""};
    std::vector<Value> const nothing = {1, nullptr, std::nullopt, no_text, nullptr};
    std::vector<Value> const zeros = {2, 0, 0.0, empty_text, Value::blob("")};
    for (auto const& values : {nothing, zeros}) {
      auto const done = co_await session.execute(
          "INSERT INTO sample (id, number, amount, words, bytes) VALUES ($1, $2, $3, $4, $5)",
          values);
      if (!done) co_return std::unexpected(done.error());
    }
    co_return {};
  }));
  for (int column = 1; column <= 4; ++column) {
    ASSERT_TRUE(read(ReadCost::point, [&](Session& session) -> Task<void> {
      auto const done = co_await session.query(
          "SELECT id, number, amount, words, bytes FROM sample", {},
          [&](Row const& row) { EXPECT_EQ(row.is_null(column), row.integer(0) == 1) << column; });
      EXPECT_TRUE(done);
    }));
  }
  EXPECT_EQ(number("SELECT count(*) FROM sample WHERE words IS NULL"), 1);
  EXPECT_EQ(number("SELECT count(*) FROM sample WHERE words = ''"), 1);
}

TEST_P(DatabaseContract, IdsTimesAndBoolsHaveTheirStoredForms) {
  start();
  auto const id = Uuid::random();
  Timestamp const at{-1};
  ASSERT_TRUE(write([&](Session& session) -> Task<Result<void>> {
    auto const done = co_await session.execute(
        "INSERT INTO sample (id, number, bytes) VALUES ($1, $2, $3)", {true, at, id});
    if (!done) co_return std::unexpected(done.error());
    co_return {};
  }));
  int seen = 0;
  ASSERT_TRUE(read(ReadCost::point, [&](Session& session) -> Task<void> {
    auto const done = co_await session.query(
        "SELECT id, number, bytes FROM sample WHERE bytes = $1", {id}, [&](Row const& row) {
          EXPECT_EQ(row.integer(0), 1);
          EXPECT_EQ(row.timestamp(1), at);
          EXPECT_EQ(row.uuid(2), id);
          ++seen;
        });
    EXPECT_TRUE(done);
  }));
  EXPECT_EQ(seen, 1);
}

TEST_P(DatabaseContract, APlaceholderMayBeUsedTwice) {
  start();
  ASSERT_TRUE(write([](Session& session) -> Task<Result<void>> {
    auto const done = co_await session.execute(
        "INSERT INTO sample (id, number, words) VALUES ($1, $1, $2)", {7, "seven"});
    if (!done) co_return std::unexpected(done.error());
    co_return {};
  }));
  EXPECT_EQ(number("SELECT number FROM sample WHERE id = 7"), 7);
}

// ---- What a statement tells ------------------------------------------------------------------

TEST_P(DatabaseContract, AStatementTellsHowManyRowsItChanged) {
  start();
  ASSERT_TRUE(write([](Session& session) -> Task<Result<void>> {
    auto const nothing = [](Row const&) {};
    EXPECT_EQ(co_await session.execute("INSERT INTO sample (id, number) VALUES (1, 1), (2, 1)"), 2);
    EXPECT_EQ(co_await session.query("SELECT id FROM sample", {}, nothing), 0);
    EXPECT_EQ(co_await session.execute("UPDATE sample SET number = 2"), 2);
    EXPECT_EQ(co_await session.execute("UPDATE sample SET number = 3 WHERE id = 99"), 0);
    EXPECT_EQ(co_await session.execute(
                  "INSERT INTO sample (id, number) VALUES (1, 5) ON CONFLICT (id) DO NOTHING"),
              0);
    std::int64_t returned = 0;
    EXPECT_EQ(co_await session.query("INSERT INTO sample (id, number) VALUES ($1, 9) RETURNING id",
                                     {3}, [&](Row const& row) { returned = row.integer(0); }),
              1);
    EXPECT_EQ(returned, 3);
    EXPECT_EQ(co_await session.execute("DELETE FROM sample WHERE id = 1"), 1);
    EXPECT_EQ(co_await session.execute("DELETE FROM sample WHERE id = 1"), 0);
    co_return {};
  }));
  EXPECT_EQ(rows(), 2);
}

TEST_P(DatabaseContract, ErrorsSayWhatACallerCanActOn) {
  start();
  ASSERT_TRUE(write("INSERT INTO sample (id, number, tag) VALUES (1, 1, 'taken')"));
  auto const code = [&](std::string sql) { return code_of(write(std::move(sql))); };
  EXPECT_EQ(code("INSERT INTO sample (id, number) VALUES (1, 1)"), ErrorCode::conflict);
  EXPECT_EQ(code("INSERT INTO sample (id, tag) VALUES (2, 'taken')"), ErrorCode::conflict);
  EXPECT_EQ(code("INSERT INTO sample (id, positive) VALUES (2, -1)"), ErrorCode::invalid);
  EXPECT_EQ(code("INSERT INTO sample (id, parent) VALUES (2, 77)"), ErrorCode::invalid);
  EXPECT_EQ(code("INSERT INTO sample (id) VALUES (NULL)"), ErrorCode::invalid);
  EXPECT_EQ(code("INSERT INTO nowhere (id) VALUES (1)"), ErrorCode::database);
  EXPECT_EQ(code("UPDATE sample SET nothing = 1"), ErrorCode::database);
  EXPECT_EQ(code("INSRT INTO sample"), ErrorCode::database);
  EXPECT_EQ(code(""), ErrorCode::database);
  EXPECT_EQ(code("DELETE FROM sample; DELETE FROM sample"), ErrorCode::database);
  auto const context = write("UPDATE sample SET nothing = 1").error();
  EXPECT_NE(context.context.find("nothing"), std::string::npos);  // For the log ...
  EXPECT_EQ(context.message.find("nothing"), std::string::npos);  // ... and not for clients.
  EXPECT_EQ(rows(), 1);
}

TEST_P(DatabaseContract, ValuesMustMatchThePlaceholders) {
  start();
  auto const code = [&](std::string_view sql, std::vector<Value> values) {
    return code_of(write([&](Session& session) -> Task<Result<void>> {
      auto const done = co_await session.execute(sql, values);
      if (!done) co_return std::unexpected(done.error());
      co_return {};
    }));
  };
  EXPECT_EQ(code(kInsert, {1}), ErrorCode::database);
  EXPECT_EQ(code(kInsert, {1, 2, 3}), ErrorCode::database);
  EXPECT_EQ(code("INSERT INTO sample (id, number) VALUES ($2, $1)", {1, 2}), ErrorCode::database);
  EXPECT_EQ(code("INSERT INTO sample (id, number) VALUES (?, ?)", {1, 2}), ErrorCode::database);
  EXPECT_EQ(rows(), 0);
}

TEST_P(DatabaseContract, ManyDifferentStatementsCanBeUsed) {
  start();
  std::int64_t sum = 0;
  ASSERT_TRUE(read(ReadCost::scan, [&](Session& session) -> Task<void> {
    for (int round = 0; round < 2; ++round) {
      for (int i = 0; i < 600; ++i) {
        auto const sql = "SELECT " + std::to_string(i);
        auto const done =
            co_await session.query(sql, {}, [&](Row const& row) { sum += row.integer(0); });
        EXPECT_TRUE(done);
      }
    }
  }));
  EXPECT_EQ(sum, 600 * 599);
}

// ---- Groups ----------------------------------------------------------------------------------

TEST_P(DatabaseContract, OneJobsFailureUndoesOnlyItself) {
  start();
  ASSERT_TRUE(write(inserting(1)));
  TestJob good(inserting(10));
  TestJob conflict([](Session& session) -> Task<Result<void>> {
    EXPECT_TRUE(co_await insert(session, 20));
    co_return co_await insert(session, 1);
  });
  TestJob refusal([](Session& session) -> Task<Result<void>> {
    EXPECT_TRUE(co_await insert(session, 30));
    co_return fail(ErrorCode::forbidden, "not today");
  });
  TestJob exception([](Session& session) -> Task<Result<void>> {
    EXPECT_TRUE(co_await insert(session, 40));
    throw std::runtime_error("a bug");
  });
  TestJob careless([](Session& session) -> Task<Result<void>> {
    EXPECT_TRUE(co_await insert(session, 50));
    EXPECT_FALSE(co_await insert(session, 1));
    co_return {};
  });
  TestJob last(inserting(60));
  {
    Roadblock const together(*database_);
    for (auto* const job : {&good, &conflict, &refusal, &exception, &careless, &last}) {
      ASSERT_TRUE(database_->submit(*job));
    }
  }
  EXPECT_TRUE(good.wait());
  EXPECT_EQ(code_of(conflict.wait()), ErrorCode::conflict);
  EXPECT_EQ(code_of(refusal.wait()), ErrorCode::forbidden);
  EXPECT_EQ(code_of(exception.wait()), ErrorCode::internal);
  EXPECT_EQ(code_of(careless.wait()), ErrorCode::internal);
  EXPECT_TRUE(last.wait());
  EXPECT_EQ(rows(), 3);
  EXPECT_EQ(number("SELECT sum(id) FROM sample"), 1 + 10 + 60);
}

TEST_P(DatabaseContract, AFailingJobThatIsAloneLeavesNothing) {
  start();
  EXPECT_EQ(code_of(write([](Session& session) -> Task<Result<void>> {
              EXPECT_TRUE(co_await insert(session, 1));
              co_return fail(ErrorCode::invalid, "no");
            })),
            ErrorCode::invalid);
  EXPECT_EQ(code_of(write([](Session& session) -> Task<Result<void>> {
              EXPECT_TRUE(co_await insert(session, 2));
              throw std::runtime_error("a bug");
            })),
            ErrorCode::internal);
  EXPECT_EQ(rows(), 0);
  EXPECT_TRUE(write(inserting(3)));
  EXPECT_EQ(rows(), 1);
}

TEST_P(DatabaseContract, LaterJobsOfAGroupSeeWhatEarlierOnesWrote) {
  start();
  std::vector<std::unique_ptr<TestJob>> jobs;
  Roadblock together(*database_);
  for (int i = 0; i < 50; ++i) {
    jobs.push_back(std::make_unique<TestJob>([i](Session& session) -> Task<Result<void>> {
      std::int64_t count = -1;
      auto const counted = co_await session.query("SELECT count(*) FROM sample", {},
                                                  [&](Row const& row) { count = row.integer(0); });
      EXPECT_TRUE(counted);
      EXPECT_EQ(count, i);
      co_return co_await insert(session, i);
    }));
    ASSERT_TRUE(database_->submit(*jobs.back()));
  }
  together.release();
  for (auto const& job : jobs) EXPECT_TRUE(job->wait());
}

TEST_P(DatabaseContract, AJobIsToldAfterItsCommitAndTheListenerBefore) {
  start();
  for (std::int64_t id = 1; id <= 20; ++id) {
    TestJob publishing([&, id](Session& session) -> Task<Result<void>> {
      publishing.events.push_back(event_with(id));
      co_return co_await insert(session, id);
    });
    ASSERT_TRUE(database_->submit(publishing));
    ASSERT_TRUE(publishing.wait());
    EXPECT_EQ(rows(), id);
    ASSERT_EQ(listener_.told().size(), static_cast<std::size_t>(id));
    EXPECT_EQ(listener_.told().back(), id);
  }
}

TEST_P(DatabaseContract, TheListenerHearsNothingOfJobsThatFailed) {
  start();
  TestJob good([&](Session& session) -> Task<Result<void>> {
    good.events.push_back(event_with(5));
    co_return co_await insert(session, 1);
  });
  TestJob bad([&](Session& session) -> Task<Result<void>> {
    bad.events.push_back(event_with(6));
    EXPECT_TRUE(co_await insert(session, 2));
    co_return fail(ErrorCode::invalid, "no");
  });
  {
    Roadblock const together(*database_);
    ASSERT_TRUE(database_->submit(good));
    ASSERT_TRUE(database_->submit(bad));
  }
  EXPECT_TRUE(good.wait());
  EXPECT_FALSE(bad.wait());
  EXPECT_EQ(listener_.told(), (std::vector<std::int64_t>{5}));
}

TEST_P(DatabaseContract, AListenerThatFailedIsAskedAgain) {
  start();
  listener_.fail_next(3);
  ASSERT_TRUE(write(inserting(1)));
  EXPECT_TRUE(eventually([&] { return listener_.changes() == 3; }));  // The third one succeeds.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(listener_.changes(), 3);
}

}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DatabaseContract);

}  // namespace subforge::store
