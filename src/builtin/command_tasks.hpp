// Tasks that are programs: each file of a folder names a command, its limits and when it runs.
//
//   name: report
//   command: [/usr/bin/python3, report.py]
//
// The program gets the task as a JSON object on standard input and tells in JSON lines on standard
// output: {"progress": 40, "note": "..."}, {"log": "..."}, {"result": ...}, {"error": "..."}.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "jobs/registry.hpp"
#include "jobs/schedules.hpp"
#include "runtime/process.hpp"

namespace subforge::builtin {

struct CommandTask {
  std::string file;             // Where it is told, for whoever has to mend it.
  jobs::Definition definition;  // Without its handler.
  std::vector<std::string> command;
  std::vector<std::string> environment;  // NAME=value, beside what all get.
  std::string folder;
  ProcessLimits limits;
  bool for_admins = false;
  std::optional<jobs::Schedule> schedule;
};

// Of one file. Error: invalid, with the file, the line and the key.
[[nodiscard]] Result<CommandTask> parse_command_task(std::string_view text,
                                                     std::filesystem::path const& path);
// Of all *.yaml and *.yml files in the folder, by name; none if there is no such folder.
[[nodiscard]] Result<std::vector<CommandTask>> load_command_tasks(
    std::filesystem::path const& folder);

// With its handler.
[[nodiscard]] jobs::Definition definition_of(CommandTask task);

}  // namespace subforge::builtin
