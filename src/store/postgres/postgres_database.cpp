#include "store/postgres/postgres_database.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include <fmt/format.h>

#include "base/text.hpp"
#include "store/postgres/postgres_schema.hpp"

namespace subforge::store {
namespace {

constexpr std::int64_t kStartPauseMs = 100;

// Waits for its turn, so that of several processes that start at once each finds what the one
// before it made. A migration may take as long as it takes.
constexpr char const* kBeginMigrating = R"sql(
BEGIN;
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SELECT pg_advisory_xact_lock(8391727402650184);
CREATE TABLE IF NOT EXISTS schema_migrations (
  version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL);
)sql";

Result<void> check_server(PostgresConnection const& connection) {
  auto const encoding = connection.parameter("server_encoding");
  if (encoding != "UTF8") {
    return fail(
        ErrorCode::invalid,
        fmt::format("The database is encoded in {}; make it with ENCODING 'UTF8'", encoding));
  }
  auto const version = connection.parameter("server_version");
  auto const major = parse_number<int>(version.substr(0, version.find_first_not_of("0123456789")));
  if (!major || *major < PostgresDatabase::kServerVersionMin) {
    return fail(ErrorCode::invalid,
                fmt::format("The server is PostgreSQL {}; {} or newer is needed", version,
                            PostgresDatabase::kServerVersionMin));
  }
  return {};
}

Result<int> schema_version(PostgresConnection& connection) {
  int version = 0;
  auto const read = [&]() -> Task<Result<std::int64_t>> {
    co_return co_await connection.query(
        "SELECT coalesce(max(version), 0) FROM schema_migrations", {},
        [&](Row const& row) { version = static_cast<int>(row.integer(0)); });
  };
  auto const done = read().run_inline();
  if (!done) return std::unexpected(done.error());
  return version;
}

Result<void> apply(PostgresConnection& connection, Migration const& migration) {
  auto const text = postgres_text(migration);
  if (!text) return std::unexpected(text.error());
  if (auto done = connection.run_script(*text); !done) return done;
  auto const note = [&]() -> Task<Result<std::int64_t>> {
    co_return co_await connection.execute(
        "INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, $3)",
        {migration.version, migration.name, Timestamp::now()});
  };
  if (auto noted = note().run_inline(); !noted) return std::unexpected(noted.error());
  return {};
}

Result<void> migrate_in_transaction(PostgresConnection& connection, int version_max) {
  auto const version = schema_version(connection);
  if (!version) return std::unexpected(version.error());
  int const newest = migrations().back().version;
  if (*version > newest) {
    return fail(ErrorCode::invalid,
                fmt::format("The database is at schema version {}, this binary knows versions up to"
                            " {}; start a newer subforge or restore an older backup",
                            *version, newest));
  }
  if (*version >= std::min(newest, version_max)) return {};
  if (auto made = connection.run_script(std::string(postgres_functions())); !made) return made;
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

// The migration does without it where the extension is missing or may not be installed.
Result<bool> has_text_index(PostgresConnection& connection) {
  bool found = false;
  auto const read = [&]() -> Task<Result<std::int64_t>> {
    co_return co_await connection.query("SELECT count(to_regclass('tasks_by_text'))", {},
                                        [&](Row const& row) { found = row.integer(0) > 0; });
  };
  auto const done = read().run_inline();
  if (!done) return std::unexpected(done.error());
  return found;
}

}  // namespace

PostgresDatabase::PostgresDatabase(PostgresDatabaseOptions options, Logger logger)
    : options_(std::move(options)), logger_(logger) {}

PostgresDatabase::~PostgresDatabase() { stop(); }

Result<void> PostgresDatabase::migrate() {
  auto const deadline_ns = monotonic_ns() + options_.server.connect_timeout_ms * 1'000'000;
  auto opened = PostgresWriter::open_connection(options_.server);
  while (!opened && opened.error().code == ErrorCode::unavailable && monotonic_ns() < deadline_ns) {
    std::this_thread::sleep_for(std::chrono::milliseconds(kStartPauseMs));
    opened = PostgresWriter::open_connection(options_.server);
  }
  if (!opened) return std::unexpected(opened.error());
  auto& connection = **opened;
  if (auto good = check_server(connection); !good) return good;
  if (auto begun = connection.run_script(kBeginMigrating); !begun) return begun;
  if (auto done = migrate_in_transaction(connection, options_.schema_version_max); !done) {
    (void)connection.run_script("ROLLBACK");
    return done;
  }
  if (auto committed = connection.run_script("COMMIT"); !committed) return committed;
  auto const indexed = has_text_index(connection);
  if (!indexed) return std::unexpected(indexed.error());
  if (!*indexed) {
    logger_.warning("searches read every row: the extension pg_trgm could not be installed");
  }
  migrated_ = std::move(*opened);
  return {};
}

Result<void> PostgresDatabase::start(CommitListener& listener) {
  if (migrated_ == nullptr || writer_ != nullptr) {
    return fail(ErrorCode::internal, "Internal server error",
                "a database is started once, after it was migrated");
  }
  writer_ = std::make_unique<PostgresWriter>(options_.writer, options_.server, state_, logger_,
                                             listener, std::move(migrated_));
  pulse_ = std::make_unique<PostgresPulse>(options_.server, state_, logger_);
  std::lock_guard const lock(readers_mutex_);
  reading_ = true;
  return {};
}

void PostgresDatabase::stop() {
  pulse_.reset();
  if (writer_ != nullptr) writer_->stop();
  std::lock_guard const lock(readers_mutex_);
  reading_ = false;
  for (auto const& readers : readers_) readers->close();
}

bool PostgresDatabase::submit(WriteJob& job) { return writer_ != nullptr && writer_->submit(job); }

PostgresReaders* PostgresDatabase::readers_of(EventLoop& loop) {
  // The pairs are few and change only when a loop reads for the first time.
  std::lock_guard const lock(readers_mutex_);
  if (!reading_) return nullptr;
  for (auto const& readers : readers_) {
    if (&readers->loop() == &loop) return readers.get();
  }
  return readers_
      .emplace_back(
          std::make_unique<PostgresReaders>(loop, options_.server, state_, options_.readers))
      .get();
}

Session* PostgresDatabase::inline_reader() {
  auto* const loop = EventLoop::current();
  auto* const readers = loop == nullptr ? nullptr : readers_of(*loop);
  return readers == nullptr ? nullptr : &readers->point_session();
}

Task<Result<void>> PostgresDatabase::read(ReadCost cost, ReadWork work) {
  auto* const loop = EventLoop::current();
  auto* const readers = loop == nullptr ? nullptr : readers_of(*loop);
  if (readers == nullptr) co_return fail(ErrorCode::unavailable, "The database is closed");
  if (cost != ReadCost::point) co_return co_await readers->scan(work);
  co_await work(readers->point_session());
  co_return {};
}

}  // namespace subforge::store
