// The queue in the database: tasks that do nothing, submitted through its port in batches, claimed
// and completed in groups by one worker. Prints one JSON object; exits with 1 if any task that was
// acknowledged has not ended exactly once.
//
//   embedded_tasks FOLDER TASKS KEPT SLOTS
//
// KEPT ended tasks are there before. One loop submits, another one works; both wait for the disk.
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "jobs/embedded/embedded_queue.hpp"
#include "jobs/jobs.hpp"
#include "jobs/worker.hpp"
#include "runtime/memory.hpp"
#include "store/sqlite/sqlite_database.hpp"

namespace subforge::jobs {
namespace {

constexpr std::size_t kBatch = 100;
constexpr int kBatchesAtOnce = 8;
constexpr int kLatencySamples = 300;
constexpr std::int64_t kKeptPerStatement = 50'000;

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  auto const seconds = [](timeval const& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double seconds_since(std::int64_t start_ns) {
  return static_cast<double>(monotonic_ns() - start_ns) / 1e9;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0 : values[values.size() / 2];
}

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message + ": " + result.error().context);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class Bench {
 public:
  Bench(std::filesystem::path const& folder, std::size_t slots)
      : database_(options_in(folder), logger_), store_(database_, logger_) {
    auto const noop = [this](JobContext&) -> Task<Outcome> {
      started_ns_.store(monotonic_ns(), std::memory_order_relaxed);
      co_return succeeded();
    };
    registry_.add({.name = "noop", .handler = noop});
    WorkerOptions options;
    options.slots = slots;
    worker_ = std::make_unique<Worker>(
        work_loop_, Worker::Parts{store_, queue_, registry_, pool_, logger_}, std::move(options));
    store_.follow(*worker_);
    must(store_.open());
    work_thread_ = std::thread([this] { work_loop_.run(); });
  }
  ~Bench() {
    work_loop_.stop();
    work_thread_.join();
    store_.close();
  }
  Bench(Bench const&) = delete;
  Bench& operator=(Bench const&) = delete;

  void start_worker() {
    work_loop_.post([this] { worker_->start(); });
  }
  void stop_worker() {
    work_loop_.post([this] { worker_->begin_shutdown(2'000); });
    while (!worker_->done()) ::usleep(1'000);
  }

  // Ended long ago, as a server that runs for weeks has them.
  void keep(std::int64_t kept) {
    auto const fill = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
      co_return co_await transaction.execute(
          "INSERT INTO jobs (id, name, status, priority, progress, result, created_at, started_at,"
          " completed_at, retry_count, max_retries, metadata, queue, progress_note, args, kwargs,"
          " stage, lane, rank, due_at, fence, losses)"
          " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)"
          " SELECT randomblob(16), 'noop', 'success', 5, 100, 'null', i, i, i, 0, 3, '{}',"
          " 'default', '', '[]', '{}', 'ended', '', i, i, 1, 0 FROM n",
          {kKeptPerStatement});
    };
    for (; kept > 0; kept -= kKeptPerStatement) must(block_on(loop_, store_.write(fill)));
  }

  // Tasks acknowledged a second.
  double submit(std::int64_t tasks) {
    auto const start_ns = monotonic_ns();
    block_on(loop_, submit_all(tasks));
    return static_cast<double>(tasks) / seconds_since(start_ns);
  }
  // Looks seldom where seconds are measured, as a look costs the core that a worker needs.
  void wait_for(std::uint64_t settled, useconds_t look_us = 5'000) {
    while (worker_->settled() < settled) ::usleep(look_us);
  }
  [[nodiscard]] std::uint64_t settled() const { return worker_->settled(); }

  // Milliseconds from the call that enqueues one, and from its answer, to the handler.
  std::pair<double, double> latency() {
    std::vector<double> from_call;
    std::vector<double> from_answer;
    for (int i = 0; i < kLatencySamples; ++i) {
      auto const before = worker_->settled();
      started_ns_.store(0, std::memory_order_relaxed);
      auto const call_ns = monotonic_ns();
      must(block_on(loop_, jobs_.enqueue({{.name = "noop"}})));
      auto const answer_ns = monotonic_ns();
      wait_for(before + 1, 200);
      auto const began_ns = started_ns_.load(std::memory_order_relaxed);
      from_call.push_back(static_cast<double>(began_ns - call_ns) / 1e6);
      from_answer.push_back(static_cast<double>(began_ns - answer_ns) / 1e6);
      ::usleep(2'000);
    }
    return {median(from_call), median(from_answer)};
  }

  // How many have ended well with one start.
  std::int64_t ended_once() {
    std::int64_t count = 0;
    auto const read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
      co_return co_await session.query(
          "SELECT count(*) FROM jobs WHERE status = 'success' AND fence = 1", {},
          [&](store::Row const& row) { count = row.integer(0); });
    };
    must(block_on(loop_, store_.read(store::ReadCost::scan, read)));
    return count;
  }
  [[nodiscard]] std::int64_t events() const { return store_.last_event_id(); }

 private:
  static store::SqliteDatabaseOptions options_in(std::filesystem::path const& folder) {
    store::SqliteDatabaseOptions options;
    options.connection.path = (folder / "tasks.db").string();
    return options;
  }
  Task<void> submit_all(std::int64_t tasks) {
    TaskGroup group;
    std::int64_t left = tasks;
    auto const some = [&]() -> Task<void> {
      while (left > 0) {
        auto const count = std::min<std::int64_t>(left, kBatch);
        left -= count;
        must(co_await jobs_.enqueue(
            std::vector<JobSpec>(static_cast<std::size_t>(count), {.name = "noop"})));
      }
    };
    for (int i = 1; i < kBatchesAtOnce; ++i) group.spawn(some());
    co_await some();
    while (group.running() > 0) co_await loop_.sleep_ms(1);
  }

  LogSink sink_{STDERR_FILENO};
  Logger logger_{sink_, LogFormat::text, LogLevel::error};
  store::SqliteDatabase database_;
  store::Store store_;
  Registry registry_;
  EmbeddedQueue queue_{store_, registry_, {}, logger_};
  Jobs jobs_{store_, queue_};
  BlockingPool pool_{1, 10};
  EventLoop loop_;
  EventLoop work_loop_;
  std::unique_ptr<Worker> worker_;
  std::thread work_thread_;
  std::atomic<std::int64_t> started_ns_{0};
};

int run(std::filesystem::path const& folder, std::int64_t tasks, std::int64_t kept,
        std::size_t slots) {
  Bench bench(folder, slots);
  bench.keep(kept);
  auto const before = bench.ended_once();
  // Without a worker: what submitting alone costs. These are the first that it finds.
  auto const submit_cpu = cpu_seconds();
  auto const submit_rate = bench.submit(tasks / 4);
  auto const submit_cpu_us = (cpu_seconds() - submit_cpu) * 1e6 / static_cast<double>(tasks / 4);
  bench.start_worker();
  bench.wait_for(static_cast<std::uint64_t>(tasks / 4));
  auto const events = bench.events();
  auto const done = bench.settled();
  auto const start_cpu = cpu_seconds();
  auto const start_ns = monotonic_ns();
  bench.submit(tasks);
  auto const submitted_seconds = seconds_since(start_ns);
  bench.wait_for(done + static_cast<std::uint64_t>(tasks));
  auto const seconds = seconds_since(start_ns);
  auto const cpu_us = (cpu_seconds() - start_cpu) * 1e6 / static_cast<double>(tasks);
  auto const rows = static_cast<double>(bench.events() - events) / static_cast<double>(tasks);
  auto const [from_call, from_answer] = bench.latency();
  bench.stop_worker();
  auto const wanted = before + tasks / 4 + tasks + kLatencySamples;
  auto const ended = bench.ended_once();
  std::printf(
      "{\"tasks\":%lld,\"kept\":%lld,\"slots\":%zu,\"rate\":%.1f,\"cpu_us\":%.2f,"
      "\"submitted_seconds\":%.3f,\"seconds\":%.3f,\"events_per_task\":%.4f,"
      "\"submit_rate\":%.1f,\"submit_cpu_us\":%.2f,\"call_to_start_ms\":%.3f,"
      "\"answer_to_start_ms\":%.3f,\"wanted\":%lld,\"ended_once\":%lld}\n",
      static_cast<long long>(tasks), static_cast<long long>(kept), slots,
      static_cast<double>(tasks) / seconds, cpu_us, submitted_seconds, seconds, rows, submit_rate,
      submit_cpu_us, from_call, from_answer, static_cast<long long>(wanted),
      static_cast<long long>(ended));
  return ended == wanted ? 0 : 1;
}

}  // namespace
}  // namespace subforge::jobs

int main(int count, char** arguments) {
  if (count != 5) {
    std::fprintf(stderr, "usage: embedded_tasks FOLDER TASKS KEPT SLOTS\n");
    return 2;
  }
  subforge::keep_freed_memory();  // As the program does.
  try {
    return subforge::jobs::run(arguments[1], std::atoll(arguments[2]), std::atoll(arguments[3]),
                               static_cast<std::size_t>(std::atoll(arguments[4])));
  } catch (std::exception const& error) {
    std::fprintf(stderr, "embedded_tasks: %s\n", error.what());
    return 1;
  }
}
