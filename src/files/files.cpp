#include "files/files.hpp"

#include <algorithm>
#include <array>

#include <boost/json/object.hpp>
#include <fmt/format.h>

#include "base/random.hpp"
#include "base/text.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "files/content.hpp"
#include "files/upload.hpp"
#include "realtime/connections.hpp"
#include "store/record_sql.hpp"

namespace subforge::files {
namespace {

using domain::Actor;
using store::Row;
using store::Session;
using store::Transaction;

constexpr std::int64_t kMicrosPerDay = 86'400'000'000;

std::string const kColumns = store::column_list<FileRecord>();
std::string const kInsert = store::insert_sql<FileRecord>("files");
std::string const kSelect = "SELECT " + kColumns + " FROM files WHERE id = $1";

std::string new_id() {
  std::array<std::uint8_t, kFileIdDigits / 2> bytes;
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

store::Event event_about(FileRecord const& file, std::string kind, Actor const& actor) {
  store::Event event;
  event.kind = std::move(kind);
  event.subject = "file:" + file.id;
  event.actor = actor.user;
  event.version = file.version;
  event.audience = store::Audience::everybody({std::string(realtime::kFilesRoom)});
  event.payload = "{\"file\":" + stored_json(file) + "}";
  return event;
}

Task<Result<void>> publish(Transaction& transaction, FileRecord const& file, std::string kind,
                           Actor const& actor) {
  auto const published = co_await transaction.publish(event_about(file, std::move(kind), actor));
  if (!published) co_return std::unexpected(published.error());
  co_return {};
}

Task<Result<FileRecord>> select_file(Session& session, std::string id) {
  std::optional<FileRecord> file;
  auto const done = co_await session.query(
      kSelect, {id}, [&](Row const& row) { file = store::read_row<FileRecord>(row); });
  if (!done) co_return std::unexpected(done.error());
  if (!file) co_return fail(ErrorCode::not_found, "File " + id + " not found");
  co_return std::move(*file);
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

Task<Result<void>> write_change(Transaction& transaction, FileRecord const& before,
                                FileRecord& after, std::string kind, Actor const& actor) {
  ++after.version;
  auto const update =
      store::update_of_changes("files", "id", store::Value(before.id), before, after);
  auto const done = co_await transaction.execute(update.sql, update.bound.values());
  if (!done) co_return std::unexpected(done.error());
  co_return co_await publish(transaction, after, std::move(kind), actor);
}

// The members of `more` in place of those of the same name.
std::string merged(std::string const& text, std::string const& more) {
  auto members = describe::parse_json(text).as_object();
  auto const added = describe::parse_json(more).as_object();
  for (auto const& [name, value] : added) members[name] = value;
  return describe::json_text(members);
}

Task<Result<void>> check_quota(Transaction& transaction, std::string user, std::int64_t bytes_max) {
  if (bytes_max <= 0) co_return {};
  auto const used = co_await store::read_count(transaction.session(), "file_user_bytes." + user);
  if (!used) co_return std::unexpected(used.error());
  if (*used <= bytes_max) co_return {};
  co_return fail(ErrorCode::too_large,
                 fmt::format("Storage quota exceeded. Maximum allowed: {} bytes", bytes_max));
}

}  // namespace

Task<Result<FileRecord>> Files::get(std::string id) {
  auto read = [id = std::move(id)](Session& session) { return select_file(session, id); };
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

Task<Result<std::vector<FileRecord>>> Files::add(std::vector<NewFile> files, Actor actor) {
  std::vector<FileRecord> records;
  auto const now = Timestamp::now();
  for (auto& [record, blob] : files) {
    record.id = new_id();
    record.uploaded_by = actor.user;
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
  auto written = co_await admit(files);
  auto write = [this, &records, &actor](Transaction& transaction) -> Task<Result<void>> {
    store::CountChanges counts;
    for (auto const& record : records) {
      auto const bound = store::bind_record(record);
      auto const inserted = co_await transaction.execute(kInsert, bound.values());
      if (!inserted) co_return std::unexpected(inserted.error());
      auto told = co_await publish(transaction, record, "file.uploaded", actor);
      if (!told) co_return told;
      count_file(counts, record, 1);
    }
    if (auto counted = co_await counts.apply(transaction); !counted) co_return counted;
    co_return co_await check_quota(transaction, actor.user, user_bytes_max_);
  };
  if (written) written = co_await store_.write(std::move(write));
  if (written) {
    for (auto const& file : files) file.blob->commit();
  }
  // Names that are not needed any more are removed where the disk may be waited for.
  auto tidy = [&]() -> Result<void> {
    files.clear();
    return {};
  };
  (void)co_await pool_.run(std::move(tidy));
  if (!written) co_return std::unexpected(written.error());
  co_return records;
}

Task<Result<FileRecord>> Files::update(std::string id, FileUpdate update, Requester who,
                                       Precondition condition) {
  auto write = [&](Transaction& transaction) -> Task<Result<FileRecord>> {
    auto const before = co_await select_own(transaction.session(), id, who, condition, "change");
    if (!before) co_return before;
    auto after = *before;
    if (update.tags.given && update.tags.value) after.tags = *update.tags.value;
    if (update.metadata.given && update.metadata.value) {
      after.metadata.text = merged(before->metadata.text, update.metadata.value->text);
    }
    if (after.tags == before->tags && after.metadata == before->metadata) co_return after;
    auto done = co_await write_change(transaction, *before, after, "file.updated", who.actor);
    if (!done) co_return std::unexpected(done.error());
    co_return after;
  };
  co_return co_await store_.write(std::move(write));
}

Task<Result<FileRecord>> Files::analysed(std::string id, describe::JsonValue analysis,
                                         std::optional<std::string> content) {
  auto write = [&](Transaction& transaction) -> Task<Result<FileRecord>> {
    auto const before = co_await select_file(transaction.session(), id);
    if (!before) co_return before;
    auto after = *before;
    after.analysis = analysis;
    if (content) {
      auto const done = co_await transaction.execute("UPDATE files SET content = $1 WHERE id = $2",
                                                     {*content, id});
      if (!done) co_return std::unexpected(done.error());
    }
    if (after.analysis == before->analysis) co_return after;
    auto done = co_await write_change(transaction, *before, after, "file.processed", {});
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
    auto const removed = co_await transaction.execute("DELETE FROM files WHERE id = $1", {id});
    if (!removed) co_return std::unexpected(removed.error());
    store::CountChanges counts;
    count_file(counts, *file, -1);
    if (auto counted = co_await counts.apply(transaction); !counted) co_return counted;
    co_return co_await publish(transaction, *file, "file.deleted", who.actor);
  };
  auto const written = co_await store_.write(std::move(write));
  if (!written) co_return written;
  // After a crash in between the next start sweeps it. Who reads it has it open.
  auto work = [&]() -> Result<void> {
    blobs_.remove(name);
    return {};
  };
  (void)co_await pool_.run(std::move(work));
  co_return {};
}

Task<Result<bool>> Files::is_known(BlobName name) {
  auto read = [&name](Session& session) -> Task<Result<bool>> {
    bool known = false;
    auto const done =
        co_await session.query("SELECT 1 FROM files WHERE id = $1 AND sha256 = $2",
                               {name.file_id, name.sha256}, [&](Row const&) { known = true; });
    if (!done) co_return std::unexpected(done.error());
    co_return known;
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

Task<Result<std::int64_t>> Files::sweep() {
  auto removed = blobs_.remove_abandoned();
  for (int shard = 0; shard < BlobStore::kShards; ++shard) {
    for (auto const& name : blobs_.names_in(shard)) {
      auto const known = co_await is_known(name);
      if (!known) co_return std::unexpected(known.error());
      if (*known) continue;
      auto const claimed = blobs_.claim(name);
      if (!claimed) continue;
      // Whoever held it until now may have made the row just before.
      auto const known_now = co_await is_known(name);
      if (!known_now) co_return std::unexpected(known_now.error());
      if (*known_now) continue;
      blobs_.remove(name);
      ++removed;
    }
  }
  co_return removed;
}

// --- What viewers see

namespace {

using boost::json::object;
using realtime::Message;

Message change_of(object const& payload, std::string_view what) {
  auto const* stored = payload.if_contains("file");
  auto const file = stored != nullptr && stored->is_object()
                        ? file_from_stored(stored->get_object())
                        : FileRecord{};
  Message message;
  JsonWriter json(message.data);
  json.begin_object();
  json.member("event", what);
  json.member("file_path", file.upload_path);
  json.member("file_name", file.original_filename);
  json.member("file_category", describe::to_text(file.file_type));
  json.member("file_size", what == "file_deleted" ? 0 : file.file_size);
  json.member("file_id", file.id);
  json.end_object();
  return message;
}

std::optional<Message> uploaded(store::Event const&, object const& payload) {
  return change_of(payload, "file_created");
}
std::optional<Message> updated(store::Event const&, object const& payload) {
  return change_of(payload, "file_modified");
}
std::optional<Message> processed(store::Event const&, object const& payload) {
  return change_of(payload, "file_processed");
}
std::optional<Message> deleted(store::Event const&, object const& payload) {
  return change_of(payload, "file_deleted");
}

constexpr std::string_view kShape =
    "event:text file_path:text file_name:text file_category:text file_size:integer file_id:id";

constexpr realtime::Projection kProjections[] = {
    {"file.uploaded", {}, {"file_change", &uploaded, kShape}},
    {"file.updated", {}, {"file_change", &updated, kShape}},
    {"file.processed", {}, {"file_change", &processed, kShape}},
    {"file.deleted", {}, {"file_change", &deleted, kShape}},
};

}  // namespace

std::span<realtime::Projection const> file_projections() { return kProjections; }

}  // namespace subforge::files
