#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "runtime/loop_threads_test.hpp"
#include "store/database_contract_test.hpp"

namespace subforge::store {
namespace {

// ---- Limits, start and end -------------------------------------------------------------------

TEST_P(DatabaseContract, AFullQueueRefusesOneMoreWrite) {
  start({.write_queue_max = 5});
  std::vector<std::unique_ptr<TestJob>> jobs;
  Roadblock block(*database_);
  for (int i = 0; i < 5; ++i) {
    jobs.push_back(std::make_unique<TestJob>(inserting(i)));
    EXPECT_TRUE(database_->submit(*jobs.back()));
  }
  TestJob refused(inserting(99));
  EXPECT_FALSE(database_->submit(refused));
  block.release();
  for (auto const& job : jobs) EXPECT_TRUE(job->wait());
  ASSERT_TRUE(eventually([&] { return database_->submit(refused); }));
  EXPECT_TRUE(refused.wait());
  EXPECT_EQ(rows(), 6);
}

TEST_P(DatabaseContract, AFullScanQueueRefusesOneMoreScan) {
  start({.scan_threads = 1, .scan_queue_max = 1});
  std::atomic<int> running{0};
  std::atomic<bool> open{false};
  std::atomic<int> served{0};
  std::atomic<int> refused{0};
  // Holds the only connection, the way the thread it is on can.
  auto const hold = [&](Session&) -> Task<void> {
    ++running;
    while (!open.load()) {
      if (auto* const loop = EventLoop::current(); loop != nullptr) {
        co_await loop->sleep_ms(1);
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  };
  auto const scan = [&]() -> Task<void> {
    auto const done = co_await database_->read(ReadCost::scan, hold);
    ++(done ? served : refused);
    if (!done) EXPECT_EQ(done.error().code, ErrorCode::unavailable);
  };
  LoopThreads loops(1);
  loops.start(0, scan());
  EXPECT_TRUE(eventually([&] { return running.load() == 1; }));
  loops.start(0, scan());  // Waits in the queue.
  loops.start(0, scan());
  EXPECT_TRUE(eventually([&] { return refused.load() == 1; }));
  EXPECT_EQ(running.load(), 1);
  open.store(true);
  loops.wait();
  EXPECT_EQ(served.load(), 2);
  EXPECT_EQ(refused.load(), 1);
}

TEST_P(DatabaseContract, NothingIsAcceptedBeforeStart) {
  database_ = place_->open({});
  TestJob job(inserting(1));
  EXPECT_FALSE(database_->submit(job));
  EXPECT_EQ(code_of(read(ReadCost::scan, [](Session&) -> Task<void> { co_return; })),
            ErrorCode::unavailable);
  EXPECT_FALSE(database_->start(listener_));  // Not migrated.
}

TEST_P(DatabaseContract, StopFinishesWhatIsQueuedAndRefusesTheRest) {
  start();
  std::vector<std::unique_ptr<TestJob>> jobs;
  Roadblock block(*database_);
  for (int i = 0; i < 200; ++i) {
    jobs.push_back(std::make_unique<TestJob>(inserting(i)));
    ASSERT_TRUE(database_->submit(*jobs.back()));
  }
  std::thread stopper([&] { database_->stop(); });
  // Until stop() has begun to refuse, more are accepted; those are finished too.
  EXPECT_TRUE(eventually([&] {
    jobs.push_back(std::make_unique<TestJob>(inserting(static_cast<std::int64_t>(jobs.size()))));
    if (database_->submit(*jobs.back())) return false;
    jobs.pop_back();
    return true;
  }));
  block.release();
  stopper.join();
  for (auto const& job : jobs) EXPECT_TRUE(job->wait());
  database_->stop();
  TestJob refused(inserting(1001));
  EXPECT_FALSE(database_->submit(refused));
  EXPECT_EQ(code_of(read(ReadCost::scan, [](Session&) -> Task<void> { co_return; })),
            ErrorCode::unavailable);
  EXPECT_EQ(code_of(read(ReadCost::point, [](Session&) -> Task<void> { co_return; })),
            ErrorCode::unavailable);
  database_ = place_->open({});
  ASSERT_TRUE(database_->migrate());
  ASSERT_TRUE(database_->start(listener_));
  EXPECT_EQ(rows(), static_cast<std::int64_t>(jobs.size()));
}

TEST_P(DatabaseContract, StopWhileLoopsReadAndWriteBreaksNothing) {
  for (int round = 0; round < 5; ++round) {
    if (database_ == nullptr) start();
    LoopThreads loops(2);
    std::atomic<int> errors{0};
    auto const busy = [&]() -> Task<void> {
      for (;;) {
        auto const count = [](Session& session) -> Task<void> {
          auto const done =
              co_await session.query("SELECT count(*) FROM sample", {}, [](Row const&) {});
          EXPECT_TRUE(done);
        };
        auto const point = co_await database_->read(ReadCost::point, count);
        auto const scan = co_await database_->read(ReadCost::scan, count);
        if (!point && !scan) co_return;
        for (auto const* const one : {&point, &scan}) {
          if (!*one && one->error().code != ErrorCode::unavailable) ++errors;
        }
      }
    };
    for (std::size_t i = 0; i < 4; ++i) loops.start(i % 2, busy());
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    database_->stop();
    loops.wait();
    EXPECT_EQ(errors.load(), 0);
    loops.stop();
    database_ = place_->open({});
    ASSERT_TRUE(database_->migrate());
    ASSERT_TRUE(database_->start(listener_));
  }
}

// ---- Reads -----------------------------------------------------------------------------------

TEST_P(DatabaseContract, AReadSeesEveryWriteThatWasToldBefore) {
  start();
  for (std::int64_t id = 1; id <= 200; ++id) {
    ASSERT_TRUE(write(inserting(id)));
    ASSERT_EQ(number("SELECT count(*) FROM sample", ReadCost::point), id);
    ASSERT_EQ(number("SELECT max(id) FROM sample", ReadCost::scan), id);
  }
}

TEST_P(DatabaseContract, AScanSeesOneMomentWhateverIsWrittenMeanwhile) {
  start();
  ASSERT_TRUE(write(inserting(1)));
  auto const count = [](Session& session) -> Task<std::int64_t> {
    std::int64_t found = -1;
    auto const done = co_await session.query("SELECT count(*) FROM sample", {},
                                             [&](Row const& row) { found = row.integer(0); });
    EXPECT_TRUE(done);
    co_return found;
  };
  ASSERT_TRUE(read(ReadCost::scan, [&](Session& session) -> Task<void> {
    EXPECT_EQ(co_await count(session), 1);
    for (std::int64_t id = 2; id < 20; ++id) {
      // Not on this thread: it may be a loop's, whose turn must end before the writer is woken.
      std::thread([&] { EXPECT_TRUE(write(inserting(id))); }).join();
      EXPECT_EQ(co_await count(session), 1);
    }
  }));
  EXPECT_EQ(rows(), 19);
}

TEST_P(DatabaseContract, AReadCannotWrite) {
  start();
  for (auto const cost : {ReadCost::point, ReadCost::scan}) {
    ASSERT_TRUE(read(cost, [](Session& session) -> Task<void> {
      auto const written = co_await session.execute("INSERT INTO sample (id) VALUES (1)");
      EXPECT_FALSE(written);
    }));
  }
  EXPECT_EQ(rows(), 0);
  EXPECT_TRUE(write(inserting(1)));
}

TEST_P(DatabaseContract, AScanThatThrowsHarmsNobodyElse) {
  start();
  ASSERT_TRUE(write(inserting(1)));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(code_of(read(ReadCost::scan,
                           [](Session& session) -> Task<void> {
                             auto const done = co_await session.query(
                                 "SELECT id FROM sample", {},
                                 [](Row const&) { throw std::runtime_error("a bug"); });
                             EXPECT_TRUE(done);
                           })),
              ErrorCode::internal);
    EXPECT_EQ(rows(), 1);
  }
}

TEST_P(DatabaseContract, EachLoopHasItsOwnInlineReader) {
  start();
  if (database_->inline_reader() != nullptr) FAIL() << "this thread runs no loop";
  LoopThreads loops(3);
  std::mutex mutex;
  std::vector<Session*> seen;
  auto const look = [&]() -> Task<void> {
    auto* const first = database_->inline_reader();
    EXPECT_EQ(first, database_->inline_reader());
    std::lock_guard const lock(mutex);
    if (first != nullptr) seen.push_back(first);
    co_return;
  };
  for (std::size_t i = 0; i < loops.size(); ++i) loops.start(i, look());
  loops.wait();
  std::ranges::sort(seen);
  EXPECT_EQ(std::ranges::unique(seen).begin(), seen.end());
}

// ---- Schema ----------------------------------------------------------------------------------

TEST_P(DatabaseContract, MigratingAgainChangesNothing) {
  start();
  auto const versions = "SELECT count(*) * 1000000 + max(version) FROM schema_migrations";
  auto const applied = "SELECT sum(applied_at) FROM schema_migrations";
  auto const before = number(versions);
  auto const times = number(applied);
  ASSERT_TRUE(write(inserting(1)));
  for (int i = 0; i < 2; ++i) {
    database_->stop();
    database_ = place_->open({});
    ASSERT_TRUE(database_->migrate());
    ASSERT_TRUE(database_->migrate());
    ASSERT_TRUE(database_->start(listener_));
    EXPECT_EQ(number(versions), before);
    EXPECT_EQ(number(applied), times);
    EXPECT_EQ(rows(), 1);
  }
}

TEST_P(DatabaseContract, ANewerSchemaIsRefusedInOneClearSentence) {
  start();
  ASSERT_TRUE(write(
      "INSERT INTO schema_migrations (version, name, applied_at) VALUES (99999, 'future', 0)"));
  database_->stop();
  auto const newer = place_->open({});
  auto const refused = newer->migrate();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid);
  EXPECT_NE(refused.error().message.find("version 99999"), std::string::npos);
  EXPECT_NE(refused.error().message.find("newer subforge"), std::string::npos);
  EXPECT_FALSE(newer->start(listener_));
}

TEST_P(DatabaseContract, ManyMayMigrateTheSamePlaceAtOnce) {
  for (int round = 0; round < 10; ++round) {
    auto const place = GetParam().make_place();
    std::vector<std::thread> threads;
    std::vector<Result<void>> outcomes(4);
    std::atomic<int> ready{0};
    for (auto& outcome : outcomes) {
      threads.emplace_back([&] {
        auto const database = place->open({});
        ++ready;
        while (ready.load() < 4) std::this_thread::yield();
        outcome = database->migrate();
      });
    }
    for (auto& thread : threads) thread.join();
    for (auto const& outcome : outcomes) {
      EXPECT_TRUE(outcome) << outcome.error().message << ": " << outcome.error().context;
    }
  }
}

// ---- Several processes -----------------------------------------------------------------------

TEST_P(DatabaseContract, AnotherProcessesWriteIsNoticedWithinASecond) {
  start();
  auto const other = place_->open({});
  TestListener elsewhere;
  ASSERT_TRUE(other->migrate());
  ASSERT_TRUE(other->start(elsewhere));
  auto const before = listener_.changes();
  TestJob job(inserting(1));
  auto const start_ns = monotonic_ns();
  ASSERT_TRUE(other->submit(job));
  ASSERT_TRUE(job.wait());
  EXPECT_TRUE(eventually([&] { return listener_.changes() > before; }));
  EXPECT_LT(monotonic_ns() - start_ns, 1'000'000'000);
  EXPECT_EQ(elsewhere.changes(), 0);  // It knows of its own writes.
  other->stop();
}

// The news of it arrives together with the answer to what the listener asked.
TEST_P(DatabaseContract, AnotherProcessesWriteIsNoticedWhileTheLastOneIsLookedAt) {
  start();
  auto const other = place_->open({});
  TestListener elsewhere;
  ASSERT_TRUE(other->migrate());
  ASSERT_TRUE(other->start(elsewhere));
  listener_.in_next_look([&] {
    TestJob second(inserting(2));
    EXPECT_TRUE(other->submit(second));
    EXPECT_TRUE(second.wait());
  });
  auto const before = listener_.changes();
  TestJob first(inserting(1));
  ASSERT_TRUE(other->submit(first));
  ASSERT_TRUE(first.wait());
  EXPECT_TRUE(eventually([&] { return listener_.changes() >= before + 2; }));
  other->stop();
}

// A loop that writes without pause must not keep the other's change from being noticed.
TEST_P(DatabaseContract, AnotherProcessesWriteIsNoticedUnderLoad) {
  start();
  auto const other = place_->open({});
  TestListener elsewhere;
  ASSERT_TRUE(other->migrate());
  ASSERT_TRUE(other->start(elsewhere));
  std::atomic<bool> stop{false};
  // Several, so that there is always one waiting.
  std::vector<std::thread> load;
  for (int i = 0; i < 4; ++i) {
    load.emplace_back([&] {
      while (!stop.load()) EXPECT_TRUE(write("UPDATE sample SET number = number"));
    });
  }
  auto const before = listener_.changes();
  TestJob job(inserting(1));
  ASSERT_TRUE(other->submit(job));
  ASSERT_TRUE(job.wait());
  auto const written_ns = monotonic_ns();
  EXPECT_TRUE(eventually([&] { return listener_.changes() > before; }));
  EXPECT_LT(monotonic_ns() - written_ns, 1'000'000'000);
  stop.store(true);
  for (auto& thread : load) thread.join();
  other->stop();
}

}  // namespace
}  // namespace subforge::store
