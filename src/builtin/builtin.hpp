// The background tasks that this program brings along: a table of definitions, and the schedules
// they have by default.
#pragma once

#include <vector>

#include "backup/backup.hpp"
#include "domain/agents/agents.hpp"
#include "domain/system/api_usage.hpp"
#include "files/blob_store.hpp"
#include "jobs/jobs.hpp"
#include "jobs/registry.hpp"
#include "jobs/schedules.hpp"

namespace subforge::builtin {

inline constexpr std::string_view kProcessConfiguration = "process_agent_configuration";
inline constexpr std::string_view kAnalyzeMetrics = "analyze_system_metrics";
inline constexpr std::string_view kBackup = "backup_agent_data";
inline constexpr std::string_view kRetention = "retention_cleanup";
inline constexpr std::string_view kProcessAgentFiles = "process_uploaded_agent_configs";
inline constexpr std::string_view kProcessText = "process_uploaded_text";
inline constexpr std::string_view kProcessImage = "process_uploaded_image";

struct RetentionLimits {
  std::int64_t task_days = 30;     // That tasks are kept after their end.
  std::int64_t backup_chains = 4;  // Full backups, each with those that build on it.
};

// What the tasks work with; must outlive the registry.
struct Parts {
  store::Store& store;
  domain::ApiUsage& usage;
  jobs::Jobs& jobs;
  BlockingPool& pool;
  files::BlobStore& blobs;
  std::vector<std::string> image_reader;  // The command that files/image_process.hpp speaks of.
  backup::BackupOptions backup;
  RetentionLimits retention;
};

void add_definitions(jobs::Registry& registry, Parts const& parts);
// For Schedules::seed: each is made once and belongs to the administrator from then on.
[[nodiscard]] std::vector<jobs::Schedule> default_schedules();
// Names that only administrators may ask for.
[[nodiscard]] std::vector<std::string> names_for_admins();

}  // namespace subforge::builtin
