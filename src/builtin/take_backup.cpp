#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "builtin/arguments.hpp"
#include "builtin/tasks.hpp"
#include "describe/codec.hpp"

namespace subforge::builtin {
namespace {

using jobs::Outcome;

constexpr double kMiB = 1 << 20;
constexpr std::int64_t kPauseMs = 30'000;  // While another backup is under way.

std::string result_of(backup::BackupDone const& done) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("backup_type", describe::to_text(done.kind));
  json.member("backup_size", fmt::format("{:.2f} MB", static_cast<double>(done.bytes) / kMiB));
  json.member("backup_id", done.id);
  json.member("manifest", done.manifest.string());
  json.member("rows", done.rows);
  json.member("files", done.files);
  json.member("missing_files", done.missing.size());
  json.member("chunks", done.chunks);
  json.member("chunks_written", done.chunks_written);
  json.end_object();
  return text;
}

}  // namespace

Task<Outcome> take_backup(Parts const& parts, jobs::JobContext& context) {
  auto const wanted = Arguments(context).text(0, "backup_type", "incremental");
  if (!wanted) co_return jobs::failed_for_good(wanted.error().message);
  auto const kind = describe::from_text<backup::BackupKind>(*wanted);
  if (!kind)
    co_return jobs::failed_for_good("The argument backup_type must be full or incremental");
  auto const progress = [&context](double percent, std::string_view note) {
    context.progress(percent, std::string(note));
    // While the process ends it goes on: if it is not done in time, it starts anew elsewhere.
    auto const reason = context.stop_reason();
    return reason == jobs::StopReason::none || reason == jobs::StopReason::shutdown;
  };
  auto const done =
      co_await backup::take_backup(parts.store, parts.pool, *kind, parts.backup, progress);
  if (!done && done.error().code == ErrorCode::conflict) {
    co_return jobs::try_again(done.error().message, kPauseMs);
  }
  if (!done) co_return jobs::failed(done.error().message);
  if (done->kind != *kind) {
    context.log(LogLevel::info, "There was no chain to build on, so this backup is full");
  }
  for (auto const& file : done->missing) {
    context.log(LogLevel::warning, "The file " + file + " is not on the disk, nor in the backup");
  }
  auto outcome = jobs::succeeded(result_of(*done));
  outcome.metadata =
      "{\"backup_location\":" + json_string(done->manifest.parent_path().string()) + "}";
  co_return outcome;
}

}  // namespace subforge::builtin
