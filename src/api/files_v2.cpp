#include "api/files_v2.hpp"

#include <fmt/format.h>

#include "api/cursor.hpp"
#include "api/file_download.hpp"
#include "api/handler_parts.hpp"
#include "api/listed.hpp"
#include "auth/principal.hpp"
#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "files/content.hpp"
#include "files/validation.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using files::FileFilter;
using files::FileRecord;
using files::FileType;
using http::ClientKey;
using http::Parameter;
using http::Request;
using http::Response;
using net::Method;

constexpr double kMiB = 1 << 20;

http::Schema const kFileSchema{"FileInfo", &files::file_schema};

Response file_response(FileRecord const& file) {
  auto response = Response::json(files::to_json(file));
  response.etag = etag_of(file.version);
  return response;
}

files::Requester requester_of(Request const& request) {
  bool const admin = request.principal != nullptr && request.principal->may_administrate();
  return {actor_of(request), admin};
}

// --- Uploads

Response missing_files() {
  describe::Issues issues;
  describe::Where const body{nullptr, "body"};
  issues.add({&body, std::string_view("files")}, "missing", "Field required", "null");
  return Response::invalid(issues);
}

// What went wrong with an upload: the client's mistakes are 400 here, and a full disk is 507.
Response refusal(Error const& error) {
  if (error.code == ErrorCode::invalid) return Response::problem(400, error.message);
  if (error.code == ErrorCode::bad_reference) return missing_files();
  if (error.message == files::kNoRoom) return Response::problem(507, error.message);
  return Response::from(error);
}

// Removes what an upload leaves behind where the disk may be waited for.
template <class Thing>
void dispose(BlockingPool& pool, Thing thing) {
  (void)pool.try_submit([kept = std::move(thing)]() mutable {});
}

Response uploaded(std::vector<FileRecord> const& records, std::string_view session_id) {
  std::int64_t total = 0;
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.key("files");
  json.begin_array();
  for (auto const& record : records) {
    files::write_json(json, record, describe::Api::v2);
    total += record.file_size;
  }
  json.end_array();
  json.member("total_uploaded", records.size());
  json.member("total_size", total);
  json.member("upload_session_id", session_id);
  json.end_object();
  return response;
}

// All that tells one upload from another.
std::string content_of(std::vector<files::NewFile> const& stored) {
  std::string text;
  JsonWriter json(text);
  json.begin_array();
  for (auto const& [record, blob] : stored) {
    json.string(record.original_filename);
    json.string(record.mime_type);
    json.string(blob->sha256());
    json.string(record.metadata.text);
    json.begin_array();
    for (auto const& tag : record.tags) json.string(tag);
    json.end_array();
  }
  json.end_array();
  return text;
}

Task<Response> receive(FilesParts const& parts, Request const& request, files::Upload& upload) {
  auto& pool = parts.files.pool();
  std::string block;
  while (request.body_stream != nullptr) {
    auto const more = co_await request.body_stream->next(block, upload.wanted());
    if (!more) co_return Response::problem(more.error().status, more.error().reason);
    if (!*more) break;
    auto take = [&] { return upload.take(block); };
    if (auto taken = co_await pool.run(take); !taken) co_return refusal(taken.error());
  }
  auto finish = [&] { return upload.finish(); };
  if (auto finished = co_await pool.run(finish); !finished) co_return refusal(finished.error());
  auto const session_id = files::new_session_id();
  auto stored = upload.take_files();
  if (request.once != nullptr) request.once->content(content_of(stored));
  auto const answer = [&](Result<std::vector<FileRecord>> const& records) {
    return records ? uploaded(*records, session_id) : refusal(records.error());
  };
  co_return co_await pipeline::answer_with(
      request, parts.files.add(std::move(stored), actor_of(request), session_id), answer);
}

// What the user has stored or announced already, and room for what is known to come.
Task<Result<std::int64_t>> look_ahead(FilesParts const& parts, Request const& request,
                                      std::string const& user) {
  auto const stored = co_await parts.files.stored_bytes(user);
  if (!stored) co_return stored;
  auto const length = request.body_stream != nullptr ? request.body_stream->length() : std::nullopt;
  auto look = [&]() -> Result<std::int64_t> {
    auto const room = parts.files.blobs().check_room(static_cast<std::int64_t>(length.value_or(0)));
    if (!room) return std::unexpected(room.error());
    if (parts.files.quotas().bytes_max() <= 0) return 0;
    return *stored + parts.resumable.announced_bytes(user);
  };
  co_return co_await parts.files.pool().run(look);
}

Task<Response> upload_files(FilesParts const& parts, Request const& request) {
  auto const type = describe::from_text<FileType>(request.path_values.front());
  if (!type)
    co_return Response::problem(400, "Invalid file type. Allowed: " + files::file_type_names());
  auto parser = http::MultipartParser::of(request.content_type);
  if (!parser) {
    bool const form = to_lower(request.content_type).starts_with("multipart/form-data");
    co_return form ? Response::problem(400, parser.error().message) : missing_files();
  }
  auto const user = actor_of(request).user;
  auto const used = co_await look_ahead(parts, request, user);
  if (!used) co_return refusal(used.error());
  // Given back before the answer, so that the user's next upload is not counted beside this one.
  files::Quotas::Share share(parts.files.quotas(), user, *used);
  auto upload = std::make_unique<files::Upload>(parts.files.blobs(), *type, parts.limits,
                                                std::move(*parser), &share);
  auto response = co_await receive(parts, request, *upload);
  dispose(parts.files.pool(), std::move(upload));
  co_return response;
}

// --- Lists and figures

FileFilter file_filter_of(Request const& request) {
  FileFilter filter;
  if (auto const type = request.text("file_type")) {
    filter.file_type = describe::from_text<FileType>(*type);
    filter.impossible = !filter.file_type;
  }
  filter.uploaded_by = request.text("uploaded_by");
  filter.mime_type = request.text("mime_type");
  if (auto const tags = request.text("tags")) {
    for (auto const tag : split_list(*tags, ',')) filter.tags.emplace_back(tag);
  }
  filter.search = request.text("search");
  auto const sort = request.text("sort_by").value_or("");
  if (sort == "filename") filter.sort = FileFilter::Sort::filename;
  if (sort == "file_size") filter.sort = FileFilter::Sort::file_size;
  if (sort == "file_type") filter.sort = FileFilter::Sort::file_type;
  filter.descending = request.text("sort_order") != "asc";
  filter.skip = request.integer("skip");
  filter.limit = request.integer("limit");
  return filter;
}

Task<Response> list_files(FilesParts const& parts, Request const& request) {
  auto filter = file_filter_of(request);
  auto after = read_cursor(request);
  if (!after) co_return std::move(after.error());
  filter.after = std::move(*after);
  auto const page = co_await parts.files.list(std::move(filter));
  if (!page) co_return Response::from(page.error());
  co_return page_response(request, *page, describe::Api::v2);
}

void write_counts(JsonWriter& json, std::string_view name, store::Counts const& counts) {
  json.key(name);
  json.begin_object();
  for (auto const& [key, n] : counts) json.member(key, n);
  json.end_object();
}

Task<Response> statistics(FilesParts const& parts, Request const&) {
  auto const figures = co_await parts.files.statistics(Timestamp::now());
  if (!figures) co_return Response::from(figures.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total_files", figures->total_files);
  json.member("total_size", figures->total_size);
  write_counts(json, "by_type", figures->by_type);
  write_counts(json, "by_mime_type", figures->by_mime_type);
  write_counts(json, "by_uploader", figures->by_uploader);
  json.key("upload_trends");
  json.begin_object();
  json.member("today", figures->today);
  json.member("this_week", figures->this_week);
  json.member("this_month", figures->this_month);
  json.end_object();
  json.member("total_size_formatted",
              fmt::format("{:.1f} MB", static_cast<double>(figures->total_size) / kMiB));
  json.end_object();
  co_return response;
}

// --- One file

Task<Response> get_file(FilesParts const& parts, Request const& request) {
  auto const file = co_await parts.files.get(request.path_values.front());
  if (!file) co_return Response::from(file.error());
  co_return file_response(*file);
}

// The content of a file, opened by the pool.
Task<Result<files::Descriptor>> open_content(FilesParts const& parts, FileRecord const& file) {
  auto open = [&] { return parts.files.blobs().read({file.sha256, file.id}); };
  co_return co_await parts.readers.run(open);
}

Task<Response> download_file(FilesParts const& parts, Request const& request) {
  auto const file = co_await parts.files.get(request.path_values.front());
  if (!file) co_return Response::from(file.error());
  auto content = co_await open_content(parts, *file);
  if (!content) co_return Response::from(content.error());
  co_return download_response(request, *file, std::move(*content), parts.readers);
}

Task<Response> show_thumbnail(FilesParts const& parts, Request const& request) {
  auto shown = co_await parts.files.thumbnail(request.path_values.front());
  if (!shown) co_return Response::from(shown.error());
  co_return thumbnail_response(std::move(*shown));
}

Task<Response> delete_file(FilesParts const& parts, Request const& request) {
  auto const removed = co_await parts.files.remove(request.path_values.front(),
                                                   requester_of(request), condition_of(request));
  if (!removed) co_return Response::from(removed.error());
  co_return Response::empty(204);
}

// Tags have the form and the bounds of those of an upload, which come as one text with commas:
// blanks around them and what is empty count for nothing.
describe::Issues take_tags(std::vector<std::string>& tags) {
  for (auto& tag : tags) tag = std::string(trim(tag));
  describe::Issues issues;
  describe::Where const body{nullptr, "body"};
  describe::Where const member{&body, std::string_view("tags")};
  if (tags.size() > files::kTagsMax) {
    issues.add(member, "too_long",
               fmt::format("List should have at most {} items", files::kTagsMax));
  }
  for (std::size_t i = 0; i < tags.size(); ++i) {
    if (!tags[i].contains(',')) continue;
    issues.add({&member, static_cast<std::int64_t>(i)}, "value_error", "A tag has no comma");
  }
  std::erase(tags, "");
  return issues;
}

Task<Response> update_metadata(FilesParts const& parts, Request const& request) {
  files::FileUpdate update;
  if (!request.body.empty()) {
    auto body = read_body<files::FileUpdate>(request);
    if (!body) co_return std::move(body.error());
    update = std::move(*body);
  }
  if (update.tags.value) {
    if (auto const issues = take_tags(*update.tags.value); !issues.empty()) {
      co_return Response::invalid(issues);
    }
  }
  auto const file = co_await parts.files.update(request.path_values.front(), std::move(update),
                                                requester_of(request), condition_of(request));
  if (!file) co_return Response::from(file.error());
  co_return file_response(*file);
}

void write_texts(JsonWriter& json, char const* name, std::vector<std::string> const& texts) {
  json.key(name);
  json.begin_array();
  for (auto const& text : texts) json.string(text);
  json.end_array();
}

Task<Response> validate_file(FilesParts const& parts, Request const& request) {
  auto const file = co_await parts.files.get(request.path_values.front());
  if (!file) co_return Response::from(file.error());
  auto const content = co_await open_content(parts, *file);
  if (!content) co_return Response::from(content.error());
  auto const type = request.text("validation_type").value_or("auto");
  auto check = [&]() -> Result<files::Validation> {
    auto const text = files::read_document(content->get(), file->file_size);
    return files::validate(*file, text, type);
  };
  auto const checked = co_await parts.readers.run(check);
  if (!checked) co_return Response::from(checked.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("file_id", file->id);
  json.member("filename", file->original_filename);
  json.member("validation_type", type);
  json.member("is_valid", checked->is_valid);
  write_texts(json, "errors", checked->errors);
  write_texts(json, "warnings", checked->warnings);
  json.member_raw("parsed_content", checked->parsed_content);
  json.end_object();
  co_return response;
}

// --- Schemas

void files_upload_schema(JsonWriter& json) {
  json.member("type", "object");
  json.member_raw("properties",
                  R"({"files":{"type":"array","items":{"type":"string","format":"binary"}},)"
                  R"("tags":{"type":"string","description":"Comma separated."},)"
                  R"("metadata":{"type":"string","description":"A JSON object."}})");
  json.member_raw("required", R"(["files"])");
}

constexpr describe::Shape kFilesUploaded =
    "files:[FileInfo] total_uploaded:integer total_size:integer upload_session_id:text";
constexpr describe::Shape kFileStatistics =
    "total_files:integer total_size:integer by_type:{*:integer} by_mime_type:{*:integer}"
    " by_uploader:{*:integer} upload_trends:{today:integer this_week:integer this_month:integer}"
    " total_size_formatted:text";
constexpr describe::Shape kValidation =
    "file_id:text filename:text validation_type:text is_valid:boolean errors:[text]"
    " warnings:[text] parsed_content:any";

using Handler = Task<Response> (*)(FilesParts const&, Request const&);

http::AsyncHandler with(FilesParts const& parts, Handler handler) {
  return [&parts, handler](Request const& request) { return handler(parts, request); };
}

void add_collection(http::Routes& routes, FilesParts const& parts) {
  using enum http::Access;
  auto const whole = parts.limits.files_max * parts.limits.file_bytes_max + files::kFormBytesMax;
  routes
      .add({.method = Method::post,
            .path = "/upload/{file_type}",
            .name = "v2_upload_files",
            .summary = "Upload files: all of them are stored, or none",
            .tag = "files v2",
            .handler = with(parts, &upload_files),
            .access = write,
            .limit = {20, ClientKey::user},
            .path_parameters = {{.name = "file_type",
                                 .doc = "One of: " + files::file_type_names() + "."}},
            .body = http::BodySpec{{"FileUpload", &files_upload_schema}, "multipart/form-data"},
            .body_bytes_max = static_cast<std::uint64_t>(whole),
            .streamed_body = true,
            .answers = {{200, "What was stored.", {"FilesUploaded", kFilesUploaded}},
                        {400, "A file is not what it should be, or there are too many."},
                        {413, "The whole is too large, or a quota is used up."},
                        {507, "The disk is full."}},
            .failure = "Failed to upload files"})
      .add({.method = Method::get,
            .path = "/",
            .name = "v2_list_files",
            .summary = "List and filter files",
            .tag = "files v2",
            .handler = with(parts, &list_files),
            .access = read,
            .limit = {100, ClientKey::address},
            .cache = {30, "file:*"},
            .query = {integer_parameter("skip", 0, 0, std::nullopt, "How many to leave out."),
                      integer_parameter("limit", 100, 1, 1000, "How many at most."),
                      text_parameter("file_type", "Only files of this type."),
                      text_parameter("uploaded_by", "Only files of this user."),
                      text_parameter("mime_type", "Only files of this MIME type."),
                      text_parameter("tags", "Comma separated; files that have any of them."),
                      text_parameter("search", "Part of the name or of the text, in any case."),
                      text_parameter("sort_by",
                                     "uploaded_at (the default), filename, file_size or"
                                     " file_type."),
                      choice_parameter("sort_order", {"asc", "desc"}, "desc by default."),
                      cursor_parameter()},
            .answers = {{200, "The files.", kFileSchema, http::Shape::list}},
            .failure = "Failed to list files"})
      .add({.method = Method::get,
            .path = "/statistics",
            .name = "v2_file_statistics",
            .summary = "Figures about all files",
            .tag = "files v2",
            .handler = with(parts, &statistics),
            .access = read,
            .limit = {60, ClientKey::address},
            .cache = {300, "file:*"},
            .answers = {{200, "The figures.", {"FileStatistics", kFileStatistics}}},
            .failure = "Failed to get file statistics"});
}

void add_single(http::Routes& routes, FilesParts const& parts) {
  using enum http::Access;
  Parameter const id{.name = "file_id", .doc = "The file's id."};
  http::Answer const file{200, "The file.", kFileSchema};
  http::Answer const unknown{404, "There is no such file."};
  http::Answer const foreign{403, "It is somebody else's."};
  routes
      .add({.method = Method::get,
            .path = "/{file_id}",
            .name = "v2_get_file",
            .summary = "Get what is known about a file",
            .tag = "files v2",
            .handler = with(parts, &get_file),
            .access = read,
            .limit = {200, ClientKey::address},
            .cache = {300, "file:{}"},
            .path_parameters = {id},
            .answers = {file, unknown},
            .failure = "Failed to get file"})
      .add({.method = Method::get,
            .path = "/{file_id}/download",
            .name = "v2_download_file",
            .summary = "Download a file, or parts of it",
            .tag = "files v2",
            .handler = with(parts, &download_file),
            .access = read,
            .limit = {100, ClientKey::address},
            .reads = {"range", "if-range", "if-modified-since", "if-unmodified-since"},
            .conditional = true,
            .path_parameters = {id},
            .answers = {{200, "The content.", {}, http::Shape::one, "application/octet-stream"},
                        {206, "The parts that a Range field asks for."},
                        unknown,
                        {416, "There is no such part."}},
            .failure = "Failed to download file"})
      .add({.method = Method::get,
            .path = "/{file_id}/thumbnail",
            .name = "v2_show_thumbnail",
            .summary = "Show an image small: 256 pixels at most",
            .tag = "files v2",
            .handler = with(parts, &show_thumbnail),
            .access = read,
            .limit = {200, ClientKey::address},
            .path_parameters = {id},
            .answers = {{200,
                         "A JPEG, or a PNG where something shines through.",
                         {},
                         http::Shape::one,
                         "image/jpeg"},
                        {404, "There is no such file, or no small picture of it (yet)."}},
            .failure = "Failed to show thumbnail"})
      .add({.method = Method::del,
            .path = "/{file_id}",
            .name = "v2_delete_file",
            .summary = "Delete a file",
            .tag = "files v2",
            .handler = with(parts, &delete_file),
            .access = write,
            .limit = {30, ClientKey::user},
            .conditional = true,
            .path_parameters = {id},
            .answers = {{204, "Deleted."}, foreign, unknown},
            .failure = "Failed to delete file"})
      .add({.method = Method::put,
            .path = "/{file_id}/metadata",
            .name = "v2_update_file",
            .summary = "Replace a file's tags, and members of its metadata",
            .tag = "files v2",
            .handler = with(parts, &update_metadata),
            .access = write,
            .limit = {50, ClientKey::user},
            .conditional = true,
            .path_parameters = {id},
            .body = http::BodySpec{{"FileUpdate", &files::file_update_schema}},
            .answers = {file, foreign, unknown, {413, "The metadata would be too large."}},
            .failure = "Failed to update file metadata"});
}

void add_validation(http::Routes& routes, FilesParts const& parts) {
  using enum http::Access;
  for (auto const method : {Method::post, Method::get}) {
    bool const post = method == Method::post;
    routes.add({.method = method,
                .path = "/{file_id}/validate",
                .name = post ? "v2_validate_file" : "v2_show_file_validation",
                .summary = "Check whether a file can be read as what it should be",
                .tag = "files v2",
                .handler = with(parts, &validate_file),
                .access = post ? write : read,
                .limit = {30, ClientKey::address},
                .repeatable = false,
                .path_parameters = {{.name = "file_id", .doc = "The file's id."}},
                .query = {text_parameter("validation_type", "auto, json, yaml or agent_config.")},
                .answers = {{200, "The findings.", {"FileValidation", kValidation}},
                            {404, "There is no such file."}},
                .failure = "Failed to validate file"});
  }
}

}  // namespace

http::Routes files_v2(FilesParts const& parts) {
  http::Routes routes("/api/v2/files");
  add_collection(routes, parts);
  add_single(routes, parts);
  add_validation(routes, parts);
  return routes;
}

}  // namespace subforge::api
