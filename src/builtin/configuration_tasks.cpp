#include "builtin/configuration_tasks.hpp"

#include "base/json_writer.hpp"
#include "builtin/builtin.hpp"

namespace subforge::builtin {
namespace {

using domain::Actor;
using domain::Agent;

// What a task's arguments have around a configuration.
constexpr std::size_t kAroundBytes = 16;

// Two texts, and the version beyond which the agent has a newer configuration.
std::string metadata_of(std::string_view name, std::string_view text, std::string_view who,
                        Agent const& agent, Actor const& actor) {
  std::string metadata;
  JsonWriter json(metadata);
  json.begin_object();
  json.member(name, text);
  json.member(who, actor.user);
  json.member("agent_version", agent.version);
  json.end_object();
  return metadata;
}

}  // namespace

Task<Result<Uuid>> ConfigurationTasks::agent_created_in(store::Transaction& transaction,
                                                        Agent const& agent, Actor const& actor) {
  return enqueue(transaction, agent, jobs::priority::kHigh,
                 metadata_of("agent_name", agent.name, "created_by", agent, actor), actor);
}

Task<Result<Uuid>> ConfigurationTasks::configuration_uploaded_in(store::Transaction& transaction,
                                                                 Agent const& agent,
                                                                 std::string const& filename,
                                                                 Actor const& actor) {
  return enqueue(transaction, agent, jobs::priority::kNormal,
                 metadata_of("filename", filename, "uploaded_by", agent, actor), actor);
}

Task<Result<Uuid>> ConfigurationTasks::enqueue(store::Transaction& transaction, Agent const& agent,
                                               std::int64_t priority, std::string metadata,
                                               Actor const& actor) {
  std::vector<jobs::JobSpec> specs(1);
  auto& spec = specs.front();
  spec.name = kProcessConfiguration;
  spec.args = "[\"" + agent.id.to_string() + "\"";
  auto const configuration = domain::to_json(domain::configuration_of(agent));
  // One that no task can carry is the agent's all the same, and is read from there.
  auto const bytes = spec.args.size() + configuration.size() + metadata.size() + kAroundBytes;
  if (bytes <= queue_.limits().payload_bytes_max) spec.args += "," + configuration;
  spec.args += "]";
  spec.priority = priority;
  spec.metadata = std::move(metadata);
  spec.created_by = actor.user;
  auto const enqueued = co_await queue_.enqueue_in(transaction, specs);
  if (!enqueued) co_return std::unexpected(enqueued.error());
  co_return enqueued->front().id;
}

}  // namespace subforge::builtin
