#include "store/sqlite/sqlite_connection.hpp"

#include <chrono>
#include <thread>

#include <fmt/format.h>
#include <sqlite3.h>

#include "base/time.hpp"
#include "store/sqlite/unicode_lower.hpp"

namespace subforge::store {
namespace {

class SqliteRow final : public Row {
 public:
  explicit SqliteRow(sqlite3_stmt* statement) : statement_(statement) {}

  [[nodiscard]] bool is_null(int column) const override {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL;
  }
  [[nodiscard]] std::int64_t integer(int column) const override {
    return sqlite3_column_int64(statement_, column);
  }
  [[nodiscard]] double real(int column) const override {
    return sqlite3_column_double(statement_, column);
  }
  [[nodiscard]] std::string_view text(int column) const override {
    auto const* text = reinterpret_cast<char const*>(sqlite3_column_text(statement_, column));
    if (text == nullptr) return {};
    return {text, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }
  [[nodiscard]] std::string_view blob(int column) const override {
    auto const* bytes = static_cast<char const*>(sqlite3_column_blob(statement_, column));
    if (bytes == nullptr) return {};
    return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
  }

 private:
  sqlite3_stmt* statement_;
};

int bind(sqlite3_stmt* statement, int index, Value const& value) {
  auto const text = value.text();
  switch (value.kind()) {
    case Value::Kind::null: return sqlite3_bind_null(statement, index);
    case Value::Kind::integer: return sqlite3_bind_int64(statement, index, value.integer());
    case Value::Kind::real: return sqlite3_bind_double(statement, index, value.real());
    case Value::Kind::text:
      // A null pointer would bind NULL; an empty view may hold one.
      return sqlite3_bind_text64(statement, index, text.empty() ? "" : text.data(), text.size(),
                                 SQLITE_STATIC, SQLITE_UTF8);
    case Value::Kind::blob:
      return sqlite3_bind_blob64(statement, index, text.empty() ? "" : text.data(), text.size(),
                                 SQLITE_STATIC);
  }
  return SQLITE_MISUSE;
}

ErrorCode code_of(int extended) {
  switch (extended) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID: return ErrorCode::conflict;
    default: break;
  }
  switch (extended & 0xff) {
    case SQLITE_CONSTRAINT: return ErrorCode::invalid;
    case SQLITE_TOOBIG: return ErrorCode::too_large;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM: return ErrorCode::unavailable;
    default: return ErrorCode::database;
  }
}

// A server under load lets go of the write lock for moments only: who asks every millisecond gets
// it sooner than who pauses longer and longer, as SQLite's own handler does.
int wait_for_lock(void* wait, int attempts) {
  return static_cast<LockWait*>(wait)->goes_on(attempts) ? 1 : 0;
}

int note_log_pages(void* noted, sqlite3*, char const*, int pages) {
  *static_cast<std::int64_t*>(noted) = pages;
  return SQLITE_OK;
}

// For the whole process, once: without counts of the memory in use, which nobody reads here,
// connections do not queue for one lock at every allocation.
void configure_library() {
  [[maybe_unused]] static int const configured = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

// Placeholders $1..$n in order of first use mean the same to every database.
bool in_order(sqlite3_stmt* statement, int count) {
  for (int i = 1; i <= count; ++i) {
    auto const* name = sqlite3_bind_parameter_name(statement, i);
    if (name == nullptr || fmt::format("${}", i) != name) return false;
  }
  return true;
}

}  // namespace

bool LockWait::goes_on(int attempts) {
  if (attempts == 0) begun_ns = monotonic_ns();
  if (monotonic_ns() - begun_ns >= timeout_ms * 1'000'000) return false;
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return true;
}

void SqliteConnection::FinalizeStatement::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::open(SqliteOptions const& options,
                                                                 SqliteAccess access) {
  // The owner sees to it that one thread at a time uses the connection. Readers open for writing
  // too: a WAL database needs its shared-memory file, which a read-only handle cannot make.
  configure_library();
  int const flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (access == SqliteAccess::read_write ? SQLITE_OPEN_CREATE : 0);
  sqlite3* handle = nullptr;
  int const opened = sqlite3_open_v2(options.path.c_str(), &handle, flags,
                                     options.vfs.empty() ? nullptr : options.vfs.c_str());
  std::unique_ptr<SqliteConnection> connection(
      new SqliteConnection(handle, options.busy_timeout_ms));
  if (opened != SQLITE_OK) {
    return fail(ErrorCode::unavailable, "The database cannot be opened",
                options.path + ": " +
                    (handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(opened)));
  }
  sqlite3_busy_handler(handle, wait_for_lock, &connection->lock_wait_);
  install_unicode_lower(handle);
  // A commit never checkpoints: the owner of the writing connection sees to that beside commits.
  if (auto used = connection->use_log(); !used) return std::unexpected(used.error());
  auto pragmas = fmt::format(
      "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
      "PRAGMA cache_size=-{}; PRAGMA mmap_size={}; PRAGMA temp_store=MEMORY;"
      "PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit={};",
      options.cache_kib, options.mmap_bytes, options.log_bytes_max);
  if (access == SqliteAccess::read_only) pragmas += "PRAGMA query_only=ON;";
  if (auto set = connection->run_script(pragmas); !set) return std::unexpected(set.error());
  sqlite3_wal_hook(handle, note_log_pages, &connection->log_pages_);
  return connection;
}

SqliteConnection::~SqliteConnection() {
  prepared_.clear();
  sqlite3_close(handle_);
}

// A new database is switched to its write-ahead log. While somebody else does so, or is at work
// before it, SQLite refuses at once instead of asking the busy handler.
Result<void> SqliteConnection::use_log() {
  LockWait wait{lock_wait_.timeout_ms};
  for (int attempts = 0;; ++attempts) {
    std::string mode;
    auto const set =
        query_now("PRAGMA journal_mode=WAL", {}, [&](Row const& row) { mode = row.text(0); });
    if (set && mode == "wal") return {};
    if (set) {
      return fail(ErrorCode::unavailable, "The database cannot be opened",
                  "its file system cannot hold a write-ahead log; the journal stays " + mode);
    }
    bool const busy = (sqlite3_errcode(handle_) & 0xff) == SQLITE_BUSY;
    if (!busy || !wait.goes_on(attempts)) {
      return std::unexpected(set.error());
    }
  }
}

Error SqliteConnection::error(int code, std::string_view sql) const {
  auto const kind = code_of(code);
  auto const* message = kind == ErrorCode::conflict ? "Already exists" : "Database error occurred";
  return {kind, message, fmt::format("{} ({}) in: {}", sqlite3_errmsg(handle_), code, sql)};
}

Result<void> SqliteConnection::run_script(std::string const& sql) {
  int const code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code == SQLITE_OK) return {};
  ++failures_;
  return std::unexpected(error(code, sql));
}

Result<void> SqliteConnection::run(std::string_view sql) {
  auto const done = query_now(sql, {}, [](Row const&) {});
  if (!done) return std::unexpected(done.error());
  return {};
}

bool SqliteConnection::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

std::int64_t SqliteConnection::changes() const { return sqlite3_total_changes64(handle_); }

auto SqliteConnection::prepare(std::string_view sql) -> Result<Prepared const*> {
  if (auto const found = prepared_.find(sql); found != prepared_.end()) return found->second.get();
  if (prepared_.size() >= kPreparedMax) prepared_.clear();
  auto entry = std::make_unique<Prepared>();
  entry->sql = sql;
  sqlite3_stmt* statement = nullptr;
  char const* rest = nullptr;
  int const code = sqlite3_prepare_v3(handle_, entry->sql.c_str(), static_cast<int>(sql.size()) + 1,
                                      SQLITE_PREPARE_PERSISTENT, &statement, &rest);
  if (code != SQLITE_OK) return std::unexpected(error(code, sql));
  entry->statement.reset(statement);
  if (statement == nullptr ||
      std::string_view(rest).find_first_not_of(" \t\n;") != std::string_view::npos) {
    return fail(ErrorCode::database, "Database error occurred",
                fmt::format("not one statement: {}", sql));
  }
  int const parameters = sqlite3_bind_parameter_count(statement);
  if (!in_order(statement, parameters)) {
    return fail(ErrorCode::database, "Database error occurred",
                fmt::format("placeholders are not $1..$n in order: {}", sql));
  }
  entry->parameters = static_cast<std::size_t>(parameters);
  auto const key = std::string_view(entry->sql);
  return prepared_.emplace(key, std::move(entry)).first->second.get();
}

Result<std::int64_t> SqliteConnection::query_now(std::string_view sql,
                                                 std::span<Value const> parameters, OnRow on_row) {
  auto const prepared = prepare(sql);
  if (!prepared) {
    ++failures_;
    return std::unexpected(prepared.error());
  }
  auto* const statement = (*prepared)->statement.get();
  if (parameters.size() != (*prepared)->parameters) {
    ++failures_;
    return fail(ErrorCode::database, "Database error occurred",
                fmt::format("{} values for {} placeholders in: {}", parameters.size(),
                            (*prepared)->parameters, sql));
  }
  // Ends the read, lets go of the bound views.
  struct Reset {
    sqlite3_stmt* statement;
    ~Reset() {
      sqlite3_reset(statement);
      sqlite3_clear_bindings(statement);
    }
  } const reset{statement};

  for (std::size_t i = 0; i < parameters.size(); ++i) {
    int const code = bind(statement, static_cast<int>(i) + 1, parameters[i]);
    if (code == SQLITE_OK) continue;
    ++failures_;
    return std::unexpected(error(code, sql));
  }
  return step_through(statement, sql, on_row);
}

Result<std::int64_t> SqliteConnection::step_through(sqlite3_stmt* statement, std::string_view sql,
                                                    OnRow on_row) {
  auto const total_before = sqlite3_total_changes64(handle_);
  SqliteRow const row(statement);
  for (;;) {
    int const code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
      on_row(row);
    } else if (code == SQLITE_DONE) {
      // What sqlite3_changes tells after a statement that changes no rows is of an earlier one.
      bool const changed = sqlite3_total_changes64(handle_) != total_before;
      return changed ? sqlite3_changes64(handle_) : 0;
    } else {
      ++failures_;
      return std::unexpected(error(code, sql));
    }
  }
}

bool SqliteConnection::start(Query& query) {
  query.outcome = query_now(query.sql, query.parameters, query.on_row);
  return true;
}

Result<void> SqliteConnection::checkpoint() {
  int const code =
      sqlite3_wal_checkpoint_v2(handle_, nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
  // Another process may be at it; it does what this one would.
  if (code == SQLITE_OK || code == SQLITE_BUSY) return {};
  return std::unexpected(error(code, "checkpoint"));
}

Result<std::int64_t> SqliteConnection::data_version() {
  std::int64_t version = 0;
  auto const done =
      query_now("PRAGMA data_version", {}, [&](Row const& row) { version = row.integer(0); });
  if (!done) return std::unexpected(done.error());
  return version;
}

}  // namespace subforge::store
