#include "files/files.hpp"

#include <algorithm>
#include <array>
#include <unordered_set>

#include <boost/json/object.hpp>
#include <fmt/format.h>

#include "base/random.hpp"
#include "base/text.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "files/content.hpp"
#include "files/file_rows.hpp"
#include "files/upload.hpp"
#include "store/record_sql.hpp"

namespace subforge::files {
namespace {

using domain::Actor;
using store::Row;
using store::Session;
using store::Transaction;

constexpr std::size_t kOrphansAtOnce = 100;  // Each has a descriptor open.

std::string const kInsert = store::insert_sql<FileRecord>("files");

template <std::size_t kBytes>
std::string random_hex() {
  std::array<std::uint8_t, kBytes> bytes;
  secure_random(bytes);
  return hex_encode(bytes);
}

std::string day_count(std::int64_t day) { return "file_days." + std::to_string(day); }

void count_file(store::CountChanges& counts, FileRecord const& file, std::int64_t sign) {
  counts.add("files", sign);
  counts.add("files.bytes", sign * file.file_size);
  counts.add("file_types." + std::string(describe::to_text(file.file_type)), sign);
  counts.add("file_mimes." + file.mime_type, sign);
  counts.add("file_users." + file.uploaded_by, sign);
  counts.add("file_user_bytes." + file.uploaded_by, sign * file.file_size);
  counts.add(day_count(file.uploaded_at.micros / kMicrosPerDay), sign);
}

// The file, if the requester may do this to it in the state that he knows.
Task<Result<FileRecord>> select_own(Session& session, std::string id, Requester const& who,
                                    Precondition const& condition, std::string_view deed) {
  auto file = co_await select_file(session, std::move(id));
  if (!file) co_return file;
  if (!who.admin && file->uploaded_by != who.actor.user) {
    co_return fail(ErrorCode::forbidden,
                   fmt::format("Permission denied. You can only {} your own files", deed));
  }
  if (auto met = condition.check(file->version); !met) co_return std::unexpected(met.error());
  co_return file;
}

// The members of `more` in place of those of the same name.
std::string merged(std::string const& text, std::string const& more) {
  auto members = describe::parse_json(text).as_object();
  auto const added = describe::parse_json(more).as_object();
  for (auto const& [name, value] : added) members[name] = value;
  return describe::json_text(members);
}

std::vector<std::string> without_repeats(std::vector<std::string> const& texts) {
  std::vector<std::string> all;
  for (auto const& text : texts) {
    if (std::ranges::find(all, text) == all.end()) all.push_back(text);
  }
  return all;
}

Task<Result<void>> check_quota(Transaction& transaction, std::string user, std::int64_t bytes_max) {
  if (bytes_max <= 0) co_return {};
  auto const used = co_await store::read_count(transaction.session(), "file_user_bytes." + user);
  if (!used) co_return std::unexpected(used.error());
  if (*used <= bytes_max) co_return {};
  co_return quota_exceeded(bytes_max);
}

// A lost answer to a commit leaves it open whether there was one.
bool may_be_written(Error const& error) {
  return error.code == ErrorCode::unavailable || error.code == ErrorCode::database;
}

Task<Result<bool>> has_row(Session& session, BlobName const& name) {
  bool known = false;
  auto const done =
      co_await session.query("SELECT 1 FROM files WHERE id = $1 AND sha256 = $2",
                             {name.file_id, name.sha256}, [&](Row const&) { known = true; });
  if (!done) co_return std::unexpected(done.error());
  co_return known;
}

// The ids of all files whose digest begins as this one does.
Task<Result<std::unordered_set<std::string>>> names_with_rows(Session& session,
                                                              std::string sha256) {
  auto const from = sha256.substr(0, 2);
  auto const to = from + "g";  // Behind every digit.
  std::unordered_set<std::string> ids;
  auto const done =
      co_await session.query("SELECT id FROM files WHERE sha256 >= $1 AND sha256 < $2", {from, to},
                             [&](Row const& row) { ids.emplace(row.text(0)); });
  if (!done) co_return std::unexpected(done.error());
  co_return ids;
}

}  // namespace

std::string new_session_id() { return random_hex<kSessionIdBytes>(); }

Task<Result<FileRecord>> Files::get(std::string id) {
  auto read = [id = std::move(id)](Session& session) { return select_file(session, id); };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

Task<Result<ShownThumbnail>> Files::thumbnail(std::string id) {
  auto read = [id = std::move(id)](Session& session) -> Task<Result<ShownThumbnail>> {
    auto file = co_await select_file(session, id);
    if (!file) co_return std::unexpected(file.error());
    ShownThumbnail shown{std::move(*file), {}, {}};
    auto const done =
        co_await session.query("SELECT mime_type, bytes FROM file_thumbnails WHERE file_id = $1",
                               {id}, [&](Row const& row) {
                                 shown.mime_type = row.text(0);
                                 shown.bytes = row.blob(1);
                               });
    if (!done) co_return std::unexpected(done.error());
    if (shown.bytes.empty())
      co_return fail(ErrorCode::not_found, "File " + id + " has no thumbnail");
    co_return shown;
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

Task<Result<void>> Files::keep(NewFile& file) {
  std::optional<std::string> twin;
  auto const sha256 = file.blob->sha256();
  auto find = [&](Session& session) -> Task<Result<void>> {
    auto const done =
        co_await session.query("SELECT id FROM files WHERE sha256 = $1 LIMIT 1", {sha256},
                               [&](Row const& row) { twin = std::string(row.text(0)); });
    if (!done) co_return std::unexpected(done.error());
    co_return {};
  };
  auto const found = co_await store_.read(store::ReadCost::point, std::move(find));
  if (!found) co_return found;
  auto work = [&] { return file.blob->keep(file.record.id, twin); };
  co_return co_await pool_.run(std::move(work));
}

Task<Result<void>> Files::admit(std::vector<NewFile>& files) {
  for (auto& file : files) {
    auto clean = co_await scanner_.check(*file.blob);
    if (!clean && clean.error().code == ErrorCode::invalid) {
      co_return invalid_file(file.record.original_filename, clean.error().message);
    }
    if (!clean) co_return clean;
  }
  for (auto& file : files) {
    if (auto kept = co_await keep(file); !kept) co_return kept;
  }
  co_return {};
}

Task<Result<std::vector<FileRecord>>> Files::add(std::vector<NewFile> files, Actor actor,
                                                 std::string session_id) {
  std::vector<FileRecord> records;
  auto const now = Timestamp::now();
  for (auto& [record, blob] : files) {
    if (record.id.empty()) record.id = random_hex<kFileIdDigits / 2>();
    if (record.uploaded_by.empty()) record.uploaded_by = actor.user;
    record.uploaded_at = now;
    record.file_size = blob->size();
    record.checksum = blob->md5();
    record.sha256 = blob->sha256();
    auto time = now.to_string();  // 2026-01-02T03:04:05...
    std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
    time[8] = '_';
    auto const& name = record.original_filename;
    record.filename =
        record.id + "_" + time.substr(0, 15) + name.substr(name.size() - extension_of(name).size());
    record.upload_path =
        fmt::format("uploads/{}/{}", describe::to_text(record.file_type), record.filename);
    records.push_back(record);
  }
  auto const admitted = co_await admit(files);
  using Records = std::vector<FileRecord>;
  auto write = [this, &records, &actor,
                &session_id](Transaction& transaction) -> Task<Result<Records>> {
    if (follower_ != nullptr) {
      auto followed = co_await follower_->uploaded_in(transaction, records, session_id, actor);
      if (!followed) co_return std::unexpected(followed.error());
    }
    store::CountChanges counts;
    for (auto const& record : records) {
      auto const bound = store::bind_record(record);
      auto const inserted = co_await transaction.execute(kInsert, bound.values());
      if (!inserted) co_return std::unexpected(inserted.error());
      auto told = co_await publish_file(transaction, record, "file.uploaded", actor);
      if (!told) co_return std::unexpected(told.error());
      count_file(counts, record, 1);
    }
    if (auto counted = co_await counts.apply(transaction); !counted) {
      co_return std::unexpected(counted.error());
    }
    auto room = co_await check_quota(transaction, records.front().uploaded_by, quotas_.bytes_max());
    if (!room) co_return std::unexpected(room.error());
    co_return records;
  };
  Result<Records> written;
  if (admitted) {
    written = co_await store_.write(std::move(write));
  } else {
    written = std::unexpected(admitted.error());
  }
  bool const perhaps = !written && admitted && may_be_written(written.error());
  for (auto const& file : files) {
    if (written) file.blob->commit();
    if (!perhaps) continue;
    file.blob->leave();
    leave_open({file.blob->sha256(), file.record.id});
  }
  // Names that are not needed any more are removed where the disk may be waited for.
  auto tidy = [&]() -> Result<void> {
    files.clear();
    return {};
  };
  (void)co_await pool_.run(std::move(tidy));
  co_return written;
}

Task<Result<FileRecord>> Files::update(std::string id, FileUpdate update, Requester who,
                                       Precondition condition) {
  auto write = [&](Transaction& transaction) -> Task<Result<FileRecord>> {
    auto const before = co_await select_own(transaction.session(), id, who, condition, "change");
    if (!before) co_return before;
    auto after = *before;
    if (update.tags.given && update.tags.value) after.tags = without_repeats(*update.tags.value);
    if (update.metadata.given && update.metadata.value) {
      after.metadata.text = merged(before->metadata.text, update.metadata.value->text);
      if (after.metadata.text.size() > kFieldBytesMax) {
        co_return fail(
            ErrorCode::too_large,
            fmt::format("metadata: with what is there it has more than {} bytes", kFieldBytesMax));
      }
    }
    if (after.tags == before->tags && after.metadata == before->metadata) co_return after;
    auto done = co_await write_file(transaction, *before, after, "file.updated", who.actor);
    if (!done) co_return std::unexpected(done.error());
    co_return after;
  };
  co_return co_await store_.write(std::move(write));
}

Task<Result<void>> Files::remove(std::string id, Requester who, Precondition condition) {
  BlobName name{{}, id};
  auto write = [&](Transaction& transaction) -> Task<Result<void>> {
    auto const file = co_await select_own(transaction.session(), id, who, condition, "delete");
    if (!file) co_return std::unexpected(file.error());
    name.sha256 = file->sha256;
    auto const parts = co_await transaction.execute(
        "DELETE FROM file_parts WHERE file_seq = (SELECT seq FROM files WHERE id = $1)", {id});
    if (!parts) co_return std::unexpected(parts.error());
    auto const removed = co_await transaction.execute("DELETE FROM files WHERE id = $1", {id});
    if (!removed) co_return std::unexpected(removed.error());
    auto const small =
        co_await transaction.execute("DELETE FROM file_thumbnails WHERE file_id = $1", {id});
    if (!small) co_return std::unexpected(small.error());
    store::CountChanges counts;
    count_file(counts, *file, -1);
    if (auto counted = co_await counts.apply(transaction); !counted) co_return counted;
    co_return co_await publish_file(transaction, *file, "file.deleted", who.actor);
  };
  auto const written = co_await store_.write(std::move(write));
  if (!written && may_be_written(written.error()) && !name.sha256.empty()) leave_open(name);
  if (!written) co_return written;
  // After a crash in between the next start sweeps it. Who reads it has it open.
  auto work = [&]() -> Result<void> {
    blobs_.remove(name);
    return {};
  };
  (void)co_await pool_.run(std::move(work));
  co_return {};
}

void Files::leave_open(BlobName name) {
  std::lock_guard const lock(mutex_);
  open_.push_back(std::move(name));
}

Task<Result<std::int64_t>> Files::stored_bytes(std::string user) {
  if (quotas_.bytes_max() <= 0) co_return 0;
  auto read = [&user](Session& session) {
    return store::read_count(session, "file_user_bytes." + user);
  };
  co_return co_await store_.read(store::ReadCost::point, read);
}

// Removes those that have no row. Leaves `names` with those that somebody holds, and about which
// nothing is known yet.
Task<Result<std::int64_t>> Files::remove_orphans(std::vector<BlobName>& names) {
  struct Claimed {
    BlobName name;
    Descriptor lock;
  };
  std::vector<Claimed> claimed;
  auto claim = [&]() -> Result<void> {
    std::vector<BlobName> held;
    for (auto& name : names) {
      if (auto lock = blobs_.claim(name)) {
        claimed.push_back({std::move(name), std::move(*lock)});
      } else if (blobs_.read(name)) {
        held.push_back(std::move(name));
      }
    }
    names = std::move(held);
    return {};
  };
  if (auto const done = co_await pool_.run(claim); !done) co_return std::unexpected(done.error());
  if (claimed.empty()) co_return 0;
  // In a transaction of the writer, so that every one that was begun before has ended: its row is
  // there by now, or never will be.
  std::vector<bool> known;
  auto look = [&](Transaction& transaction) -> Task<Result<void>> {
    known.clear();
    for (auto const& one : claimed) {
      auto const found = co_await has_row(transaction.session(), one.name);
      if (!found) co_return std::unexpected(found.error());
      known.push_back(*found);
    }
    co_return {};
  };
  if (auto const looked = co_await store_.write(look); !looked) {
    for (auto& one : claimed) names.push_back(std::move(one.name));
    co_return std::unexpected(looked.error());
  }
  auto remove = [&]() -> Result<std::int64_t> {
    std::int64_t removed = 0;
    for (std::size_t i = 0; i < claimed.size(); ++i) {
      if (known[i]) continue;
      blobs_.remove(claimed[i].name);
      ++removed;
    }
    return removed;
  };
  co_return co_await pool_.run(remove);
}

Task<void> Files::settle() {
  std::vector<BlobName> names;
  {
    std::lock_guard const lock(mutex_);
    names.swap(open_);
  }
  if (!names.empty()) (void)co_await remove_orphans(names);
  for (auto& name : names) leave_open(std::move(name));
}

Task<Result<void>> Files::take_folder() {
  std::string owner;
  bool any = false;
  auto write = [proposed =
                    random_token(12)](Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('files_owner', $1) ON CONFLICT (key) DO NOTHING",
        {proposed});
  };
  auto const written = co_await store_.write(std::move(write));
  if (!written) co_return std::unexpected(written.error());
  auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
    auto const found =
        co_await session.query("SELECT value FROM meta WHERE key = 'files_owner'", {},
                               [&](store::Row const& row) { owner = row.text(0); });
    if (!found) co_return found;
    co_return co_await session.query("SELECT 1 FROM files LIMIT 1", {},
                                     [&](store::Row const&) { any = true; });
  };
  auto const known = co_await store_.read(store::ReadCost::point, read);
  if (!known) co_return std::unexpected(known.error());
  auto const marked = blobs_.owner();
  if (marked == owner) co_return {};
  if (marked || (!any && blobs_.holds_contents())) {
    co_return fail(ErrorCode::invalid,
                   "UPLOAD_DIR: " + blobs_.folder() +
                       " holds the files of another database; give this one a folder of its own, or"
                       " move that one away");
  }
  co_return blobs_.set_owner(owner);
}

Task<Result<std::int64_t>> Files::sweep() {
  auto removed = blobs_.remove_abandoned() + blobs_.remove_put_aside();
  for (int shard = 0; shard < BlobStore::kShards; ++shard) {
    auto names = blobs_.names_in(shard);
    if (names.empty()) continue;
    auto look = [&](Session& session) { return names_with_rows(session, names.front().sha256); };
    auto const known = co_await store_.read(store::ReadCost::scan, look);
    if (!known) co_return std::unexpected(known.error());
    std::erase_if(names, [&](BlobName const& name) { return known->contains(name.file_id); });
    for (std::size_t at = 0; at < names.size(); at += kOrphansAtOnce) {
      auto const begin = names.begin() + static_cast<std::ptrdiff_t>(at);
      auto const count = std::min(kOrphansAtOnce, names.size() - at);
      std::vector<BlobName> some(begin, begin + static_cast<std::ptrdiff_t>(count));
      // What is left of them somebody holds, who is about to make its row.
      auto const gone = co_await remove_orphans(some);
      if (!gone) co_return gone;
      removed += *gone;
    }
  }
  co_return removed;
}

}  // namespace subforge::files
