#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "base/random.hpp"
#include "base/text.hpp"
#include "jobs/celery/celery_queue.hpp"
#include "jobs/celery/wire.hpp"
#include "jobs/embedded/embedded_queue.hpp"
#include "jobs/job_changes.hpp"
#include "jobs/job_history_test.hpp"
#include "jobs/worker.hpp"
#include "store/postgres/postgres_database.hpp"
#include "store/sqlite/sqlite_database.hpp"

namespace subforge::jobs {
namespace {

constexpr std::string_view kEffects = "effect.";

void add_tasks(Registry& registry) {
  registry.add({.name = "effect",
                .handler = [](JobContext& context) -> Task<Outcome> {
                  auto const chance = fast_random();
                  // Some are over before a task of others has a row, some are not.
                  co_await EventLoop::current()->sleep_ms(
                      static_cast<std::int64_t>(chance % (chance % 5 == 0 ? 200 : 40)));
                  context.progress(50);
                  if (chance % 7 == 0) throw std::runtime_error("by chance");
                  co_return succeeded_with(
                      "true", counting(std::string(kEffects) + context.job().id.to_string()));
                },
                .max_retries = 5,
                .automatic_retries = 5,
                .backoff_ms = 20});
  registry.add(
      {.name = "plain", .handler = [](JobContext&) -> Task<Outcome> { co_return succeeded(); }});
  registry.add({.name = "long", .handler = [](JobContext&) -> Task<Outcome> {
                  co_await EventLoop::current()->sleep_ms(kHistoryLookMs * 12);
                  co_return succeeded();
                }});
}

redis::RedisOptions redis_at(std::string const& url) {
  redis::RedisOptions options;
  options.url = redis::parse_redis_url(url, "URL").value();
  return options;
}

// ---- The processes: this program again, in a folder that says what it is to be ------------------

struct Process {
  explicit Process(HistoryPlaces const& places)
      : database(open_history_database(places.database)), store(*database, silent_logger()) {
    add_tasks(registry);
    if (places.broker.empty()) {
      queue = std::make_unique<EmbeddedQueue>(store, registry, QueueLimits{}, silent_logger());
      return;
    }
    celery::CeleryOptions options;
    options.broker = options.results = redis_at(places.broker);
    auto over_redis = std::make_unique<celery::CeleryQueue>(
        loop, pool, store, registry, QueueLimits{}, options, silent_logger());
    celery = over_redis.get();
    queue = std::move(over_redis);
  }
  // Who cannot begin says so by ending.
  void open() {
    if (!store.open()) ::_exit(3);
    if (celery != nullptr) celery->start();
  }

  EventLoop loop;
  BlockingPool pool{1, 10};
  std::unique_ptr<store::Database> database;
  store::Store store;
  Registry registry;
  std::unique_ptr<Queue> queue;
  celery::CeleryQueue* celery = nullptr;
};

[[noreturn]] void work(HistoryPlaces const& places) {
  Process process(places);
  Worker worker(
      process.loop,
      {process.store, *process.queue, process.registry, process.pool, silent_logger()},
      {.slots = 16, .report_ms = 50, .beat_ms = kHistoryLookMs / 2, .look_ms = kHistoryLookMs});
  process.store.follow(worker);
  process.open();
  auto tend = [](Process& one) -> Task<void> {
    for (;;) {
      (void)co_await one.queue->tend();
      co_await one.loop.resume_here();
      co_await one.loop.sleep_ms(kHistoryLookMs);
    }
  };
  process.loop.post([&] { worker.start(); });
  block_on(process.loop, tend(process));
  ::_exit(0);
}

// What is acknowledged is written down at once, with what no kill takes back.
class Log {
 public:
  void write(std::string const& lines) {
    if (::write(file_, lines.data(), lines.size()) < 0) ::_exit(4);
  }

 private:
  int file_ = ::open("acknowledged", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
};

[[noreturn]] void submit(HistoryPlaces const& places) {
  Process process(places);
  process.open();
  Jobs jobs(process.store, *process.queue);
  Log log;
  auto run = [](Process& one, Jobs& to, Log& taken) -> Task<void> {
    for (;;) {
      std::vector<JobSpec> specs;
      for (int i = 0; i < 8; ++i) {
        specs.push_back({.name = i % 4 == 0 ? "plain" : "effect",
                         .priority = i % 3 == 0 ? priority::kHigh : priority::kNormal});
      }
      auto const added = co_await to.enqueue(std::move(specs));
      co_await one.loop.resume_here();
      if (added) {
        std::string lines;
        for (auto const& job : *added) lines += job.id.to_string() + "\n";
        taken.write(lines);
      }
      co_await one.loop.sleep_ms(20);
    }
  };
  block_on(process.loop, run(process, jobs, log));
  ::_exit(0);
}

[[noreturn]] void send(HistoryPlaces const& places) {
  EventLoop loop;
  BlockingPool pool{1, 10};
  redis::Client client(loop, pool, redis_at(places.broker), silent_logger());
  client.start();
  Log log;
  auto run = [](EventLoop& on, redis::Client& to, Log& taken) -> Task<void> {
    for (std::uint64_t number = 0;; ++number) {
      celery::TaskMessage message;
      message.id = Uuid::random().to_string();
      message.task = number % 4 == 0 ? "plain" : "effect";
      message.queue = kDefaultQueue;
      auto const text = celery::write_message(message);
      auto const list = celery::list_name(message.queue, celery::band_of(message.priority));
      auto const pushed = co_await to.command({"LPUSH", list, text});
      if (pushed) taken.write(message.id + "\n");
      co_await on.sleep_ms(3);
    }
  };
  block_on(loop, run(loop, client, log));
  ::_exit(0);
}

// What tests start, in a folder of its own making; alone it does nothing.
TEST(JobHistoryProcess, Runs) {
  std::ifstream file("job-history-role");
  std::string role;
  HistoryPlaces places;
  if (!std::getline(file, role) || !std::getline(file, places.database)) return;
  std::getline(file, places.broker);
  if (role == "work") work(places);
  role == "send" ? send(places) : submit(places);
}

}  // namespace

std::unique_ptr<store::Database> open_history_database(std::string const& place) {
  if (!place.starts_with("postgresql://")) {
    store::SqliteDatabaseOptions options;
    options.connection.path = place;
    return std::make_unique<store::SqliteDatabase>(std::move(options), silent_logger());
  }
  store::PostgresDatabaseOptions options;
  options.server.url = place;
  return std::make_unique<store::PostgresDatabase>(options, silent_logger());
}

// ---- The fleet ---------------------------------------------------------------------------------

Fleet::~Fleet() {
  while (!members_.empty()) end(members_.size() - 1);
}

void Fleet::start(std::string const& role) {
  auto const place = folder_ / role;
  std::filesystem::create_directories(place);
  std::ofstream(place / "job-history-role") << role << '\n'
                                            << places_.database << '\n'
                                            << places_.broker << '\n';
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

void Fleet::jump(std::string const& offset) {
  clock_ = folder_ / "clock";
  auto const fresh = folder_ / "clock.new";
  std::ofstream(fresh) << offset << '\n';
  std::filesystem::rename(fresh, clock_);
}

void Fleet::freeze(std::size_t i) { ::kill(members_[i].pid, SIGSTOP); }
void Fleet::thaw(std::size_t i) { ::kill(members_[i].pid, SIGCONT); }

void Fleet::end(std::size_t i) {
  ::kill(members_[i].pid, SIGKILL);
  ::waitpid(members_[i].pid, nullptr, 0);
  members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(i));
}

void Fleet::end_all(std::string const& role) {
  for (std::size_t i = size(); i-- > 0;) {
    if (members_[i].role == role) end(i);
  }
}

void Fleet::revive() {
  for (std::size_t i = size(); i-- > 0;) {
    if (::waitpid(members_[i].pid, nullptr, WNOHANG) != members_[i].pid) continue;
    auto const role = members_[i].role;
    members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(i));
    start(role);
  }
}

std::set<Uuid> Fleet::acknowledged(std::string const& role) const {
  std::set<Uuid> ids;
  std::ifstream file(folder_ / role / "acknowledged");
  for (std::string line; std::getline(file, line);) {
    if (auto const id = Uuid::parse(line)) ids.insert(*id);
  }
  return ids;
}

// Debian's libfaketime between the program and the system: the wall clock alone.
void Fleet::set_clock_of_child() const {
  for (auto const& entry : std::filesystem::directory_iterator("/usr/lib")) {
    auto const library = entry.path() / "faketime" / "libfaketimeMT.so.1";
    if (std::filesystem::exists(library)) ::setenv("LD_PRELOAD", library.c_str(), 1);
  }
  ::setenv("FAKETIME_TIMESTAMP_FILE", clock_.c_str(), 1);
  ::setenv("FAKETIME_NO_CACHE", "1", 1);
  ::setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1", 1);
  ::setenv("DONT_FAKE_MONOTONIC", "1", 1);
}

// ---- What became of it -------------------------------------------------------------------------

Task<Result<History>> read_history(store::Session& session) {
  History found;
  auto const jobs =
      co_await session.query("SELECT id, status, name FROM jobs", {}, [&](auto const& row) {
        found.jobs[row.uuid(0)] = describe::from_text<JobStatus>(row.text(1)).value();
        if (row.text(2) == "effect") found.with_effect.insert(row.uuid(0));
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

bool History::over(std::set<Uuid> const& acknowledged) const {
  return std::ranges::all_of(jobs, [](auto const& one) { return is_final(one.second); }) &&
         std::ranges::all_of(acknowledged, [this](auto const& id) { return jobs.contains(id); });
}

void check_history(History const& found, std::set<Uuid> const& acknowledged) {
  for (auto const& id : acknowledged) {
    EXPECT_TRUE(found.jobs.contains(id)) << "acknowledged and lost: " << id.to_string();
  }
  std::size_t successes = 0;
  for (auto const& [id, status] : found.jobs) {
    EXPECT_TRUE(is_final(status)) << id.to_string() << " is " << describe::to_text(status);
    auto const ended = found.ends.find(id);
    EXPECT_EQ(ended == found.ends.end() ? 0 : ended->second, 1) << id.to_string();
    successes += status == JobStatus::success ? 1 : 0;
    bool const expected = status == JobStatus::success && found.with_effect.contains(id);
    auto const effect = std::string(kEffects) + id.to_string();
    EXPECT_EQ(found.effects.contains(effect), expected) << effect;
  }
  // One in seven tries fails by chance, of six; what cost too many workers fails as well.
  EXPECT_GE(successes * 10, found.jobs.size() * 9);
  for (auto const& [name, times] : found.effects) {
    auto const id = Uuid::parse(std::string_view(name).substr(kEffects.size()));
    ASSERT_TRUE(id);
    EXPECT_EQ(times, 1) << name;
    EXPECT_EQ(found.jobs.at(*id), JobStatus::success) << name;
  }
  std::printf("[   INFO   ] %zu acknowledged, %zu ended, %zu effects\n", acknowledged.size(),
              found.jobs.size(), found.effects.size());
}

std::uint64_t seed_of_proofs() {
  // lint: allow(environment): where a proof begins is no setting of the server.
  auto const* const wanted = std::getenv("SUBFORGE_TEST_SEED");
  if (wanted != nullptr) return parse_number<std::uint64_t>(wanted).value_or(1);
  return tests_are_full() ? fast_random() : 1;
}

void wait_on(EventLoop& loop, std::int64_t ms) {
  block_on(loop,
           [](EventLoop& on, std::int64_t n) -> Task<void> { co_await on.sleep_ms(n); }(loop, ms));
}

void wait_while_it_goes_on(EventLoop& loop, History const& found,
                           std::function<bool()> const& over) {
  constexpr int kLooks = 400;
  std::size_t ended = 0;
  for (int still = 0; still < kLooks && !over(); ++still) {
    if (found.ends.size() > ended) still = 0;
    ended = found.ends.size();
    wait_on(loop, 100);
  }
}

Blow blow_to(store::TestCluster& cluster, EventLoop& loop) {
  return [&](std::uint64_t chance) {
    if (chance % 2 == 0) {
      cluster.stop();
      wait_on(loop, static_cast<std::int64_t>(chance / 2 % 400));
      cluster.start();
    } else {
      cluster.freeze();
      wait_on(loop, kHistoryLookMs * 8);
      cluster.thaw();
    }
  };
}

void make_trouble(Fleet& fleet, EventLoop& loop, std::mt19937_64& random, std::int64_t for_ms,
                  std::vector<Blow> const& blows) {
  auto const until_ns = monotonic_ns() + for_ms * 1'000'000;
  while (monotonic_ns() < until_ns) {
    wait_on(loop, static_cast<std::int64_t>(random() % 300));
    fleet.revive();
    if (!blows.empty() && random() % 4 == 0) {
      blows[random() % blows.size()](random());
      continue;
    }
    auto const one = random() % fleet.size();
    if (random() % 3 == 0) {
      fleet.freeze(one);
      wait_on(loop, kHistoryLookMs * 8);  // Longer than its lease.
      fleet.thaw(one);
    } else {
      auto const role = fleet.role(one);
      fleet.end(one);
      fleet.start(role);
    }
  }
}

void make_trouble_until_enough(Fleet& fleet, EventLoop& loop, std::mt19937_64& random,
                               std::vector<std::string> const& roles,
                               std::vector<Blow> const& blows) {
  std::size_t const enough = tests_are_full() ? 2'000 : 150;
  constexpr int kRoundsMax = 300;  // Of a second each.
  auto const lacks = [&](std::string const& role) {
    return fleet.acknowledged(role).size() < enough;
  };
  for (int i = 0; i < kRoundsMax && std::ranges::any_of(roles, lacks); ++i) {
    make_trouble(fleet, loop, random, 1'000, blows);
  }
  for (auto const& role : roles) EXPECT_GE(fleet.acknowledged(role).size(), enough) << role;
}

}  // namespace subforge::jobs
