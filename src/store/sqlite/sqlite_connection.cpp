#include "store/sqlite/sqlite_connection.hpp"

#include <fmt/format.h>
#include <sqlite3.h>

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
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM: return ErrorCode::unavailable;
    default: return ErrorCode::internal;
  }
}

}  // namespace

void SqliteConnection::FinalizeStatement::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::open(SqliteOptions const& options,
                                                                 SqliteAccess access) {
  // The owner sees to it that one thread at a time uses the connection. Readers open for writing
  // too: a WAL database needs its shared-memory file, which a read-only handle cannot make.
  int const flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (access == SqliteAccess::read_write ? SQLITE_OPEN_CREATE : 0);
  sqlite3* handle = nullptr;
  int const opened = sqlite3_open_v2(options.path.c_str(), &handle, flags,
                                     options.vfs.empty() ? nullptr : options.vfs.c_str());
  std::unique_ptr<SqliteConnection> connection(new SqliteConnection(handle));
  if (opened != SQLITE_OK) {
    return fail(ErrorCode::unavailable, "The database cannot be opened",
                options.path + ": " +
                    (handle != nullptr ? sqlite3_errmsg(handle) : sqlite3_errstr(opened)));
  }
  sqlite3_busy_timeout(handle, static_cast<int>(options.busy_timeout_ms));
  auto pragmas = fmt::format(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
      "PRAGMA cache_size=-{}; PRAGMA mmap_size={}; PRAGMA temp_store=MEMORY;"
      "PRAGMA wal_autocheckpoint={}; PRAGMA journal_size_limit=67108864;",
      options.cache_kib, options.mmap_bytes, options.checkpoint_pages);
  if (access == SqliteAccess::read_only) pragmas += "PRAGMA query_only=ON;";
  if (auto set = connection->run_script(pragmas); !set) return std::unexpected(set.error());
  return connection;
}

SqliteConnection::~SqliteConnection() {
  prepared_.clear();
  sqlite3_close(handle_);
}

Error SqliteConnection::error(int code, std::string_view sql) const {
  auto const kind = code_of(code);
  auto const* message = kind == ErrorCode::conflict ? "Already exists" : "Database error occurred";
  return {kind, message, fmt::format("{} ({}) in: {}", sqlite3_errmsg(handle_), code, sql)};
}

Result<void> SqliteConnection::run_script(std::string const& sql) {
  int const code = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return std::unexpected(error(code, sql));
  return {};
}

Result<void> SqliteConnection::run(std::string_view sql) {
  auto const done = query_now(sql, {}, [](Row const&) {});
  if (!done) return std::unexpected(done.error());
  return {};
}

bool SqliteConnection::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

Result<sqlite3_stmt*> SqliteConnection::prepare(std::string_view sql) {
  if (auto const found = prepared_.find(sql); found != prepared_.end()) {
    return found->second->statement.get();
  }
  if (prepared_.size() >= kPreparedMax) prepared_.clear();
  sqlite3_stmt* statement = nullptr;
  int const code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return std::unexpected(error(code, sql));
  auto entry = std::make_unique<Prepared>();
  entry->sql = sql;
  entry->statement.reset(statement);
  auto const key = std::string_view(entry->sql);
  prepared_.emplace(key, std::move(entry));
  return statement;
}

Result<std::int64_t> SqliteConnection::query_now(std::string_view sql,
                                                 std::span<Value const> parameters, OnRow on_row) {
  auto const prepared = prepare(sql);
  if (!prepared) return std::unexpected(prepared.error());
  auto* const statement = *prepared;
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
    if (code != SQLITE_OK) return std::unexpected(error(code, sql));
  }
  SqliteRow const row(statement);
  for (;;) {
    int const code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
      on_row(row);
    } else if (code == SQLITE_DONE) {
      return sqlite3_changes64(handle_);
    } else {
      return std::unexpected(error(code, sql));
    }
  }
}

bool SqliteConnection::start(Query& query) {
  query.outcome = query_now(query.sql, query.parameters, query.on_row);
  return true;
}

Result<std::int64_t> SqliteConnection::data_version() {
  std::int64_t version = 0;
  auto const done =
      query_now("PRAGMA data_version", {}, [&](Row const& row) { version = row.integer(0); });
  if (!done) return std::unexpected(done.error());
  return version;
}

}  // namespace subforge::store
