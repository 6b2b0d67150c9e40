// What every adapter of the database port must do. The suites in database_contract_test.cpp and
// event_log_contract_test.cpp run on each adapter that is named by INSTANTIATE_TEST_SUITE_P.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/log.hpp"
#include "runtime/event_loop.hpp"
#include "store/database.hpp"
#include "store/store.hpp"

namespace subforge::store {

// The limits that tests make small.
struct DatabaseLimits {
  std::size_t write_queue_max = 20'000;
  std::size_t scan_threads = 2;
  std::size_t scan_queue_max = 1'000;
};

// One database, empty at first, that can be opened several times, as several processes do.
class DatabasePlace {
 public:
  virtual ~DatabasePlace() = default;
  virtual std::unique_ptr<Database> open(DatabaseLimits const& limits) = 0;
  // The name of the type that holds any bytes; all else is written the same everywhere.
  [[nodiscard]] virtual std::string blob_type() const = 0;
};

struct DatabaseAdapter {
  std::string name;
  std::function<std::unique_ptr<DatabasePlace>()> make_place;

  friend std::ostream& operator<<(std::ostream& out, DatabaseAdapter const& adapter) {
    return out << adapter.name;
  }
};

// Says nothing below `critical`: what tests provoke would fill the screen.
Logger quiet_logger();

// Waits up to half a minute for `condition`; false if it never held.
[[nodiscard]] bool eventually(std::function<bool()> const& condition);

// A write made of a function, for threads that can wait.
class TestJob final : public WriteJob {
 public:
  using Body = std::function<Task<Result<void>>(Session&)>;
  explicit TestJob(Body body, Undo undoes = Undo::job) : WriteJob(undoes), body_(std::move(body)) {}

  Task<Result<void>> run(Session& session) override { return body_(session); }
  void finished() override {
    std::lock_guard const lock(mutex_);
    done_ = true;
    wake_.notify_all();
  }
  [[nodiscard]] Result<void> const& wait() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [this] { return done_; });
    return outcome;
  }

 private:
  Body body_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool done_ = false;
};

// A job whose body is these statements.
[[nodiscard]] TestJob::Body statements(std::vector<std::string> sql);
// A row of the table `sample`.
[[nodiscard]] TestJob::Body inserting(std::int64_t id);
// Why it failed, as it must have.
[[nodiscard]] ErrorCode code_of(Result<void> const& outcome);

// A job that stands on the database's thread until release(): what is submitted meanwhile shares
// one group.
class Roadblock {
 public:
  explicit Roadblock(Database& database);
  ~Roadblock() { release(); }
  Roadblock(Roadblock const&) = delete;
  Roadblock& operator=(Roadblock const&) = delete;
  void release();

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool standing_ = false;
  bool open_ = false;
  bool finished_ = false;
  TestJob job_;
};

// Writes down what it hears.
class TestListener final : public CommitListener {
 public:
  Task<Result<void>> committed(Session& session, std::vector<Event> events) override;
  Task<Result<void>> changed_elsewhere(Session& session) override;
  void announced(std::string_view) override {}
  [[nodiscard]] std::vector<std::int64_t> told() const;
  [[nodiscard]] int changes() const;
  // How many of the next calls fail.
  void fail_next(int calls);
  // What happens once, while the listener looks for what others changed.
  void in_next_look(std::function<void()> call);

 private:
  Result<void> verdict();

  mutable std::mutex mutex_;
  std::vector<std::int64_t> told_;
  int changes_ = 0;
  int failing_ = 0;
  std::function<void()> in_next_look_;
};

// The port itself: one open database with the table `sample`.
class DatabaseContract : public testing::TestWithParam<DatabaseAdapter> {
 protected:
  DatabaseContract() : place_(GetParam().make_place()) {}
  ~DatabaseContract() override {
    if (database_ != nullptr) database_->stop();
  }

  // Opens, migrates, starts and makes the table.
  void start(DatabaseLimits const& limits = {});
  Result<void> write(TestJob::Body body);
  Result<void> write(std::string sql) { return write(statements({std::move(sql)})); }
  // Runs `body` as a read of this kind and returns what `read` did.
  Result<void> read(ReadCost cost, std::function<Task<void>(Session&)> body);
  // The only value of a query, by a read of this kind; -1 if there is none.
  std::int64_t number(std::string sql, ReadCost cost = ReadCost::scan);
  std::int64_t rows() { return number("SELECT count(*) FROM sample"); }

  std::unique_ptr<DatabasePlace> place_;
  TestListener listener_;
  std::unique_ptr<Database> database_;
  EventLoop loop_;
};

// Hears the log and keeps the ids in the order heard.
class TestFollower final : public LogFollower {
 public:
  void on_events(std::span<EventPtr const> events) override;
  void on_announced(std::string_view text) override;
  [[nodiscard]] std::vector<std::int64_t> ids() const;
  [[nodiscard]] std::vector<EventPtr> events() const;
  [[nodiscard]] std::int64_t last() const;
  [[nodiscard]] std::vector<std::string> announced() const;

 private:
  mutable std::mutex mutex_;
  std::vector<EventPtr> events_;
  std::vector<std::string> announced_;
};

// A database with its store and a follower, as one process has them.
struct OpenStore {
  explicit OpenStore(std::unique_ptr<Database> opened)
      : database(std::move(opened)), store(*database, quiet_logger()) {
    store.follow(follower);
  }
  ~OpenStore() { store.close(); }
  OpenStore(OpenStore const&) = delete;
  OpenStore& operator=(OpenStore const&) = delete;

  TestFollower follower;
  std::unique_ptr<Database> database;
  Store store;
};

// The write path and the event log on top of the port.
class EventLogContract : public testing::TestWithParam<DatabaseAdapter> {
 protected:
  EventLogContract() : place_(GetParam().make_place()) {}

  // One more process on the same place.
  std::unique_ptr<OpenStore> open();

  std::unique_ptr<DatabasePlace> place_;
  EventLoop loop_;
};

// An event of kind `test.<what>` that all may see.
[[nodiscard]] Event test_event(std::string what);
// Publishes one such event and returns its id.
[[nodiscard]] Task<Result<std::int64_t>> publish_one(Store& store, std::string what);

}  // namespace subforge::store
