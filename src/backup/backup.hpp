// Takes a backup of the database, and of folders of files beside it, while the server goes on: all
// of it as it was at one moment. What an earlier backup of the chain has is not written again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backup/manifest.hpp"
#include "runtime/blocking_pool.hpp"
#include "store/store.hpp"

namespace subforge::backup {

struct ListedFile {
  std::string name;  // Its path within the folder.
  // Where it is given, files of the source that have the same one have the same bytes, for ever:
  // what is kept of one is not read again for another.
  std::string content = {};
  std::int64_t bytes = 0;  // About so many, for who wants to know how far it is.
};

// A folder whose files belong to the rows of the database; nobody changes one.
struct FileSource {
  std::string name;
  std::filesystem::path folder;
  // Which files these are, within the snapshot of the rows.
  std::function<Task<Result<std::vector<ListedFile>>>(store::Session&)> list;
  // Called before the snapshot, off the loop: as long as what it gives lives, what is deleted can
  // still be read, at its place or elsewhere. Error: conflict, if somebody holds it already.
  std::function<Result<std::shared_ptr<void>>()> hold = {};
  // Where a file lies that was deleted meanwhile.
  std::function<std::filesystem::path(std::string const& name)> elsewhere = {};
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
  std::vector<std::string> missing = {};  // Files that rows name and that are not on the disk.
  std::int64_t chunks = 0;                // That it consists of ...
  std::int64_t chunks_written = 0;        // ... and those of them that no earlier one had.
};

// `pool` takes what would hold up the loop. A backup is there whole, under its name, or not at all.
// Errors: conflict, if another one is under way; unavailable, if the folder cannot be written or it
// was stopped.
[[nodiscard]] Task<Result<BackupDone>> take_backup(store::Store& store, BlockingPool& pool,
                                                   BackupKind kind, BackupOptions options,
                                                   BackupProgress progress);

}  // namespace subforge::backup
