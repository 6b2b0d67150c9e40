// One backup being written: every step works on files and belongs off the event loops.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "backup/backup.hpp"
#include "backup/catalog.hpp"
#include "backup/chunks.hpp"

namespace subforge::backup {

class BackupWriter {
 public:
  BackupWriter(BackupKind kind, BackupOptions const& options) : kind_(kind), options_(options) {}
  ~BackupWriter();
  BackupWriter(BackupWriter const&) = delete;
  BackupWriter& operator=(BackupWriter const&) = delete;

  [[nodiscard]] Manifest& manifest() { return manifest_; }
  Result<void> begin();
  void begin_table(store::Table const& table);
  Result<void> add_rows(std::vector<store::Cells> const& rows);
  Result<void> end_table();
  Result<void> add_file(FileSource const& source, std::string const& name);
  Result<BackupDone> finish();

 private:
  Result<void> find_base();
  Result<void> keep(std::string_view bytes, std::vector<std::string>& chunks);

  BackupKind kind_;
  BackupOptions const& options_;
  FolderLock lock_;
  std::unordered_set<std::string> known_;  // Chunks that the chain has, this backup included.
  Manifest manifest_;
  std::filesystem::path unfinished_;
  PackWriter pack_;
  std::unique_ptr<RowChunker> chunker_;
  store::RowsChecksum checksum_;
  std::int64_t chunks_ = 0;
};

}  // namespace subforge::backup
