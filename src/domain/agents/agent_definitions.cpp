// Agents that files define.
#include <optional>

#include "base/json_writer.hpp"
#include "domain/agents/agents.hpp"

namespace subforge::domain {

Task<Result<DefinedAgent>> Agents::define_in(store::Transaction& transaction,
                                             AgentDefinition definition, std::string filename,
                                             Actor const& actor) {
  std::optional<Uuid> known;
  auto const looked = co_await transaction.query(
      "SELECT id FROM agents WHERE name = $1 AND agent_type = $2 ORDER BY seq LIMIT 1",
      {definition.name, definition.agent_type},
      [&](store::Row const& row) { known = row.uuid(0); });
  if (!looked) co_return std::unexpected(looked.error());
  if (!known) {
    Agent draft;
    draft.id = Uuid::random();
    draft.name = definition.name;
    draft.agent_type = definition.agent_type;
    draft.status = AgentStatus::active;
    draft.description = definition.description;
    set_configuration(draft, std::move(definition.configuration));
    auto made = co_await insert_in(transaction, std::move(draft), {}, actor);
    if (!made) co_return std::unexpected(made.error());
    co_return DefinedAgent{std::move(*made), Defined::created};
  }
  auto how = Defined::unchanged;
  auto const edit = [&](Agent& agent, Timestamp now) -> Result<Edit> {
    bool const same = (!definition.description || definition.description == agent.description) &&
                      to_json(configuration_of(agent)) == to_json(definition.configuration);
    if (same) return Edit{};
    how = Defined::updated;
    set_configuration(agent, definition.configuration);
    if (definition.description) agent.description = definition.description;
    agent.last_activity = now;
    return Edit{"agent.configured", LogLevel::info, true, "\"filename\":" + json_string(filename)};
  };
  auto changed = co_await change_in(transaction, *known, edit, actor, {});
  if (!changed) co_return std::unexpected(changed.error());
  co_return DefinedAgent{std::move(*changed), how};
}

}  // namespace subforge::domain
