// One SQLite connection with its prepared statements, used by one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "store/database.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace subforge::store {

struct SqliteOptions {
  std::string path;  // A file; made if missing.
  std::string vfs;   // Empty for the default one; tests name their own.
  std::int64_t busy_timeout_ms = 5000;
  std::int64_t cache_kib = 8192;
  std::int64_t mmap_bytes = 256LL << 20;
  std::int64_t log_bytes_max = 64LL << 20;  // What a write-ahead log that grew beyond is cut to.
};

enum class SqliteAccess : std::uint8_t { read_write, read_only };

// A wait for a lock that somebody else holds, looked at every millisecond.
struct LockWait {
  std::int64_t timeout_ms;
  std::int64_t begun_ns = 0;

  // Sleeps, unless the time is over. `attempts` counts from 0 in each wait.
  [[nodiscard]] bool goes_on(int attempts);
};

class SqliteConnection final : public Session {
 public:
  // Statements kept prepared. One more, and all are let go and prepared anew as they come.
  static constexpr std::size_t kPreparedMax = 256;

  [[nodiscard]] static Result<std::unique_ptr<SqliteConnection>> open(SqliteOptions const& options,
                                                                      SqliteAccess access);
  ~SqliteConnection();
  SqliteConnection(SqliteConnection const&) = delete;
  SqliteConnection& operator=(SqliteConnection const&) = delete;

  // Runs any number of statements without parameters or rows, prepared anew: for the schema.
  Result<void> run_script(std::string const& sql);
  // Runs one statement without parameters or rows: for transaction control.
  Result<void> run(std::string_view sql);
  Result<std::int64_t> query_now(std::string_view sql, std::span<Value const> parameters,
                                 OnRow on_row);

  // A number that changes when another connection has committed (PRAGMA data_version).
  Result<std::int64_t> data_version();

  // How long the next statements wait for a lock that another connection holds.
  [[nodiscard]] std::int64_t lock_wait_ms() const { return lock_wait_.timeout_ms; }
  void set_lock_wait_ms(std::int64_t timeout_ms) { lock_wait_.timeout_ms = timeout_ms; }

  // False after an error that made SQLite roll the whole transaction back (disk full, I/O).
  [[nodiscard]] bool in_transaction() const;

  // Rows inserted, updated or deleted so far, undone or not.
  [[nodiscard]] std::int64_t changes() const;

  // Statements that failed so far.
  [[nodiscard]] std::int64_t failures() const { return failures_; }

  // Pages in the write-ahead log after this connection's last commit.
  [[nodiscard]] std::int64_t log_pages() const { return log_pages_; }
  // Copies what it can of the log into the database file, beside readers and a writer. If that was
  // all of it, the next commit starts the log over, unless somebody reads from it then.
  Result<void> checkpoint();

  [[nodiscard]] Dialect dialect() const override { return Dialect::sqlite; }

 private:
  struct FinalizeStatement {
    void operator()(sqlite3_stmt* statement) const;
  };
  struct Prepared {
    std::string sql;
    std::unique_ptr<sqlite3_stmt, FinalizeStatement> statement;
    std::size_t parameters = 0;
  };

  SqliteConnection(sqlite3* handle, std::int64_t busy_timeout_ms)
      : handle_(handle), lock_wait_{busy_timeout_ms} {}
  bool start(Query& query) override;
  Result<void> use_log();
  Result<Prepared const*> prepare(std::string_view sql);
  Result<std::int64_t> step_through(sqlite3_stmt* statement, std::string_view sql, OnRow on_row);
  [[nodiscard]] Error error(int code, std::string_view sql) const;

  sqlite3* handle_;
  LockWait lock_wait_;
  std::int64_t failures_ = 0;
  std::int64_t log_pages_ = 0;
  std::unordered_map<std::string_view, std::unique_ptr<Prepared>> prepared_;
};

}  // namespace subforge::store
