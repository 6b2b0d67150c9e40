#include "backup/backup_writer.hpp"

#include <cctype>

#include <fmt/format.h>

#include "base/random.hpp"
#include "describe/codec.hpp"

namespace subforge::backup {
namespace fs = std::filesystem;
namespace {

// 20260102T030405.000000Z-full-1a2b3c4d: the names sort by time.
std::string new_id(BackupKind kind, Timestamp at) {
  std::string id;
  for (char const letter : at.to_string()) {
    if (letter != '-' && letter != ':') id.push_back(letter);
  }
  return fmt::format("{}-{}-{:08x}", id, describe::to_text(kind),
                     static_cast<std::uint32_t>(fast_random()));
}

// The chain on top of the newest backup whose chain is whole, or none.
Chain newest_chain(fs::path const& folder) {
  auto const ids = list_backups(folder);
  for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
    auto chain = load_chain(folder, *id);
    if (chain) return std::move(*chain);
  }
  return {};
}

}  // namespace

BackupWriter::~BackupWriter() {
  std::error_code ignored;
  if (!unfinished_.empty()) fs::remove_all(unfinished_, ignored);
}

Result<void> BackupWriter::begin() {
  if (auto taken = lock_.take(options_.folder); !taken) return taken;
  remove_unfinished(options_.folder);
  if (auto found = find_base(); !found) return found;
  manifest_.kind = kind_;
  manifest_.created_at = Timestamp::now();
  manifest_.id = new_id(kind_, manifest_.created_at);
  auto const folder = options_.folder / (std::string(kUnfinished) + manifest_.id);
  std::error_code error;
  if (!fs::create_directory(folder, error)) {
    return fail(ErrorCode::unavailable, folder.string() + " cannot be made: " + error.message());
  }
  unfinished_ = folder;
  return pack_.open(folder / kPackName);
}

Result<void> BackupWriter::find_base() {
  if (kind_ == BackupKind::full) return {};
  auto const chain = newest_chain(options_.folder);
  if (chain.empty() || std::ssize(chain) >= options_.chain_max) {
    kind_ = BackupKind::full;
    return {};
  }
  manifest_.base = chain.back().id;
  for (auto const& manifest : chain) {
    // One whose pack is not as long as it was is nothing to build on.
    std::error_code error;
    auto const bytes = fs::file_size(options_.folder / manifest.id / kPackName, error);
    auto const& packed = manifest.packed;
    auto const expected = packed.empty() ? 0 : packed.back().offset + packed.back().bytes;
    if (error || static_cast<std::int64_t>(bytes) != expected) {
      known_.clear();
      manifest_.base.reset();
      kind_ = BackupKind::full;
      return {};
    }
    for (auto const& chunk : packed) known_.insert(chunk.digest);
  }
  for (auto const& file : chain.back().files) {
    if (!file.content.empty()) contents_.try_emplace({file.source, file.content}, file);
  }
  return {};
}

Result<void> BackupWriter::keep(std::string_view bytes, std::vector<std::string>& chunks) {
  auto digest = digest_of(bytes);
  chunks.push_back(digest);
  ++chunks_;
  if (!known_.insert(digest).second) return {};
  return pack_.add(std::move(digest), bytes);
}

void BackupWriter::begin_table(store::Table const& table) {
  manifest_.tables.push_back({table, 0, {}, 0, {}});
  checksum_ = {};
  auto take = [this](std::string_view bytes) {
    return keep(bytes, manifest_.tables.back().chunks);
  };
  chunker_ = std::make_unique<RowChunker>(table, take);
}

Result<void> BackupWriter::add_rows(std::vector<store::Cells> const& rows) {
  for (auto const& row : rows) {
    checksum_.add(row);
    if (auto added = chunker_->add(row); !added) return added;
  }
  return {};
}

Result<void> BackupWriter::end_table() {
  auto& kept = manifest_.tables.back();
  kept.rows = checksum_.rows();
  kept.checksum = checksum_.text();
  return chunker_->finish();
}

Result<void> BackupWriter::add_file(FileSource const& source, ListedFile const& file) {
  auto const known = contents_.find({source.name, file.content});
  if (!file.content.empty() && known != contents_.end()) {
    auto& kept = manifest_.files.emplace_back(known->second);
    kept.name = file.name;
    chunks_ += std::ssize(kept.chunks);
    return {};
  }
  KeptFile kept{source.name, file.name, file.content};
  auto read = read_into(kept, source.folder / file.name);
  if (!read && read.error().code == ErrorCode::not_found && source.elsewhere) {
    read = read_into(kept, source.elsewhere(file.name));
  }
  if (!read && read.error().code == ErrorCode::not_found) {
    // There is nothing to be kept of it, and all the rest shall be kept.
    missing_.push_back(file.name);
    return {};
  }
  if (!read) return read;
  if (!file.content.empty()) contents_.try_emplace({source.name, file.content}, kept);
  manifest_.files.push_back(std::move(kept));
  return {};
}

Result<void> BackupWriter::read_into(KeptFile& kept, fs::path const& path) {
  return read_pieces(path, kChunkBytesMax, [&](std::string_view bytes) {
    kept.bytes += std::ssize(bytes);
    return keep(bytes, kept.chunks);
  });
}

Result<BackupDone> BackupWriter::finish() {
  if (auto closed = pack_.close(); !closed) return std::unexpected(closed.error());
  manifest_.packed = pack_.chunks();
  auto const text = to_text(manifest_);
  // The manifest comes last, and the name after all of it is on disk: what has the name is whole.
  if (auto done = write_file(unfinished_ / kManifestName, text); !done) {
    return std::unexpected(done.error());
  }
  if (auto synced = sync_folder(unfinished_); !synced) return std::unexpected(synced.error());
  auto const folder = options_.folder / manifest_.id;
  std::error_code error;
  fs::rename(unfinished_, folder, error);
  if (error) {
    return fail(ErrorCode::unavailable, folder.string() + " cannot be made: " + error.message());
  }
  unfinished_.clear();
  if (auto synced = sync_folder(options_.folder); !synced) return std::unexpected(synced.error());
  BackupDone done;
  done.id = manifest_.id;
  done.kind = manifest_.kind;
  done.manifest = folder / kManifestName;
  done.bytes = pack_.bytes() + std::ssize(text);
  for (auto const& table : manifest_.tables) done.rows += table.rows;
  done.files = std::ssize(manifest_.files);
  done.missing = std::move(missing_);
  done.chunks = chunks_;
  done.chunks_written = std::ssize(manifest_.packed);
  return done;
}

}  // namespace subforge::backup
