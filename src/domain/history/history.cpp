#include "domain/history/history.hpp"

#include <algorithm>

#include "store/listing.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

using store::Where;

void within(Where& where, std::string_view column, TimeRange const& range) {
  if (range.start) where.at_least(column, *range.start);
  if (range.end) where.at_most(column, *range.end);
}

Where where_of(RunFilter const& filter) {
  Where where;
  if (filter.project_id) where.equals("project_id", *filter.project_id);
  if (filter.status) where.equals("status", *filter.status);
  within(where, "started_at", filter.started);
  return where;
}

template <describe::Record R>
Task<Result<std::vector<R>>> select(Session& session, std::string const& rest, Where const& where) {
  static std::string const kFrom = "SELECT " + store::column_list<R>() + " FROM ";
  std::vector<R> rows;
  auto const done = co_await session.query(kFrom + rest, where.values(), [&](Row const& row) {
    rows.push_back(store::read_row<R>(row));
  });
  if (!done) co_return std::unexpected(done.error());
  co_return rows;
}

// Newest first by the time in `column`.
store::Keyset newest_by(std::string_view column) {
  return {column, true, store::Value::Kind::integer};
}

// One page of what meets the conditions, with the total.
template <describe::Record R>
Task<Result<store::Page<R>>> page_of(Session& session, std::string_view table,
                                     std::string_view time_column, Where where,
                                     store::PageBounds bounds) {
  auto const total = co_await store::count_matches(session, table, where, History::kCountMax);
  if (!total) co_return std::unexpected(total.error());
  auto page = co_await store::select_page<R>(session, table, newest_by(time_column),
                                             std::move(where), std::move(bounds));
  if (!page) co_return page;
  page->total = total->count;
  page->total_capped = total->capped;
  co_return page;
}

// Adds the condition that a part belongs to the run of this id; false if no run can have it.
bool belongs_to(Where& where, std::optional<Uuid>& run_id, PartFilter const& filter) {
  if (!filter.workflow_history_id) return true;
  run_id = Uuid::parse(*filter.workflow_history_id);
  if (!run_id) return false;
  where.both("workflow_history_id = " + where.mark(*run_id));
  return true;
}

store::Event quiet_event(std::string kind, std::string subject, Actor const& actor) {
  store::Event event;
  event.kind = std::move(kind);
  event.subject = std::move(subject);
  event.actor = actor.user;
  return event;
}

// The oldest rows of `table` before `cutoff`, as many as are removed in one transaction.
Where next_batch(std::string const& table, std::string const& column, Timestamp cutoff) {
  Where batch;
  auto const before = batch.mark(cutoff);
  auto const most = batch.mark(History::kCleanupBatch);
  batch.both("seq IN (SELECT seq FROM " + table + " WHERE " + column + " < " + before +
             " ORDER BY " + column + ", seq LIMIT " + most + ")");
  return batch;
}

// Phases, handoffs and agents' links go with their runs.
Task<Result<std::int64_t>> remove_runs(Transaction& transaction, Timestamp cutoff) {
  auto const batch = next_batch("workflow_history", "started_at", cutoff);
  if (auto done = co_await take_from_run_sums(transaction, batch); !done) {
    co_return std::unexpected(done.error());
  }
  auto const removed =
      co_await transaction.execute("DELETE FROM workflow_history" + batch.sql(), batch.values());
  if (!removed) co_return std::unexpected(removed.error());
  if (auto done = co_await drop_empty_run_sums(transaction, cutoff); !done) {
    co_return std::unexpected(done.error());
  }
  co_return *removed;
}

Task<Result<std::int64_t>> remove_performances(Transaction& transaction, Timestamp cutoff) {
  auto const batch = next_batch("agent_performance", "period_start", cutoff);
  co_return co_await transaction.execute("DELETE FROM agent_performance" + batch.sql(),
                                         batch.values());
}

// In transactions of one batch each; tells how many went.
Task<Result<std::int64_t>> remove_all(store::Store& store,
                                      Task<Result<std::int64_t>> (*remove_batch)(Transaction&,
                                                                                 Timestamp),
                                      Timestamp cutoff) {
  std::int64_t total = 0;
  for (;;) {
    auto batch = [&](Transaction& transaction) { return remove_batch(transaction, cutoff); };
    auto const removed = co_await store.write(batch);
    if (!removed) co_return std::unexpected(removed.error());
    total += *removed;
    if (*removed < History::kCleanupBatch) co_return total;
  }
}

}  // namespace

Task<Result<RunPage>> History::runs(RunFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) -> Task<Result<RunPage>> {
    co_return co_await page_of<WorkflowHistory>(session, "workflow_history", "started_at",
                                                where_of(filter),
                                                {filter.after, {}, filter.offset, filter.limit});
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<RunDetail>> History::run(Uuid id) {
  auto read = [id](Session& session) -> Task<Result<RunDetail>> {
    Where by_id;
    auto const key = by_id.mark(id);
    auto runs =
        co_await select<WorkflowHistory>(session, "workflow_history WHERE id = " + key, by_id);
    if (!runs) co_return std::unexpected(runs.error());
    if (runs->empty()) co_return fail(ErrorCode::not_found, "Workflow history not found");
    Where parts;
    auto const of_run = " WHERE workflow_history_id = " + parts.mark(id);
    auto const limit = " LIMIT " + parts.mark(kPartsMax);
    auto phases = co_await select<PhaseHistory>(
        session, "phase_history" + of_run + " ORDER BY phase_order, sort_at, seq" + limit, parts);
    if (!phases) co_return std::unexpected(phases.error());
    auto handoffs = co_await select<HandoffHistory>(
        session, "handoff_history" + of_run + " ORDER BY initiated_at, seq" + limit, parts);
    if (!handoffs) co_return std::unexpected(handoffs.error());
    co_return RunDetail{std::move(runs->front()), std::move(*phases), std::move(*handoffs)};
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<store::Page<PhaseHistory>>> History::phases(PartFilter filter) {
  auto read = [filter =
                   std::move(filter)](Session& session) -> Task<Result<store::Page<PhaseHistory>>> {
    Where where;
    std::optional<Uuid> run_id;
    if (!belongs_to(where, run_id, filter)) co_return store::Page<PhaseHistory>{};
    if (filter.agent_id) where.equals("agent_id", *filter.agent_id);
    if (filter.status) where.equals("status", *filter.status);
    co_return co_await page_of<PhaseHistory>(session, "phase_history", "sort_at", std::move(where),
                                             {filter.after, {}, 0, filter.limit});
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<store::Page<HandoffHistory>>> History::handoffs(PartFilter filter) {
  auto read =
      [filter = std::move(filter)](Session& session) -> Task<Result<store::Page<HandoffHistory>>> {
    Where where;
    std::optional<Uuid> run_id;
    if (!belongs_to(where, run_id, filter)) co_return store::Page<HandoffHistory>{};
    if (filter.status) where.equals("status", *filter.status);
    if (filter.agent_id) {
      auto const agent = where.mark(store::Value(*filter.agent_id));
      where.both("(source_agent_id = " + agent + " OR target_agent_id = " + agent + ")");
    }
    co_return co_await page_of<HandoffHistory>(session, "handoff_history", "initiated_at",
                                               std::move(where),
                                               {filter.after, {}, 0, filter.limit});
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<store::Page<AgentPerformance>>> History::performances(PerformanceFilter filter) {
  auto read = [filter = std::move(filter)](
                  Session& session) -> Task<Result<store::Page<AgentPerformance>>> {
    Where where;
    if (filter.agent_id) where.equals("agent_id", *filter.agent_id);
    if (filter.period_type) where.equals("period_type", *filter.period_type);
    if (filter.period.start) where.at_least("period_start", *filter.period.start);
    if (filter.period.end) where.at_most("period_end", *filter.period.end);
    co_return co_await page_of<AgentPerformance>(session, "agent_performance", "period_start",
                                                 std::move(where),
                                                 {filter.after, {}, 0, filter.limit});
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<RunSummary>> History::summary(TimeRange started) {
  auto read = [started](Session& session) { return summed_runs(session, started); };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<HistoryCleanup>> History::clean_up(Timestamp cutoff, Actor actor) {
  HistoryCleanup cleaned;
  auto const runs = co_await remove_all(store_, &remove_runs, cutoff);
  if (!runs) co_return std::unexpected(runs.error());
  cleaned.runs = *runs;
  auto const rows = co_await remove_all(store_, &remove_performances, cutoff);
  if (!rows) co_return std::unexpected(rows.error());
  cleaned.performances = *rows;
  auto tell = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
    auto event = quiet_event("history.cleaned", "history", actor);
    JsonWriter json(event.payload = {});
    json.begin_object();
    json.member("before", cutoff);
    json.member("runs", cleaned.runs);
    json.member("performances", cleaned.performances);
    json.end_object();
    co_return co_await transaction.publish(std::move(event));
  };
  auto const told = co_await store_.write(tell);
  if (!told) co_return std::unexpected(told.error());
  co_return cleaned;
}

}  // namespace subforge::domain
