// `subforge backup` and `subforge restore`.
#pragma once

#include <string>

#include "backup/backup.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "config/config.hpp"

namespace subforge::app {

// What a backup takes beside the database: one list for all who take and restore backups.
[[nodiscard]] std::vector<backup::FileSource> backup_sources(config::Config const& config);
[[nodiscard]] backup::BackupOptions backup_options(config::Config const& config);

// Beside a running server or without one.
[[nodiscard]] Result<void> backup_command(config::Config const& config, Logger logger,
                                          backup::BackupKind kind);

struct RestoreWishes {
  std::string manifest;
  std::string to;            // A database URL; empty for that of the settings.
  bool verify_only = false;  // Touch nothing.
};
// Into a new PostgreSQL database, or in place of a file that nobody uses, which is kept under
// another name.
[[nodiscard]] Result<void> restore_command(config::Config config, Logger logger,
                                           RestoreWishes const& wishes);

}  // namespace subforge::app
