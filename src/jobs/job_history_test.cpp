// Processes that submit and processes that work die, stand still for longer than their lease, and
// come back, at random: whatever was acknowledged ends in one final state, and what it changes is
// changed once. And the clocks of those that work jump by a day either way, which takes no lease
// away.
//
// SUBFORGE_TEST_SIZE=full goes on for a minute on each database with a new seed;
// SUBFORGE_TEST_SEED=<n> repeats a run as far as the kernel lets it.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "base/random.hpp"
#include "base/text.hpp"
#include "jobs/embedded/embedded_queue.hpp"
#include "jobs/job_changes.hpp"
#include "jobs/queue_contract_test.hpp"
#include "jobs/worker.hpp"
#include "store/postgres/cluster_test.hpp"
#include "store/postgres/postgres_database.hpp"
#include "store/sqlite/sqlite_database.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::jobs {
namespace {

constexpr std::int64_t kLookMs = 150;  // A second of the server; five of them are a lease.

std::unique_ptr<store::Database> open_database(std::string const& url) {
  if (!url.starts_with("postgresql://")) {
    store::SqliteDatabaseOptions options;
    options.connection.path = url;
    return std::make_unique<store::SqliteDatabase>(std::move(options), silent_logger());
  }
  store::PostgresDatabaseOptions options;
  options.server.url = url;
  return std::make_unique<store::PostgresDatabase>(options, silent_logger());
}

std::string effect_name(Uuid id) { return "effect." + id.to_string(); }

// Counted by the id: one that happened twice is seen.
Effect count_effect(Uuid id) {
  return [name = effect_name(id)](store::Transaction& transaction) -> Task<Result<void>> {
    auto const done = co_await transaction.execute(
        "INSERT INTO record_counts (name, n) VALUES ($1, 1)"
        " ON CONFLICT (name) DO UPDATE SET n = record_counts.n + 1",
        {name});
    if (!done) co_return std::unexpected(done.error());
    co_return {};
  };
}

void add_tasks(Registry& registry) {
  registry.add({.name = "effect",
                .handler = [](JobContext& context) -> Task<Outcome> {
                  auto const chance = fast_random();
                  co_await EventLoop::current()->sleep_ms(static_cast<std::int64_t>(chance % 40));
                  context.progress(50);
                  if (chance % 7 == 0) throw std::runtime_error("by chance");
                  co_return succeeded_with("true", count_effect(context.job().id));
                },
                .max_retries = 5,
                .automatic_retries = 5,
                .backoff_ms = 20});
  registry.add(
      {.name = "plain", .handler = [](JobContext&) -> Task<Outcome> { co_return succeeded(); }});
  registry.add({.name = "long", .handler = [](JobContext&) -> Task<Outcome> {
                  co_await EventLoop::current()->sleep_ms(kLookMs * 12);
                  co_return succeeded();
                }});
}

// ---- The processes: this program again, in a folder that says what it is to be
// -------------------

struct Process {
  explicit Process(std::string const& url)
      : database(open_database(url)), store(*database, silent_logger()) {
    add_tasks(registry);
  }
  std::unique_ptr<store::Database> database;
  store::Store store;
  Registry registry;
  EmbeddedQueue queue{store, registry, {}, silent_logger()};
  BlockingPool pool{1, 10};
  EventLoop loop;
};

[[noreturn]] void work(std::string const& url) {
  Process process(url);
  Worker worker(process.loop,
                {process.store, process.queue, process.registry, process.pool, silent_logger()},
                {.slots = 16, .report_ms = 50, .beat_ms = kLookMs / 2, .look_ms = kLookMs});
  process.store.follow(worker);
  if (!process.store.open()) ::_exit(3);
  auto tend = [](Process& one) -> Task<void> {
    for (;;) {
      (void)co_await one.queue.tend();
      co_await one.loop.sleep_ms(kLookMs);
    }
  };
  process.loop.post([&] { worker.start(); });
  block_on(process.loop, tend(process));
  ::_exit(0);
}

// What is acknowledged is written down at once, with what no kill takes back.
[[noreturn]] void submit(std::string const& url) {
  Process process(url);
  if (!process.store.open()) ::_exit(3);
  Jobs jobs(process.store, process.queue);
  int const file = ::open("acknowledged", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  auto run = [](Process& one, Jobs& to, int log) -> Task<void> {
    for (;;) {
      std::vector<JobSpec> specs;
      for (int i = 0; i < 8; ++i) {
        specs.push_back({.name = i % 4 == 0 ? "plain" : "effect",
                         .priority = i % 3 == 0 ? priority::kHigh : priority::kNormal});
      }
      auto const added = co_await to.enqueue(std::move(specs));
      if (added) {
        std::string lines;
        for (auto const& job : *added) lines += job.id.to_string() + "\n";
        if (::write(log, lines.data(), lines.size()) < 0) ::_exit(4);
      }
      co_await one.loop.sleep_ms(20);
    }
  };
  block_on(process.loop, run(process, jobs, file));
  ::_exit(0);
}

// What the test below starts, in a folder of its own making; alone it does nothing.
TEST(JobHistoryProcess, Runs) {
  std::ifstream role_file("job-history-role");
  std::string role;
  std::string url;
  if (!std::getline(role_file, role) || !std::getline(role_file, url)) return;
  role == "work" ? work(url) : submit(url);
}

class Fleet {
 public:
  Fleet(std::filesystem::path folder, std::string url)
      : folder_(std::move(folder)), url_(std::move(url)) {}
  ~Fleet() {
    while (!members_.empty()) end(members_.size() - 1);
  }
  Fleet(Fleet const&) = delete;
  Fleet& operator=(Fleet const&) = delete;

  void start(std::string const& role) {
    auto const place = folder_ / role;
    std::filesystem::create_directories(place);
    std::ofstream(place / "job-history-role") << role << '\n' << url_ << '\n';
    pid_t const child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (!clock_.empty()) set_clock_of_child();
      int const nowhere = ::open("/dev/null", O_RDWR);
      ::dup2(nowhere, 1);
      if (::chdir(place.c_str()) != 0) ::_exit(126);
      ::execl("/proc/self/exe", "jobs", "--gtest_filter=JobHistoryProcess.Runs", nullptr);
      ::_exit(127);
    }
    members_.push_back({child, role});
  }
  // From the next start on, wall clocks go ahead by what the file says, such as "+1d".
  void jump(std::string const& offset) {
    clock_ = folder_ / "clock";
    auto const fresh = folder_ / "clock.new";
    std::ofstream(fresh) << offset << '\n';
    std::filesystem::rename(fresh, clock_);
  }
  [[nodiscard]] std::size_t size() const { return members_.size(); }
  [[nodiscard]] std::string role(std::size_t i) const { return members_[i].role; }
  void freeze(std::size_t i) { ::kill(members_[i].pid, SIGSTOP); }
  void thaw(std::size_t i) { ::kill(members_[i].pid, SIGCONT); }
  void end(std::size_t i) {
    ::kill(members_[i].pid, SIGKILL);
    ::waitpid(members_[i].pid, nullptr, 0);
    members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  [[nodiscard]] std::set<Uuid> acknowledged() const {
    std::set<Uuid> ids;
    std::ifstream file(folder_ / "submit" / "acknowledged");
    for (std::string line; std::getline(file, line);) {
      if (auto const id = Uuid::parse(line)) ids.insert(*id);
    }
    return ids;
  }

 private:
  struct Member {
    pid_t pid;
    std::string role;
  };
  // Debian's libfaketime between the program and the system: the wall clock alone.
  void set_clock_of_child() const {
    for (auto const& entry : std::filesystem::directory_iterator("/usr/lib")) {
      auto const library = entry.path() / "faketime" / "libfaketimeMT.so.1";
      if (std::filesystem::exists(library)) ::setenv("LD_PRELOAD", library.c_str(), 1);
    }
    ::setenv("FAKETIME_TIMESTAMP_FILE", clock_.c_str(), 1);
    ::setenv("FAKETIME_NO_CACHE", "1", 1);
    ::setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1", 1);
    ::setenv("DONT_FAKE_MONOTONIC", "1", 1);
  }

  std::filesystem::path folder_;
  std::string url_;
  std::filesystem::path clock_;
  std::vector<Member> members_;
};

struct Found {
  std::map<Uuid, JobStatus> jobs;
  std::map<std::string, std::int64_t> effects;
  std::map<Uuid, int> ends;  // Rows of the log that tell its end.
};

Task<Result<Found>> look(store::Session& session) {
  Found found;
  auto const jobs = co_await session.query("SELECT id, status FROM jobs", {}, [&](auto const& row) {
    found.jobs[row.uuid(0)] = describe::from_text<JobStatus>(row.text(1)).value();
  });
  if (!jobs) co_return std::unexpected(jobs.error());
  auto const effects = co_await session.query(
      "SELECT name, n FROM record_counts WHERE name LIKE 'effect.%'", {},
      [&](auto const& row) { found.effects[std::string(row.text(0))] = row.integer(1); });
  if (!effects) co_return std::unexpected(effects.error());
  auto const ends = co_await session.query(
      "SELECT " + std::string(store::kEventColumns) + " FROM events WHERE kind = 'job.ended'", {},
      [&](auto const& row) {
        for (auto const& id : jobs_of_event(store::event_from_row(row))) ++found.ends[id];
      });
  if (!ends) co_return std::unexpected(ends.error());
  co_return found;
}

bool full_size() {
  // lint: allow(environment): how long a proof goes on is no setting of the server.
  auto const* const size = std::getenv("SUBFORGE_TEST_SIZE");
  return size != nullptr && std::string_view(size) == "full";
}

std::uint64_t chosen_seed() {
  // lint: allow(environment): nor is where it begins.
  auto const* const wanted = std::getenv("SUBFORGE_TEST_SEED");
  if (wanted != nullptr) return parse_number<std::uint64_t>(wanted).value_or(1);
  return full_size() ? fast_random() : 1;
}

void make_trouble(Fleet& fleet, EventLoop& loop, std::mt19937_64& random, std::int64_t for_ms) {
  auto const sleep = [&loop](std::int64_t ms) {
    block_on(loop, [](EventLoop& on, std::int64_t n) -> Task<void> {
      co_await on.sleep_ms(n);
    }(loop, ms));
  };
  auto const until_ns = monotonic_ns() + for_ms * 1'000'000;
  while (monotonic_ns() < until_ns) {
    sleep(static_cast<std::int64_t>(random() % 300));
    auto const one = random() % fleet.size();
    if (random() % 3 == 0) {
      fleet.freeze(one);
      sleep(kLookMs * 8);  // Longer than its lease.
      fleet.thaw(one);
    } else {
      auto const role = fleet.role(one);
      fleet.end(one);
      fleet.start(role);
    }
  }
}

void check(Found const& found, std::set<Uuid> const& acknowledged) {
  for (auto const& id : acknowledged) {
    EXPECT_TRUE(found.jobs.contains(id)) << "acknowledged and lost: " << id.to_string();
  }
  std::size_t successes = 0;
  for (auto const& [id, status] : found.jobs) {
    EXPECT_TRUE(is_final(status)) << id.to_string() << " is " << describe::to_text(status);
    auto const ended = found.ends.find(id);
    EXPECT_EQ(ended == found.ends.end() ? 0 : ended->second, 1) << id.to_string();
    successes += status == JobStatus::success ? 1 : 0;
  }
  EXPECT_GT(successes, 0U);
  for (auto const& [name, times] : found.effects) {
    auto const id = Uuid::parse(std::string_view(name).substr(7));
    ASSERT_TRUE(id);
    EXPECT_EQ(times, 1) << name;
    EXPECT_EQ(found.jobs.at(*id), JobStatus::success) << name;
  }
}

void prove(std::string const& url) {
  store::TemporaryFolder const folder;
  auto const seed = chosen_seed();
  SCOPED_TRACE("SUBFORGE_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  auto const place = url.empty() ? (folder.path() / "jobs.db").string() : url;
  auto const database = open_database(place);
  store::Store store(*database, silent_logger());
  ASSERT_TRUE(store.open());
  EventLoop loop;
  Fleet fleet(folder.path(), place);
  for (int i = 0; i < 3; ++i) fleet.start("work");
  fleet.start("submit");
  make_trouble(fleet, loop, random, full_size() ? 60'000 : 2'500);
  for (std::size_t i = fleet.size(); i-- > 0;) {
    if (fleet.role(i) == "submit") fleet.end(i);
  }
  // Now everything has to come to its end, with what is left of the fleet.
  Found found;
  auto const all_ended = [&] {
    auto const looked = block_on(loop, store.read(store::ReadCost::scan, look));
    if (!looked) return false;
    found = *looked;
    return std::ranges::all_of(found.jobs, [](auto const& one) { return is_final(one.second); });
  };
  for (int i = 0; i < 300 && !all_ended(); ++i) {
    block_on(loop, [](EventLoop& on) -> Task<void> { co_await on.sleep_ms(100); }(loop));
  }
  auto const acknowledged = fleet.acknowledged();
  EXPECT_GT(acknowledged.size(), 0U);  // How many depends on the machine.
  check(found, acknowledged);
  std::printf("[   INFO   ] %zu acknowledged, %zu ended, %zu effects\n", acknowledged.size(),
              found.jobs.size(), found.effects.size());
  store.close();
}

TEST(JobHistoryProof, OnSqliteEachTaskEndsOnceAndItsEffectCountsOnce) { prove({}); }

TEST(JobHistoryProof, OnPostgresqlEachTaskEndsOnceAndItsEffectCountsOnce) {
  prove(store::TestCluster::shared().create_database());
}

// ---- Clocks that jump
// ----------------------------------------------------------------------------

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
  std::unique_ptr<store::Database> database_ = open_database(place_);
  store::Store store_{*database_, silent_logger()};
  Registry registry_;
  EmbeddedQueue queue_{store_, registry_, {}, silent_logger()};
  Jobs jobs_{store_, queue_};
  EventLoop loop_;
  Fleet fleet_{folder_.path(), place_};
};

TEST_F(JobClockProof, AJumpTakesNoLeaseAway) {
  for (int i = 0; i < 2; ++i) fleet_.start("work");
  std::vector<Uuid> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(enqueue({.name = "long"}));
  EXPECT_TRUE(becomes(ids.back(), JobStatus::started));
  for (auto const* const offset : {"+1d", "-1d", "+0"}) {
    fleet_.jump(offset);
    sleep_ms(kLookMs * 3);
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
