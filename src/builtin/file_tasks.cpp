#include "builtin/file_tasks.hpp"

#include "base/json_writer.hpp"
#include "builtin/builtin.hpp"
#include "describe/codec.hpp"
#include "files/processing.hpp"

namespace subforge::builtin {
namespace {

using files::FileRecord;
using files::Processing;
using files::ProcessingStatus;

// The name of the task that looks into one file by itself.
std::string_view task_for(Processing processing) {
  if (processing == Processing::text) return kProcessText;
  return processing == Processing::image ? kProcessImage : std::string_view();
}

std::string args_of(std::vector<std::string> const& ids) {
  std::string text;
  JsonWriter json(text);
  json.begin_array();
  describe::Codec<std::vector<std::string>>::write(json, ids);
  json.end_array();
  return text;
}

std::string metadata_of(std::string const& session_id, domain::Actor const& actor) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("uploaded_by", actor.user);
  json.member("upload_session_id", session_id);
  json.end_object();
  return text;
}

}  // namespace

// One task for all configurations, so that one report tells of them; one for each other file.
Task<Result<void>> FileTasks::uploaded_in(store::Transaction& transaction,
                                          std::vector<FileRecord>& files,
                                          std::string const& session_id,
                                          domain::Actor const& actor) {
  std::vector<jobs::JobSpec> specs;
  auto const ask = [&](std::string_view name, std::string args) {
    auto& spec = specs.emplace_back();
    spec.id = Uuid::ordered(transaction.now());
    spec.name = name;
    spec.args = std::move(args);
    spec.metadata = metadata_of(session_id, actor);
    spec.created_by = actor.user;
    return spec.id;
  };
  std::vector<std::string> configurations;
  for (auto& file : files) {
    auto const processing = files::processing_of(file);
    auto const name = task_for(processing);
    if (processing == Processing::agent_configuration) configurations.push_back(file.id);
    if (name.empty()) continue;
    auto const id = ask(name, "[" + json_string(file.id) + "]");
    file.analysis = files::analysis_of(ProcessingStatus::pending, id);
  }
  if (!configurations.empty()) {
    auto const id = ask(kProcessAgentFiles, args_of(configurations));
    for (auto& file : files) {
      if (files::processing_of(file) != Processing::agent_configuration) continue;
      file.analysis = files::analysis_of(ProcessingStatus::pending, id);
    }
  }
  if (specs.empty()) co_return {};
  auto const enqueued = co_await queue_.enqueue_in(transaction, specs);
  if (!enqueued) co_return std::unexpected(enqueued.error());
  co_return {};
}

}  // namespace subforge::builtin
