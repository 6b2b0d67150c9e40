// Lists of agents and figures about them.
#include <algorithm>

#include "domain/agents/agent_counts.hpp"
#include "domain/agents/agents.hpp"
#include "store/conditions.hpp"
#include "store/counts.hpp"

namespace subforge::domain {
namespace {

using store::Conditions;
using store::Row;
using store::Session;

constexpr std::string_view kTable = "agents";

std::string name_of_count(AgentStatus status) {
  return "agents.status=" + std::string(describe::to_text(status));
}

constexpr std::string_view kTypes = "agent_types";

std::string name_of_count(std::string_view type) {
  return std::string(kTypes).append(".").append(type);
}

Conditions conditions_of(Session& session, AgentFilter const& filter) {
  Conditions conditions(session, kTable);
  if (filter.impossible) conditions.check([](store::Where& where) { where.both("1 = 0"); });
  std::vector<std::string> statuses;
  std::vector<std::string> kept;
  for (auto const status : filter.statuses) {
    statuses.emplace_back(describe::to_text(status));
    kept.push_back(name_of_count(status));
  }
  if (!statuses.empty()) conditions.any_of("status", statuses, std::move(kept));
  if (filter.type) {
    conditions.equal({{"agent_type", store::Value(*filter.type)}},
                     {.kept = name_of_count(*filter.type)});
  }
  if (filter.is_active) {
    conditions.check([active = *filter.is_active](store::Where& where) {
      where.equals("is_active", store::Value(active));
    });
  }
  if (filter.search) {
    conditions.contains(
        *filter.search, "agent_texts",
        [text = *filter.search](store::Where& where) { where.contains({"name"}, text); });
  }
  conditions.lists_any("tags", filter.tags, "agent_tags");
  return conditions;
}

store::Keyset keyset_of(AgentFilter const& filter) {
  switch (filter.sort) {
    case AgentFilter::Sort::created: break;
    case AgentFilter::Sort::name: return {"lower(name)", filter.descending};
    case AgentFilter::Sort::status: return {"status", filter.descending};
    case AgentFilter::Sort::updated:
      return {"updated_at", filter.descending, store::Value::Kind::integer};
  }
  return {.descending = filter.descending};
}

// A sum that is kept, by the name of its count.
struct Sum {
  std::string_view name;
  double Agent::* figure;
  double AgentTotals::* total;
};
constexpr Sum kSums[] = {
    {"agents.success_rate", &Agent::success_rate, &AgentTotals::success_rate},
    {"agents.response_time", &Agent::avg_response_time, &AgentTotals::response_time},
    {"agents.uptime", &Agent::uptime_percentage, &AgentTotals::uptime},
    {"agents.tasks_completed", &Agent::tasks_completed, &AgentTotals::tasks_completed},
    {"agents.tasks_failed", &Agent::tasks_failed, &AgentTotals::tasks_failed},
};

// Clients may set any figure. What a sum has of it is two counts, so that neither small parts nor
// large figures are lost: whole hundred millions, and millionths of the rest. What lies beyond 1e15
// on either side counts as that.
constexpr double kLarge = 1e8;
constexpr double kFigureMax = 1e15;

std::string name_of_large(Sum const& sum) { return std::string(sum.name) + ".large"; }

void count_figure(store::CountChanges& counts, Sum const& sum, double figure, std::int64_t sign) {
  auto const bounded = std::clamp(figure, -kFigureMax, kFigureMax);
  auto const large = std::llround(bounded / kLarge);
  auto const rest = bounded - static_cast<double>(large) * kLarge;
  if (large != 0) counts.add(name_of_large(sum), sign * large);
  counts.add(std::string(sum.name), sign * store::millionths(rest));
}

bool counts_alike(Agent const& one, Agent const& other) {
  return one.status == other.status && one.agent_type == other.agent_type &&
         std::ranges::all_of(kSums,
                             [&](Sum const& sum) { return one.*sum.figure == other.*sum.figure; });
}

void count_agent(store::CountChanges& counts, Agent const& agent, std::int64_t sign) {
  counts.add(std::string(kTable), sign);
  counts.add(name_of_count(agent.status), sign);
  counts.add(name_of_count(agent.agent_type), sign);
  for (auto const& sum : kSums) {
    count_figure(counts, sum, agent.*sum.figure, sign);
  }
}

// From the kept counts where they tell.
Task<Result<store::Total>> total_of(Session& session, AgentFilter filter) {
  bool const by_status_alone = !filter.impossible && !filter.type && !filter.is_active &&
                               !filter.search && filter.tags.empty();
  if (!by_status_alone) {
    co_return co_await conditions_of(session, filter).total(kAgentCountMax);
  }
  auto const count = co_await counted_agents(session, std::move(filter.statuses));
  if (!count) co_return std::unexpected(count.error());
  co_return store::Total{*count};
}

Task<Result<AgentPage>> page_of(Session& session, AgentFilter const& filter) {
  auto const keyset = keyset_of(filter);
  auto where = co_await conditions_of(session, filter).choose(keyset);
  if (!where) co_return std::unexpected(where.error());
  co_return co_await store::select_page<Agent>(session, kTable, keyset, std::move(*where),
                                               store::bounds_of(filter));
}

}  // namespace

Task<Result<void>> count_agents(store::Transaction& transaction, Agent const* before,
                                Agent const* after) {
  if (before != nullptr && after != nullptr && counts_alike(*before, *after)) co_return {};
  store::CountChanges counts;
  if (before != nullptr) count_agent(counts, *before, -1);
  if (after != nullptr) count_agent(counts, *after, 1);
  co_return co_await counts.apply(transaction);
}

Task<Result<AgentTotals>> agent_totals(Session& session) {
  auto const counts = co_await store::read_counts(session, std::string(kTable));
  if (!counts) co_return std::unexpected(counts.error());
  auto const types = co_await store::read_counts(session, std::string(kTypes));
  if (!types) co_return std::unexpected(types.error());
  auto const of = [&](std::string const& name) {
    auto const found = counts->find(name);
    return found == counts->end() ? 0 : found->second;
  };
  AgentTotals totals;
  totals.agents = of(std::string(kTable));
  for (auto const& [status, name] : names_of(AgentStatus{})) {
    if (auto const count = of(name_of_count(status)); count != 0) totals.by_status[status] = count;
  }
  for (auto const& [name, count] : *types) {
    if (count != 0) totals.by_type[name.substr(kTypes.size() + 1)] = count;
  }
  for (auto const& sum : kSums) {
    totals.*sum.total = static_cast<double>(of(std::string(sum.name))) / store::kMillionths +
                        static_cast<double>(of(name_of_large(sum))) * kLarge;
  }
  co_return totals;
}

Task<Result<std::int64_t>> counted_agents(Session& session, std::vector<AgentStatus> statuses) {
  if (statuses.empty()) co_return co_await store::read_count(session, std::string(kTable));
  std::int64_t total = 0;
  for (auto const status : statuses) {
    auto const count = co_await store::read_count(session, name_of_count(status));
    if (!count) co_return std::unexpected(count.error());
    total += *count;
  }
  co_return total;
}

Task<Result<AgentPage>> Agents::list(AgentFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) -> Task<Result<AgentPage>> {
    auto const total = co_await total_of(session, filter);
    if (!total) co_return std::unexpected(total.error());
    auto page = co_await page_of(session, filter);
    if (!page) co_return std::unexpected(page.error());
    page->total = total->count;
    page->total_capped = total->capped;
    co_return std::move(*page);
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<AgentPage>> Agents::list_part(AgentFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) { return page_of(session, filter); };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<std::optional<store::Position>>> Agents::end_of_page(AgentFilter filter) {
  using End = std::optional<store::Position>;
  auto read = [filter = std::move(filter)](Session& session) -> Task<Result<End>> {
    auto const keyset = keyset_of(filter);
    auto where = co_await conditions_of(session, filter).choose(keyset);
    if (!where) co_return std::unexpected(where.error());
    co_return co_await store::end_of_page(session, kTable, keyset, std::move(*where),
                                          store::bounds_of(filter));
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<AgentSummary>> Agents::summary() {
  auto read = [](Session& session) -> Task<Result<AgentSummary>> {
    auto const totals = co_await agent_totals(session);
    if (!totals) co_return std::unexpected(totals.error());
    AgentSummary summary;
    summary.total = totals->agents;
    for (auto const& [status, count] : totals->by_status) {
      switch (status_in_v1(status)) {
        case AgentStatus::active: summary.active += count; break;
        case AgentStatus::idle: summary.idle += count; break;
        case AgentStatus::busy: summary.busy += count; break;
        case AgentStatus::offline: summary.offline += count; break;
        default: break;
      }
    }
    if (totals->agents > 0) {
      summary.avg_success_rate = totals->mean(totals->success_rate);
      summary.avg_response_time = totals->mean(totals->response_time);
      summary.avg_uptime = totals->mean(totals->uptime);
    }
    co_return summary;
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

}  // namespace subforge::domain
