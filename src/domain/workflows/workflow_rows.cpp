#include "domain/workflows/workflow_rows.hpp"

#include <algorithm>

#include "store/counts.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

std::string const kColumns = store::column_list<Workflow>();
std::string const kSelectById = "SELECT " + kColumns + " FROM workflows WHERE id = $1";
std::string const kInsert = store::insert_sql<Workflow>("workflows");
std::string const kUpdate = store::update_sql<Workflow>("workflows", "id");
std::string const kStepColumns = store::column_list<WorkflowStep>();
std::string const kInsertStep = store::insert_sql<WorkflowStep>("workflow_steps");
int const kStepColumnCount = static_cast<int>(std::ranges::count(kStepColumns, ',')) + 1;
std::string const kUpdateStep = store::update_sql<WorkflowStep>("workflow_steps", "workflow_id") +
                                " AND position = $" + std::to_string(kStepColumnCount + 2);

// Statements are cached by their text, so that a list of ids is filled up to a few sizes.
constexpr std::size_t kIdsPerQuery = 50;

Task<Result<void>> add_to_totals(Transaction& transaction, WorkflowMark const& mark,
                                 std::int64_t sign) {
  auto const done = co_await transaction.execute(
      "UPDATE workflow_totals SET workflows = workflows + $1, templates = templates + $2,"
      " progress = progress + $3, success = success + $4 WHERE status = $5",
      {sign, sign * (mark.is_template ? 1 : 0), sign * mark.progress, sign * mark.success,
       describe::to_text(mark.status)});
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

// A workflow was `before` and is `after`; null stands for no workflow.
Task<Result<void>> count_workflow(Transaction& transaction, WorkflowMark const* before,
                                  WorkflowMark const* after) {
  if (before != nullptr && after != nullptr && *before == *after) co_return {};
  store::CountChanges counts;
  std::int64_t sign = -1;
  for (auto const* const mark : {before, after}) {
    if (mark != nullptr) {
      auto const added = co_await add_to_totals(transaction, *mark, sign);
      if (!added) co_return added;
      counts.add(mark->type_count, sign);
      counts.add(std::string(kWorkflowHours), sign * mark->completed_hours);
    }
    sign = 1;
  }
  co_return co_await counts.apply(transaction);
}

Task<Result<void>> run(Transaction& transaction, std::string_view sql,
                       std::span<store::Value const> values) {
  auto const done = co_await transaction.execute(sql, values);
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

}  // namespace

WorkflowMark mark_of(Workflow const& workflow) {
  std::string type(kWorkflowTypes);
  if (workflow.workflow_type) type.append(".").append(*workflow.workflow_type);
  auto const hours =
      workflow.status == WorkflowStatus::completed ? workflow.actual_duration_hours.value_or(0) : 0;
  return {workflow.status,
          workflow.is_template,
          store::millionths(progress_of(workflow)),
          store::millionths(success_rate_of(workflow)),
          std::move(type),
          store::millionths(hours)};
}

std::string const& workflow_columns() { return kColumns; }

Task<Result<Workflow>> select_workflow(Session& session, Uuid id) {
  std::optional<Workflow> found;
  auto const done = co_await session.query(
      kSelectById, {id}, [&](Row const& row) { found = store::read_row<Workflow>(row); });
  if (!done) co_return std::unexpected(done.error());
  if (!found) co_return fail(ErrorCode::not_found, "Workflow not found");
  co_return std::move(*found);
}

Task<Result<void>> select_steps(Session& session, std::span<Workflow> workflows) {
  std::vector<Workflow*> with_steps;
  for (auto& workflow : workflows) {
    if (workflow.steps_total > 0) with_steps.push_back(&workflow);
  }
  for (std::size_t first = 0; first < with_steps.size(); first += kIdsPerQuery) {
    auto const count = std::min(kIdsPerQuery, with_steps.size() - first);
    std::string marks;
    std::vector<store::Value> ids;
    auto const marked = count == 1 ? 1 : kIdsPerQuery;
    for (std::size_t i = 0; i < marked; ++i) {
      marks += (i == 0 ? "$" : ", $") + std::to_string(i + 1);
      ids.emplace_back(with_steps[first + std::min(i, count - 1)]->id);
    }
    auto const sql = "SELECT " + kStepColumns + " FROM workflow_steps WHERE workflow_id IN (" +
                     marks + ") ORDER BY workflow_id, position";
    auto const done = co_await session.query(sql, ids, [&](Row const& row) {
      auto step = store::read_row<WorkflowStep>(row);
      auto const owner = std::ranges::find(with_steps, step.workflow_id, &Workflow::id);
      (*owner)->steps.push_back(std::move(step));
    });
    if (!done) co_return std::unexpected(done.error());
  }
  co_return {};
}

Task<Result<void>> insert_workflow(Transaction& transaction, Workflow const& workflow) {
  auto const bound = store::bind_record(workflow);
  auto const inserted = co_await run(transaction, kInsert, bound.values());
  if (!inserted) co_return inserted;
  auto const mark = mark_of(workflow);
  auto const counted = co_await count_workflow(transaction, nullptr, &mark);
  if (!counted || workflow.steps.empty()) co_return counted;
  co_return co_await replace_steps(transaction, workflow);
}

Task<Result<void>> update_workflow(Transaction& transaction, WorkflowMark before,
                                   Workflow const& workflow) {
  auto bound = store::bind_record(workflow);
  bound.add(workflow.id);
  auto const updated = co_await run(transaction, kUpdate, bound.values());
  if (!updated) co_return updated;
  auto const after = mark_of(workflow);
  co_return co_await count_workflow(transaction, &before, &after);
}

Task<Result<void>> delete_workflow(Transaction& transaction, Workflow const& workflow) {
  for (auto const* sql : {"DELETE FROM workflow_attempts WHERE workflow_id = $1",
                          "DELETE FROM workflow_steps WHERE workflow_id = $1",
                          "DELETE FROM workflows WHERE id = $1"}) {
    auto const done = co_await transaction.execute(sql, {workflow.id});
    if (!done) co_return std::unexpected(done.error());
  }
  auto const mark = mark_of(workflow);
  co_return co_await count_workflow(transaction, &mark, nullptr);
}

Task<Result<void>> replace_steps(Transaction& transaction, Workflow const& workflow) {
  auto const removed = co_await transaction.execute(
      "DELETE FROM workflow_steps WHERE workflow_id = $1", {workflow.id});
  if (!removed) co_return std::unexpected(removed.error());
  for (auto const& step : workflow.steps) {
    auto const bound = store::bind_record(step);
    auto const inserted = co_await run(transaction, kInsertStep, bound.values());
    if (!inserted) co_return inserted;
  }
  co_return {};
}

Task<Result<void>> update_step(Transaction& transaction, WorkflowStep const& step) {
  auto bound = store::bind_record(step);
  bound.add(step.workflow_id);
  bound.add(step.position);
  co_return co_await run(transaction, kUpdateStep, bound.values());
}

Task<Result<void>> insert_attempt(Transaction& transaction, Uuid task_id, StepAttempt attempt) {
  auto const done = co_await transaction.execute(
      "INSERT INTO workflow_attempts (task_id, workflow_id, position, attempt)"
      " VALUES ($1, $2, $3, $4)",
      {task_id, attempt.workflow_id, attempt.position, attempt.attempt});
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Task<Result<std::optional<StepAttempt>>> select_attempt(Session& session, Uuid task_id) {
  std::optional<StepAttempt> found;
  auto const done = co_await session.query(
      "SELECT workflow_id, position, attempt FROM workflow_attempts WHERE task_id = $1", {task_id},
      [&](Row const& row) { found = StepAttempt{row.uuid(0), row.integer(1), row.integer(2)}; });
  if (!done) co_return std::unexpected(done.error());
  co_return found;
}

Task<Result<void>> delete_attempt(Transaction& transaction, Uuid task_id) {
  auto const done =
      co_await transaction.execute("DELETE FROM workflow_attempts WHERE task_id = $1", {task_id});
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Task<Result<WorkflowTotals>> select_totals(Session& session, std::optional<WorkflowStatus> status) {
  WorkflowTotals totals;
  auto const done = co_await session.query(
      "SELECT status, workflows, templates, progress, success FROM workflow_totals", {},
      [&](Row const& row) {
        if (status && row.text(0) != describe::to_text(*status)) return;
        totals.workflows += row.integer(1);
        totals.templates += row.integer(2);
        totals.progress += row.integer(3);
        totals.success += row.integer(4);
      });
  if (!done) co_return std::unexpected(done.error());
  co_return totals;
}

Task<Result<std::optional<std::string>>> select_agent_name(Session& session, Uuid id) {
  std::optional<std::string> name;
  auto const done =
      co_await session.query("SELECT name FROM agents WHERE id = $1", {id},
                             [&](Row const& row) { name = std::string(row.text(0)); });
  if (!done) co_return std::unexpected(done.error());
  co_return name;
}

}  // namespace subforge::domain
