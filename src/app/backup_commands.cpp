#include "app/backup_commands.hpp"

#include <filesystem>
#include <iostream>

#include "app/database.hpp"
#include "backup/restore.hpp"
#include "builtin/file_backup.hpp"
#include "describe/codec.hpp"
#include "store/sqlite/sqlite_database.hpp"
#include "store/tables.hpp"

namespace subforge::app {
namespace fs = std::filesystem;
namespace {

void show(std::string_view what, std::int64_t count) {
  std::cerr << "\r\033[K" << what << ": " << count << std::flush;
}

// An open store on a database, closed with it.
class OpenedStore {
 public:
  OpenedStore(config::Config const& config, Logger logger, std::int64_t schema_version_max)
      : database_(make_database(config, logger, static_cast<int>(schema_version_max))),
        store_(*database_, logger) {}
  ~OpenedStore() { store_.close(); }
  OpenedStore(OpenedStore const&) = delete;
  OpenedStore& operator=(OpenedStore const&) = delete;
  Result<void> open() { return store_.open(); }
  [[nodiscard]] store::Store& store() { return store_; }

 private:
  std::unique_ptr<store::Database> database_;
  store::Store store_;
};

Task<Result<void>> check_new(store::Store& to, Timestamp began) {
  auto read = [](store::Session& session) {
    return store::read_number(session, "SELECT min(applied_at) FROM schema_migrations");
  };
  auto const made = co_await to.read(store::ReadCost::scan, read);
  if (!made) co_return std::unexpected(made.error());
  if (*made >= began.micros) co_return {};
  co_return fail(ErrorCode::invalid, "The target is not empty; name a new database");
}

// The rows in the schema that they were written with, which is then brought up to date.
Result<void> load_database(config::Config const& config, Logger logger,
                           backup::Restore const& restore) {
  auto const began = Timestamp::now();
  {
    OpenedStore target(config, logger, restore.manifest().schema_version);
    if (auto opened = target.open(); !opened) return opened;
    EventLoop loop;
    if (auto fresh = block_on(loop, check_new(target.store(), began)); !fresh) return fresh;
    if (auto done = block_on(loop, restore.load(target.store(), show)); !done) return done;
  }
  OpenedStore newest(config, logger, store::kAnySchemaVersion);
  return newest.open();
}

void remove_database(fs::path const& path) {
  for (auto const* const end : {"", "-wal", "-shm", "-journal"}) {
    std::error_code ignored;
    fs::remove(path.string() + end, ignored);
  }
}

Result<void> load_file(config::Config config, Logger logger, backup::Restore const& restore) {
  fs::path const place = config.database.path;
  fs::path const half = place.string() + ".restoring";
  bool const replaces = fs::exists(place);
  if (replaces) {
    if (auto closed = store::close_sqlite_file(place); !closed) return closed;
  }
  remove_database(half);
  config.database.path = half;
  if (auto loaded = load_database(config, logger, restore); !loaded) {
    remove_database(half);
    return loaded;
  }
  if (auto closed = store::close_sqlite_file(half); !closed) return closed;
  std::error_code error;
  if (replaces) {
    auto const kept = place.string() + ".before-" + restore.manifest().id;
    fs::rename(place, kept, error);
    if (!error) std::cout << "What was there before is now " << kept << '\n';
  }
  if (!error) fs::rename(half, place, error);
  if (error) {
    return fail(ErrorCode::unavailable, place.string() + " cannot be made: " + error.message());
  }
  auto const folder = place.parent_path();
  return backup::sync_folder(folder.empty() ? "." : folder);
}

}  // namespace

std::vector<backup::FileSource> backup_sources(config::Config const& config) {
  return {builtin::uploaded_files(config.upload_dir)};
}

backup::BackupOptions backup_options(config::Config const& config) {
  return {config.backup_dir, config.backup_chain_max, backup_sources(config)};
}

Result<void> backup_command(config::Config const& config, Logger logger, backup::BackupKind kind) {
  OpenedStore source(config, logger, store::kAnySchemaVersion);
  if (auto opened = source.open(); !opened) return opened;
  BlockingPool pool(1, 1);
  EventLoop loop;
  auto const progress = [](double percent, std::string_view what) {
    show(what, static_cast<std::int64_t>(percent));
    return true;
  };
  auto const done = block_on(
      loop, backup::take_backup(source.store(), pool, kind, backup_options(config), progress));
  std::cerr << '\n';
  if (!done) return std::unexpected(done.error());
  for (auto const& file : done->missing) {
    std::cerr << "subforge: " << config.upload_dir << "/" << file
              << " is missing, and so it is in the backup\n";
  }
  std::cout << "A " << describe::to_text(done->kind) << " backup of " << done->rows << " rows and "
            << done->files << " files took " << done->bytes << " bytes.\n"
            << done->manifest.string() << '\n';
  return {};
}

Result<void> restore_command(config::Config config, Logger logger, RestoreWishes const& wishes) {
  if (!wishes.to.empty()) {
    auto place = config::parse_database_url(wishes.to, "--to");
    if (!place) return std::unexpected(place.error());
    config.database = std::move(*place);
  }
  auto const restore = backup::Restore::open(wishes.manifest);
  if (!restore) return std::unexpected(restore.error());
  auto const& manifest = restore->manifest();
  if (manifest.schema_version > store::migrations().back().version) {
    return fail(ErrorCode::invalid, "The backup is of a newer subforge; restore it with that one");
  }
  if (auto whole = restore->verify(show); !whole) {
    std::cerr << '\n';
    return whole;
  }
  std::cerr << '\n';
  if (wishes.verify_only) {
    std::cout << "The backup " << manifest.id << " is whole.\n";
    return {};
  }
  auto const loaded = config.database.kind == config::DatabaseUrl::Kind::sqlite
                          ? load_file(config, logger, *restore)
                          : load_database(config, logger, *restore);
  std::cerr << '\n';
  if (!loaded) return loaded;
  auto files = restore->load_files(backup_sources(config), show);
  if (!files) return files;
  std::cout << "Restored the backup " << manifest.id << " of " << manifest.created_at.to_string()
            << ".\n";
  return {};
}

}  // namespace subforge::app
