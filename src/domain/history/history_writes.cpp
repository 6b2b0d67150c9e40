// The writing half of the history: rows recorded inside the transactions of whoever did the work.

#include "describe/parse_json.hpp"
#include "domain/history/history.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

using store::Row;
using store::Transaction;

// INSERT that replaces a row of the same id, except for when it was made.
template <describe::Record R>
std::string upsert_sql(std::string_view table) {
  std::string set;
  store::for_each_column<R>([&](auto const& f) {
    if (f.name == "id" || f.name == "created_at") return;
    if (!set.empty()) set += ", ";
    set.append(f.name).append(" = excluded.").append(f.name);
  });
  return store::insert_sql<R>(table) + " ON CONFLICT (id) DO UPDATE SET " + set;
}

std::string const kUpsertRun = upsert_sql<WorkflowHistory>("workflow_history");
std::string const kUpsertPhase = upsert_sql<PhaseHistory>("phase_history");
std::string const kUpsertHandoff = upsert_sql<HandoffHistory>("handoff_history");

// Runs are numbered from 1 for each workflow; a run that is recorded again keeps its number.
Task<Result<void>> give_number(Transaction& transaction, WorkflowHistory& run) {
  auto const known = co_await transaction.query(
      "SELECT execution_number, execution_id, created_at FROM workflow_history WHERE id = $1",
      {run.id}, [&](Row const& row) {
        if (run.execution_number == 0) run.execution_number = row.integer(0);
        if (run.execution_id.empty()) run.execution_id = row.text(1);
        run.created_at = row.timestamp(2);
      });
  if (!known) co_return std::unexpected(known.error());
  if (run.execution_number != 0) co_return {};
  run.execution_number = 1;
  auto const last = co_await transaction.query(
      "SELECT execution_number FROM workflow_history WHERE workflow_id = $1"
      " ORDER BY execution_number DESC LIMIT 1",
      {run.workflow_id}, [&](Row const& row) { run.execution_number = row.integer(0) + 1; });
  if (!last) co_return std::unexpected(last.error());
  co_return {};
}

// Which agents took part, as rows that can be looked up by agent.
Task<Result<void>> link_agents(Transaction& transaction, WorkflowHistory const& run) {
  auto const cleared = co_await transaction.execute(
      "DELETE FROM workflow_history_agents WHERE workflow_history_id = $1", {run.id});
  if (!cleared) co_return std::unexpected(cleared.error());
  boost::system::error_code error;
  auto const agents = describe::parse_json(run.agents_assigned.text, error);
  if (error || !agents.is_array()) co_return {};
  for (auto const& agent : agents.get_array()) {
    auto const* id = agent.is_object() ? agent.get_object().if_contains("id") : nullptr;
    if (id == nullptr || !id->is_string()) continue;
    std::string const text(id->get_string().c_str());
    auto const linked = co_await transaction.execute(
        "INSERT INTO workflow_history_agents (agent_id, started_at, workflow_history_id)"
        " VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        {text, run.started_at, run.id});
    if (!linked) co_return std::unexpected(linked.error());
  }
  co_return {};
}

template <class Record>
Task<Result<Record>> upsert(Transaction& transaction, std::string const& sql, Record record) {
  auto const bound = store::bind_record(record);
  auto const done = co_await transaction.execute(sql, bound.values());
  if (!done) co_return std::unexpected(done.error());
  co_return record;
}

}  // namespace

Task<Result<WorkflowHistory>> record_run_in(Transaction& transaction, WorkflowHistory run) {
  if (auto const numbered = co_await give_number(transaction, run); !numbered) {
    co_return std::unexpected(numbered.error());
  }
  complete(run, transaction.now());
  store::Where itself;
  itself.equals("id", run.id);
  if (auto done = co_await take_from_run_sums(transaction, itself); !done) {
    co_return std::unexpected(done.error());
  }
  auto stored = co_await upsert(transaction, kUpsertRun, std::move(run));
  if (!stored) co_return std::unexpected(stored.error());
  if (auto done = co_await add_to_run_sums(transaction, itself); !done) {
    co_return std::unexpected(done.error());
  }
  if (auto const linked = co_await link_agents(transaction, *stored); !linked) {
    co_return std::unexpected(linked.error());
  }
  co_return stored;
}

Task<Result<PhaseHistory>> record_phase_in(Transaction& transaction, PhaseHistory phase) {
  complete(phase, transaction.now());
  co_return co_await upsert(transaction, kUpsertPhase, std::move(phase));
}

Task<Result<HandoffHistory>> record_handoff_in(Transaction& transaction, HandoffHistory handoff) {
  complete(handoff, transaction.now());
  co_return co_await upsert(transaction, kUpsertHandoff, std::move(handoff));
}

}  // namespace subforge::domain
