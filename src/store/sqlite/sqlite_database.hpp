// The database port on SQLite: one writer thread that groups commits, a read connection for each
// event loop, and pool threads with connections of their own for longer reads.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/log.hpp"
#include "runtime/blocking_pool.hpp"
#include "store/database.hpp"
#include "store/migrations.hpp"
#include "store/sqlite/sqlite_connection.hpp"
#include "store/sqlite/sqlite_writer.hpp"

namespace subforge::store {

struct SqliteDatabaseOptions {
  SqliteOptions connection;
  SqliteWriterOptions writer;
  std::size_t scan_threads = 2;
  std::size_t scan_queue_max = 1'000;
  std::size_t whole_queue_max = 10;  // Readers of everything, of whom one reads at a time.
  int schema_version_max = kAnySchemaVersion;  // Where migrate() ends.
};

// Makes a database one file that is whole by itself, without those beside it. Error: conflict, if
// somebody uses it.
[[nodiscard]] Result<void> close_sqlite_file(std::string const& path);

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
  // A loop's own connection. Its snapshot serves all reads of one turn of the loop, unless
  // something was written meanwhile: taking and giving back SQLite's locks costs more than a point
  // read.
  struct Reader {
    EventLoop* loop;
    std::unique_ptr<SqliteConnection> connection;
    bool in_snapshot = false;
    std::int64_t changes = 0;  // The writer's, before the snapshot was taken.
  };
  [[nodiscard]] std::shared_ptr<Reader> reader_of(EventLoop& loop);

  Result<void> run_scan(ReadWork work);

  SqliteDatabaseOptions const options_;
  Logger logger_;
  std::unique_ptr<SqliteConnection> migrated_;  // From migrate() to start(), which gives it away.
  std::unique_ptr<SqliteWriter> writer_;

  std::mutex readers_mutex_;
  std::vector<std::shared_ptr<Reader>> readers_;
  bool reading_ = false;

  std::mutex scanners_mutex_;
  std::vector<std::unique_ptr<SqliteConnection>> scanners_;
  std::unique_ptr<BlockingPool> pool_;
  std::unique_ptr<BlockingPool> whole_pool_;  // So that one who reads for minutes holds up no list.
};

}  // namespace subforge::store
