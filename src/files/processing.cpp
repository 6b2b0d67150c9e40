#include "files/processing.hpp"

#include <algorithm>

#include <boost/json/object.hpp>

#include "base/json_writer.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "files/content.hpp"
#include "files/file_rows.hpp"
#include "files/text_encoding.hpp"
#include "jobs/job_checks.hpp"
#include "store/background_write.hpp"

namespace subforge::files {
namespace {

using store::Transaction;

struct Known {
  std::optional<ProcessingStatus> status;
  std::string task_id;
};

Known known_of(FileRecord const& file) {
  boost::system::error_code error;
  auto const value = describe::parse_json(file.analysis.text, error);
  if (error || !value.is_object()) return {};
  auto const& object = value.get_object();
  return {describe::from_text<ProcessingStatus>(describe::text_member(object, "status")),
          std::string(describe::text_member(object, "task_id"))};
}

Task<Result<void>> write_analysis(Transaction& transaction, FileRecord const& before,
                                  describe::JsonValue analysis, std::string kind) {
  auto after = before;
  after.analysis = std::move(analysis);
  if (after.analysis == before.analysis) co_return {};
  co_return co_await write_file(transaction, before, after, std::move(kind), {});
}

// Nothing where the file is gone.
Task<Result<std::optional<FileRecord>>> find_file(Transaction& transaction, std::string id) {
  auto file = co_await select_file(transaction.session(), std::move(id));
  if (file) co_return std::move(*file);
  if (file.error().code == ErrorCode::not_found) co_return std::nullopt;
  co_return std::unexpected(file.error());
}

}  // namespace

Processing processing_of(FileRecord const& file) {
  if (file.file_type == FileType::agent_configs) return Processing::agent_configuration;
  auto const extension = extension_of(file.original_filename);
  for (auto const* name : {".png", ".jpg", ".jpeg", ".gif"}) {
    if (extension == name) return Processing::image;
  }
  for (auto const* name : {".csv", ".json", ".txt", ".log", ".md", ".svg"}) {
    if (extension == name) return Processing::text;
  }
  return Processing::none;
}

describe::JsonValue analysis_of(ProcessingStatus status, Uuid const& task_id,
                                std::string_view members) {
  describe::JsonValue analysis;
  analysis.text.clear();
  JsonWriter json(analysis.text);
  json.begin_object();
  json.member("status", describe::to_text(status));
  json.member("task_id", task_id);
  if (!members.empty()) json.raw(members);
  json.end_object();
  return analysis;
}

std::optional<ProcessingStatus> end_by(FileRecord const& file, Uuid const& task_id) {
  auto known = known_of(file);
  bool const ended =
      known.status == ProcessingStatus::done || known.status == ProcessingStatus::failed;
  if (!ended || known.task_id != task_id.to_string()) return std::nullopt;
  return known.status;
}

Task<Result<FileRecord>> begin_processing(store::Store& store, std::string id, Uuid task_id,
                                          std::string asked_by) {
  auto write = [id = std::move(id), task_id, asked_by = std::move(asked_by)](
                   Transaction& transaction) -> Task<Result<FileRecord>> {
    auto const before = co_await select_file(transaction.session(), id);
    bool const is_its_own = before && known_of(*before).task_id == task_id.to_string();
    if (before && !is_its_own && before->uploaded_by != asked_by) {
      co_return fail(ErrorCode::forbidden, "File " + id + " is somebody else's");
    }
    // What it has done already, before its worker was lost, stays done.
    if (!before || end_by(*before, task_id) == ProcessingStatus::done) co_return before;
    auto after = *before;
    after.analysis = analysis_of(ProcessingStatus::processing, task_id);
    if (after.analysis == before->analysis) co_return after;
    auto const written = co_await write_file(transaction, *before, after, "file.processing", {});
    if (!written) co_return std::unexpected(written.error());
    co_return after;
  };
  co_return co_await store.write(std::move(write));
}

std::string indexed_text(std::string_view text) {
  return jobs::clean_text(to_utf8(text), kIndexedBytesMax);
}

namespace {

// How many parts of a text its index has.
std::int64_t parts_of(std::string_view text) {
  auto const begins = [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; };
  auto const characters = static_cast<std::size_t>(std::ranges::count_if(text, begins));
  return static_cast<std::int64_t>((characters + kPartCharacters - 1) / kPartCharacters);
}

Task<Result<void>> keep_parts_in(Transaction& transaction, std::string_view id, std::int64_t first,
                                 std::int64_t last) {
  for (auto part = first; part <= last; ++part) {
    auto const done = co_await transaction.execute(
        "INSERT INTO file_parts (file_seq, part) SELECT seq, CAST($1 AS BIGINT) FROM files"
        " WHERE id = $2 ON CONFLICT (file_seq, part) DO NOTHING",
        {part, id});
    if (!done) co_return std::unexpected(done.error());
  }
  co_return {};
}

}  // namespace

Task<Result<void>> keep_text(store::Store& store, std::string id, std::string text) {
  auto const parts = parts_of(text);
  // PostgreSQL's index is of the whole text, whatever parts are told of.
  bool const at_once = store.database().dialect() == store::Dialect::postgres;
  auto const first = at_once ? parts : std::min<std::int64_t>(parts, 1);
  auto begin = [&](Transaction& transaction) -> Task<Result<void>> {
    auto const done = co_await transaction.execute(
        "UPDATE files SET content = $1 WHERE id = $2 AND content <> $1", {text, id});
    if (!done) co_return std::unexpected(done.error());
    co_return co_await keep_parts_in(transaction, id, 1, first);
  };
  auto kept = co_await store::write_in_background(store, begin);
  for (auto part = first + 1; kept && part <= parts; ++part) {
    auto go_on = [&](Transaction& transaction) {
      return keep_parts_in(transaction, id, part, part);
    };
    kept = co_await store::write_in_background(store, go_on);
  }
  co_return kept;
}

Task<Result<void>> keep_thumbnail_in(Transaction& transaction, std::string id,
                                     Thumbnail thumbnail) {
  // Of a file that is gone nobody would ever remove it.
  auto const file = co_await find_file(transaction, id);
  if (!file) co_return std::unexpected(file.error());
  if (!*file) co_return {};
  auto const done = co_await transaction.execute(
      "INSERT INTO file_thumbnails (file_id, mime_type, bytes) VALUES ($1, $2, $3)"
      " ON CONFLICT (file_id) DO UPDATE SET mime_type = excluded.mime_type,"
      " bytes = excluded.bytes",
      {id, thumbnail.mime_type, store::Value::blob(thumbnail.bytes)});
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Task<Result<void>> finish_processing_in(Transaction& transaction, std::string id, Uuid task_id,
                                        std::string members) {
  auto const file = co_await find_file(transaction, std::move(id));
  if (!file) co_return std::unexpected(file.error());
  if (!*file) co_return {};
  co_return co_await write_analysis(
      transaction, **file, analysis_of(ProcessingStatus::done, task_id, members), "file.processed");
}

Task<Result<void>> fail_processing_in(Transaction& transaction, std::string id, Uuid task_id,
                                      std::string error) {
  auto const file = co_await find_file(transaction, std::move(id));
  if (!file) co_return std::unexpected(file.error());
  if (!*file) co_return {};
  auto const known = known_of(**file);
  if (known.task_id != task_id.to_string() || known.status == ProcessingStatus::done) co_return {};
  auto const text = jobs::clean_text(error, kProcessingErrorBytesMax);
  co_return co_await write_analysis(
      transaction, **file,
      analysis_of(ProcessingStatus::failed, task_id, "\"error\":" + json_string(text)),
      "file.processed");
}

}  // namespace subforge::files
