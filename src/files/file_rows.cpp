#include "files/file_rows.hpp"

#include <optional>
#include <span>

#include <boost/json/object.hpp>

#include "files/files.hpp"
#include "realtime/connections.hpp"
#include "store/record_sql.hpp"

namespace subforge::files {

using domain::Actor;
using store::Row;
using store::Session;
using store::Transaction;

namespace {

std::string const kSelect =
    "SELECT " + store::column_list<FileRecord>() + " FROM files WHERE id = $1";

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

}  // namespace

Task<Result<FileRecord>> select_file(Session& session, std::string id) {
  // No id has one, and PostgreSQL takes no such text.
  if (id.contains('\0')) co_return fail(ErrorCode::not_found, "File not found");
  std::optional<FileRecord> file;
  auto const done = co_await session.query(
      kSelect, {id}, [&](Row const& row) { file = store::read_row<FileRecord>(row); });
  if (!done) co_return std::unexpected(done.error());
  if (!file) co_return fail(ErrorCode::not_found, "File " + id + " not found");
  co_return std::move(*file);
}

Task<Result<void>> publish_file(Transaction& transaction, FileRecord const& file, std::string kind,
                                Actor const& actor) {
  auto const published = co_await transaction.publish(event_about(file, std::move(kind), actor));
  if (!published) co_return std::unexpected(published.error());
  co_return {};
}

Task<Result<void>> write_file(Transaction& transaction, FileRecord const& before, FileRecord& after,
                              std::string kind, Actor const& actor) {
  ++after.version;
  auto const update =
      store::update_of_changes("files", "id", store::Value(before.id), before, after);
  auto const done = co_await transaction.execute(update.sql, update.bound.values());
  if (!done) co_return std::unexpected(done.error());
  co_return co_await publish_file(transaction, after, std::move(kind), actor);
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
  json.member_raw("analysis", file.analysis.text);
  json.end_object();
  return message;
}

std::optional<Message> uploaded(store::Event const&, object const& payload) {
  return change_of(payload, "file_created");
}
std::optional<Message> updated(store::Event const&, object const& payload) {
  return change_of(payload, "file_modified");
}
std::optional<Message> processing(store::Event const&, object const& payload) {
  return change_of(payload, "file_processing");
}
std::optional<Message> processed(store::Event const&, object const& payload) {
  return change_of(payload, "file_processed");
}
std::optional<Message> deleted(store::Event const&, object const& payload) {
  return change_of(payload, "file_deleted");
}

constexpr std::string_view kShape =
    "event:text file_path:text file_name:text file_category:text file_size:integer file_id:id"
    " analysis:object|null";

constexpr realtime::Projection kProjections[] = {
    {"file.uploaded", {}, {"file_change", &uploaded, kShape}},
    {"file.updated", {}, {"file_change", &updated, kShape}},
    {"file.processing", {}, {"file_change", &processing, kShape}},
    {"file.processed", {}, {"file_change", &processed, kShape}},
    {"file.deleted", {}, {"file_change", &deleted, kShape}},
};

}  // namespace

std::span<realtime::Projection const> file_projections() { return kProjections; }

}  // namespace subforge::files
