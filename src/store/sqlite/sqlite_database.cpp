#include "store/sqlite/sqlite_database.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include <fmt/format.h>

namespace subforge::store {
namespace {

Result<int> schema_version(SqliteConnection& connection) {
  if (auto made = connection.run("CREATE TABLE IF NOT EXISTS schema_migrations ("
                                 " version INTEGER PRIMARY KEY, name TEXT NOT NULL,"
                                 " applied_at INTEGER NOT NULL)");
      !made) {
    return std::unexpected(made.error());
  }
  int version = 0;
  auto const read =
      connection.query_now("SELECT coalesce(max(version), 0) FROM schema_migrations", {},
                           [&](Row const& row) { version = static_cast<int>(row.integer(0)); });
  if (!read) return std::unexpected(read.error());
  return version;
}

Result<void> apply(SqliteConnection& connection, Migration const& migration) {
  if (auto done = connection.run_script(std::string(migration.sqlite)); !done) return done;
  Value const parameters[] = {migration.version, migration.name, Timestamp::now()};
  auto const noted = connection.query_now(
      "INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, $3)", parameters,
      [](Row const&) {});
  if (!noted) return std::unexpected(noted.error());
  return {};
}

Result<void> migrate_in_transaction(SqliteConnection& connection, int version_max) {
  auto const version = schema_version(connection);
  if (!version) return std::unexpected(version.error());
  int const newest = migrations().back().version;
  if (*version > newest) {
    return fail(ErrorCode::invalid,
                fmt::format("The database is at schema version {}, this binary knows versions up to"
                            " {}; start a newer subforge or restore an older backup",
                            *version, newest));
  }
  for (auto const& migration : migrations()) {
    if (migration.version <= *version || migration.version > version_max) continue;
    if (auto done = apply(connection, migration); !done) {
      return std::unexpected(
          std::move(done.error())
              .with_context(fmt::format("migration {} ({})", migration.version, migration.name)));
    }
  }
  return {};
}

// A new file's directory entry must be on disk too, or a power cut takes the whole database.
void sync_directory_of(std::string const& path) {
  auto const directory = std::filesystem::path(path).parent_path();
  int const fd = ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

}  // namespace

Result<void> close_sqlite_file(std::string const& path) {
  SqliteOptions options;
  options.path = path;
  options.busy_timeout_ms = 100;
  auto opened = SqliteConnection::open(options, SqliteAccess::read_write);
  if (!opened) return std::unexpected(opened.error());
  // Leaving the write-ahead log needs the file for oneself.
  std::string mode;
  auto const left = (*opened)->query_now("PRAGMA journal_mode=DELETE", {},
                                         [&](Row const& row) { mode = row.text(0); });
  if (left && mode == "delete") return {};
  return fail(ErrorCode::conflict, path + " is in use; stop the server first");
}

SqliteDatabase::SqliteDatabase(SqliteDatabaseOptions options, Logger logger)
    : options_(std::move(options)), logger_(logger) {}

SqliteDatabase::~SqliteDatabase() { stop(); }

Result<void> SqliteDatabase::migrate() {
  auto opened = SqliteConnection::open(options_.connection, SqliteAccess::read_write);
  if (!opened) return std::unexpected(opened.error());
  auto& connection = **opened;
  // The lock is taken first, so that two processes starting at once migrate one after the other.
  if (auto begun = connection.run("BEGIN IMMEDIATE"); !begun) return begun;
  if (auto done = migrate_in_transaction(connection, options_.schema_version_max); !done) {
    (void)connection.run("ROLLBACK");
    return done;
  }
  if (auto committed = connection.run("COMMIT"); !committed) return committed;
  sync_directory_of(options_.connection.path);
  migrated_ = std::move(*opened);
  return {};
}

Result<void> SqliteDatabase::start(CommitListener& listener) {
  if (migrated_ == nullptr || writer_ != nullptr) {
    return fail(ErrorCode::internal, "Internal server error",
                "a database is started once, after it was migrated");
  }
  auto checkpointer = SqliteConnection::open(options_.connection, SqliteAccess::read_write);
  if (!checkpointer) return std::unexpected(checkpointer.error());
  // Pages go to the log at the commit alone. SQLite 3.40 forgets, when a savepoint is undone within
  // a transaction that outgrew the cache, where it has to mend checksums; the log on the disk then
  // ends before frames that were committed, and whoever starts on it finds none of them.
  if (auto set = migrated_->run("PRAGMA cache_spill=OFF"); !set) return set;
  pool_ = std::make_unique<BlockingPool>(options_.scan_threads, options_.scan_queue_max);
  whole_pool_ = std::make_unique<BlockingPool>(1, options_.whole_queue_max);
  writer_ = std::make_unique<SqliteWriter>(options_.writer, logger_, listener, disk_turns(),
                                           std::move(migrated_), std::move(*checkpointer));
  std::lock_guard const lock(readers_mutex_);
  reading_ = true;
  return {};
}

void SqliteDatabase::stop() {
  if (writer_ != nullptr) writer_->stop();
  if (pool_ != nullptr) pool_->stop();
  if (whole_pool_ != nullptr) whole_pool_->stop();
  std::lock_guard const lock(readers_mutex_);
  reading_ = false;
}

bool SqliteDatabase::submit(WriteJob& job) { return writer_ != nullptr && writer_->submit(job); }

std::shared_ptr<SqliteDatabase::Reader> SqliteDatabase::reader_of(EventLoop& loop) {
  // The pairs are few and change only when a loop reads for the first time.
  std::lock_guard const lock(readers_mutex_);
  if (!reading_) return nullptr;
  for (auto const& reader : readers_) {
    if (reader->loop == &loop) return reader;
  }
  auto opened = SqliteConnection::open(options_.connection, SqliteAccess::read_only);
  if (!opened) return nullptr;
  return readers_.emplace_back(std::make_shared<Reader>(&loop, std::move(*opened)));
}

Session* SqliteDatabase::inline_reader() {
  auto* const loop = EventLoop::current();
  if (loop == nullptr) return nullptr;
  auto const reader = reader_of(*loop);
  if (reader == nullptr) return nullptr;
  auto* const connection = reader->connection.get();
  auto const changes = writer_->changes();
  if (reader->in_snapshot && reader->changes == changes) return connection;
  bool const renewed = std::exchange(reader->in_snapshot, false);
  if (renewed && !connection->run("COMMIT")) return nullptr;
  if (!connection->run("BEGIN")) return nullptr;
  reader->in_snapshot = true;
  reader->changes = changes;
  if (!renewed) {
    loop->at_turn_end([reader] {
      if (std::exchange(reader->in_snapshot, false)) (void)reader->connection->run("COMMIT");
    });
  }
  return connection;
}

Task<Result<void>> SqliteDatabase::read(ReadCost cost, ReadWork work) {
  if (cost == ReadCost::point) {
    if (auto* const session = inline_reader()) {
      co_await work(*session);
      co_return {};
    }
  }
  if (pool_ == nullptr) co_return fail(ErrorCode::unavailable, "The database is closed");
  auto scan = [this, work] { return run_scan(work); };
  auto& pool = cost == ReadCost::whole ? *whole_pool_ : *pool_;
  co_return co_await pool.run(std::move(scan));
}

Result<void> SqliteDatabase::run_scan(ReadWork work) {
  std::unique_ptr<SqliteConnection> connection;
  {
    std::lock_guard const lock(scanners_mutex_);
    if (!scanners_.empty()) {
      connection = std::move(scanners_.back());
      scanners_.pop_back();
    }
  }
  if (connection == nullptr) {
    auto opened = SqliteConnection::open(options_.connection, SqliteAccess::read_only);
    if (!opened) return std::unexpected(opened.error());
    connection = std::move(*opened);
  }
  if (auto begun = connection->run("BEGIN"); !begun) return begun;
  Result<void> outcome;
  try {
    work(*connection).run_inline();
  } catch (std::exception const& bug) {
    outcome = fail(ErrorCode::internal, "Internal server error", bug.what());
  }
  if (auto ended = connection->run("COMMIT"); !ended && outcome) outcome = ended;
  if (connection->in_transaction()) return outcome;  // Not to be used again.
  std::lock_guard const lock(scanners_mutex_);
  scanners_.push_back(std::move(connection));
  return outcome;
}

}  // namespace subforge::store
