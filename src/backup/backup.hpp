// Takes a backup of the database, and of folders of files beside it, while the server goes on: all
// of it as it was at one moment. What an earlier backup of the chain has is not written again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "backup/manifest.hpp"
#include "runtime/blocking_pool.hpp"
#include "store/store.hpp"

namespace subforge::backup {

// A folder whose files belong to the rows of the database. `list` tells, within the snapshot of the
// rows, which files these are (their paths within the folder); nobody may change one, or remove one
// that a row of the snapshot names before the backup is done.
struct FileSource {
  std::string name;
  std::filesystem::path folder;
  std::function<Task<Result<std::vector<std::string>>>(store::Session&)> list;
};

struct BackupOptions {
  std::filesystem::path folder;  // Of all backups.
  std::int64_t chain_max = 7;    // After so many in one chain an incremental one is full.
  std::vector<FileSource> sources;
};

// How far it is, 0 to 100; false stops it.
using BackupProgress = std::function<bool(double percent, std::string_view note)>;

struct BackupDone {
  std::string id;
  BackupKind kind = BackupKind::full;  // Full also if there was none to build on.
  std::filesystem::path manifest;
  std::int64_t bytes = 0;  // Written for it.
  std::int64_t rows = 0;
  std::int64_t files = 0;
  std::int64_t chunks = 0;          // That it consists of ...
  std::int64_t chunks_written = 0;  // ... and those of them that no earlier one had.
};

// `pool` takes what would hold up the loop. A backup is there whole, under its name, or not at all.
// Errors: conflict, if another one is under way; unavailable, if the folder cannot be written or it
// was stopped.
[[nodiscard]] Task<Result<BackupDone>> take_backup(store::Store& store, BlockingPool& pool,
                                                   BackupKind kind, BackupOptions options,
                                                   BackupProgress progress);

}  // namespace subforge::backup
