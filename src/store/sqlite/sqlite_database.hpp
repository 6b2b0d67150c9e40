// The database port on SQLite: one writer thread that groups commits, a read connection for each
// event loop, and pool threads with connections of their own for longer reads.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/log.hpp"
#include "runtime/blocking_pool.hpp"
#include "store/database.hpp"
#include "store/sqlite/sqlite_connection.hpp"

namespace subforge::store {

struct SqliteDatabaseOptions {
  SqliteOptions connection;
  std::size_t group_jobs_max = 512;    // Writes that share one commit.
  std::size_t write_queue_max = 20000;  // Writes that may wait; one more is refused.
  std::size_t scan_threads = 2;
  std::size_t scan_queue_max = 1000;
  std::int64_t change_poll_ms = 200;  // How often another process's writes are looked for.
};

class SqliteDatabase final : public Database {
 public:
  SqliteDatabase(SqliteDatabaseOptions options, Logger logger);
  ~SqliteDatabase() override;

  Result<void> migrate() override;
  Result<void> start(CommitListener& listener) override;
  void stop() override;
  Task<Result<void>> read(ReadCost cost, ReadWork work) override;
  [[nodiscard]] Session* inline_reader() override;
  [[nodiscard]] bool submit(WriteJob& job) override;
  [[nodiscard]] Dialect dialect() const override { return Dialect::sqlite; }
  [[nodiscard]] std::string_view name() const override { return "sqlite"; }

 private:
  struct Reader {
    EventLoop* loop;
    std::unique_ptr<SqliteConnection> connection;
  };

  void write_loop();
  void run_group(std::vector<WriteJob*> const& jobs);
  Result<void> run_job(WriteJob& job);
  void look_for_changes();
  Result<void> run_scan(ReadWork work);

  SqliteDatabaseOptions const options_;
  Logger logger_;
  std::unique_ptr<SqliteConnection> writer_;
  CommitListener* listener_ = nullptr;
  std::int64_t data_version_ = 0;

  std::mutex queue_mutex_;
  std::condition_variable queue_wake_;
  std::vector<WriteJob*> queue_;
  bool accepting_ = false;
  std::thread write_thread_;

  std::mutex readers_mutex_;
  std::vector<Reader> readers_;

  std::mutex scanners_mutex_;
  std::vector<std::unique_ptr<SqliteConnection>> scanners_;
  std::unique_ptr<BlockingPool> pool_;
};

}  // namespace subforge::store
