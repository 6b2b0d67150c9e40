// Lists of agents and figures about them.
#include "domain/agents/agent_counts.hpp"
#include "domain/agents/agents.hpp"
#include "store/counts.hpp"
#include "store/listing.hpp"

namespace subforge::domain {
namespace {

using store::Row;
using store::Session;
using store::Where;

constexpr std::string_view kTable = "agents";

std::string name_of_count(AgentStatus status) {
  return "agents.status=" + std::string(describe::to_text(status));
}

Where where_of(Session const& session, AgentFilter const& filter) {
  Where where;
  if (filter.impossible) where.both("1 = 0");
  if (!filter.statuses.empty()) {
    std::string list;
    for (auto const status : filter.statuses) {
      if (!list.empty()) list += ", ";
      list += where.mark(store::Value(describe::to_text(status)));
    }
    where.both("status IN (" + list + ")");
  }
  if (filter.type) where.equals("agent_type", *filter.type);
  if (filter.is_active) where.equals("is_active", store::Value(*filter.is_active));
  if (store::has_text_index(session, filter.search)) {
    where.indexed_seq("agent_texts", *filter.search);
  } else if (filter.search) {
    where.contains({"name"}, *filter.search);
  }
  where.lists_any("tags", filter.tags);
  return where;
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

// From the kept counts where they tell.
Task<Result<store::Total>> total_of(Session& session, AgentFilter filter) {
  bool const by_status_alone = !filter.impossible && !filter.type && !filter.is_active &&
                               !filter.search && filter.tags.empty();
  if (!by_status_alone) {
    co_return co_await store::count_matches(session, kTable, where_of(session, filter),
                                            kAgentCountMax);
  }
  auto const count = co_await counted_agents(session, std::move(filter.statuses));
  if (!count) co_return std::unexpected(count.error());
  co_return store::Total{*count};
}

}  // namespace

Task<Result<void>> count_agents(store::Transaction& transaction, std::optional<AgentStatus> before,
                                std::optional<AgentStatus> after) {
  store::CountChanges counts;
  if (before) counts.add(std::string(kTable), -1), counts.add(name_of_count(*before), -1);
  if (after) counts.add(std::string(kTable), 1), counts.add(name_of_count(*after), 1);
  co_return co_await counts.apply(transaction);
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
    auto page = co_await store::select_page<Agent>(
        session, kTable, keyset_of(filter), where_of(session, filter), store::bounds_of(filter));
    if (!page) co_return std::unexpected(page.error());
    page->total = total->count;
    page->total_capped = total->capped;
    co_return std::move(*page);
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<AgentPage>> Agents::list_part(AgentFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) {
    return store::select_page<Agent>(session, kTable, keyset_of(filter), where_of(session, filter),
                                     store::bounds_of(filter));
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<std::optional<store::Position>>> Agents::end_of_page(AgentFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) {
    return store::end_of_page(session, kTable, keyset_of(filter), where_of(session, filter),
                              store::bounds_of(filter));
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<AgentSummary>> Agents::summary() {
  auto read = [](Session& session) -> Task<Result<AgentSummary>> {
    AgentSummary summary;
    double success = 0;
    double response = 0;
    double uptime = 0;
    auto const done = co_await session.query(
        "SELECT status, count(*), sum(success_rate), sum(avg_response_time),"
        " sum(uptime_percentage) FROM agents GROUP BY status",
        {}, [&](Row const& row) {
          auto const status = describe::from_text<AgentStatus>(row.text(0));
          auto const count = row.integer(1);
          summary.total += count;
          success += row.real(2);
          response += row.real(3);
          uptime += row.real(4);
          if (!status) return;
          switch (status_in_v1(*status)) {
            case AgentStatus::active: summary.active += count; break;
            case AgentStatus::idle: summary.idle += count; break;
            case AgentStatus::busy: summary.busy += count; break;
            case AgentStatus::offline: summary.offline += count; break;
            default: break;
          }
        });
    if (!done) co_return std::unexpected(done.error());
    if (summary.total > 0) {
      auto const total = static_cast<double>(summary.total);
      summary.avg_success_rate = success / total;
      summary.avg_response_time = response / total;
      summary.avg_uptime = uptime / total;
    }
    co_return summary;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

}  // namespace subforge::domain
