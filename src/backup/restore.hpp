// Makes a database, and its files, what they were when a backup was taken.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "backup/backup.hpp"
#include "backup/catalog.hpp"

namespace subforge::backup {

// What is done so far: of a table or a source of files, so many.
using RestoreProgress = std::function<void(std::string_view what, std::int64_t count)>;

class Restore {
 public:
  // Reads the manifest and those of the backups that it builds on. Errors: invalid, with a sentence
  // that names the file, if one is damaged; unavailable, if one cannot be read.
  static Result<Restore> open(std::filesystem::path const& manifest);

  [[nodiscard]] Manifest const& manifest() const { return chain_.back(); }
  [[nodiscard]] Chain const& chain() const { return chain_; }

  // Reads every chunk and compares it, and the rows, with what was noted. Before anything is
  // touched.
  Result<void> verify(RestoreProgress const& progress) const;
  // Into a database that nobody uses, whose schema is that of the backup; it is read again and
  // compared. Its log gets a new epoch, so that ids given out since the backup never name others.
  Task<Result<void>> load(store::Store& to, RestoreProgress const& progress) const;
  // The files of each source to its folder. Files that are there already stay.
  Result<void> load_files(std::vector<FileSource> const& sources,
                          RestoreProgress const& progress) const;

 private:
  struct Place {
    std::size_t backup;
    PackedChunk chunk;
  };

  Restore() = default;
  Result<std::string> chunk(std::string const& digest) const;
  Task<Result<void>> load_table(store::Store& to, KeptTable const& kept,
                                RestoreProgress const& progress) const;
  [[nodiscard]] Result<bool> is_there(KeptFile const& file, std::filesystem::path const& to) const;
  Result<void> load_file(KeptFile const& file, std::filesystem::path const& to) const;

  std::filesystem::path folder_;  // Of all backups.
  Chain chain_;
  std::vector<PackReader> packs_;
  std::unordered_map<std::string, Place> places_;
};

}  // namespace subforge::backup
