#include "backup/catalog.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace subforge::backup {
namespace fs = std::filesystem;
namespace {

constexpr mode_t kOwnerOnly = 0600;
constexpr std::size_t kChainMax = 1'000;  // So that a chain that bites its tail ends.

std::vector<std::string> names_in(fs::path const& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(folder, error)) {
    names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace

FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> FolderLock::take(fs::path const& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    return fail(ErrorCode::unavailable, folder.string() + " cannot be made: " + error.message());
  }
  // Backups hold what the database does: nobody else is to read them.
  fs::permissions(folder, fs::perms::owner_all, error);
  auto const path = folder / ".lock";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, kOwnerOnly);
  if (fd_ < 0) {
    return fail(ErrorCode::unavailable, path.string() + " cannot be made: " + std::strerror(errno));
  }
  if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    return fail(ErrorCode::conflict, "Another backup is being written to " + folder.string());
  }
  return {};
}

std::vector<std::string> list_backups(fs::path const& folder) {
  auto names = names_in(folder);
  std::erase_if(names, [&](std::string const& name) {
    std::error_code error;
    return name.starts_with('.') || !fs::exists(folder / name / kManifestName, error);
  });
  return names;
}

Result<Manifest> load_manifest(fs::path const& folder, std::string const& id) {
  auto const path = folder / id / kManifestName;
  auto const text = read_file(path);
  if (!text) return std::unexpected(text.error());
  auto manifest = parse_manifest(*text, path);
  if (manifest && manifest->id != id) {
    return fail(ErrorCode::invalid,
                path.string() + " is the one of " + manifest->id + "; do not rename backups");
  }
  return manifest;
}

Result<Chain> load_chain(fs::path const& folder, std::string id) {
  Chain chain;
  for (std::optional<std::string> next = std::move(id); next && chain.size() < kChainMax;) {
    auto manifest = load_manifest(folder, *next);
    if (!manifest) return std::unexpected(manifest.error());
    next = manifest->base;
    chain.push_back(std::move(*manifest));
  }
  std::ranges::reverse(chain);
  return chain;
}

void remove_unfinished(fs::path const& folder) {
  for (auto const& name : names_in(folder)) {
    std::error_code ignored;
    if (name.starts_with(kUnfinished)) fs::remove_all(folder / name, ignored);
  }
}

Result<std::int64_t> remove_old(fs::path const& folder, std::int64_t chains_kept) {
  auto const ids = list_backups(folder);
  std::int64_t removed = 0;
  std::int64_t chains = 0;
  // From the newest on. A chain's full backup is its oldest one: what is older is another chain.
  for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
    auto const manifest = load_manifest(folder, *id);
    if (!manifest) continue;  // Damaged: for a person to look at.
    bool const kept = chains < chains_kept;
    if (manifest->kind == BackupKind::full) ++chains;
    if (kept) continue;
    // An incremental one goes before its full one, as it comes first here.
    std::error_code error;
    auto const gone = folder / (std::string(kUnfinished) + *id);
    fs::rename(folder / *id, gone, error);
    if (!error) fs::remove_all(gone, error);
    if (error) {
      return fail(ErrorCode::unavailable, *id + " cannot be removed: " + error.message());
    }
    ++removed;
  }
  return removed;
}

}  // namespace subforge::backup
