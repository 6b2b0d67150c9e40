#include "backup/restore.hpp"

#include <fstream>
#include <utility>

#include <fmt/format.h>

#include "backup/chunks.hpp"
#include "base/random.hpp"
#include "store/tables.hpp"

namespace subforge::backup {
namespace fs = std::filesystem;
namespace {

using store::Cells;

std::unexpected<Error> damaged(Manifest const& manifest, std::string const& what) {
  return fail(ErrorCode::invalid, fmt::format("The backup {} is damaged: {}", manifest.id, what));
}

// A name from a manifest leads nowhere but into its folder.
bool stays_inside(fs::path const& name) {
  if (name.empty() || name.is_absolute()) return false;
  for (auto const& part : name) {
    if (part == "..") return false;
  }
  return true;
}

}  // namespace

Result<Restore> Restore::open(fs::path const& manifest) {
  std::error_code error;
  auto const path = fs::absolute(manifest, error).lexically_normal();
  auto const folder = fs::is_directory(path, error) ? path : path.parent_path();
  if (folder.filename().string().starts_with(kUnfinished)) {
    return fail(ErrorCode::invalid, folder.string() + " is of a backup that was never finished");
  }
  Restore restore;
  restore.folder_ = folder.parent_path();
  auto chain = load_chain(restore.folder_, folder.filename().string());
  if (!chain) return std::unexpected(chain.error());
  restore.chain_ = std::move(*chain);
  for (std::size_t i = 0; i < restore.chain_.size(); ++i) {
    auto const& one = restore.chain_[i];
    if (auto opened = restore.packs_.emplace_back().open(restore.folder_ / one.id / kPackName);
        !opened) {
      return std::unexpected(opened.error());
    }
    for (auto const& chunk : one.packed) restore.places_.emplace(chunk.digest, Place{i, chunk});
  }
  return restore;
}

Result<std::string> Restore::chunk(std::string const& digest) const {
  auto const place = places_.find(digest);
  if (place == places_.end()) return damaged(manifest(), "no file has the chunk " + digest);
  return packs_[place->second.backup].read(place->second.chunk);
}

Result<void> Restore::verify(RestoreProgress const& progress) const {
  for (auto const& kept : manifest().tables) {
    store::RowsChecksum checksum;
    for (auto const& digest : kept.chunks) {
      auto const bytes = chunk(digest);
      if (!bytes) return std::unexpected(bytes.error());
      auto const rows = rows_of(*bytes, kept.table.columns.size());
      if (!rows) return std::unexpected(rows.error());
      for (auto const& row : *rows) checksum.add(row);
    }
    if (checksum.rows() != kept.rows || checksum.text() != kept.checksum) {
      return damaged(manifest(), "the rows of " + kept.table.name + " are others");
    }
    progress(kept.table.name, kept.rows);
  }
  for (auto const& file : manifest().files) {
    std::int64_t total = 0;
    for (auto const& digest : file.chunks) {
      auto const bytes = chunk(digest);
      if (!bytes) return std::unexpected(bytes.error());
      total += std::ssize(*bytes);
    }
    if (total != file.bytes || !stays_inside(file.name)) {
      return damaged(manifest(), "the file " + file.name + " is another one");
    }
  }
  return {};
}

Task<Result<void>> Restore::load(store::Store& to, RestoreProgress const& progress) const {
  std::vector<store::Table> tables;
  for (auto const& kept : manifest().tables) tables.push_back(kept.table);
  if (auto cleared = co_await store::clear_tables(to, tables); !cleared) co_return cleared;
  for (auto const& kept : manifest().tables) {
    if (auto loaded = co_await load_table(to, kept, progress); !loaded) {
      co_return std::unexpected(std::move(loaded.error()).with_context(kept.table.name));
    }
  }
  auto renew = [](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    // A broker may still hold what the log of that name asked for.
    auto const kept = co_await transaction.execute(
        "INSERT INTO meta (key, value) SELECT 'log_epochs_before', value FROM meta"
        " WHERE key = 'log_epoch'"
        " ON CONFLICT (key) DO UPDATE SET value = meta.value || ' ' || excluded.value");
    if (!kept) co_return kept;
    auto const epoch = fmt::format("{:08x}", static_cast<std::uint32_t>(fast_random()));
    co_return co_await transaction.execute("UPDATE meta SET value = $1 WHERE key = 'log_epoch'",
                                           {epoch});
  };
  auto const renewed = co_await to.write(renew);
  if (!renewed) co_return std::unexpected(renewed.error());
  co_return {};
}

Task<Result<void>> Restore::load_table(store::Store& to, KeptTable const& kept,
                                       RestoreProgress const& progress) const {
  std::int64_t count = 0;
  for (auto const& digest : kept.chunks) {
    auto const bytes = chunk(digest);
    if (!bytes) co_return std::unexpected(bytes.error());
    auto const rows = rows_of(*bytes, kept.table.columns.size());
    if (!rows) co_return std::unexpected(rows.error());
    if (auto added = co_await store::insert_rows(to, kept.table, *rows); !added) co_return added;
    progress(kept.table.name, count += std::ssize(*rows));
  }
  if (kept.highest_id > 0) {
    auto const noted = co_await store::note_highest_id(to, kept.table, kept.highest_id);
    if (!noted) co_return noted;
  }
  store::RowsChecksum arrived;
  auto const compare = [&](std::vector<Cells> const& rows) -> Task<Result<void>> {
    for (auto const& row : rows) arrived.add(row);
    co_return {};
  };
  if (auto read = co_await store::for_each_rows(to, kept.table, compare); !read) co_return read;
  if (arrived.rows() != kept.rows || arrived.text() != kept.checksum) {
    co_return fail(ErrorCode::internal,
                   "The table " + kept.table.name + " did not arrive whole; throw the target away");
  }
  co_return {};
}

Result<void> Restore::load_files(std::vector<FileSource> const& sources,
                                 RestoreProgress const& progress) const {
  for (auto const& source : sources) {
    std::int64_t count = 0;
    for (auto const& file : manifest().files) {
      if (file.source != source.name) continue;
      if (!stays_inside(file.name)) return damaged(manifest(), "a file is named " + file.name);
      if (auto loaded = load_file(file, source.folder / file.name); !loaded) return loaded;
      progress(source.name, ++count);
    }
  }
  return {};
}

// Whether the file is there as it was kept: what was damaged since is no reason to leave it so.
Result<bool> Restore::is_there(KeptFile const& file, fs::path const& to) const {
  std::error_code error;
  if (!fs::is_regular_file(to, error)) return false;
  if (std::cmp_not_equal(fs::file_size(to, error), file.bytes) || error) return false;
  std::ifstream found(to, std::ios::binary);
  std::string part;
  for (auto const& digest : file.chunks) {
    auto const kept = chunk(digest);
    if (!kept) return std::unexpected(kept.error());
    part.resize(kept->size());
    found.read(part.data(), std::ssize(part));
    if (!found || part != *kept) return false;
  }
  return true;
}

Result<void> Restore::load_file(KeptFile const& file, fs::path const& to) const {
  std::error_code error;
  auto const there = is_there(file, to);
  if (!there) return std::unexpected(there.error());
  if (*there) return {};
  fs::create_directories(to.parent_path(), error);
  auto const half = to.string() + ".restoring";
  auto next = [&, i = std::size_t{0}]() mutable -> Result<std::string> {
    if (i == file.chunks.size()) return std::string();
    return chunk(file.chunks[i++]);
  };
  if (auto written = write_file(half, next); !written) return written;
  fs::rename(half, to, error);
  if (error) {
    return fail(ErrorCode::unavailable, to.string() + " cannot be made: " + error.message());
  }
  return sync_folder(to.parent_path());
}

}  // namespace subforge::backup
