#include "builtin/command_tasks.hpp"

#include <coroutine>
#include <memory>

#include <boost/json/object.hpp>
#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "base/utf8.hpp"
#include "describe/exact_json.hpp"
#include "describe/json_text.hpp"
#include "jobs/worker.hpp"

namespace subforge::builtin {
namespace {

namespace json = boost::json;
using jobs::JobContext;
using jobs::Outcome;
using jobs::StopReason;

constexpr std::int64_t kNoLimitMs = 1'000'000'000'000;
constexpr int kTryAgain = 75;  // EX_TEMPFAIL of sysexits.h.

std::string input_of(JobContext const& context) {
  auto const& job = context.job();
  std::string text;
  JsonWriter writer(text);
  writer.begin_object();
  writer.key("task_id");
  writer.uuid(job.id);
  writer.member("name", job.name);
  writer.member("attempt", context.attempt());
  writer.member_raw("args", context.args());
  writer.member_raw("kwargs", context.kwargs());
  writer.member_raw("metadata", job.metadata.text);
  writer.end_object();
  text.push_back('\n');
  return text;
}

std::vector<std::string> environment_of(CommandTask const& task, JobContext const& context) {
  auto const& job = context.job();
  std::vector<std::string> environment{
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      "LANG=C.UTF-8",
      "SUBFORGE_TASK_ID=" + job.id.to_string(),
      "SUBFORGE_TASK_NAME=" + job.name,
      "SUBFORGE_TASK_ATTEMPT=" + std::to_string(context.attempt()),
  };
  // Of two with one name programs take the first or the last: here there is only one.
  for (auto const& entry : task.environment) {
    auto const name = entry.substr(0, entry.find('=') + 1);
    std::erase_if(environment, [&](auto const& one) { return one.starts_with(name); });
    environment.push_back(entry);
  }
  return environment;
}

LogLevel level_of(json::object const& line) {
  auto const level = describe::text_member(line, "level");
  if (level == "debug" || level == "DEBUG") return LogLevel::debug;
  if (level == "warning" || level == "WARNING") return LogLevel::warning;
  if (level == "error" || level == "ERROR") return LogLevel::error;
  if (level == "critical" || level == "CRITICAL") return LogLevel::critical;
  return LogLevel::info;
}

// What the program tells while it runs.
class Told {
 public:
  explicit Told(JobContext& context) : context_(context) {}

  void take(std::string_view text) {
    boost::system::error_code error;
    auto const value = describe::parse_exact_json(text, error);
    if (error || !value.is_object()) {
      if (!text.empty()) context_.log(LogLevel::info, printable(text));
      return;
    }
    auto const& line = value.get_object();
    if (auto const* const progress = line.if_contains("progress");
        progress != nullptr && progress->is_number()) {
      context_.progress(progress->to_number<double>(),
                        std::string(describe::text_member(line, "note")));
    }
    if (line.contains("log")) {
      context_.log(level_of(line), std::string(describe::text_member(line, "log")));
    }
    if (auto const* const found = line.if_contains("result")) {
      result_ = describe::json_text(*found);
      has_result_ = true;
    }
    if (auto const* const found = line.if_contains("error"); found != nullptr) {
      error_ = describe::text_member(line, "error");
      bool const text_of_its_own = describe::is_text(*found);
      if (!text_of_its_own && !found->is_null()) error_ = describe::json_text(*found);
    }
  }
  // Bytes that are no UTF-8 would end what they are put into.
  static std::string printable(std::string_view text) {
    if (is_valid_utf8(text)) return std::string(text);
    std::string shown;
    for (char const byte : text) {
      shown.push_back(static_cast<unsigned char>(byte) < 0x80 ? byte : '?');
    }
    return shown;
  }

  [[nodiscard]] std::string const& result() const { return result_; }
  [[nodiscard]] bool has_result() const { return has_result_; }
  [[nodiscard]] std::string const& error() const { return error_; }

 private:
  JobContext& context_;
  std::string result_ = "null";
  bool has_result_ = false;
  std::string error_;
};

std::string end_text(CommandTask const& task, JobContext const& context, ProcessEnd const& end) {
  if (context.stop_reason() == StopReason::soft_limit) {
    return fmt::format("SoftTimeLimitExceeded: it ran for more than {:g} s",
                       context.soft_limit_seconds());
  }
  switch (end.cause) {
    case ProcessCause::line:
      return fmt::format("It wrote a line of more than {} bytes", task.limits.line_bytes_max);
    case ProcessCause::output:
      return fmt::format("It wrote more than {} bytes", task.limits.output_bytes_max);
    default: break;
  }
  if (end.signal != 0) return fmt::format("It was ended by signal {}", end.signal);
  return fmt::format("It ended with exit status {}", end.exit_code);
}

Outcome outcome_of(CommandTask const& task, JobContext const& context, ProcessEnd const& end,
                   Told const& told) {
  auto const reason = context.stop_reason();
  bool const stopped = reason != StopReason::none && reason != StopReason::shutdown;
  if (end.success() && told.error().empty() && !stopped) return jobs::succeeded(told.result());
  auto error = told.error().empty() ? end_text(task, context, end) : told.error();
  if (end.exit_code == kTryAgain && end.cause == ProcessCause::none) {
    return jobs::try_again(std::move(error));
  }
  auto outcome = jobs::failed(std::move(error));
  outcome.traceback = Told::printable(end.errors);
  return outcome;
}

// Until then the job is its worker's, which gives it back to the queue.
struct NoLongerWaitedFor {
  JobContext& context;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) const {
    context.on_hard_stop([waiting] { waiting.resume(); });
  }
  void await_resume() const noexcept {}
};

Task<Outcome> run_command(CommandTask const& task, JobContext& context) {
  Told told(context);
  // The worker sees to the time, by whichever limits hold for this one: those of its message, of
  // remote control, or the file's.
  auto limits = task.limits;
  limits.time_ms = kNoLimitMs;
  ProcessOptions options{task.command, environment_of(task, context), task.folder,
                         input_of(context), limits};
  Process process(*EventLoop::current(), std::move(options),
                  [&told](std::string_view line) { told.take(line); });
  context.on_stop([&process](StopReason) { process.stop(); });
  context.on_hard_stop([&process] { process.kill(); });
  auto const end = co_await process.run();
  if (!end) co_return jobs::failed(end.error().message);
  if (end->cause == ProcessCause::stopped && context.stop_reason() == StopReason::shutdown) {
    // It was asked to end since this process does. What has no result starts anew elsewhere.
    bool const done = end->exit_code == 0 && end->signal == 0 && told.has_result();
    if (done) co_return jobs::succeeded(told.result());
    NoLongerWaitedFor until{context};
    co_await until;
  }
  co_return outcome_of(task, context, *end, told);
}

}  // namespace

jobs::Definition definition_of(CommandTask task) {
  auto definition = task.definition;
  auto const shared = std::make_shared<CommandTask const>(std::move(task));
  definition.handler = [shared](JobContext& context) { return run_command(*shared, context); };
  return definition;
}

}  // namespace subforge::builtin
