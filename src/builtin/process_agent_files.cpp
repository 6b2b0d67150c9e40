#include <algorithm>
#include <optional>

#include <boost/json/object.hpp>

#include "base/json_writer.hpp"
#include "builtin/arguments.hpp"
#include "builtin/tasks.hpp"
#include "describe/codec.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "files/file_rows.hpp"
#include "files/processing.hpp"
#include "files/validation.hpp"
#include "store/store.hpp"

namespace subforge::builtin {
namespace {

using domain::Agents;
using files::FileRecord;
using files::ParsedAgent;
using files::ProcessingStatus;
using jobs::JobContext;
using jobs::Outcome;
using jobs::StopReason;
using store::Transaction;

constexpr std::size_t kFilesMax = 1'000;  // Of one task.

// What the result tells of one file.
struct Report {
  std::string file_id;
  std::string filename = {};
  bool success = false;
  std::string members = {};  // What else, as members of a JSON object.
};

Report failure(std::string file_id, std::string filename, std::string_view error) {
  return {std::move(file_id), std::move(filename), false, "\"error\":" + json_string(error)};
}

// Of a file that has come to its end, from what its record keeps.
Report report_of(FileRecord const& file) {
  Report report{file.id, file.original_filename};
  auto analysis = describe::parse_json(file.analysis.text).as_object();
  report.success = describe::text_member(analysis, "status") == "done";
  for (auto const* name : {"status", "task_id", "kind"}) analysis.erase(name);
  auto const text = describe::json_text(analysis);
  report.members = text.substr(1, text.size() - 2);
  return report;
}

std::string members_of(domain::DefinedAgent const& defined,
                       std::vector<std::string> const& warnings) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("kind", "agent_configuration");
  json.member("action", describe::to_text(defined.how));
  json.member("agent_id", defined.agent.id);
  json.member("agent_name", defined.agent.name);
  json.key("warnings");
  describe::Codec<std::vector<std::string>>::write(json, warnings);
  json.end_object();
  return text.substr(1, text.size() - 2);
}

std::string result_of(std::vector<Report> const& reports) {
  std::string text;
  JsonWriter json(text);
  auto const successful = std::ranges::count(reports, true, &Report::success);
  json.begin_object();
  json.member("total", reports.size());
  json.member("successful", static_cast<std::int64_t>(successful));
  json.member("failed", std::ssize(reports) - static_cast<std::int64_t>(successful));
  json.key("results");
  json.begin_array();
  for (auto const& report : reports) {
    json.begin_object();
    json.member("file_id", report.file_id);
    if (!report.filename.empty()) json.member("filename", report.filename);
    json.member("success", report.success);
    json.raw(report.members);
    json.end_object();
  }
  json.end_array();
  json.end_object();
  return text;
}

class AgentFiles {
 public:
  AgentFiles(Parts const& parts, JobContext& context)
      : parts_(parts), context_(context), actor_{context.job().created_by.value_or("")} {}

  // An error is one of the database, and to be tried again; what is wrong with the file is told.
  Task<Result<Report>> one(std::string id) {
    auto const file =
        co_await files::begin_processing(parts_.store, id, context_.job().id, actor_.user);
    if (!file &&
        (file.error().code == ErrorCode::not_found || file.error().code == ErrorCode::forbidden)) {
      co_return failure(id, {}, file.error().message);
    }
    if (!file) co_return std::unexpected(file.error());
    if (files::end_by(*file, context_.job().id) == ProcessingStatus::done) {
      co_return report_of(*file);
    }
    auto read = [&] { return read_file(*file); };
    auto const known = co_await context_.run_blocking(read);
    if (!known) co_return std::unexpected(known.error());
    if (known->content) {
      auto const kept = co_await files::keep_text(parts_.store, file->id, *known->content);
      if (!kept) co_return std::unexpected(kept.error());
    }
    // The agent, and what the file's record tells of it: both or none.
    auto apply = [this, file = *file, known = *known](Transaction& transaction) {
      return write(transaction, file, known);
    };
    co_return co_await parts_.store.write(std::move(apply));
  }

 private:
  struct Read {
    std::optional<std::string> content;
    std::expected<ParsedAgent, std::string> agent;
  };

  // That the content is not where this worker looks for it is not the file's fault.
  [[nodiscard]] Result<Read> read_file(FileRecord const& file) const {
    auto const blob = parts_.blobs.read({file.sha256, file.id});
    if (!blob) return fail(ErrorCode::unavailable, blob.error().message);
    auto content = files::read_document(blob->get(), file.file_size);
    if (!content && content.error().code == ErrorCode::internal) {
      return std::unexpected(content.error());
    }
    if (!content) return Read{{}, std::unexpected(content.error().message)};
    auto agent = files::parse_agent(file.original_filename, *content);
    auto indexed = files::indexed_text(*content);
    if (!agent) return Read{std::move(indexed), std::unexpected(agent.error().message)};
    return Read{std::move(indexed), std::move(*agent)};
  }

  Task<Result<Report>> write(Transaction& transaction, FileRecord file, Read known) const {
    auto const task_id = context_.job().id;
    auto const before = co_await files::select_file(transaction.session(), file.id);
    if (!before && before.error().code == ErrorCode::not_found) {
      co_return failure(file.id, file.original_filename, "The file was deleted meanwhile");
    }
    if (!before) co_return std::unexpected(before.error());
    // By a later start of this task, which another worker has.
    if (files::end_by(*before, task_id) == ProcessingStatus::done) co_return report_of(*before);
    Result<void> written;
    if (known.agent) {
      auto const defined = co_await Agents::define_in(transaction, known.agent->definition,
                                                      file.original_filename, actor_);
      if (!defined) co_return std::unexpected(defined.error());
      written = co_await files::finish_processing_in(transaction, file.id, task_id,
                                                     members_of(*defined, known.agent->warnings));
    } else {
      written =
          co_await files::fail_processing_in(transaction, file.id, task_id, known.agent.error());
    }
    if (!written) co_return std::unexpected(written.error());
    auto const after = co_await files::select_file(transaction.session(), file.id);
    if (!after) co_return std::unexpected(after.error());
    co_return report_of(*after);
  }

  Parts const& parts_;
  JobContext& context_;
  domain::Actor const actor_;
};

}  // namespace

// File by file, each in a transaction of its own, that is not done again by a later start.
Task<Outcome> process_agent_files(Parts const& parts, JobContext& context) {
  auto const ids = Arguments(context).texts(0, "file_ids");
  if (!ids) co_return jobs::failed_for_good(ids.error().message);
  if (ids->size() > kFilesMax) {
    co_return jobs::failed_for_good("The argument file_ids names more than " +
                                    std::to_string(kFilesMax) + " files");
  }
  AgentFiles files(parts, context);
  std::vector<Report> reports;
  for (auto const& id : *ids) {
    auto const reason = context.stop_reason();
    if (reason == StopReason::soft_limit) co_return jobs::failed("It took too long");
    if (reason != StopReason::none && reason != StopReason::shutdown) {
      co_return jobs::withdrawn("Nobody waits for it any more");
    }
    auto report = co_await files.one(id);
    if (!report) co_return jobs::failed(report.error().message);
    if (!report->success) {
      context.log(LogLevel::warning, report->filename + " (" + id + ") failed: " + report->members);
    }
    reports.push_back(std::move(*report));
    context.progress(100.0 * static_cast<double>(reports.size()) / static_cast<double>(ids->size()),
                     reports.back().filename);
  }
  co_return jobs::succeeded(result_of(reports));
}

}  // namespace subforge::builtin
