#include <csignal>

#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "builtin/file_to_process.hpp"
#include "builtin/tasks.hpp"
#include "files/image_process.hpp"
#include "files/processing.hpp"
#include "runtime/process.hpp"
#include "store/store.hpp"

namespace subforge::builtin {
namespace {

using files::FileRecord;
using files::ImageFacts;
using jobs::JobContext;
using jobs::Outcome;
using jobs::StopReason;
using store::Transaction;

constexpr std::int64_t kTimeMs = 45'000;  // Of the clock; its share of a core is less.

ProcessLimits process_limits() {
  ProcessLimits limits;
  limits.time_ms = kTimeMs;
  limits.grace_ms = 0;
  limits.line_bytes_max = limits.output_bytes_max = files::kImageReplyBytesMax;
  return limits;
}

// What the end of the process tells, where it wrote no answer.
std::string end_text(ProcessEnd const& end) {
  if (end.cause == ProcessCause::time || end.signal == SIGXCPU) {
    return fmt::format("it takes longer than {} seconds to unpack the image",
                       files::kImageCpuSecondsMax);
  }
  if (end.cause == ProcessCause::line || end.cause == ProcessCause::output) {
    return "the reader of images wrote too much";
  }
  if (end.signal != 0) {
    return fmt::format("the image broke its reader, which was ended by signal {}", end.signal);
  }
  return fmt::format("the image broke its reader, which ended with exit status {}", end.exit_code);
}

std::string members_of(FileRecord const& file, ImageFacts const& facts) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("kind", "image");
  json.member("format", facts.format);
  json.member("width", facts.size.width);
  json.member("height", facts.size.height);
  if (!facts.warning.empty()) json.member("warning", facts.warning);
  json.key("thumbnail");
  json.begin_object();
  json.member("path", "/api/v2/files/" + file.id + "/thumbnail");
  json.member("mime_type", facts.thumbnail.mime_type);
  json.member("width", facts.thumbnail.size.width);
  json.member("height", facts.thumbnail.size.height);
  json.member("file_size", facts.thumbnail.bytes.size());
  json.end_object();
  json.end_object();
  return text.substr(1, text.size() - 2);
}

std::string image_result(FileRecord const& file, std::string_view members) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("file_id", file.id);
  json.member("filename", file.original_filename);
  json.raw(members);
  json.end_object();
  return text;
}

// Errors: invalid, with what is wrong with the image; others are not its fault.
Task<Result<ImageFacts>> read_apart(Parts const& parts, JobContext& context, FileRecord file) {
  auto open = [&] { return parts.blobs.read({file.sha256, file.id}); };
  auto const blob = co_await context.run_blocking(open);
  if (!blob) co_return fail(ErrorCode::unavailable, blob.error().message);
  ProcessOptions options;
  options.command = parts.image_reader;
  options.environment = {"LANG=C.UTF-8"};
  options.input_file = blob->get();
  options.limits = process_limits();
  std::string answer;
  Process process(*EventLoop::current(), std::move(options), [&answer](std::string_view line) {
    if (answer.empty()) answer = line;
  });
  context.on_stop([&process](StopReason reason) {
    if (reason != StopReason::shutdown) process.kill();
  });
  context.on_hard_stop([&process] { process.kill(); });
  auto const end = co_await process.run();
  if (!end) co_return fail(ErrorCode::unavailable, end.error().message);
  if (end->cause == ProcessCause::stopped) co_return fail(ErrorCode::unavailable, "It was stopped");
  if (!end->success() || answer.empty()) co_return fail(ErrorCode::invalid, end_text(*end));
  co_return files::parse_image_reply(answer);
}

}  // namespace

Task<Outcome> process_image_file(Parts const& parts, JobContext& context) {
  auto file = co_await file_to_process(parts, context);
  if (!file) co_return std::move(file.error());
  context.progress(10, "unpacking");
  auto facts = co_await read_apart(parts, context, *file);
  if (!facts && facts.error().code == ErrorCode::invalid) {
    co_return jobs::failed_for_good(facts.error().message);
  }
  if (!facts) co_return jobs::failed(facts.error().message);
  context.progress(90, "keeping");
  if (!facts->warning.empty()) context.log(LogLevel::warning, facts->warning);
  auto const members = members_of(*file, *facts);
  auto effect = [file_id = file->id, task_id = context.job().id,
                 thumbnail = std::move(facts->thumbnail),
                 members](Transaction& transaction) -> Task<Result<void>> {
    auto kept = co_await files::keep_thumbnail_in(transaction, file_id, thumbnail);
    if (!kept) co_return kept;
    co_return co_await files::finish_processing_in(transaction, file_id, task_id, members);
  };
  co_return jobs::succeeded_with(image_result(*file, members), std::move(effect));
}

}  // namespace subforge::builtin
