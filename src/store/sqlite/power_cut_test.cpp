// The power goes at a random moment while many write: what was acknowledged must be in the database
// that is found afterwards, once, whole, and with its event.
//
// SUBFORGE_TEST_SIZE=full cuts hundreds of times with new seeds; SUBFORGE_TEST_SEED=<n> repeats one
// run.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "base/test_size_test.hpp"
#include "base/text.hpp"
#include "runtime/loop_threads_test.hpp"
#include "store/database_contract_test.hpp"
#include "store/sqlite/fault_vfs_test.hpp"
#include "store/sqlite/sqlite_database.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::store {
namespace {

using Files = std::map<std::string, std::string>;

// What somebody was told before the power went, over all generations of the database.
struct Told {
  std::mutex mutex;
  std::map<std::int64_t, std::string> writers;  // Event id to row.
  std::set<std::int64_t> followers;
};

struct Setup {
  std::uint64_t seed = 0;
  FaultVfs::Loss loss = FaultVfs::Loss::all;
  std::string lying_suffix = "\n";  // No file has such a name.
};

// Hears the log and keeps what it heard while there was power.
class Witness final : public LogFollower {
 public:
  Witness(FaultVfs const& vfs, Told& told) : vfs_(vfs), told_(told) {}
  void on_events(std::span<EventPtr const> events) override {
    if (!vfs_.powered()) return;
    std::lock_guard const lock(told_.mutex);
    for (auto const& event : events) told_.followers.insert(event->id);
  }

 private:
  FaultVfs const& vfs_;
  Told& told_;
};

// A few rows, their sum in another table and an event, in one transaction.
Task<Result<std::int64_t>> write_rows(Transaction& transaction, std::string const& name,
                                      std::size_t rows, std::size_t bytes) {
  std::string const filler(bytes, 'x');
  for (std::size_t i = 0; i < rows; ++i) {
    auto const done = co_await transaction.execute(
        "INSERT INTO part (id, name, filler) VALUES ($1, $2, $3)", {Uuid::random(), name, filler});
    if (!done) co_return std::unexpected(done.error());
  }
  auto const counted = co_await transaction.execute("UPDATE total SET parts = parts + $1",
                                                    {static_cast<std::int64_t>(rows)});
  if (!counted) co_return std::unexpected(counted.error());
  auto event = test_event(name);
  event.version = static_cast<std::int64_t>(rows);
  co_return co_await transaction.publish(std::move(event));
}

Task<Result<std::int64_t>> make_tables(Transaction& transaction) {
  for (auto const* const sql :
       {"CREATE TABLE IF NOT EXISTS part (id BLOB PRIMARY KEY, name TEXT, filler TEXT)",
        "CREATE INDEX IF NOT EXISTS part_by_name ON part (name)",
        "CREATE TABLE IF NOT EXISTS total (only_one INTEGER PRIMARY KEY, parts INTEGER)",
        "INSERT INTO total (only_one, parts) VALUES (1, 0) ON CONFLICT (only_one) DO NOTHING"}) {
    auto const done = co_await transaction.execute(sql);
    if (!done) co_return done;
  }
  co_return 0;
}

// Writes until it is told that it cannot.
Task<void> keep_writing(Store& store, FaultVfs const& vfs, Told& told, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (;;) {
    auto const name = random_token(9);
    auto const rows = 1 + random() % 4;
    auto const bytes = random() % 50 == 0 ? random() % 60'000 : random() % 300;
    bool const fails = random() % 8 == 0;
    auto const body = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
      auto const id = co_await write_rows(transaction, name, rows, bytes);
      if (fails) co_return fail(ErrorCode::conflict, "told to fail");
      co_return id;
    };
    auto const id = co_await store.write(body);
    if (!id && id.error().code != ErrorCode::conflict) co_return;
    // The order matters: if there is power now, the cut comes after the acknowledgement.
    if (id && vfs.powered()) {
      std::lock_guard const lock(told.mutex);
      told.writers[*id] = name;
    }
  }
}

SqliteDatabaseOptions options_of(std::filesystem::path const& folder, std::mt19937_64& random) {
  SqliteDatabaseOptions options;
  options.connection.path = (folder / "test.db").string();
  // Small enough that the log starts over, is cut, and that transactions outgrow the cache.
  options.connection.cache_kib = random() % 2 == 0 ? 64 : 2'000;
  options.connection.log_bytes_max = random() % 2 == 0 ? 100'000 : 10'000'000;
  options.writer.checkpoint_pages = static_cast<std::int64_t>(20 + random() % 300);
  options.writer.group_jobs_max = 1 + random() % 40;
  return options;
}

void put(std::filesystem::path const& folder, Files const& files) {
  std::filesystem::create_directories(folder);
  for (auto const& [name, bytes] : files) std::ofstream(folder / name, std::ios::binary) << bytes;
}

// One generation: starts on what is in `folder`, writes until the power goes, gives what is left.
Files run_until_cut(std::filesystem::path const& folder, Setup const& setup, Told& told) {
  std::mt19937_64 random(setup.seed);
  FaultVfs vfs;
  vfs.lie_about_syncs_of(setup.lying_suffix);
  vfs.set_sync_us_max(300);
  // Often early, where files are made and recovered, and as often in the thick of it.
  auto const limit = random() % 3 == 0 ? 60U : 6'000U;
  vfs.plan({setup.loss, static_cast<std::int64_t>(random() % limit), random()});
  {
    auto options = options_of(folder, random);
    options.connection.vfs = vfs.name();
    SqliteDatabase database(options, quiet_logger());
    Store store(database, quiet_logger());
    Witness witness(vfs, told);
    store.follow(witness);
    EventLoop loop;
    if (store.open() && block_on(loop, store.write(&make_tables))) {
      LoopThreads loops(2);
      for (std::size_t i = 0; i < 24; ++i) {
        loops.start(i % 2, keep_writing(store, vfs, told, random()));
      }
      loops.wait();
    }
    store.close();
  }
  vfs.cut_now();
  return vfs.survivors();
}

// Everything a query finds, as text.
std::vector<std::vector<std::string>> table_of(Store& store, std::string_view sql, int columns) {
  EventLoop loop;
  auto const read = [&](Session& session) -> Task<Result<std::vector<std::vector<std::string>>>> {
    std::vector<std::vector<std::string>> rows;
    auto const done = co_await session.query(sql, {}, [&](Row const& row) {
      auto& fields = rows.emplace_back();
      for (int i = 0; i < columns; ++i) fields.emplace_back(row.text(i));
    });
    if (!done) co_return std::unexpected(done.error());
    co_return rows;
  };
  auto rows = block_on(loop, store.read(ReadCost::scan, read));
  if (!rows) return {{rows.error().context}};
  return *rows;
}

// What is wrong with the log: ids without gaps from 1 on, all that was told among them.
void check_log(Store& store, Told const& told, std::vector<std::string>& findings) {
  auto const log = table_of(store, "SELECT id, kind FROM events ORDER BY id", 2);
  std::int64_t expected = 1;
  for (auto const& event : log) {
    if (event[0] != std::to_string(expected)) findings.push_back("gap in the log: " + event[0]);
    expected = parse_number<std::int64_t>(event[0]).value_or(-1) + 1;
  }
  for (auto const& [id, name] : told.writers) {
    auto const index = static_cast<std::size_t>(id - 1);
    if (index >= log.size()) {
      findings.push_back("acknowledged and lost: event " + std::to_string(id));
    } else if (log[index][1] != "test." + name) {
      findings.push_back("acknowledged and replaced: event " + std::to_string(id));
    }
  }
  for (auto const id : told.followers) {
    if (id >= expected) findings.push_back("followers heard of lost event " + std::to_string(id));
  }
}

// What is wrong with the rows: an event has exactly the rows it speaks of, and no row is without.
void check_rows(Store& store, std::vector<std::string>& findings) {
  for (auto const& row : table_of(store,
                                  "SELECT events.kind, events.version, count(part.id) FROM events"
                                  " LEFT JOIN part ON part.name = substr(events.kind, 6)"
                                  " GROUP BY events.id HAVING count(part.id) <> events.version",
                                  3)) {
    findings.push_back("event with other rows than it had: " + row[0]);
  }
  for (auto const& row : table_of(store,
                                  "SELECT name FROM part WHERE 'test.' || name NOT IN"
                                  " (SELECT kind FROM events)",
                                  1)) {
    findings.push_back("row without its event: " + row[0]);
  }
  for (auto const& row : table_of(store,
                                  "SELECT parts, (SELECT count(*) FROM part) FROM total WHERE parts"
                                  " <> (SELECT count(*) FROM part)",
                                  2)) {
    findings.push_back("the total is of another moment: " + row[0]);
  }
}

std::vector<std::string> check(std::filesystem::path const& folder, Told const& told) {
  std::vector<std::string> findings;
  SqliteDatabaseOptions options;
  options.connection.path = (folder / "test.db").string();
  OpenStore found(std::make_unique<SqliteDatabase>(options, quiet_logger()));
  if (auto const opened = found.store.open(); !opened) {
    return {"it does not open: " + opened.error().context};
  }
  auto const integrity = table_of(found.store, "PRAGMA integrity_check", 1);
  if (integrity != std::vector<std::vector<std::string>>{{"ok"}}) {
    findings.push_back("integrity_check: " + integrity.at(0).at(0));
  }
  check_log(found.store, told, findings);
  EventLoop loop;
  if (!block_on(loop, found.store.write(&make_tables))) findings.emplace_back("no tables");
  check_rows(found.store, findings);
  if (auto const id = block_on(loop, publish_one(found.store, "after"));
      id != found.store.last_event_id()) {
    findings.emplace_back("it does not go on");
  }
  return findings;
}

struct Outcome {
  std::vector<std::string> findings;
  std::size_t acknowledged = 0;
};

// A database that loses its power several times, the next time while it recovers perhaps.
Outcome lose_power(Setup const& setup, int generations) {
  TemporaryFolder folder;
  Told told;
  Outcome outcome;
  Files files;
  for (int generation = 0; generation < generations && outcome.findings.empty(); ++generation) {
    auto const live = folder.path() / ("live-" + std::to_string(generation));
    auto const found = folder.path() / ("found-" + std::to_string(generation));
    put(live, files);
    auto one = setup;
    one.seed += static_cast<std::uint64_t>(generation) * 1'000'003;
    files = run_until_cut(live, one, told);
    put(found, files);
    outcome.findings = check(found, told);
  }
  outcome.acknowledged = told.writers.size();
  return outcome;
}

void cut_often(FaultVfs::Loss loss) {
  constexpr int kGenerations = 3;
  auto const* const wanted = std::getenv("SUBFORGE_TEST_SEED");
  int const runs = wanted != nullptr ? 1 : (tests_are_full() ? 200 : 15);
  auto const first = wanted != nullptr
                         ? parse_number<std::uint64_t>(wanted).value_or(0)
                         : (tests_are_full() ? fast_random() % 1'000'000'000 : 20'260'102U);
  std::size_t acknowledged = 0;
  for (int run = 0; run < runs; ++run) {
    Setup const setup{first + static_cast<std::uint64_t>(run), loss};
    auto const outcome = lose_power(setup, kGenerations);
    acknowledged += outcome.acknowledged;
    auto const& findings = outcome.findings;
    ASSERT_TRUE(findings.empty()) << "SUBFORGE_TEST_SEED=" << setup.seed << ": " << findings.size()
                                  << " findings, the first: " << findings.front();
  }
  testing::Test::RecordProperty("acknowledged", std::to_string(acknowledged));
  std::printf("[   INFO   ] seeds %llu..., %d cuts, %zu acknowledged writes, all found\n",
              static_cast<unsigned long long>(first), runs * kGenerations, acknowledged);
  EXPECT_TRUE(acknowledged > 100 || wanted != nullptr);
}

TEST(PowerCutProof, LosesNothingAcknowledgedWhenAllThatWasNotSyncedIsGone) {
  cut_often(FaultVfs::Loss::all);
}

TEST(PowerCutProof, LosesNothingAcknowledgedWhenAnyPartOfTheRestIsThere) {
  cut_often(FaultVfs::Loss::some);
}

// The test itself: a disk that says "synced" and has not, which is what synchronous=OFF amounts to,
// must be found out.
TEST(PowerCutProof, FindsTheLossesOfADiskThatLies) {
  std::size_t lost = 0;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    auto const outcome = lose_power({seed, FaultVfs::Loss::all, "-wal"}, 1);
    for (auto const& finding : outcome.findings) lost += finding.contains("lost") ? 1 : 0;
  }
  EXPECT_GT(lost, 0U);
}

}  // namespace
}  // namespace subforge::store
