// A real store in a folder, and a follower that remembers, for the tests of what is built on them.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include "store/sqlite/sqlite_database.hpp"
#include "store/store.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::store {

// Hears of each event before the writer is told of its success, so take() has all of them.
class EventRecorder final : public LogFollower {
 public:
  void on_events(std::span<EventPtr const> events) override {
    std::lock_guard const lock(mutex_);
    events_.insert(events_.end(), events.begin(), events.end());
  }
  // What came since the last call.
  std::vector<EventPtr> take() {
    std::lock_guard const lock(mutex_);
    return std::exchange(events_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<EventPtr> events_;
};

// Opened twice on one folder it is what two processes are.
class TestStore {
 public:
  explicit TestStore(std::filesystem::path const& folder,
                     std::vector<LogFollower*> const& followers = {})
      : database_(options_of(folder), logger()), store_(database_, logger()) {
    for (auto* const follower : followers) store_.follow(*follower);
    if (auto const opened = store_.open(); !opened) {
      throw std::runtime_error(opened.error().message + ": " + opened.error().context);
    }
  }
  ~TestStore() { store_.close(); }
  TestStore(TestStore const&) = delete;
  TestStore& operator=(TestStore const&) = delete;

  [[nodiscard]] Store& store() { return store_; }
  template <class T>
  T run(Task<T> task) {
    return block_on(loop_, std::move(task));
  }

  // Says nothing below `critical`: what tests provoke would fill the screen.
  [[nodiscard]] static Logger logger() {
    static LogSink sink(STDERR_FILENO);
    return {sink, LogFormat::text, LogLevel::critical};
  }

 private:
  static SqliteDatabaseOptions options_of(std::filesystem::path const& folder) {
    SqliteDatabaseOptions options;
    auto const path = folder / "test.db";
    options.connection.path = path.string();
    if (!std::filesystem::exists(path)) std::filesystem::copy_file(empty_database(), path);
    return options;
  }

  // Migrated once in each process: that takes longer than most tests.
  static std::filesystem::path empty_database() {
    static TemporaryFolder const folder;
    auto const path = folder.path() / "empty.db";
    if (!std::filesystem::exists(path)) {
      SqliteDatabaseOptions options;
      options.connection.path = path.string();
      SqliteDatabase database(options, logger());
      if (auto const migrated = database.migrate(); !migrated) {
        throw std::runtime_error(migrated.error().message + ": " + migrated.error().context);
      }
    }
    return path;
  }

  EventLoop loop_;
  SqliteDatabase database_;
  Store store_;
};

}  // namespace subforge::store
