// What the store costs: a point read, and durable creates of agents by one writer and by many,
// beside the fdatasync that each commit waits for. The files lie in the current folder.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "domain/agents/agents.hpp"
#include "store/sqlite/sqlite_database.hpp"

namespace subforge::domain {
namespace {

class Folder {
 public:
  Folder() {
    std::string pattern = "micro-store-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(Folder const&) = delete;
  Folder& operator=(Folder const&) = delete;
  [[nodiscard]] std::string file(char const* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

store::SqliteDatabaseOptions options_in(Folder const& folder) {
  store::SqliteDatabaseOptions options;
  options.connection.path = folder.file("store.db");
  return options;
}

// A new database with its agents.
struct Bench {
  Bench() {
    if (auto const opened = store.open(); !opened) throw std::runtime_error(opened.error().context);
  }
  ~Bench() { store.close(); }
  Bench(Bench const&) = delete;
  Bench& operator=(Bench const&) = delete;

  Task<Uuid> create() {
    Agent draft;
    draft.name = "Researcher";
    draft.agent_type = "researcher";
    auto const made = co_await agents.create(std::move(draft), NameRule::any, Actor{});
    if (!made) throw std::runtime_error(made.error().context);
    co_return made->id;
  }

  LogSink sink{STDERR_FILENO};
  Logger logger{sink, LogFormat::text, LogLevel::error};
  Folder folder;
  store::SqliteDatabase database{options_in(folder), logger};
  store::Store store{database, logger};
  Agents agents{store};
  EventLoop loop;
};

double cpu_us() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  auto const micros = [](timeval const& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return micros(used.ru_utime) + micros(used.ru_stime);
}

// Over bytes that the file has already, as in a log that started over.
void sync_8_kib(benchmark::State& state) {
  Folder const folder;
  std::string const page(8192, 'x');
  constexpr off_t kFileBytes = 16 << 20;
  int const fd = ::open(folder.file("sync").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  for (off_t at = 0; at < kFileBytes; at += 8192) {
    if (::pwrite(fd, page.data(), page.size(), at) < 0) throw std::runtime_error("pwrite");
  }
  ::fsync(fd);
  off_t at = 0;
  for (auto _ : state) {
    if (::pwrite(fd, page.data(), page.size(), at) < 0) throw std::runtime_error("pwrite");
    ::fdatasync(fd);
    at = (at + 8192) % kFileBytes;
  }
  ::close(fd);
}
BENCHMARK(sync_8_kib)->UseRealTime();

// Reads of one agent in a table of 10,000: each in a turn of the loop of its own, or all in one.
void point_read(benchmark::State& state) {
  Bench bench;
  bool const own_turns = state.range(0) != 0;
  std::vector<Uuid> ids;
  auto const fill_part = [&]() -> Task<void> {
    for (int i = 0; i < 100; ++i) ids.push_back(co_await bench.create());
  };
  auto const run = [&]() -> Task<void> {
    TaskGroup writers;
    for (int i = 0; i < 100; ++i) writers.spawn(fill_part());
    while (writers.running() > 0) co_await bench.loop.sleep_ms(1);
    struct NextTurn {
      EventLoop& loop;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> waiting) {
        loop.post([waiting] { waiting.resume(); });
      }
      void await_resume() const noexcept {}
    };
    std::size_t next = 0;
    for (auto _ : state) {
      auto const agent = co_await bench.agents.get(ids[next]);
      if (!agent) throw std::runtime_error(agent.error().context);
      next = (next + 7'919) % ids.size();
      if (own_turns) co_await NextTurn{bench.loop};
    }
  };
  block_on(bench.loop, run());
}
BENCHMARK(point_read)->ArgName("own_turns")->Arg(1)->Arg(0);

// Every writer waits for its commit before it writes again.
void durable_create(benchmark::State& state) {
  constexpr int kEach = 50;
  Bench bench;
  auto const write = [&]() -> Task<void> {
    for (int i = 0; i < kEach; ++i) co_await bench.create();
  };
  auto const round = [&]() -> Task<void> {
    TaskGroup writers;
    for (std::int64_t i = 1; i < state.range(0); ++i) writers.spawn(write());
    // The first waits for the rest: none has much less to do than another.
    co_await write();
    while (writers.running() > 0) co_await bench.create();
  };
  block_on(bench.loop, round());
  auto const before = bench.store.last_event_id();
  auto const before_us = cpu_us();
  for (auto _ : state) block_on(bench.loop, round());
  auto const writes = static_cast<double>(bench.store.last_event_id() - before);
  state.counters["writes"] = benchmark::Counter(writes, benchmark::Counter::kIsRate);
  state.counters["cpu_us"] = (cpu_us() - before_us) / writes;
}
BENCHMARK(durable_create)
    ->ArgName("writers")
    ->Arg(1)
    ->Arg(8)
    ->Arg(64)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace subforge::domain

BENCHMARK_MAIN();
