#include "store/sqlite/sqlite_database.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <random>
#include <thread>

#include "base/time.hpp"
#include "runtime/loop_threads_test.hpp"
#include "store/background_write.hpp"
#include "store/database_contract_test.hpp"
#include "store/sqlite/fault_vfs_test.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::store {
namespace {

class SqlitePlace final : public DatabasePlace {
 public:
  std::unique_ptr<Database> open(DatabaseLimits const& limits) override {
    SqliteDatabaseOptions options;
    options.connection.path = (folder_.path() / "test.db").string();
    options.writer.queue_jobs_max = limits.write_queue_max;
    options.scan_threads = limits.scan_threads;
    options.scan_queue_max = limits.scan_queue_max;
    return std::make_unique<SqliteDatabase>(options, quiet_logger());
  }
  [[nodiscard]] std::string blob_type() const override { return "BLOB"; }

 private:
  TemporaryFolder folder_;
};

DatabaseAdapter sqlite() {
  return {"sqlite", [] { return std::make_unique<SqlitePlace>(); }};
}
std::string name_of(testing::TestParamInfo<DatabaseAdapter> const& info) { return info.param.name; }

class SqliteDatabaseTest : public testing::Test {
 protected:
  // One more process on the same file.
  std::unique_ptr<OpenStore> open(SqliteDatabaseOptions options = {}) {
    options.connection.path = path();
    auto opened = std::make_unique<OpenStore>(
        std::make_unique<SqliteDatabase>(std::move(options), quiet_logger()));
    auto const done = opened->store.open();
    EXPECT_TRUE(done) << done.error().context;
    return opened;
  }
  [[nodiscard]] std::string path() const { return (folder_.path() / "test.db").string(); }
  [[nodiscard]] std::uintmax_t log_bytes() const {
    std::error_code missing;
    auto const bytes = std::filesystem::file_size(path() + "-wal", missing);
    return missing ? 0 : bytes;
  }
  Result<std::int64_t> publish(OpenStore& one, std::string what) {
    return block_on(loop_, publish_one(one.store, std::move(what)));
  }
  std::vector<std::string> texts(OpenStore& one, std::string sql) {
    auto const read = [&sql](Session& session) -> Task<Result<std::vector<std::string>>> {
      std::vector<std::string> found;
      auto const done =
          co_await session.query(sql, {}, [&](Row const& row) { found.emplace_back(row.text(0)); });
      if (!done) co_return std::unexpected(done.error());
      co_return found;
    };
    auto found = block_on(loop_, one.store.read(ReadCost::scan, read));
    EXPECT_TRUE(found) << found.error().context;
    return found.value_or(std::vector<std::string>{});
  }

  TemporaryFolder folder_;
  FaultVfs vfs_;
  EventLoop loop_;
};

// Publishes events of about 2 KB from 20 coroutines until told to stop; counts what succeeded.
class Load {
 public:
  explicit Load(Store& store) : store_(store), loops_(2) {
    for (std::size_t i = 0; i < 20; ++i) loops_.start(i % 2, write());
  }
  ~Load() { stop(); }
  Load(Load const&) = delete;
  Load& operator=(Load const&) = delete;
  void stop() {
    stopping_.store(true);
    loops_.wait();
  }
  [[nodiscard]] int written() const { return written_.load(); }
  [[nodiscard]] int failed() const { return failed_.load(); }
  [[nodiscard]] bool waits_for(int more) const {
    auto const goal = written() + more;
    return eventually([&] { return written() >= goal; });
  }

 private:
  Task<void> write() {
    while (!stopping_.load()) {
      auto const publish = [](Transaction& transaction) -> Task<Result<std::int64_t>> {
        auto event = test_event("load");
        event.payload = "\"" + std::string(2'000, 'x') + "\"";
        co_return co_await transaction.publish(std::move(event));
      };
      auto const point = [](Session& session) -> Task<Result<std::int64_t>> {
        co_return co_await session.query("SELECT kind FROM events WHERE id = 1", {},
                                         [](Row const&) {});
      };
      auto const id = co_await store_.write(publish);
      ++(id ? written_ : failed_);
      if (!co_await store_.read(ReadCost::point, point)) ++failed_;
    }
  }

  Store& store_;
  LoopThreads loops_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> written_{0};
  std::atomic<int> failed_{0};
};

TEST_F(SqliteDatabaseTest, AFullDiskRefusesWritesAndRecoversWhenThereIsRoom) {
  SqliteDatabaseOptions options;
  options.connection.vfs = vfs_.name();
  auto const one = open(options);
  std::int64_t kept = 0;
  // The disk fills at ever another place: between two writes of a commit, or within one.
  for (std::int64_t room = 0; room < 60'000; room += 1'777) {
    vfs_.set_room(room);
    Result<std::int64_t> id;
    while ((id = publish(*one, "fits"))) ++kept;
    ASSERT_EQ(id.error().code, ErrorCode::unavailable) << id.error().context;
    ASSERT_FALSE(publish(*one, "still full"));
    ASSERT_EQ(texts(*one, "SELECT count(*) FROM events"), std::vector{std::to_string(kept)});
    vfs_.set_room(FaultVfs::kUnlimited);
    ASSERT_EQ(publish(*one, "room again"), ++kept);
    ASSERT_EQ(one->follower.last(), kept);
  }
  EXPECT_GT(kept, 50);
  EXPECT_EQ(texts(*one, "PRAGMA integrity_check"), std::vector<std::string>{"ok"});
  EXPECT_EQ(one->follower.ids().size(), static_cast<std::size_t>(kept));
}

TEST_F(SqliteDatabaseTest, AFullDiskFailsAWholeGroupAndLeavesNothingOfIt) {
  SqliteDatabaseOptions options;
  options.connection.vfs = vfs_.name();
  options.connection.cache_kib = 32;  // A large transaction reaches the disk before its commit.
  auto const one = open(options);
  ASSERT_TRUE(publish(*one, "before"));
  vfs_.set_room(200'000);
  auto const large = [](Session& session) -> Task<Result<void>> {
    auto const done =
        co_await session.execute("INSERT INTO meta (key, value) VALUES ($1, $2)",
                                 {Uuid::random().to_string(), std::string(100'000, 'x')});
    if (!done) co_return std::unexpected(done.error());
    co_return {};
  };
  std::vector<std::unique_ptr<TestJob>> jobs;
  {
    Roadblock const together(*one->database);
    for (int i = 0; i < 10; ++i) {
      jobs.push_back(std::make_unique<TestJob>(large));
      ASSERT_TRUE(one->database->submit(*jobs.back()));
    }
  }
  for (auto const& job : jobs) {
    auto const& outcome = job->wait();
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().code, ErrorCode::unavailable);
  }
  EXPECT_EQ(texts(*one, "SELECT count(*) FROM meta"), std::vector<std::string>{"1"});
  vfs_.set_room(FaultVfs::kUnlimited);
  EXPECT_EQ(publish(*one, "after"), 2);
  EXPECT_EQ(texts(*one, "PRAGMA integrity_check"), std::vector<std::string>{"ok"});
}

// One that asks for no undoing of its own takes the others of its commit along when it fails, but
// only if it had changed something.
TEST_F(SqliteDatabaseTest, AJobThatIsUndoneWithItsCommitTakesOthersAlong) {
  auto const one = open();
  std::string const keep = "INSERT INTO meta (key, value) VALUES ('kept', 'x')";
  std::string const change = "INSERT INTO meta (key, value) VALUES ('half', 'x')";
  std::string const fault = "INSERT INTO meta (key, value) VALUES ('log_epoch', 'x')";  // Is there.
  auto const stored = [&] {
    return texts(*one, "SELECT key FROM meta WHERE key <> 'log_epoch' ORDER BY key");
  };
  auto const run_together = [&](TestJob& first, TestJob& second) {
    {
      Roadblock const together(*one->database);
      ASSERT_TRUE(one->database->submit(first));
      ASSERT_TRUE(one->database->submit(second));
    }
    (void)first.wait();
    (void)second.wait();
  };
  {
    TestJob other(statements({keep}));
    TestJob failing(statements({change, fault}), Undo::commit);
    run_together(other, failing);
    EXPECT_FALSE(other.outcome);
    EXPECT_FALSE(failing.outcome);
    EXPECT_EQ(other.outcome.error().code, ErrorCode::unavailable);
    EXPECT_TRUE(stored().empty());
  }
  {
    TestJob other(statements({keep}));
    TestJob failing(statements({fault, change}), Undo::commit);
    run_together(other, failing);
    EXPECT_TRUE(other.outcome);
    EXPECT_FALSE(failing.outcome);
    EXPECT_EQ(failing.outcome.error().code, ErrorCode::conflict);
    EXPECT_EQ(stored(), std::vector<std::string>{"kept"});
  }
  TestJob good(statements({change}), Undo::commit);
  TestJob bad(statements({keep}));
  run_together(good, bad);
  EXPECT_TRUE(good.outcome);
  EXPECT_FALSE(bad.outcome);
  EXPECT_EQ(stored(), (std::vector<std::string>{"half", "kept"}));
}

// Jobs that outgrow the cache and are undone, with others around them in one commit: whoever starts
// on the files finds all that was committed.
TEST_F(SqliteDatabaseTest, AnUndoneJobLeavesTheLogOfItsGroupWhole) {
  SqliteDatabaseOptions options;
  options.connection.cache_kib = 32;
  options.writer.checkpoint_pages = 1'000'000;  // All of it stays in the log.
  auto const one = open(options);
  std::mt19937_64 random(16);
  std::int64_t committed = 0;
  auto const make = [](Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute("CREATE TABLE part (id INTEGER PRIMARY KEY, text TEXT)");
  };
  ASSERT_TRUE(block_on(loop_, one->store.write(make)));
  auto const update = [&](bool fails) {
    return [&, rows = 5 + random() % 115, fails](Session& session) -> Task<Result<void>> {
      for (std::size_t i = 0; i < rows; ++i) {
        auto const done = co_await session.execute(
            "INSERT INTO part (id, text) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET text = $2",
            {static_cast<std::int64_t>(random() % 200),
             std::string(random() % 2 * 1'200 + 300, 'x')});
        if (!done) co_return std::unexpected(done.error());
      }
      if (fails) co_return fail(ErrorCode::conflict, "told to fail");
      co_return {};
    };
  };
  for (int group = 0; group < 60; ++group) {
    std::vector<std::unique_ptr<TestJob>> jobs;
    {
      Roadblock const together(*one->database);
      for (int i = 0; i < 3; ++i) {
        jobs.push_back(std::make_unique<TestJob>(update(i < 2 && random() % 2 == 0)));
        ASSERT_TRUE(one->database->submit(*jobs.back()));
      }
    }
    for (auto const& job : jobs) (void)job->wait();
    ASSERT_EQ(publish(*one, "group"), ++committed);
  }
  TemporaryFolder found;
  for (auto const* const part : {"", "-wal"}) {
    std::filesystem::copy_file(path() + part, found.path() / (std::string("test.db") + part));
  }
  options.connection.path = (found.path() / "test.db").string();
  OpenStore again(std::make_unique<SqliteDatabase>(options, quiet_logger()));
  ASSERT_TRUE(again.store.open());
  EXPECT_EQ(texts(again, "SELECT count(*) FROM events"), std::vector{std::to_string(committed)});
}

TEST_F(SqliteDatabaseTest, AFailedSyncFailsTheWriteAndNothingOfItAppearsLater) {
  {
    SqliteDatabaseOptions options;
    options.connection.vfs = vfs_.name();
    auto const one = open(options);
    for (int i = 0; i < 10; ++i) {
      ASSERT_TRUE(publish(*one, "kept"));
      vfs_.fail_syncs(1);
      auto const failed = publish(*one, "failed");
      ASSERT_FALSE(failed);
      EXPECT_EQ(failed.error().code, ErrorCode::unavailable);
    }
    ASSERT_TRUE(publish(*one, "kept"));
  }
  auto const again = open();
  EXPECT_EQ(texts(*again, "SELECT DISTINCT kind FROM events"),
            std::vector<std::string>{"test.kept"});
  EXPECT_EQ(again->store.last_event_id(), 11);
}

class TestBackgroundJob final : public WriteJob {
 public:
  explicit TestBackgroundJob(TestJob::Body body)
      : WriteJob(Urgency::background), body_(std::move(body)) {}
  Task<Result<void>> run(Session& session) override { return body_(session); }
  void finished() override { done_.set_value(); }
  [[nodiscard]] Result<void> const& wait() {
    done_.get_future().wait();
    return outcome;
  }

 private:
  TestJob::Body body_;
  std::promise<void> done_;
};

// Writes the name of a job to the end of `order`, which is the database's thread's.
TestJob::Body noting(std::string& order, char name) {
  return [&order, name](Session&) -> Task<Result<void>> {
    order.push_back(name);
    co_return {};
  };
}

TEST_F(SqliteDatabaseTest, WritesInTheBackgroundRunOneByOneBetweenThoseOfOthers) {
  auto const one = open();
  std::string order;
  TestBackgroundJob first(noting(order, '1'));
  TestBackgroundJob second(noting(order, '2'));
  TestBackgroundJob third(noting(order, '3'));
  TestJob a(noting(order, 'a'));
  TestJob b(noting(order, 'b'));
  {
    Roadblock const together(*one->database);
    for (auto* const job : {&first, &second, &third}) ASSERT_TRUE(one->database->submit(*job));
    for (auto* const job : {&a, &b}) ASSERT_TRUE(one->database->submit(*job));
  }
  for (auto* const job : {&first, &second, &third}) EXPECT_TRUE(job->wait());
  for (auto* const job : {&a, &b}) EXPECT_TRUE(job->wait());
  EXPECT_EQ(order, "1ab23");
}

TEST_F(SqliteDatabaseTest, WritesInTheBackgroundLeaveTimeForThoseOfOthers) {
  for (bool const others_write : {true, false}) {
    SqliteDatabaseOptions options;
    options.writer.background_pauses = 1'000'000'000;  // For ever.
    options.writer.others_ms = others_write ? 1'000'000 : 0;
    auto const one = open(options);
    std::string order;
    TestBackgroundJob first(noting(order, '1'));
    TestBackgroundJob second(noting(order, '2'));
    TestJob before(noting(order, 'a'));
    TestJob after(noting(order, 'b'));
    ASSERT_TRUE(one->database->submit(before));
    EXPECT_TRUE(before.wait());
    for (auto* const job : {&first, &second}) ASSERT_TRUE(one->database->submit(*job));
    EXPECT_TRUE(first.wait());
    if (!others_write) EXPECT_TRUE(second.wait());
    ASSERT_TRUE(one->database->submit(after));
    EXPECT_TRUE(after.wait());
    one->database->stop();  // Waits for nobody.
    if (others_write) EXPECT_TRUE(second.wait());
    EXPECT_EQ(order, others_write ? "a1b2" : "a12b");
  }
}

TEST_F(SqliteDatabaseTest, CommitsGoToTheDiskFirst) {
  SqliteDatabaseOptions options;
  options.connection.vfs = vfs_.name();
  auto const one = open(options);
  std::int64_t passed_ns = 0;
  vfs_.on_sync([&] {
    auto const begin = monotonic_ns();
    one->database->disk_turns().let_pass();
    passed_ns = monotonic_ns() - begin;
  });
  ASSERT_TRUE(publish(*one, "committed"));
  vfs_.on_sync({});
  EXPECT_GE(passed_ns, DiskTurns::kLetPassMsMax * 1'000'000);
}

TEST_F(SqliteDatabaseTest, AWriteInTheBackgroundIsSyncedByTheNextOneOfOthers) {
  SqliteDatabaseOptions options;
  options.connection.vfs = vfs_.name();
  auto one = open(options);
  auto const key = [](std::string const& name) {
    return "INSERT INTO meta (key, value) VALUES ('" + name + "', 'x')";
  };
  auto const add = [&](std::string const& name) {
    TestBackgroundJob job(statements({key(name)}));
    EXPECT_TRUE(one->database->submit(job));
    return job.wait().has_value();
  };
  ASSERT_TRUE(publish(*one, "before"));
  vfs_.fail_syncs(1);
  EXPECT_TRUE(add("first"));
  EXPECT_FALSE(add("first")) << "the key is there";
  EXPECT_FALSE(publish(*one, "not on the disk"));
  EXPECT_TRUE(add("second"));
  EXPECT_TRUE(publish(*one, "after"));
  EXPECT_TRUE(add("third"));
  vfs_.plan({});
  vfs_.cut_now();
  one.reset();
  // Of the third nobody knows: what was not synced may be on the disk all the same.
  for (auto const& [name, bytes] : vfs_.survivors()) {
    std::ofstream(folder_.path() / name, std::ios::binary | std::ios::trunc) << bytes;
  }
  one = open();
  EXPECT_EQ(texts(*one, "SELECT key FROM meta WHERE key IN ('first', 'second') ORDER BY key"),
            (std::vector<std::string>{"first", "second"}));
  EXPECT_EQ(texts(*one, "PRAGMA integrity_check"), std::vector<std::string>{"ok"});
}

TEST_F(SqliteDatabaseTest, AWriteInTheBackgroundHasNothingToTell) {
  auto const one = open();
  auto const early = [](Transaction& transaction) -> Task<Result<void>> {
    auto const id = co_await transaction.publish(test_event("early"));
    if (!id) co_return std::unexpected(id.error());
    co_return {};
  };
  auto const outcome = block_on(loop_, write_in_background(one->store, early));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::internal);
  EXPECT_EQ(publish(*one, "first"), 1);
}

// An index of whole texts becomes one of parts.
TEST_F(SqliteDatabaseTest, TextsOfFilesThatWereThereAreFoundAfterwards) {
  SqliteDatabaseOptions old;
  old.schema_version_max = 37;
  auto const add = [](std::string name, std::string content) {
    return "INSERT INTO files (id, version, filename, original_filename, file_type, file_size,"
           " mime_type, upload_path, uploaded_by, uploaded_at, metadata, tags, checksum, sha256,"
           " analysis, content) VALUES ('" +
           name + "', 1, '', '" + name + "', '', 0, '', '', '', 0, '{}', '[]', '', '', 'null', '" +
           content + "')";
  };
  auto const filler = [](std::size_t length) { return std::string(length, 'x'); };
  {
    auto const one = open(old);
    TestJob job(statements({add("Name.txt", "WORDS"), add("empty.png", ""),
                            add("long.txt", filler(16'380) + "the border" + filler(49'000) + "end"),
                            add("gone.txt", "words, removed")}));
    ASSERT_TRUE(one->database->submit(job));
    ASSERT_TRUE(job.wait());
  }
  auto const one = open();
  TestJob removal(statements({"DELETE FROM files WHERE id = 'gone.txt'"}));
  ASSERT_TRUE(one->database->submit(removal));
  ASSERT_TRUE(removal.wait());
  auto const found = [&](std::string const& text) {
    return texts(*one,
                 "SELECT id FROM files WHERE seq IN (SELECT rowid / 8 FROM file_texts"
                 " WHERE file_texts MATCH '\"" +
                     text + "\"') ORDER BY seq");
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(found("words"), Names{"Name.txt"});
  EXPECT_EQ(found("name.t"), Names{"Name.txt"});
  EXPECT_EQ(found("the border"), Names{"long.txt"});
  EXPECT_EQ(found("xxend"), Names{"long.txt"});
  EXPECT_EQ(texts(*one, "SELECT count(*) FROM file_texts WHERE file_texts MATCH '\"words\"'"),
            Names{"1"});
}

TEST_F(SqliteDatabaseTest, TheLogIsCutShortUnderLoad) {
  SqliteDatabaseOptions options;
  options.writer.checkpoint_pages = 200;
  auto const one = open(options);
  Load load(one->store);
  std::uintmax_t longest = 0;
  for (int i = 0; i < 25; ++i) {
    ASSERT_TRUE(load.waits_for(100));
    longest = std::max(longest, log_bytes());
  }
  load.stop();
  EXPECT_EQ(load.failed(), 0);
  // 2,500 events of 2 KB are over 1,250 pages of data alone, each written several times.
  EXPECT_LT(longest, 1'250U * 4'096U);
  EXPECT_GT(std::filesystem::file_size(path()), 2'500U * 2'000U / 2);  // Copied, not just kept.
}

TEST_F(SqliteDatabaseTest, ALongScanLetsTheLogGrowUntilItsEndAndNoLonger) {
  SqliteDatabaseOptions options;
  options.writer.checkpoint_pages = 100;
  options.connection.log_bytes_max = 1'000'000;
  auto const one = open(options);
  Load load(one->store);
  std::atomic<bool> end{false};
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::thread scanner([&] {
    EventLoop loop;
    auto const scan = [&](Session& session) -> Task<Result<std::int64_t>> {
      auto const sql = "SELECT count(*) FROM events";
      (void)co_await session.query(sql, {}, [&](Row const& row) { first = row.integer(0); });
      while (!end.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      co_return co_await session.query(sql, {}, [&](Row const& row) { last = row.integer(0); });
    };
    EXPECT_TRUE(block_on(loop, one->store.read(ReadCost::scan, scan)));
  });
  ASSERT_TRUE(load.waits_for(2'000));
  auto const grown = log_bytes();
  EXPECT_GT(grown, 2'000U * 2'000U);
  end.store(true);
  scanner.join();
  EXPECT_EQ(first, last);
  EXPECT_TRUE(eventually([&] { return log_bytes() < grown / 2; }));
  load.stop();
  EXPECT_EQ(load.failed(), 0);
}

TEST_F(SqliteDatabaseTest, ALockHeldElsewhereMakesWritesWaitAndThenUnavailable) {
  SqliteDatabaseOptions options;
  options.connection.busy_timeout_ms = 200;
  auto const one = open(options);
  SqliteOptions plain;
  plain.path = path();
  auto const other = SqliteConnection::open(plain, SqliteAccess::read_write);
  ASSERT_TRUE(other);
  ASSERT_TRUE((*other)->run("BEGIN IMMEDIATE"));
  std::thread release([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_TRUE((*other)->run("COMMIT"));
  });
  EXPECT_TRUE(publish(*one, "waited"));
  release.join();
  ASSERT_TRUE((*other)->run("BEGIN IMMEDIATE"));
  auto const refused = publish(*one, "refused");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::unavailable);
  EXPECT_EQ(texts(*one, "SELECT kind FROM events"), std::vector<std::string>{"test.waited"});
  ASSERT_TRUE((*other)->run("COMMIT"));
  EXPECT_TRUE(publish(*one, "after"));
}

TEST_F(SqliteDatabaseTest, BehindAWriteThatWaitedForALockInVainTheNextOnesFailSoon) {
  SqliteDatabaseOptions options;
  options.connection.busy_timeout_ms = 1'000;
  options.writer.lock_wait_again_ms = 20;
  auto const one = open(options);
  SqliteOptions plain;
  plain.path = path();
  auto const other = SqliteConnection::open(plain, SqliteAccess::read_write);
  ASSERT_TRUE(other);
  auto const milliseconds_of = [&](char const* name) {
    auto const before_ns = monotonic_ns();
    EXPECT_FALSE(publish(*one, name));
    return (monotonic_ns() - before_ns) / 1'000'000;
  };
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE((*other)->run("BEGIN IMMEDIATE"));
    EXPECT_GE(milliseconds_of("first"), 1'000);
    EXPECT_LT(milliseconds_of("second"), 500);
    EXPECT_LT(milliseconds_of("third"), 500);
    ASSERT_TRUE((*other)->run("COMMIT"));
    EXPECT_TRUE(publish(*one, "after"));  // From here on it waits as long as at first.
  }
}

TEST_F(SqliteDatabaseTest, WhatCannotBeOpenedSaysWhy) {
  SqliteDatabaseOptions options;
  options.connection.path = (folder_.path() / "no such folder" / "test.db").string();
  auto const missing = SqliteDatabase(options, quiet_logger()).migrate();
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::unavailable);
  EXPECT_NE(missing.error().context.find("no such folder"), std::string::npos);

  std::ofstream(path()) << std::string(10'000, 'x');
  options.connection.path = path();
  auto const foreign = SqliteDatabase(options, quiet_logger()).migrate();
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().context.find("not a database"), std::string::npos);
}

TEST_F(SqliteDatabaseTest, OpensWhatAKilledProcessLeftInTheLog) {
  // The files as they are while the process runs are what a killed one leaves.
  TemporaryFolder copy;
  {
    auto const one = open();
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(publish(*one, "kept"));
    for (auto const* const suffix : {"", "-wal", "-shm"}) {
      std::filesystem::copy_file(path() + suffix, copy.path() / ("test.db" + std::string(suffix)));
    }
  }
  SqliteDatabaseOptions options;
  options.connection.path = (copy.path() / "test.db").string();
  OpenStore found(std::make_unique<SqliteDatabase>(options, quiet_logger()));
  ASSERT_TRUE(found.store.open());
  EXPECT_EQ(found.store.last_event_id(), 100);
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Adapters, DatabaseContract, testing::Values(sqlite()), name_of);
INSTANTIATE_TEST_SUITE_P(Adapters, EventLogContract, testing::Values(sqlite()), name_of);

}  // namespace subforge::store
