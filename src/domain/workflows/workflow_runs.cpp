// The parts of workflows that others set going: tasks that change, and time that passes.
#include <algorithm>

#include "domain/workflows/workflows.hpp"

namespace subforge::domain {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

bool is_over(std::optional<PartTask> const& task) {
  return !task || task->state != PartState::open;
}

AttemptEnd end_of(std::optional<PartTask> const& after) {
  if (!after || after->state == PartState::cancelled) return AttemptEnd::cancelled;
  return after->state == PartState::completed ? AttemptEnd::completed : AttemptEnd::failed;
}

std::int64_t one_if(bool holds) { return holds ? 1 : 0; }

PartCounts counts_of(std::optional<PartState> state) {
  return {one_if(state.has_value()), one_if(state == PartState::completed),
          one_if(state == PartState::failed)};
}

// What a step gave out stays part of its workflow, and what it reported stays reported: the step
// went on from there. It can be deleted.
Result<void> check_attempt(PartChange const& change) {
  if (!change.before || !change.after) return {};
  if (change.before->workflow_id != change.after->workflow_id) {
    return fail(ErrorCode::conflict, "The task of a workflow's step cannot be moved from it");
  }
  if (change.retold || (is_over(change.before) && change.before->state != change.after->state)) {
    return fail(ErrorCode::conflict,
                "The task of a workflow's step has ended; the workflow gives out another one where"
                " the step is to be tried again");
  }
  return {};
}

}  // namespace

Task<Result<void>> Workflows::task_changed_in(Transaction& transaction, PartChange change,
                                              Actor const& actor) {
  auto const of = [](std::optional<PartTask> const& task) {
    return task ? task->workflow_id : std::nullopt;
  };
  auto const from = of(change.before);
  auto const to = of(change.after);
  bool const ended = change.before && !is_over(change.before) && is_over(change.after);
  if (!from && !to && !ended) co_return {};
  auto const attempt = co_await select_attempt(transaction.session(), change.task_id);
  if (!attempt) co_return std::unexpected(attempt.error());
  if (*attempt) {
    if (auto allowed = check_attempt(change); !allowed) co_return allowed;
    if (!change.after) {
      auto const gone = co_await delete_attempt(transaction, change.task_id);
      if (!gone) co_return gone;
    }
    if (!ended) co_return {};
    co_return co_await attempt_changed_in(transaction, **attempt, std::move(change), actor);
  }
  auto const before = from ? std::optional(change.before->state) : std::nullopt;
  auto const after = to ? std::optional(change.after->state) : std::nullopt;
  if (from == to) {
    if (before == after) co_return {};
    co_return co_await count_part_in(transaction, *from, before, after, actor);
  }
  if (from) {
    auto const left = co_await count_part_in(transaction, *from, before, std::nullopt, actor);
    if (!left) co_return left;
  }
  if (to) co_return co_await count_part_in(transaction, *to, std::nullopt, after, actor);
  co_return {};
}

Task<Result<void>> Workflows::attempt_changed_in(Transaction& transaction, StepAttempt attempt,
                                                 PartChange change, Actor const& actor) {
  WorkflowChange workflow(transaction, tasks_, actor);
  auto const loaded = co_await workflow.load(attempt.workflow_id);
  if (!loaded) co_return loaded;
  auto const& steps = workflow.workflow().steps;
  auto const step = static_cast<std::size_t>(attempt.position);
  // What an attempt that was given up reports comes too late, and so does a second report.
  if (step >= steps.size() || steps[step].status != StepStatus::running ||
      steps[step].task_id != change.task_id) {
    co_return {};
  }
  auto const over = workflow.attempt_over(step, end_of(change.after), std::move(change.result));
  if (!over) co_return over;
  co_return co_await workflow.commit();
}

Task<Result<void>> Workflows::count_part_in(Transaction& transaction, Uuid workflow_id,
                                            std::optional<PartState> before,
                                            std::optional<PartState> after, Actor const& actor) {
  WorkflowChange workflow(transaction, tasks_, actor);
  auto const loaded = co_await workflow.load(workflow_id);
  // Tasks may name a workflow that does not exist, or no longer.
  if (!loaded && loaded.error().code == ErrorCode::not_found) co_return {};
  if (!loaded) co_return loaded;
  auto const was = counts_of(before);
  auto const is = counts_of(after);
  PartCounts const delta{is.total - was.total, is.completed - was.completed,
                         is.failed - was.failed};
  auto const open = one_if(after == PartState::open) - one_if(before == PartState::open);
  workflow.tasks_changed(delta, open);
  co_return co_await workflow.commit();
}

Task<Result<void>> Workflows::remove(Uuid id, Actor actor, Precondition condition) {
  auto erase = [this, id, actor = std::move(actor),
                condition = std::move(condition)](Transaction& transaction) -> Task<Result<void>> {
    WorkflowChange change(transaction, tasks_, actor);
    auto const loaded = co_await change.load(id, condition);
    if (!loaded) co_return loaded;
    // A run under way ends first, with its tasks and its row in the history.
    change.abandon();
    auto const ended = co_await change.commit();
    if (!ended) co_return ended;
    auto const workflow = std::move(change).take();
    auto const removed = co_await delete_workflow(transaction, workflow);
    if (!removed) co_return removed;
    auto event = workflow_event(workflow, "workflow.deleted", actor);
    event.payload = "{\"workflow\":" + stored_json(workflow) + "}";
    auto const published = co_await transaction.publish(std::move(event));
    if (!published) co_return std::unexpected(published.error());
    co_return {};
  };
  co_return co_await store_.write(std::move(erase));
}

Task<Result<void>> Workflows::start_scheduled(Uuid id, Timestamp now) {
  auto edit = [now](WorkflowChange& change, Transaction&) -> Task<Result<void>> {
    auto const& workflow = change.workflow();
    // It may have been changed since it was found.
    bool const due = workflow.status == WorkflowStatus::scheduled && workflow.scheduled_at &&
                     *workflow.scheduled_at <= now;
    if (!due) co_return {};
    if (auto begun = change.start(); !begun) co_return begun;
    change.announce("workflow.executed", executed_data(workflow));
    co_return {};
  };
  auto const started = co_await change(id, std::move(edit), Actor{});
  if (!started && started.error().code != ErrorCode::not_found) {
    co_return std::unexpected(started.error());
  }
  co_return {};
}

Task<Result<void>> Workflows::time_out(Uuid id, std::int64_t position, Timestamp now) {
  auto edit = [position, now](WorkflowChange& change, Transaction&) -> Task<Result<void>> {
    auto const& steps = change.workflow().steps;
    auto const index = static_cast<std::size_t>(position);
    bool const due = index < steps.size() && steps[index].status == StepStatus::running &&
                     steps[index].deadline_at && *steps[index].deadline_at <= now;
    if (!due) co_return {};
    co_return change.time_out(index);
  };
  auto const ended = co_await change(id, std::move(edit), Actor{});
  if (!ended && ended.error().code != ErrorCode::not_found) {
    co_return std::unexpected(ended.error());
  }
  co_return {};
}

Task<Result<std::int64_t>> Workflows::sweep(Timestamp now) {
  struct Late {
    Uuid workflow_id;
    std::int64_t position;
  };
  std::vector<Uuid> scheduled;
  std::vector<Late> late;
  auto find = [&](Session& session) -> Task<Result<void>> {
    auto const starts =
        co_await session.query(kScheduledStarts, {now, kSweepBatch},
                               [&](Row const& row) { scheduled.push_back(row.uuid(0)); });
    if (!starts) co_return std::unexpected(starts.error());
    auto const ends = co_await session.query(
        kLateAttempts, {now, kSweepBatch},
        [&](Row const& row) { late.push_back({row.uuid(0), row.integer(1)}); });
    if (!ends) co_return std::unexpected(ends.error());
    co_return {};
  };
  auto const found = co_await store_.read(store::ReadCost::point, std::move(find));
  if (!found) co_return std::unexpected(found.error());
  // One that cannot be moved must not keep the others waiting.
  Result<std::int64_t> outcome = static_cast<std::int64_t>(scheduled.size() + late.size());
  for (auto const& id : scheduled) {
    if (auto done = co_await start_scheduled(id, now); !done) {
      outcome = std::unexpected(done.error());
    }
  }
  for (auto const& step : late) {
    if (auto done = co_await time_out(step.workflow_id, step.position, now); !done) {
      outcome = std::unexpected(done.error());
    }
  }
  co_return outcome;
}

}  // namespace subforge::domain
