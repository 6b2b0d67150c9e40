// Files of command tasks: read, and checked to the last key before anything starts.
#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>

#include <boost/json/object.hpp>
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "base/text.hpp"
#include "builtin/command_tasks.hpp"
#include "describe/json_text.hpp"
#include "describe/yaml.hpp"
#include "jobs/job_checks.hpp"

namespace subforge::builtin {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kFileBytesMax = 64U << 10;
constexpr double kSecondsMax = 7 * 24 * 3600;
constexpr double kMemoryMiBMax = 1 << 20;
constexpr double kBytesMax = 1 << 30;
constexpr std::int64_t kMs = 1'000;
constexpr std::int64_t kMiB = 1 << 20;
constexpr double kEndSeconds = 5;  // For what is left to do when a program has been killed.

struct Refused {
  std::string message;
};

// One mapping of the file; every key has to be asked for.
class Keys {
 public:
  Keys(YAML::Node node, fs::path const& path, std::string place)
      : node_(std::move(node)), path_(path), place_(std::move(place)) {
    if (!node_.IsMap()) refuse(node_, "", "must be a mapping");
  }

  [[noreturn]] void refuse(YAML::Node const& at, std::string_view key,
                           std::string_view what) const {
    auto const name =
        place_.empty() || key.empty() ? place_ + std::string(key) : place_ + "." + std::string(key);
    throw Refused{fmt::format("{}, line {}: {} {}", path_.string(), at.Mark().line + 1,
                              name.empty() ? "the file" : name, what)};
  }
  YAML::Node find(char const* key) {
    known_.insert(key);
    return node_[key];
  }
  YAML::Node need(char const* key) {
    auto found = find(key);
    if (!found) refuse(node_, key, "is missing");
    return found;
  }
  std::string text(char const* key, std::string fallback) {
    auto const found = find(key);
    return found ? text_of(found, key) : std::move(fallback);
  }
  std::string text_of(YAML::Node const& node, std::string_view key) const {
    if (!node.IsScalar() || node.Scalar().empty()) refuse(node, key, "must be a text");
    return node.Scalar();
  }
  double number(char const* key, double fallback, double least, double most) {
    auto const found = find(key);
    if (!found) return fallback;
    auto const value = found.IsScalar() ? parse_number<double>(found.Scalar()) : std::nullopt;
    if (!value || *value < least || *value > most) {
      refuse(found, key, fmt::format("must be a number from {} to {}", least, most));
    }
    return *value;
  }
  std::int64_t whole(char const* key, std::int64_t fallback, std::int64_t least,
                     std::int64_t most) {
    auto const found = find(key);
    if (!found) return fallback;
    auto const value = found.IsScalar() ? parse_number<std::int64_t>(found.Scalar()) : std::nullopt;
    if (!value || *value < least || *value > most) {
      refuse(found, key, fmt::format("must be a whole number from {} to {}", least, most));
    }
    return *value;
  }
  bool flag(char const* key, bool fallback) {
    auto const found = find(key);
    if (!found) return fallback;
    if (found.IsScalar() && found.Scalar() == "true") return true;
    if (!found.IsScalar() || found.Scalar() != "false") refuse(found, key, "must be true or false");
    return false;
  }
  // After all others.
  void refuse_others() const {
    std::set<std::string> seen;
    for (auto const& entry : node_) {
      auto const key = entry.first.IsScalar() ? entry.first.Scalar() : std::string("?");
      if (!known_.contains(key)) refuse(entry.first, key, "is no key that is known here");
      if (!seen.insert(key).second) refuse(entry.first, key, "is there twice");
    }
  }

 private:
  YAML::Node node_;
  fs::path const& path_;
  std::string place_;
  std::set<std::string> known_;
};

std::vector<std::string> command_of(Keys& keys) {
  auto const node = keys.need("command");
  if (!node.IsSequence() || node.size() == 0) {
    keys.refuse(node, "command", "must be a list: the program and its arguments");
  }
  std::vector<std::string> command;
  for (auto const& word : node) {
    if (!word.IsScalar() || word.Scalar().contains('\0')) {
      keys.refuse(word, "command", "must have nothing but texts");
    }
    command.push_back(word.Scalar());
  }
  if (command.front().empty()) keys.refuse(node, "command", "names no program");
  return command;
}

std::vector<std::string> environment_of(Keys& keys) {
  std::vector<std::string> environment;
  auto const node = keys.find("environment");
  if (!node) return environment;
  if (!node.IsMap()) keys.refuse(node, "environment", "must be a mapping of names to texts");
  for (auto const& entry : node) {
    auto const name = entry.first.Scalar();
    bool const good = entry.second.IsScalar() && !name.empty() &&
                      name.find('=') == std::string::npos && !name.starts_with("SUBFORGE_") &&
                      !name.contains('\0') && !entry.second.Scalar().contains('\0');
    if (!good) keys.refuse(entry.first, "environment", "must be a mapping of names to texts");
    environment.push_back(name + "=" + entry.second.Scalar());
  }
  return environment;
}

std::int64_t priority_of(Keys& keys) {
  auto const node = keys.find("priority");
  if (!node) return jobs::priority::kNormal;
  auto const value = node.IsScalar() ? jobs::priority_of(node.Scalar()) : std::nullopt;
  if (!value) keys.refuse(node, "priority", "must be low, normal, high or critical");
  return *value;
}

std::string queue_of(Keys& keys) {
  auto const node = keys.find("queue");
  if (!node) return std::string(jobs::kDefaultQueue);
  auto name = keys.text_of(node, "queue");
  if (auto checked = jobs::check_queue_name(name); !checked) {
    keys.refuse(node, "queue", "must have no spaces and at most 200 bytes");
  }
  return name;
}

jobs::StartRate rate_of(Keys& keys) {
  auto const node = keys.find("rate");
  if (!node) return {};
  auto const value = node.IsScalar() ? jobs::parse_rate(node.Scalar()) : std::nullopt;
  if (!value) keys.refuse(node, "rate", "must be like 5/s, 10/m or 100/h");
  return *value;
}

// A part of the document as JSON.
std::string json_of(Keys& keys, boost::json::object const& values, char const* key,
                    std::string fallback) {
  auto const node = keys.find(key);
  if (!node) return fallback;
  bool const list = fallback == "[]";
  auto const& value = values.at(key);
  if (list ? !value.is_array() : !value.is_object()) {
    keys.refuse(node, key, list ? "must be a list" : "must be a mapping");
  }
  return describe::json_text(value);
}

std::optional<jobs::Schedule> schedule_of(Keys& outer, boost::json::object const& document,
                                          CommandTask const& task, fs::path const& path) {
  auto const node = outer.find("schedule");
  if (!node) return std::nullopt;
  Keys keys(node, path, "schedule");
  auto const& values = document.at("schedule").as_object();
  jobs::Schedule schedule;
  schedule.name = keys.text("name", task.definition.name);
  schedule.task = task.definition.name;
  schedule.args.text = json_of(keys, values, "args", "[]");
  schedule.kwargs.text = json_of(keys, values, "kwargs", "{}");
  schedule.queue = task.definition.queue;
  schedule.priority = task.definition.priority;
  if (auto const cron = keys.find("cron")) {
    schedule.cron = keys.text_of(cron, "cron");
    if (auto const line = jobs::CronLine::parse(*schedule.cron); !line) {
      keys.refuse(cron, "cron", "is no cron line: " + line.error().message);
    }
  }
  if (auto const every = keys.find("every_seconds")) {
    schedule.every_seconds = keys.whole("every_seconds", 0, 1, 31'536'000);
    if (schedule.cron) keys.refuse(every, "every_seconds", "cannot stand beside cron");
  }
  if (!schedule.cron && !schedule.every_seconds) {
    keys.refuse(node, "", "needs cron or every_seconds");
  }
  auto const missed = keys.text("missed", "once");
  auto const known = describe::from_text<jobs::MissedRuns>(missed);
  if (!known) keys.refuse(node, "missed", "must be once or skip");
  schedule.missed = *known;
  schedule.overlap = keys.flag("overlap", false);
  keys.refuse_others();
  return schedule;
}

void read_limits(Keys& keys, CommandTask& task) {
  auto const limit = keys.number("limit_seconds", 60, 1, kSecondsMax);
  auto const grace = keys.number("grace_seconds", 5, 0, 600);
  task.definition.soft_limit_seconds = limit;
  task.definition.hard_limit_seconds = limit + grace + kEndSeconds;
  task.limits.grace_ms = static_cast<std::int64_t>(grace * kMs);
  // The worker asks first; this is for when it does not.
  task.limits.time_ms = static_cast<std::int64_t>((limit + grace) * kMs);
  auto const memory = keys.number("memory_mb", 0, 0, kMemoryMiBMax);
  task.limits.memory_bytes_max = static_cast<std::int64_t>(memory) * kMiB;
  task.limits.line_bytes_max = static_cast<std::int64_t>(keys.number(
      "line_bytes_max", static_cast<double>(task.limits.line_bytes_max), 1'000, kBytesMax));
  task.limits.output_bytes_max = static_cast<std::int64_t>(keys.number(
      "output_bytes_max", static_cast<double>(task.limits.output_bytes_max), 1'000, kBytesMax));
}

CommandTask read_task(YAML::Node const& document, boost::json::object const& values,
                      fs::path const& path) {
  Keys keys(document, path, "");
  CommandTask task;
  task.file = path.string();
  auto& definition = task.definition;
  auto const name = keys.need("name");
  definition.name = keys.text_of(name, "name");
  if (auto checked = jobs::check_job_name(definition.name); !checked) {
    keys.refuse(name, "name", "must have no spaces and at most 200 bytes");
  }
  definition.doc = keys.text("doc", "");
  task.command = command_of(keys);
  task.environment = environment_of(keys);
  task.folder = fs::absolute(path.parent_path() / keys.text("folder", ".")).lexically_normal();
  if (!fs::is_directory(task.folder)) {
    keys.refuse(document, "folder", "must be a folder that exists, unlike " + task.folder);
  }
  definition.queue = queue_of(keys);
  definition.priority = priority_of(keys);
  definition.max_retries = keys.whole("max_retries", 3, 0, 100);
  definition.automatic_retries = keys.whole("automatic_retries", 0, 0, 100);
  definition.concurrency = keys.whole("concurrency", 0, 0, 10'000);
  definition.rate = rate_of(keys);
  task.for_admins = keys.flag("admin_only", false);
  read_limits(keys, task);
  task.schedule = schedule_of(keys, values, task, path);
  keys.refuse_others();
  return task;
}

}  // namespace

Result<CommandTask> parse_command_task(std::string_view text, fs::path const& path) {
  // First what makes a document hostile, then what makes it wrong.
  auto const values = describe::parse_yaml_text(text);
  if (!values) return fail(ErrorCode::invalid, path.string() + ", " + values.error().message);
  if (!values->is_object()) {
    return fail(ErrorCode::invalid, path.string() + ", line 1: the file must be a mapping");
  }
  try {
    return read_task(YAML::Load(std::string(text)), values->get_object(), path);
  } catch (Refused const& refused) {
    return fail(ErrorCode::invalid, refused.message);
  } catch (YAML::Exception const& error) {
    return fail(ErrorCode::invalid,
                fmt::format("{}, line {}: {}", path.string(), error.mark.line + 1, error.msg));
  }
}

Result<std::vector<CommandTask>> load_command_tasks(fs::path const& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(folder, error)) {
    auto const extension = entry.path().extension();
    if (extension == ".yaml" || extension == ".yml") paths.push_back(entry.path());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(ErrorCode::invalid, folder.string() + " cannot be read: " + error.message());
  }
  std::ranges::sort(paths);
  std::vector<CommandTask> tasks;
  for (auto const& path : paths) {
    std::ifstream const file(path);
    std::ostringstream text;
    text << file.rdbuf();
    if (!file) return fail(ErrorCode::invalid, path.string() + " cannot be read");
    if (text.view().size() > kFileBytesMax) {
      return fail(ErrorCode::invalid, path.string() + " is too long");
    }
    auto task = parse_command_task(text.view(), path);
    if (!task) return std::unexpected(task.error());
    auto const other = std::ranges::find(
        tasks, task->definition.name, [](CommandTask const& one) { return one.definition.name; });
    if (other != tasks.end()) {
      return fail(ErrorCode::invalid, fmt::format("{}: name: {} has a task named {} already",
                                                  task->file, other->file, other->definition.name));
    }
    tasks.push_back(std::move(*task));
  }
  return tasks;
}

}  // namespace subforge::builtin
