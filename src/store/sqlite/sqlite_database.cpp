#include "store/sqlite/sqlite_database.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "store/migrations.hpp"

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
  auto const read = connection.query_now(
      "SELECT coalesce(max(version), 0) FROM schema_migrations", {},
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

Result<void> migrate_in_transaction(SqliteConnection& connection) {
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
    if (migration.version <= *version) continue;
    if (auto done = apply(connection, migration); !done) {
      return std::unexpected(std::move(done.error())
                                 .with_context(fmt::format("migration {} ({})", migration.version,
                                                           migration.name)));
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

SqliteDatabase::SqliteDatabase(SqliteDatabaseOptions options, Logger logger)
    : options_(std::move(options)), logger_(logger) {}

SqliteDatabase::~SqliteDatabase() { stop(); }

Result<void> SqliteDatabase::migrate() {
  auto opened = SqliteConnection::open(options_.connection, SqliteAccess::read_write);
  if (!opened) return std::unexpected(opened.error());
  writer_ = std::move(*opened);
  // The lock is taken first, so that two processes starting at once migrate one after the other.
  if (auto begun = writer_->run("BEGIN IMMEDIATE"); !begun) return begun;
  if (auto done = migrate_in_transaction(*writer_); !done) {
    (void)writer_->run("ROLLBACK");
    return done;
  }
  if (auto committed = writer_->run("COMMIT"); !committed) return committed;
  sync_directory_of(options_.connection.path);
  return {};
}

Result<void> SqliteDatabase::start(CommitListener& listener) {
  listener_ = &listener;
  auto const version = writer_->data_version();
  if (!version) return std::unexpected(version.error());
  data_version_ = *version;
  pool_ = std::make_unique<BlockingPool>(options_.scan_threads, options_.scan_queue_max);
  {
    std::lock_guard const lock(queue_mutex_);
    accepting_ = true;
  }
  write_thread_ = std::thread([this] { write_loop(); });
  return {};
}

void SqliteDatabase::stop() {
  {
    std::lock_guard const lock(queue_mutex_);
    accepting_ = false;
  }
  queue_wake_.notify_one();
  if (write_thread_.joinable()) write_thread_.join();
  pool_.reset();
  {
    std::lock_guard const lock(scanners_mutex_);
    scanners_.clear();
  }
  {
    std::lock_guard const lock(readers_mutex_);
    readers_.clear();
  }
  writer_.reset();
}

bool SqliteDatabase::submit(WriteJob& job) {
  bool was_empty = false;
  {
    std::lock_guard const lock(queue_mutex_);
    if (!accepting_ || queue_.size() >= options_.write_queue_max) return false;
    was_empty = queue_.empty();
    queue_.push_back(&job);
  }
  if (was_empty) queue_wake_.notify_one();
  return true;
}

void SqliteDatabase::write_loop() {
  auto const poll = std::chrono::milliseconds(options_.change_poll_ms);
  std::vector<WriteJob*> group;
  std::unique_lock lock(queue_mutex_);
  for (;;) {
    queue_wake_.wait_for(lock, poll, [this] { return !queue_.empty() || !accepting_; });
    if (queue_.empty()) {
      if (!accepting_) return;
      lock.unlock();
      look_for_changes();
      lock.lock();
      continue;
    }
    auto const count = std::min(queue_.size(), options_.group_jobs_max);
    auto const end = queue_.begin() + static_cast<std::ptrdiff_t>(count);
    group.assign(queue_.begin(), end);
    queue_.erase(queue_.begin(), end);
    lock.unlock();
    run_group(group);
    lock.lock();
  }
}

void SqliteDatabase::run_group(std::vector<WriteJob*> const& jobs) {
  Result<void> committed = writer_->run("BEGIN IMMEDIATE");
  if (committed) {
    for (auto* const job : jobs) {
      job->outcome = run_job(*job);
      if (!writer_->in_transaction()) break;
    }
    committed = writer_->in_transaction()
                    ? writer_->run("COMMIT")
                    : fail(ErrorCode::unavailable, "Database error occurred",
                           "the transaction was rolled back by the database");
  }
  std::vector<Event> events;
  if (committed) {
    for (auto* const job : jobs) {
      if (!job->outcome) continue;
      for (auto& event : job->events) events.push_back(std::move(event));
    }
    listener_->committed(*writer_, std::move(events)).run_inline();
  } else {
    if (writer_->in_transaction()) (void)writer_->run("ROLLBACK");
    logger_.error("commit failed", {{"cause", committed.error().context}});
    for (auto* const job : jobs) job->outcome = committed;
  }
  for (auto* const job : jobs) job->finished();
}

Result<void> SqliteDatabase::run_job(WriteJob& job) {
  if (auto marked = writer_->run("SAVEPOINT job"); !marked) return marked;
  Result<void> outcome;
  try {
    outcome = job.run(*writer_).run_inline();
  } catch (std::exception const& bug) {
    outcome = fail(ErrorCode::internal, "Internal server error", bug.what());
  }
  if (!outcome) {
    if (auto undone = writer_->run("ROLLBACK TO job"); !undone) return undone;
  }
  if (auto released = writer_->run("RELEASE job"); !released) return released;
  return outcome;
}

void SqliteDatabase::look_for_changes() {
  auto const version = writer_->data_version();
  if (!version || *version == data_version_) return;
  data_version_ = *version;
  listener_->changed_elsewhere(*writer_).run_inline();
}

Session* SqliteDatabase::inline_reader() {
  auto* const loop = EventLoop::current();
  if (loop == nullptr) return nullptr;
  // The pairs are few and change only when a loop reads for the first time.
  std::lock_guard const lock(readers_mutex_);
  for (auto const& reader : readers_) {
    if (reader.loop == loop) return reader.connection.get();
  }
  auto opened = SqliteConnection::open(options_.connection, SqliteAccess::read_only);
  if (!opened) return nullptr;
  readers_.push_back({loop, std::move(*opened)});
  return readers_.back().connection.get();
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
  co_return co_await pool_->run(std::move(scan));
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
  std::lock_guard const lock(scanners_mutex_);
  scanners_.push_back(std::move(connection));
  return outcome;
}

}  // namespace subforge::store
