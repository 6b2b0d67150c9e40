#include <set>

#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "builtin/arguments.hpp"
#include "builtin/tasks.hpp"
#include "describe/codec.hpp"
#include "describe/parse_json.hpp"
#include "store/store.hpp"

namespace subforge::builtin {
namespace {

using domain::AgentConfiguration;
using domain::Agents;
using jobs::Outcome;

constexpr double kTemperatureMost = 2;

struct Wanted {
  Uuid agent_id;
  std::optional<AgentConfiguration> configuration;  // None: what the agent has.
  // Only while the agent is at this version: what was given to it since then is newer.
  std::optional<std::int64_t> version;
};

Result<Wanted> read_arguments(jobs::JobContext const& context) {
  Arguments const arguments(context);
  Wanted wanted;
  auto const id = arguments.text(0, "agent_id");
  if (!id) return std::unexpected(id.error());
  auto const uuid = Uuid::parse(*id);
  if (!uuid) return fail(ErrorCode::invalid, "There is no agent " + *id);
  wanted.agent_id = *uuid;
  auto const* const data = arguments.find(1, "config_data");
  if (data == nullptr) return wanted;
  if (!data->is_object()) {
    return fail(ErrorCode::invalid, "The argument config_data must be an object");
  }
  describe::Issues issues;
  if (!domain::read_configuration(*data, wanted.configuration.emplace(), issues)) {
    return fail(ErrorCode::invalid, "Invalid configuration: " + issues.first());
  }
  auto const metadata = describe::parse_json(context.job().metadata.text);
  auto const* const version = metadata.as_object().if_contains("agent_version");
  if (version != nullptr && version->is_int64()) wanted.version = version->get_int64();
  return wanted;
}

// What is allowed, and yet hardly what anybody wants.
std::vector<std::string> doubts_about(AgentConfiguration const& configuration) {
  std::vector<std::string> doubts;
  for (auto const& [name, list] : {std::pair("tools", &configuration.tools),
                                   std::pair("capabilities", &configuration.capabilities)}) {
    std::set<std::string_view> seen;
    for (auto const& one : *list) {
      if (one.empty()) doubts.push_back(fmt::format("{}: one has no name", name));
      if (!seen.insert(one).second) {
        doubts.push_back(fmt::format("{}: {} is there twice", name, one));
      }
    }
  }
  if (configuration.model.empty()) doubts.emplace_back("model: there is none");
  if (configuration.max_tokens == 0) doubts.emplace_back("max_tokens: the agent cannot answer");
  if (configuration.timeout == 0) doubts.emplace_back("timeout: the agent has no time");
  if (configuration.temperature < 0 || configuration.temperature > kTemperatureMost) {
    doubts.push_back(fmt::format("temperature: {} is not between 0 and {}",
                                 configuration.temperature, kTemperatureMost));
  }
  for (auto const& [name, value] : configuration.environment_vars) {
    if (name.empty() || name.find('=') != std::string::npos) {
      doubts.push_back(fmt::format("environment_vars: '{}' is no name", name));
    }
  }
  return doubts;
}

std::string result_of(Wanted const& wanted, bool changes, std::vector<std::string> const& doubts) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("agent_id", wanted.agent_id);
  json.member("processed", true);
  json.member("changed", changes);
  json.key("warnings");
  describe::Codec<std::vector<std::string>>::write(json, doubts);
  json.end_object();
  return text;
}

}  // namespace

// Five steps, each of which is told.
Task<Outcome> process_configuration(jobs::JobContext& context) {
  auto const wanted = read_arguments(context);
  if (!wanted) co_return jobs::failed_for_good(wanted.error().message);
  auto const agent = co_await Agents(context.store()).get(wanted->agent_id);
  if (!agent && agent.error().code == ErrorCode::not_found) {
    co_return jobs::failed_for_good("There is no agent " + wanted->agent_id.to_string());
  }
  if (!agent) co_return jobs::failed(agent.error().message);
  auto const configuration = wanted->configuration.value_or(domain::configuration_of(*agent));
  context.progress(20, "read");
  auto const doubts = doubts_about(configuration);
  for (auto const& doubt : doubts) context.log(LogLevel::warning, doubt);
  context.progress(40, "checked");
  bool const changes = Agents::would_change(*agent, configuration, wanted->version);
  context.progress(60, "compared");
  context.log(LogLevel::info, changes ? "The configuration is new to the agent"
                                      : "The agent has it already, or a newer one");
  auto outcome = jobs::succeeded(result_of(*wanted, changes, doubts));
  if (changes) {
    auto const actor = domain::Actor{context.job().created_by.value_or("")};
    outcome.effect = [id = wanted->agent_id, version = wanted->version, configuration,
                      actor](store::Transaction& transaction) {
      return Agents::configure_in(transaction, id, configuration, version, actor);
    };
  }
  context.progress(80, "applying");
  outcome.metadata = R"({"processing_time":5})";
  co_return outcome;
}

}  // namespace subforge::builtin
