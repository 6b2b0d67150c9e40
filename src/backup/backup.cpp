#include "backup/backup.hpp"

#include <fmt/format.h>

#include "backup/backup_writer.hpp"
#include "store/tables.hpp"

namespace subforge::backup {
namespace {

using store::Cells;
using store::Session;
using store::Table;

// Percent of the work, as far as it is known: the rest is for putting it on disk.
constexpr double kShare = 95;
constexpr double kRowsShareBesideFiles = 40;

std::unexpected<Error> stopped() {
  return fail(ErrorCode::unavailable, "The backup was stopped; nothing of it is kept");
}

// SQLite's session is on a thread of its own, where anything may take its time and nothing may be
// waited for; PostgreSQL's is on the loop.
template <class Work>
Task<Result<void>> off_loop(Session& session, BlockingPool& pool, Work work) {
  if (session.dialect() == store::Dialect::sqlite) co_return work();
  co_return co_await pool.run(std::move(work));
}

class Taking {
 public:
  Taking(BlockingPool& pool, BackupWriter& writer, BackupProgress const& progress)
      : pool_(pool), writer_(writer), progress_(progress) {}

  Task<Result<void>> all(Session& session, std::vector<FileSource> const& sources) {
    if (auto noted = co_await note_state(session); !noted) co_return noted;
    for (auto const& source : sources) {
      auto files = co_await source.list(session);
      if (!files) co_return std::unexpected(files.error());
      for (auto const& file : *files) file_bytes_ += file.bytes;
      any_files_ = any_files_ || !files->empty();
      files_.push_back(std::move(*files));
    }
    auto const tables = co_await store::read_tables(session);
    if (!tables) co_return std::unexpected(tables.error());
    for (auto const& table : *tables) {
      auto const rows =
          co_await store::read_number(session, "SELECT count(*) FROM \"" + table.name + "\"");
      if (!rows) co_return std::unexpected(rows.error());
      total_ += *rows;
    }
    for (auto const& table : *tables) {
      if (auto done = co_await one(session, table); !done) co_return done;
    }
    co_return {};
  }
  // After all(), and off the loop: the files of each source.
  Result<void> files(std::vector<FileSource> const& sources) {
    std::int64_t done = 0;
    for (std::size_t i = 0; i < sources.size(); ++i) {
      for (auto const& file : files_[i]) {
        auto const part =
            static_cast<double>(done) / static_cast<double>(std::max(file_bytes_, done + 1));
        if (!progress_(rows_share() + (kShare - rows_share()) * part, sources[i].name)) {
          return stopped();
        }
        if (auto added = writer_.add_file(sources[i], file); !added) return added;
        done += file.bytes;
      }
    }
    return {};
  }

 private:
  Task<Result<void>> note_state(Session& session) {
    auto& manifest = writer_.manifest();
    manifest.database = session.dialect() == store::Dialect::sqlite ? "sqlite" : "postgresql";
    auto const version =
        co_await store::read_number(session, "SELECT max(version) FROM schema_migrations");
    if (!version) co_return std::unexpected(version.error());
    manifest.schema_version = *version;
    auto const newest =
        co_await store::read_number(session, "SELECT coalesce(max(id), 0) FROM events");
    if (!newest) co_return std::unexpected(newest.error());
    manifest.last_event_id = *newest;
    auto const epoch =
        co_await session.query("SELECT value FROM meta WHERE key = 'log_epoch'", {},
                               [&](store::Row const& row) { manifest.log_epoch = row.text(0); });
    if (!epoch) co_return std::unexpected(epoch.error());
    co_return {};
  }

  Task<Result<void>> one(Session& session, Table const& table) {
    writer_.begin_table(table);
    Cells last;
    for (bool more = true; more;) {
      auto batch = co_await store::read_rows(session, table, last);
      if (!batch) co_return std::unexpected(batch.error());
      auto pack = [&] { return writer_.add_rows(batch->rows); };
      if (auto packed = co_await off_loop(session, pool_, pack); !packed) co_return packed;
      done_ += std::ssize(batch->rows);
      auto const share =
          total_ == 0 ? 1.0
                      : static_cast<double>(done_) / static_cast<double>(std::max(done_, total_));
      if (!progress_(rows_share() * share, table.name)) co_return stopped();
      more = batch->more;
      if (more) last = std::move(batch->rows.back());
    }
    if (store::has_given_ids(table)) {
      auto const highest = co_await store::highest_id_given(session, table);
      if (!highest) co_return std::unexpected(highest.error());
      writer_.manifest().tables.back().highest_id = *highest;
    }
    auto end = [&] { return writer_.end_table(); };
    co_return co_await off_loop(session, pool_, end);
  }

  [[nodiscard]] double rows_share() const { return any_files_ ? kRowsShareBesideFiles : kShare; }

  BlockingPool& pool_;
  BackupWriter& writer_;
  BackupProgress const& progress_;
  std::int64_t total_ = 0;
  std::int64_t done_ = 0;
  std::vector<std::vector<ListedFile>> files_;
  std::int64_t file_bytes_ = 0;
  bool any_files_ = false;
};

}  // namespace

Task<Result<BackupDone>> take_backup(store::Store& store, BlockingPool& pool, BackupKind kind,
                                     BackupOptions options, BackupProgress progress) {
  BackupWriter writer(kind, options);
  std::vector<std::shared_ptr<void>> held;  // Until all files are read.
  auto begin = [&]() -> Result<void> {
    if (auto begun = writer.begin(); !begun) return begun;
    for (auto const& source : options.sources) {
      if (!source.hold) continue;
      auto one = source.hold();
      if (!one) return std::unexpected(one.error());
      held.push_back(std::move(*one));
    }
    return {};
  };
  if (auto begun = co_await pool.run(begin); !begun) co_return std::unexpected(begun.error());
  Taking taking(pool, writer, progress);
  auto read = [&](Session& session) { return taking.all(session, options.sources); };
  if (auto done = co_await store.read(store::ReadCost::whole, read); !done) {
    co_return std::unexpected(done.error());
  }
  auto finish = [&]() -> Result<BackupDone> {
    if (auto kept = taking.files(options.sources); !kept) return std::unexpected(kept.error());
    held.clear();
    if (!progress(kShare, "writing")) return stopped();
    return writer.finish();
  };
  co_return co_await pool.run(finish);
}

}  // namespace subforge::backup
