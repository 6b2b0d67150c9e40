// The folder of backups: each is a folder of its own, named by when and what, that is there whole
// or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "backup/manifest.hpp"
#include "base/result.hpp"

namespace subforge::backup {

// A backup and those that it needs, the full one first.
using Chain = std::vector<Manifest>;

// Held by who writes to the folder, whichever process that is.
class FolderLock {
 public:
  ~FolderLock();
  FolderLock() = default;
  FolderLock(FolderLock const&) = delete;
  FolderLock& operator=(FolderLock const&) = delete;
  // Makes the folder if it is missing. Error: conflict, if somebody has it.
  Result<void> take(std::filesystem::path const& folder);

 private:
  int fd_ = -1;
};

// Whole backups, oldest first. What is unfinished is passed over.
[[nodiscard]] std::vector<std::string> list_backups(std::filesystem::path const& folder);
[[nodiscard]] Result<Manifest> load_manifest(std::filesystem::path const& folder,
                                             std::string const& id);
[[nodiscard]] Result<Chain> load_chain(std::filesystem::path const& folder, std::string id);
// Removes what was left of backups that did not come to their end; to be called with the lock held.
void remove_unfinished(std::filesystem::path const& folder);
// Removes all but the newest chains, each of which begins with a full backup. How many backups that
// were. To be called with the lock held.
[[nodiscard]] Result<std::int64_t> remove_old(std::filesystem::path const& folder,
                                              std::int64_t chains_kept);

inline constexpr std::string_view kUnfinished = ".unfinished-";

}  // namespace subforge::backup
