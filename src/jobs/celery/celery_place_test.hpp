// The queue over Redis for tests: a server of their own, processes that share it and a database,
// and what clients of Celery see there.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/test_size_test.hpp"
#include "jobs/celery/celery_queue.hpp"
#include "jobs/celery/wire.hpp"
#include "jobs/queue_contract_test.hpp"
#include "redis/server_test.hpp"
#include "store/postgres/cluster_test.hpp"
#include "store/postgres/postgres_database.hpp"
#include "store/sqlite/sqlite_database.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::jobs::celery {

inline redis::TestServer& shared_server() {
  static redis::TestServer server;
  return server;
}

class CeleryProcess final : public QueueProcess {
 public:
  CeleryProcess(std::unique_ptr<store::Database> database, EventLoop& loop,
                Registry const& registry, QueueLimits const& limits, CeleryOptions options,
                std::vector<store::LogFollower*> const& followers)
      : loop_(loop),
        database_(std::move(database)),
        store_(*database_, silent_logger()),
        queue_(loop, pool_, store_, registry, limits, std::move(options), silent_logger()) {
    for (auto* const follower : followers) store_.follow(*follower);
    auto const opened = store_.open();
    EXPECT_TRUE(opened) << opened.error().message << ": " << opened.error().context;
    queue_.start();
    EXPECT_TRUE(block_on(loop, queue_.connected(5'000)));
  }
  ~CeleryProcess() override {
    queue_.stop();
    store_.close();
    // What is under way ends before what it works with.
    auto rest = [this]() -> Task<void> {
      do {
        co_await loop_.sleep_ms(1);
      } while (!queue_.at_rest());
    };
    block_on(loop_, rest());
  }
  CeleryProcess(CeleryProcess const&) = delete;
  CeleryProcess& operator=(CeleryProcess const&) = delete;

  [[nodiscard]] store::Store& store() override { return store_; }
  [[nodiscard]] CeleryQueue& queue() override { return queue_; }

 private:
  EventLoop& loop_;
  BlockingPool pool_{1, 10};
  std::unique_ptr<store::Database> database_;
  store::Store store_;
  CeleryQueue queue_;
};

class CeleryPlace final : public QueuePlace {
 public:
  // Without a URL the database is a file of its own.
  explicit CeleryPlace(std::string database = {}) : url_(std::move(database)) {
    auto const url = redis::parse_redis_url(shared_server().url(), "test");
    options_.broker.url = options_.results.url = *url;
    options_.visibility_seconds = 3'600;
    auto empty = [](EventLoop& loop, redis::RedisOptions options) -> Task<void> {
      BlockingPool pool(1, 10);
      redis::Client client(loop, pool, std::move(options), silent_logger());
      client.start();
      while (!client.up()) co_await loop.sleep_ms(1);
      (void)co_await client.command({"FLUSHALL"});
      client.stop();
    };
    EventLoop loop;
    block_on(loop, empty(loop, options_.broker));
  }
  std::unique_ptr<QueueProcess> open(EventLoop& loop, Registry const& registry,
                                     QueueLimits const& limits,
                                     std::vector<store::LogFollower*> const& followers) override {
    return std::make_unique<CeleryProcess>(database(), loop, registry, limits, options_, followers);
  }
  // Of the processes that are opened from then on.
  [[nodiscard]] CeleryOptions& options() { return options_; }

 private:
  [[nodiscard]] std::unique_ptr<store::Database> database() const {
    if (!url_.empty()) {
      store::PostgresDatabaseOptions options;
      options.server.url = url_;
      options.server.silence_ms = 10'000;  // Beside other tests it may take a while to answer.
      return std::make_unique<store::PostgresDatabase>(options, silent_logger());
    }
    store::SqliteDatabaseOptions options;
    options.connection.path = (folder_.path() / "jobs.db").string();
    return std::make_unique<store::SqliteDatabase>(std::move(options), silent_logger());
  }

  std::string url_;
  store::TemporaryFolder folder_;
  CeleryOptions options_;
};

// Over Redis with either database. Sanitizers, which look for what the code does with memory, meet
// it with the one alone in less than half of the time; with both if everything is run.
inline std::vector<QueueAdapter> celery_queues() {
  std::vector<QueueAdapter> queues{{"redis", [] { return std::make_unique<CeleryPlace>(); }}};
  bool const sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
  if (!sanitized || tests_are_full()) {
    queues.push_back({"redis_and_postgres", [] {
                        return std::make_unique<CeleryPlace>(
                            store::TestCluster::shared().create_store());
                      }});
  }
  return queues;
}

// What each of the suites on it begins with.
class CeleryContract : public QueueContract {
 protected:
  CeleryQueue& celery() { return dynamic_cast<CeleryQueue&>(queue()); }
  redis::Reply ask(std::vector<std::string> words) {
    auto command = [](redis::Client& client, std::vector<std::string> all) -> Task<redis::Reply> {
      std::vector<std::string_view> const views(all.begin(), all.end());
      auto const reply = co_await client.command(views);
      EXPECT_TRUE(reply) << reply.error().context;
      co_return reply.value_or(redis::Reply{});
    };
    return run(command(celery().broker().client(), std::move(words)));
  }
  // As somebody in Python sends it.
  void send(TaskMessage message) {
    if (message.queue.empty()) message.queue = "celery";
    ask({"LPUSH", list_name(message.queue, band_of(message.priority)), write_message(message)});
  }
  std::optional<ResultMeta> result(std::string const& id) {
    auto const reply = ask({"GET", result_key(id)});
    return reply.is_text() ? read_meta(reply.text) : std::nullopt;
  }
  // As a worker in Python stores one.
  void tell_as_others(ResultMeta const& meta) { tell_as_others(meta.task_id, write_meta(meta)); }
  void tell_as_others(std::string const& id, std::string const& text) {
    ask({"SET", result_key(id), text});
    ask({"PUBLISH", result_key(id), text});
  }
  // Whether it becomes true soon.
  template <class Condition>
  bool soon(Condition const& holds) {
    for (int i = 0; i < 500 && !holds(); ++i) wait_ms(10);
    return holds();
  }
  void wait_ms(std::int64_t ms) {
    run([](EventLoop& loop, std::int64_t n) -> Task<void> { co_await loop.sleep_ms(n); }(loop_,
                                                                                         ms));
  }
  void wait_until(Timestamp end) {
    while (Timestamp::now() < end) wait_ms(10);
  }
  std::vector<ClaimedJob> claim_celery(std::size_t most = 9) {
    return claim(queue(), worker_, most, {"celery"});
  }
  std::int64_t length(std::string const& list) { return ask({"LLEN", list}).integer; }
  void tend(int times = 1) {
    for (int i = 0; i < times; ++i) {
      auto const done = run(queue().tend());
      EXPECT_TRUE(done) << done.error().message << ": " << done.error().context;
    }
  }
};

inline TaskMessage task(std::string id, std::string name = "plain") {
  TaskMessage message;
  message.id = std::move(id);
  message.task = std::move(name);
  return message;
}

}  // namespace subforge::jobs::celery
