// Tasks of Celery's that do nothing, taken from the lists of a Redis and completed by one worker of
// ours, as `subforge worker` does it: each gets its record in the database, its result is stored
// and published, and its message acknowledged. Prints one JSON object; exits with 1 if any of the
// tasks has not ended exactly once.
//
//   celery_tasks FOLDER BROKER_URL RESULTS_URL QUEUE WARM_UP TASKS SLOTS
//
// WARM_UP messages are in the queue before, and the others in QUEUE-kept. The worker does the first
// ones, then the others are let in, and the figures are from then until the last result is there.
// One loop does all of it, beside the thread that writes to the disk.
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>

#include "jobs/celery/celery_queue.hpp"
#include "jobs/celery/node.hpp"
#include "jobs/worker.hpp"
#include "runtime/memory.hpp"
#include "store/sqlite/sqlite_database.hpp"

namespace subforge::jobs::celery {
namespace {

constexpr std::int64_t kConnectMs = 5'000;
constexpr std::int64_t kSecondsMax = 120;

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  auto const seconds = [](timeval const& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message + ": " + result.error().context);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

redis::RedisOptions redis_at(char const* url) {
  redis::RedisOptions options;
  options.url = must(redis::parse_redis_url(url, "URL"));
  return options;
}

class Bench {
 public:
  Bench(std::filesystem::path const& folder, redis::RedisOptions const& broker,
        redis::RedisOptions const& results, std::string const& queue, std::size_t slots)
      : queue_name_(queue),
        database_(options_in(folder), logger_),
        store_(database_, logger_),
        queue_(loop_, pool_, store_, registry_, {}, {.broker = broker, .results = results},
               logger_),
        node_(loop_, pool_, broker, registry_, node_options(broker, queue, slots), {}, logger_),
        client_(loop_, pool_, broker, logger_) {
    registry_.add({.name = "peer.nothing",
                   .handler = [](JobContext&) -> Task<Outcome> { co_return succeeded(); }});
    WorkerOptions options;
    options.slots = slots;
    options.queues = {queue};
    worker_ = std::make_unique<Worker>(
        loop_, Worker::Parts{store_, queue_, registry_, pool_, logger_}, std::move(options));
    store_.follow(*worker_);
    queue_.observe(node_);
    must(store_.open());
    queue_.start();
    node_.start();
    client_.start();
    if (!block_on(loop_, queue_.connected(kConnectMs))) {
      throw std::runtime_error("Redis cannot be reached");
    }
  }
  ~Bench() {
    queue_.stop();
    client_.stop();
    store_.close();
    auto rest = [](EventLoop& loop) -> Task<void> { co_await loop.sleep_ms(1); };
    block_on(loop_, rest(loop_));
  }
  Bench(Bench const&) = delete;
  Bench& operator=(Bench const&) = delete;

  void start() {
    auto begin = [this]() -> Task<void> {
      worker_->start();
      co_return;
    };
    block_on(loop_, begin());
  }
  void let_in() {
    auto rename = [this]() -> Task<Result<redis::Reply>> {
      auto const kept = queue_name_ + "-kept";
      co_return co_await client_.command({"RENAME", kept, queue_name_});
    };
    must(block_on(loop_, rename()));
  }
  // Until so many are settled and nothing lies in the book any more.
  void work(std::uint64_t tasks) {
    auto all = [&]() -> Task<void> {
      auto const give_up_ns = monotonic_ns() + kSecondsMax * 1'000'000'000;
      while (worker_->settled() < tasks || !co_await all_told()) {
        if (monotonic_ns() > give_up_ns) throw std::runtime_error("it takes too long");
        co_await loop_.sleep_ms(1);
      }
    };
    block_on(loop_, all());
  }
  void stop() {
    auto all = [&]() -> Task<void> {
      worker_->begin_shutdown(2'000);
      node_.stop();
      while (!worker_->done() || !node_.done()) co_await loop_.sleep_ms(1);
    };
    block_on(loop_, all());
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

 private:
  static store::SqliteDatabaseOptions options_in(std::filesystem::path const& folder) {
    store::SqliteDatabaseOptions options;
    options.connection.path = (folder / "tasks.db").string();
    return options;
  }
  static NodeOptions node_options(redis::RedisOptions const& broker, std::string const& queue,
                                  std::size_t slots) {
    return {node_name(), "bench", {queue}, slots, broker.url, {}};
  }
  Task<bool> all_told() {
    auto const left = co_await queue_.broker().client().command({"HLEN", "unacked"});
    co_return left && left->integer == 0;
  }

  std::string const queue_name_;
  LogSink sink_{STDERR_FILENO};
  Logger logger_{sink_, LogFormat::text, LogLevel::error};
  EventLoop loop_;
  BlockingPool pool_{1, 10};
  store::SqliteDatabase database_;
  store::Store store_;
  Registry registry_;
  CeleryQueue queue_;
  Node node_;
  redis::Client client_;  // Redis does not tell a connection of what that changes itself.
  std::unique_ptr<Worker> worker_;
};

int run(std::filesystem::path const& folder, char const* broker, char const* results,
        std::string const& queue, std::int64_t warm_up, std::int64_t tasks, std::size_t slots) {
  Bench bench(folder, redis_at(broker), redis_at(results), queue, slots);
  auto const all = warm_up + tasks;
  bench.start();
  bench.work(static_cast<std::uint64_t>(warm_up));
  auto const start_cpu = cpu_seconds();
  auto const start_ns = monotonic_ns();
  bench.let_in();
  bench.work(static_cast<std::uint64_t>(all));
  auto const seconds = static_cast<double>(monotonic_ns() - start_ns) / 1e9;
  auto const cpu_us = (cpu_seconds() - start_cpu) * 1e6 / static_cast<double>(tasks);
  bench.stop();
  auto const ended = bench.ended_once();
  std::printf(
      "{\"tasks\":%lld,\"seconds\":%.3f,\"rate\":%.1f,\"cpu_us\":%.2f,\"ended_once\":%lld}\n",
      static_cast<long long>(tasks), seconds, static_cast<double>(tasks) / seconds, cpu_us,
      static_cast<long long>(ended));
  return ended == all ? 0 : 1;
}

}  // namespace
}  // namespace subforge::jobs::celery

int main(int count, char** arguments) {
  if (count != 8) {
    std::fprintf(stderr,
                 "usage: celery_tasks FOLDER BROKER_URL RESULTS_URL QUEUE WARM_UP TASKS SLOTS\n");
    return 2;
  }
  subforge::keep_freed_memory();  // As the program does.
  try {
    return subforge::jobs::celery::run(arguments[1], arguments[2], arguments[3], arguments[4],
                                       std::atoll(arguments[5]), std::atoll(arguments[6]),
                                       static_cast<std::size_t>(std::atoll(arguments[7])));
  } catch (std::exception const& error) {
    std::fprintf(stderr, "celery_tasks: %s\n", error.what());
    return 1;
  }
}
