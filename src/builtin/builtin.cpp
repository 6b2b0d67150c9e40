#include "builtin/builtin.hpp"

#include "builtin/arguments.hpp"
#include "builtin/tasks.hpp"
#include "files/processing.hpp"

namespace subforge::builtin {
namespace {

constexpr double kMinute = 60;
constexpr double kHour = 60 * kMinute;
constexpr std::int64_t kImagesAtOnce = 2;  // Each may take half a gigabyte, and a core.
constexpr std::int64_t kTextsAtOnce = 2;   // Since the writer waits while one is indexed.

// The files of a task that failed have failed with it, but for those that were done before.
Task<Result<void>> fail_files(store::Transaction& transaction, jobs::Job const& job) {
  Arguments const arguments(job);
  auto ids = arguments.texts(0, "file_ids");
  if (auto const id = arguments.text(0, "file_id"); id) ids = std::vector{*id};
  if (!ids) co_return {};
  auto const why = job.error.value_or("The task was cancelled");
  for (auto const& id : *ids) {
    auto done = co_await files::fail_processing_in(transaction, id, job.id, why);
    if (!done) co_return done;
  }
  co_return {};
}

void add_file_definitions(jobs::Registry& registry, Parts const& parts) {
  using jobs::JobContext;
  registry.add(
      {.name = std::string(kProcessAgentFiles),
       .handler = [&parts](JobContext& context) { return process_agent_files(parts, context); },
       .doc = "Makes agents what the configurations in uploaded files say.",
       .priority = jobs::priority::kHigh,
       .automatic_retries = 3,
       .soft_limit_seconds = 5 * kMinute,
       .hard_limit_seconds = 6 * kMinute,
       .on_failure = &fail_files});
  registry.add(
      {.name = std::string(kProcessText),
       .handler = [&parts](JobContext& context) { return process_text_file(parts, context); },
       .doc = "What an uploaded table or text holds, and the words that it is found by.",
       .automatic_retries = 3,
       .soft_limit_seconds = 5 * kMinute,
       .hard_limit_seconds = 6 * kMinute,
       .concurrency = kTextsAtOnce,
       .on_failure = &fail_files});
  registry.add(
      {.name = std::string(kProcessImage),
       .handler = [&parts](JobContext& context) { return process_image_file(parts, context); },
       .doc = "How large an uploaded image is, whether it is whole, and a small version of it.",
       .automatic_retries = 3,
       .soft_limit_seconds = kMinute,
       .hard_limit_seconds = 2 * kMinute,
       .concurrency = kImagesAtOnce,
       .on_failure = &fail_files});
}

}  // namespace

void add_definitions(jobs::Registry& registry, Parts const& parts) {
  using jobs::JobContext;
  add_file_definitions(registry, parts);
  registry.add({.name = std::string(kProcessConfiguration),
                .handler = [](JobContext& context) { return process_configuration(context); },
                .doc = "Checks a configuration and makes it the agent's.",
                .automatic_retries = 3,
                .soft_limit_seconds = kMinute,
                .hard_limit_seconds = 2 * kMinute});
  registry.add(
      {.name = std::string(kAnalyzeMetrics),
       .handler = [&parts](JobContext& context) { return analyze_metrics(parts, context); },
       .doc = "What the recorded requests and samples tell of a range of time.",
       .automatic_retries = 1,
       .soft_limit_seconds = 5 * kMinute,
       .hard_limit_seconds = 6 * kMinute,
       .concurrency = 2});
  registry.add({.name = std::string(kBackup),
                .handler = [&parts](JobContext& context) { return take_backup(parts, context); },
                .doc = "A backup of the database and of the files that belong to it.",
                .priority = jobs::priority::kLow,
                .automatic_retries = 2,
                .backoff_ms = 30'000,
                .soft_limit_seconds = 6 * kHour,
                .hard_limit_seconds = 6 * kHour + kMinute,
                .concurrency = 1});
  registry.add({.name = std::string(kRetention),
                .handler = [&parts](JobContext& context) { return clean_up(parts, context); },
                .doc = "Removes tasks and backups that are kept for too long.",
                .priority = jobs::priority::kLow,
                .automatic_retries = 2,
                .backoff_ms = 30'000,
                .soft_limit_seconds = kHour,
                .hard_limit_seconds = kHour + kMinute,
                .concurrency = 1});
}

std::vector<jobs::Schedule> default_schedules() {
  std::vector<jobs::Schedule> schedules(2);
  auto& backup = schedules[0];
  backup.name = "daily-backup";
  backup.task = kBackup;
  backup.args.text = R"(["incremental"])";
  backup.cron = "0 3 * * *";
  backup.priority = jobs::priority::kLow;
  auto& retention = schedules[1];
  retention.name = "daily-cleanup";
  retention.task = kRetention;
  retention.cron = "30 3 * * *";
  retention.priority = jobs::priority::kLow;
  return schedules;
}

std::vector<std::string> names_for_admins() {
  return {std::string(kBackup), std::string(kRetention)};
}

}  // namespace subforge::builtin
