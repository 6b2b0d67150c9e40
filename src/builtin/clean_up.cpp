#include "backup/catalog.hpp"
#include "base/json_writer.hpp"
#include "builtin/tasks.hpp"

namespace subforge::builtin {
namespace {

using jobs::Outcome;

constexpr std::int64_t kDayUs = 86'400'000'000;
constexpr std::int64_t kPauseMs = 30'000;  // While a backup is under way.
constexpr double kTasksPercent = 90;       // Of the work, as far as one can say.

}  // namespace

Task<Outcome> clean_up(Parts const& parts, jobs::JobContext& context) {
  auto before = Timestamp::now();
  before.micros -= parts.retention.task_days * kDayUs;
  bool stopped = false;
  auto const go_on = [&](double share) {
    context.progress(kTasksPercent * share, "tasks");
    auto const reason = context.stop_reason();
    stopped = reason != jobs::StopReason::none && reason != jobs::StopReason::shutdown;
    return !stopped;
  };
  auto const tasks = co_await parts.jobs.clean_up(before, go_on);
  if (!tasks) co_return jobs::failed(tasks.error().message);
  if (stopped) co_return jobs::failed("It was stopped; what is left the next one removes");
  context.progress(kTasksPercent, "backups");
  auto remove = [&parts]() -> Result<std::int64_t> {
    backup::FolderLock lock;
    if (auto taken = lock.take(parts.backup.folder); !taken) return std::unexpected(taken.error());
    backup::remove_unfinished(parts.backup.folder);
    return backup::remove_old(parts.backup.folder, parts.retention.backup_chains);
  };
  auto const backups = co_await parts.pool.run(std::move(remove));
  if (!backups && backups.error().code == ErrorCode::conflict) {
    co_return jobs::try_again(backups.error().message, kPauseMs);
  }
  if (!backups) co_return jobs::failed(backups.error().message);
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("tasks_removed", *tasks);
  json.member("backups_removed", *backups);
  json.end_object();
  co_return jobs::succeeded(std::move(text));
}

}  // namespace subforge::builtin
