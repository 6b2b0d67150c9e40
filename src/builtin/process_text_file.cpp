#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <expected>

#include "base/json_writer.hpp"
#include "builtin/file_to_process.hpp"
#include "builtin/tasks.hpp"
#include "files/content.hpp"
#include "files/csv_profile.hpp"
#include "files/processing.hpp"
#include "runtime/scheduling.hpp"
#include "store/store.hpp"

namespace subforge::builtin {
namespace {

using files::FileRecord;
using jobs::JobContext;
using jobs::Outcome;
using jobs::StopReason;
using store::Transaction;

constexpr std::size_t kStepBytes = 256U << 10;
constexpr double kPercent = 100;

struct Text {
  std::string indexed;
  std::expected<std::string, Error> members;  // Of the analysis; or what is wrong with the file.
};

bool is_unwanted(StopReason reason) {
  return reason != StopReason::none && reason != StopReason::shutdown;
}

std::int64_t count_lines(std::string_view bytes) {
  // So many that a byte can count them: then as many are compared at once as a register holds.
  constexpr std::size_t kAtOnce = 255;
  std::int64_t lines = 0;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(kAtOnce, bytes.size()))) {
    std::uint8_t some = 0;
    for (char const byte : bytes.substr(0, kAtOnce)) {
      some = static_cast<std::uint8_t>(some + static_cast<std::uint8_t>(byte == '\n'));
    }
    lines += some;
  }
  return lines;
}

// The beginning of the file, and how many lines the whole has.
class LineCount {
 public:
  LineCount(int fd, std::int64_t size) : fd_(fd), size_(size) {}

  Result<std::int64_t> run(std::function<bool(double)> const& go_on) {
    std::string block(kStepBytes, '\0');
    std::int64_t lines = 0;
    char last = '\n';
    for (std::int64_t at = 0;;) {
      auto const got = ::pread(fd_, block.data(), block.size(), at);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        return fail(ErrorCode::internal, "The file cannot be read", std::strerror(errno));
      }
      if (got == 0) break;
      auto const bytes = std::string_view(block).substr(0, static_cast<std::size_t>(got));
      lines += count_lines(bytes);
      let_others_in();
      last = bytes.back();
      at += got;
      if (!go_on(static_cast<double>(at) / static_cast<double>(std::max(at, size_)))) {
        return fail(ErrorCode::unavailable, "It was stopped");
      }
    }
    return lines + (last == '\n' ? 0 : 1);
  }

 private:
  int const fd_;
  std::int64_t const size_;
};

Result<std::string> read_beginning(int fd) {
  constexpr std::size_t kCharacterBytesMax = 4;
  std::string text(files::kIndexedBytesMax + kCharacterBytesMax, '\0');
  auto const got = ::pread(fd, text.data(), text.size(), 0);
  if (got < 0) return fail(ErrorCode::internal, "The file cannot be read", std::strerror(errno));
  text.resize(static_cast<std::size_t>(got));
  return files::indexed_text(text);
}

// On a thread beside the loops. Errors: those of reading it.
Result<Text> read_text(Parts const& parts, JobContext& context, FileRecord const& file) {
  auto const blob = parts.blobs.read({file.sha256, file.id});
  if (!blob) return std::unexpected(blob.error());
  auto indexed = read_beginning(blob->get());
  if (!indexed) return std::unexpected(indexed.error());
  auto const go_on = [&context](double share) {
    context.progress(kPercent * share);
    return !is_unwanted(context.stop_reason());
  };
  Text text{std::move(*indexed), {}};
  std::string members;
  JsonWriter json(members);
  json.begin_object();
  if (files::extension_of(file.original_filename) == ".csv") {
    auto const profile = files::profile_csv(blob->get(), file.file_size, go_on);
    if (profile) {
      files::write_members(json, *profile);
    } else if (profile.error().code != ErrorCode::invalid) {
      return std::unexpected(profile.error());
    } else {
      text.members = std::unexpected(profile.error());
    }
  } else {
    auto const lines = LineCount(blob->get(), file.file_size).run(go_on);
    if (!lines) return std::unexpected(lines.error());
    json.member("kind", "text");
    json.member("lines", *lines);
  }
  json.member("indexed_bytes", text.indexed.size());
  json.end_object();
  if (text.members) text.members = members.substr(1, members.size() - 2);
  return text;
}

std::string text_result(FileRecord const& file, std::string_view members) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("file_id", file.id);
  json.member("filename", file.original_filename);
  json.raw(members);
  json.end_object();
  return text;
}

}  // namespace

Task<Outcome> process_text_file(Parts const& parts, JobContext& context) {
  auto file = co_await file_to_process(parts, context);
  if (!file) co_return std::move(file.error());
  auto read = [&] { return read_text(parts, context, *file); };
  auto text = co_await context.run_blocking(read);
  if (!text) co_return jobs::failed(text.error().message);
  // Whatever is wrong with it, it is found by what it holds.
  if (auto kept = co_await files::keep_text(parts.store, file->id, std::move(text->indexed));
      !kept) {
    co_return jobs::failed(kept.error().message);
  }
  if (!text->members) co_return jobs::failed_for_good(text->members.error().message);
  auto effect = [file_id = file->id, task_id = context.job().id,
                 members = *text->members](Transaction& transaction) {
    return files::finish_processing_in(transaction, file_id, task_id, members);
  };
  co_return jobs::succeeded_with(text_result(*file, *text->members), std::move(effect));
}

}  // namespace subforge::builtin
