#include "api/files_tus.hpp"

#include <algorithm>

#include "api/file_download.hpp"
#include "api/handler_parts.hpp"
#include "auth/principal.hpp"
#include "base/text.hpp"
#include "files/content.hpp"

namespace subforge::api {
namespace {

using files::Continuation;
using files::FileRecord;
using files::FileType;
using files::Resumable;
using files::ResumableUploads;
using http::ClientKey;
using http::Request;
using http::Response;
using net::BodyStream;
using net::Method;

constexpr std::string_view kTusPath = "/api/v2/files/tus";
constexpr std::string_view kTusVersion = "1.0.0";
constexpr std::string_view kExtensions =
    "creation,creation-with-upload,checksum,termination,expiration";
constexpr std::string_view kAlgorithms = "md5,sha1,sha256";
constexpr std::string_view kContentType = "application/offset+octet-stream";
constexpr int kChecksumMismatch = 460;
constexpr int kCreated = 201;
// How long a client that comes back waits for the end of its request before.
constexpr std::int64_t kTakeOverMs = 5'000;
constexpr std::int64_t kTakeOverLookMs = 20;
constexpr net::ParseError kTakenOver{409, "Another request goes on with the upload."};

struct Tus {
  FilesParts const& parts;
  ResumableUploads& uploads;
};

Response tagged(Response response) {
  return std::move(response).with("Tus-Resumable", std::string(kTusVersion));
}

Response problem(int status, std::string_view detail) {
  return tagged(Response::problem(status, detail));
}

// The same error in the words of the protocol.
Response refusal(Error const& error) {
  if (error.message == files::kNoRoom) return problem(507, error.message);
  switch (error.code) {
    case ErrorCode::invalid: return problem(400, error.message);
    case ErrorCode::stale: return problem(409, error.message);
    case ErrorCode::conflict: return problem(423, error.message).with("Retry-After", "1");
    default: return tagged(Response::from(error));
  }
}

std::optional<Response> wrong_version(Request const& request) {
  if (request.field("tus-resumable") == kTusVersion) return std::nullopt;
  return problem(412, "Tus-Resumable must be 1.0.0").with("Tus-Version", std::string(kTusVersion));
}

// Where the upload stands.
Response standing(int status, Resumable const& upload) {
  auto response = tagged(Response::empty(status));
  response.fields.emplace_back("Upload-Offset", std::to_string(upload.offset));
  response.fields.emplace_back("Upload-Expires", http_date(upload.expires_at));
  response.fields.emplace_back("Cache-Control", "no-store");
  return response;
}

// The same of one that is stored.
Response stored(int status, FileRecord const& file) {
  auto response = tagged(Response::empty(status));
  response.fields.emplace_back("Upload-Offset", std::to_string(file.file_size));
  response.fields.emplace_back("Content-Location", "/api/v2/files/" + file.id);
  response.fields.emplace_back("Cache-Control", "no-store");
  return response;
}

template <class Work>
auto on_pool(Tus const& tus, Work work) {
  return tus.parts.files.pool().run(std::move(work));
}

// --- Creation

Result<files::ResumablePlan> plan_of(Request const& request, std::int64_t length) {
  auto values = files::parse_upload_metadata(request.field("upload-metadata"));
  if (!values) return std::unexpected(values.error());
  auto const& sent = *values;
  auto const value = [&](char const* name) {
    auto const found = sent.find(name);
    return found == sent.end() ? std::string() : found->second;
  };
  files::ResumablePlan plan;
  plan.owner = actor_of(request).user;
  plan.length = length;
  plan.sent = request.field("upload-metadata");
  auto const type = describe::from_text<FileType>(value("file_type"));
  if (!type) {
    return fail(ErrorCode::invalid,
                "Upload-Metadata: file_type must be one of " + files::file_type_names());
  }
  plan.file_type = *type;
  auto name = files::clean_name(value("filename"));
  if (!name) return files::invalid_file(value("filename"), name.error().message);
  plan.filename = std::move(*name);
  if (auto fits = files::check_extension(plan.filename, *type); !fits) {
    return files::invalid_file(plan.filename, fits.error().message);
  }
  if (auto fits = files::check_declared(plan.filename, value("filetype")); !fits) {
    return files::invalid_file(plan.filename, fits.error().message);
  }
  auto tags = files::parse_tags(value("tags"));
  if (!tags) return std::unexpected(tags.error());
  plan.tags = std::move(*tags);
  auto metadata = files::parse_metadata(value("metadata"));
  if (!metadata) return std::unexpected(metadata.error());
  plan.metadata = std::move(*metadata);
  return plan;
}

// What a quota leaves for all that the user has under way; nothing without one.
Task<Result<std::optional<std::int64_t>>> bytes_left(Tus const& tus, std::string const& user) {
  auto& quotas = tus.parts.files.quotas();
  if (quotas.bytes_max() <= 0) co_return std::nullopt;
  auto const stored = co_await tus.parts.files.stored_bytes(user);
  if (!stored) co_return std::unexpected(stored.error());
  co_return quotas.bytes_max() - *stored - quotas.under_way(user);
}

// --- Going on

// Takes the body to the end of the upload. What came before it was broken off is kept, unless a
// checksum was to be met.
Task<Result<void>> receive(Tus const& tus, Request const& request, Continuation& upload,
                           bool all_or_nothing, std::optional<net::ParseError>& broken) {
  std::string block;
  Result<void> written;
  while (request.body_stream != nullptr && written) {
    auto const wanted = std::min(upload.room() + 1, BodyStream::kBlockBytes);
    auto const more = co_await request.body_stream->next(block, wanted);
    if (!more) broken = more.error();
    if (!more || !*more) break;
    written = co_await on_pool(tus, [&] { return upload.write(block); });
  }
  auto finish = [&]() -> Result<void> {
    if (all_or_nothing && (broken || !written)) upload.undo();
    return upload.finish();
  };
  auto const finished = co_await on_pool(tus, finish);
  co_return written ? finished : written;
}

// "sha1 <base 64>"; empty algorithm where none was sent.
std::pair<std::string_view, std::string_view> checksum_of(Request const& request) {
  auto const field = request.field("upload-checksum");
  auto const space = std::min(field.find(' '), field.size());
  return {field.substr(0, space), trim(field.substr(space))};
}

Task<Result<FileRecord>> store(Tus const& tus, Request const& request,
                               std::unique_ptr<Continuation> upload) {
  auto file = co_await on_pool(tus, [&] { return tus.uploads.complete(std::move(upload)); });
  if (!file) co_return std::unexpected(file.error());
  std::vector<files::NewFile> whole;
  whole.push_back(std::move(*file));
  auto records =
      co_await tus.parts.files.add(std::move(whole), actor_of(request), files::new_session_id());
  if (!records) co_return std::unexpected(records.error());
  co_return std::move(records->front());
}

Task<void> remove(Tus const& tus, std::string const& id) {
  auto work = [&]() -> Result<void> {
    tus.uploads.remove(id);
    return {};
  };
  (void)co_await on_pool(tus, work);
}

bool is_fault_of_server(Error const& error) {
  return error.code == ErrorCode::unavailable || error.code == ErrorCode::database ||
         error.code == ErrorCode::internal;
}

// Makes a file of an upload that is whole. Where the server is at fault, it can be asked again.
Task<Response> complete(Tus const& tus, Request const& request, Resumable upload,
                        std::unique_ptr<Continuation> continuation, int status) {
  auto const record = co_await store(tus, request, std::move(continuation));
  bool const again = !record && is_fault_of_server(record.error());
  if (!again) co_await remove(tus, upload.id);
  if (!record) co_return refusal(record.error());
  auto response = standing(status, upload);
  response.fields.emplace_back("Content-Location", "/api/v2/files/" + record->id);
  co_return response;
}

// Takes the place of whoever goes on with it: the client knows best that it has lost its
// connection, of which the server hears nothing where a network is gone.
Task<Result<std::unique_ptr<Continuation>>> take_over(Tus const& tus, Resumable const& upload) {
  bool somebody_here = true;  // Who was asked to stop, or may have ended since the last look.
  for (auto waited_ms = std::int64_t{0};; waited_ms += kTakeOverLookMs) {
    auto opened =
        co_await on_pool(tus, [&] { return tus.uploads.go_on(upload.id, upload.offset); });
    bool const busy = !opened && opened.error().code == ErrorCode::conflict;
    // Whoever it was had all of it: the client asks where the upload stands, and hears of the file.
    if (waited_ms > 0 && !opened && opened.error().code != ErrorCode::stale && !busy) {
      co_return fail(ErrorCode::conflict, "Somebody else has come to the end of the upload");
    }
    if (!busy || waited_ms >= kTakeOverMs || !somebody_here) co_return opened;
    somebody_here = tus.uploads.stop(upload.id);
    co_await EventLoop::current()->sleep_ms(kTakeOverLookMs);
  }
}

// Breaks the body off, on the loop of its connection.
std::function<void()> breaker_of(Request const& request) {
  return [loop = EventLoop::current(), stream = std::weak_ptr(request.body_stream)] {
    loop->post([stream] {
      if (auto const still = stream.lock()) still->give_up(kTakenOver);
    });
  };
}

// Adds the body to the upload, and answers with where it stands then.
Task<Response> go_on(Tus const& tus, Request const& request, Resumable upload, int status) {
  auto opened = co_await take_over(tus, upload);
  if (!opened) co_return refusal(opened.error());
  auto continuation = std::move(*opened);
  auto const stoppable = tus.uploads.can_be_stopped(upload.id, breaker_of(request));
  auto const [algorithm, expected] = checksum_of(request);
  if (!algorithm.empty()) {
    if (auto known = continuation->digest_by(algorithm); !known) co_return refusal(known.error());
  }
  std::optional<net::ParseError> broken;
  auto const received = co_await receive(tus, request, *continuation, !algorithm.empty(), broken);
  if (broken) co_return problem(broken->status, broken->reason);
  if (!received) co_return refusal(received.error());
  if (!algorithm.empty() && continuation->digest() != expected) {
    co_await on_pool(tus, [&]() -> Result<void> {
      continuation->undo();
      return continuation->finish();
    });
    co_return problem(kChecksumMismatch, "The checksum does not fit what came");
  }
  upload.offset = continuation->offset();
  upload.expires_at = tus.uploads.expiry_from(Timestamp::now());
  if (continuation->whole()) {
    co_return co_await complete(tus, request, std::move(upload), std::move(continuation), status);
  }
  co_return standing(status, upload);
}

bool has_content(Request const& request) { return request.content_type == kContentType; }

Task<Response> create(Tus const& tus, Request const& request) {
  if (auto wrong = wrong_version(request)) co_return std::move(*wrong);
  // Passed over, each part would become a file of its own.
  if (!request.field("upload-concat").empty()) {
    co_return problem(400,
                      "Upload-Concat: no file is put together from several uploads; send it"
                      " as one");
  }
  auto const most = tus.parts.limits.file_bytes_max;
  auto const told = request.field("upload-length");
  if (told.empty() || told.find_first_not_of("0123456789") != std::string_view::npos) {
    co_return problem(400, "Upload-Length must be a number of bytes");
  }
  auto const length = parse_number<std::int64_t>(told);
  if (!length || *length > most) co_return problem(413, "The file is larger than MAX_FILE_SIZE");
  auto plan = plan_of(request, *length);
  if (!plan) co_return refusal(plan.error());
  auto const most_left = co_await bytes_left(tus, plan->owner);
  if (!most_left) co_return refusal(most_left.error());
  auto made =
      co_await on_pool(tus, [&] { return tus.uploads.create(std::move(*plan), *most_left); });
  if (!made) co_return refusal(made.error());
  auto const location = std::string(kTusPath) + "/" + made->id;
  Response response;
  if (has_content(request) || *length == 0) {
    auto const id = made->id;
    response = co_await go_on(tus, request, std::move(*made), kCreated);
    if (response.status != kCreated) {
      co_await remove(tus, id);  // The client never hears its name.
      co_return response;
    }
  } else {
    response = standing(kCreated, *made);
  }
  co_return std::move(response).with("Location", location);
}

// --- Those that are under way

// An upload that is under way, or what it has become: answers are lost, and servers end.
struct Found {
  Resumable upload;
  std::optional<FileRecord> file;
};

Task<Result<Found>> look_up(Tus const& tus, std::string const& id) {
  auto file = co_await tus.parts.files.get(files::file_id_of(id));
  if (!file && file.error().code != ErrorCode::not_found) co_return std::unexpected(file.error());
  auto look = [&]() -> Result<Found> {
    if (file) {
      // What a crash has left of it, unless it is all that is left.
      if (tus.parts.files.blobs().read({file->sha256, file->id})) tus.uploads.remove(id);
      return Found{{}, std::move(*file)};
    }
    auto upload = tus.uploads.find(id);
    if (!upload) return std::unexpected(upload.error());
    return Found{std::move(*upload), std::nullopt};
  };
  co_return co_await on_pool(tus, look);
}

// The upload, if it is the caller's.
Task<std::expected<Found, Response>> find(Tus const& tus, Request const& request) {
  if (auto wrong = wrong_version(request)) co_return std::unexpected(std::move(*wrong));
  auto found = co_await look_up(tus, std::string(request.path_values.front()));
  if (!found) co_return std::unexpected(refusal(found.error()));
  bool const admin = request.principal != nullptr && request.principal->may_administrate();
  auto const& owner = found->file ? found->file->uploaded_by : found->upload.plan.owner;
  if (!admin && owner != actor_of(request).user) {
    co_return std::unexpected(problem(403, "Permission denied. It is somebody else's upload"));
  }
  co_return std::move(*found);
}

Task<Response> show(Tus const& tus, Request const& request) {
  auto found = co_await find(tus, request);
  if (!found) co_return std::move(found.error()).with("Cache-Control", "no-store");
  auto response = found->file ? stored(200, *found->file) : standing(200, found->upload);
  auto const& plan = found->upload.plan;
  auto const length = found->file ? found->file->file_size : plan.length;
  response.fields.emplace_back("Upload-Length", std::to_string(length));
  if (!plan.sent.empty()) response.fields.emplace_back("Upload-Metadata", plan.sent);
  co_return response;
}

Task<Response> append(Tus const& tus, Request const& request) {
  auto found = co_await find(tus, request);
  if (!found) co_return std::move(found.error());
  if (!has_content(request)) {
    co_return problem(415, "Content-Type must be application/offset+octet-stream");
  }
  auto const offset = parse_number<std::int64_t>(request.field("upload-offset"));
  if (!offset || *offset < 0) co_return problem(400, "Upload-Offset must be a number of bytes");
  if (found->file) {
    auto const& file = *found->file;
    if (*offset == file.file_size) co_return stored(204, file);
    co_return problem(409, "The upload stands at " + std::to_string(file.file_size));
  }
  found->upload.offset = *offset;
  co_return co_await go_on(tus, request, std::move(found->upload), 204);
}

Task<Response> terminate(Tus const& tus, Request const& request) {
  auto found = co_await find(tus, request);
  if (!found) co_return std::move(found.error());
  if (found->file) co_return problem(404, "There is no such upload: it is a stored file by now");
  co_await remove(tus, found->upload.id);
  co_return tagged(Response::empty(204));
}

// For clients behind something that lets no other method through; tus 1.0,
// "X-HTTP-Method-Override".
Task<Response> override_method(Tus const& tus, Request const& request) {
  auto const method = request.field("x-http-method-override");
  if (equal_ignoring_case(method, "PATCH")) co_return co_await append(tus, request);
  if (equal_ignoring_case(method, "DELETE")) co_return co_await terminate(tus, request);
  co_return problem(400, "X-HTTP-Method-Override must be PATCH or DELETE");
}

Response abilities(std::int64_t bytes_max) {
  return tagged(Response::empty(204))
      .with("Tus-Version", std::string(kTusVersion))
      .with("Tus-Extension", std::string(kExtensions))
      .with("Tus-Checksum-Algorithm", std::string(kAlgorithms))
      .with("Tus-Max-Size", std::to_string(bytes_max));
}

using Handler = Task<Response> (*)(Tus const&, Request const&);

}  // namespace

http::Routes files_tus(FilesParts const& parts, ResumableUploads& uploads) {
  using enum http::Access;
  auto const with = [&](Handler handler) -> http::AsyncHandler {
    return [tus = Tus{parts, uploads}, handler](Request const& request) {
      return handler(tus, request);
    };
  };
  auto const bytes_max = static_cast<std::uint64_t>(parts.limits.file_bytes_max);
  http::Parameter const id{.name = "upload_id", .doc = "Of the Location that creation gave."};
  http::Answer const unknown{404, "There is no such upload, or its time is over."};
  http::Answer const version{412, "It speaks another version of tus."};
  http::Answer const busy{423, "Somebody else goes on with it."};
  http::BodySpec const content{{}, std::string(kContentType)};
  http::Route const going_on{
      .method = Method::patch,
      .path = "/{upload_id}",
      .name = "v2_tus_append",
      .summary = "Go on with an upload",
      .tag = "files v2",
      .handler = with(&append),
      .access = write,
      .limit = {600, ClientKey::user, 36'000},
      .reads = {"tus-resumable", "upload-offset", "upload-checksum"},
      .path_parameters = {id},
      .body = content,
      .body_bytes_max = bytes_max,
      .streamed_body = true,
      .answers = {{204,
                   "Upload-Offset tells where it stands now; at the end, Content-Location is"
                   " the file's."},
                  unknown,
                  {409, "It stands at another offset."},
                  version,
                  busy,
                  {460, "The checksum does not fit."},
                  {507, "The disk is full."}},
      .failure = "Failed to go on with the upload"};
  // The same where nothing but POST passes.
  auto by_post = going_on;
  by_post.method = Method::post;
  by_post.name = "v2_tus_override";
  by_post.summary = "Go on with an upload, or give it up, where only POST passes";
  by_post.handler = with(&override_method);
  by_post.repeatable = false;
  by_post.reads.emplace_back("x-http-method-override");
  http::Route const asking{
      .method = Method::options,
      .path = "/",
      .name = "v2_tus_options",
      .summary = "Tell what of tus is understood",
      .tag = "files v2",
      .handler = [most = parts.limits.file_bytes_max](Request const&) { return abilities(most); },
      .access = open,
      .answers = {{204, "In Tus-Extension, Tus-Max-Size and Tus-Checksum-Algorithm."}},
      .in_document = false};
  auto asking_one = asking;
  asking_one.path = "/{upload_id}";
  asking_one.name = "v2_tus_upload_options";
  asking_one.path_parameters = {id};
  http::Routes routes{std::string(kTusPath)};
  routes.add(asking)
      .add({.method = Method::post,
            .path = "/",
            .name = "v2_tus_create",
            .summary = "Begin an upload that may be broken off (tus 1.0)",
            .tag = "files v2",
            .handler = with(&create),
            .access = write,
            .limit = {20, ClientKey::user},
            .repeatable = false,
            .reads = {"tus-resumable", "upload-length", "upload-metadata", "upload-checksum",
                      "upload-concat"},
            .body_bytes_max = bytes_max,
            .streamed_body = true,
            .answers = {{kCreated, "Its place is in Location, its time in Upload-Expires."},
                        version,
                        {413, "It is too large, or a quota is used up."},
                        {507, "The disk is full."}},
            .failure = "Failed to begin the upload"})
      .add({.method = Method::get,
            .path = "/{upload_id}",
            .name = "v2_tus_show",
            .summary = "Tell where an upload stands (HEAD)",
            .tag = "files v2",
            .handler = with(&show),
            .access = read,
            .limit = {200, ClientKey::user},
            .tagged = false,
            .reads = {"tus-resumable"},
            .path_parameters = {id},
            .answers = {{200, "Upload-Offset and Upload-Length tell."}, unknown, version},
            .failure = "Failed to look at the upload"})
      .add(going_on)
      .add(std::move(by_post))
      .add(std::move(asking_one))
      .add({.method = Method::del,
            .path = "/{upload_id}",
            .name = "v2_tus_terminate",
            .summary = "Give up an upload",
            .tag = "files v2",
            .handler = with(&terminate),
            .access = write,
            .limit = {30, ClientKey::user},
            .reads = {"tus-resumable"},
            .path_parameters = {id},
            .answers = {{204, "It is gone."}, unknown, version},
            .failure = "Failed to give up the upload"});
  return routes;
}

}  // namespace subforge::api
