// One backup being written: every step works on files and belongs off the event loops.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
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
  Result<void> add_file(FileSource const& source, ListedFile const& file);
  Result<BackupDone> finish();

 private:
  Result<void> find_base();
  Result<void> keep(std::string_view bytes, std::vector<std::string>& chunks);
  Result<void> read_into(KeptFile& kept, std::filesystem::path const& path);

  BackupKind kind_;
  BackupOptions const& options_;
  FolderLock lock_;
  std::unordered_set<std::string> known_;  // Chunks that the chain has, this backup included.
  // What the last backup has, and this one so far, of files whose content has a name.
  std::map<std::pair<std::string, std::string>, KeptFile> contents_;
  std::vector<std::string> missing_;
  Manifest manifest_;
  std::filesystem::path unfinished_;
  PackWriter pack_;
  std::unique_ptr<RowChunker> chunker_;
  store::RowsChecksum checksum_;
  std::int64_t chunks_ = 0;
};

}  // namespace subforge::backup
