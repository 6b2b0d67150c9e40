// Runs of workflows: what is given out when, what ends them, and what is left of them.
#include <gtest/gtest.h>

#include "domain/workflows/workflows_fixture_test.hpp"

namespace subforge::domain {
namespace {

using Names = std::vector<std::string>;
using enum WorkflowStatus;

class WorkflowRunsTest : public testing::Test, protected WorkflowsFixture {
 protected:
  // a and b, then c after both, then d.
  Uuid diamond(std::int64_t max_retries = 0) {
    return create({step_of("a", {}, max_retries), step_of("b", {}, max_retries),
                   step_of("c", {"a", "b"}, max_retries), step_of("d", {"c"}, max_retries)})
        .id;
  }
  Names states(Uuid id) {
    Names states;
    for (auto const& step : get(id).steps) {
      states.emplace_back(describe::to_text(step.status));
    }
    return states;
  }
};

TEST_F(WorkflowRunsTest, StepsAreGivenOutOnceWhatTheyDependOnIsCompleted) {
  auto const id = diamond();
  EXPECT_TRUE(open_jobs().empty());
  EXPECT_EQ(execute(id).status, running);
  EXPECT_EQ(open_steps(), (Names{"a", "b"}));
  report("b", TaskStatus::completed, R"({"from":"b"})");
  EXPECT_EQ(open_steps(), Names{"a"});
  EXPECT_EQ(progress_of(get(id)), 25);
  report("a", TaskStatus::completed, R"({"from":"a"})");
  EXPECT_EQ(open_steps(), Names{"c"});
  EXPECT_EQ(boost::json::value(job(task("c")).input),
            boost::json::parse(R"({"a":{"from":"a"},"b":{"from":"b"}})"));
  report("c", TaskStatus::completed);
  report("d", TaskStatus::completed);
  auto const done = get(id);
  EXPECT_EQ(done.status, completed);
  EXPECT_FALSE(done.run_open);
  EXPECT_EQ(progress_of(done), 100);
  EXPECT_EQ(success_rate_of(done), 100);
  EXPECT_TRUE(done.completed_at && done.actual_duration_hours);
}

TEST_F(WorkflowRunsTest, AFailedStepIsGivenOutAgainUntilItsRetriesAreUsedUp) {
  auto const id = create({step_of("a", {}, 2), step_of("b", {"a"})}).id;
  execute(id);
  for (int attempt = 1; attempt <= 3; ++attempt) {
    ASSERT_EQ(open_steps(), Names{"a"});
    EXPECT_EQ(job(task("a")).attempt, attempt);
    EXPECT_EQ(get(id).status, running);
    report("a", TaskStatus::failed, R"({"error":"no"})");
  }
  EXPECT_TRUE(open_jobs().empty());
  EXPECT_EQ(get(id).status, failed);
  EXPECT_EQ(states(id), (Names{"failed", "cancelled"}));
  EXPECT_EQ(get(id).steps[0].output->text, R"({"error":"no"})");
}

TEST_F(WorkflowRunsTest, AFailedRunCancelsWhatIsStillUnderWay) {
  auto const id = diamond();
  execute(id);
  auto const other = task("b");
  report("a", TaskStatus::failed);
  EXPECT_EQ(job(other).status, TaskStatus::cancelled);
  EXPECT_EQ(states(id), (Names{"failed", "cancelled", "cancelled", "cancelled"}));
}

TEST_F(WorkflowRunsTest, ACancelledTaskEndsItsStepWithoutAnotherTry) {
  auto const id = create({step_of("a", {}, 5)}).id;
  execute(id);
  set_task("a", TaskStatus::cancelled);
  EXPECT_EQ(get(id).status, failed);
  EXPECT_TRUE(open_jobs().empty());
}

TEST_F(WorkflowRunsTest, OnlyTheFirstReportOfTheNewestAttemptCounts) {
  auto const id = create({step_of("a", {}, 1, 10)}).id;
  execute(id);
  auto const late = task("a");
  EXPECT_EQ(sweep_in(9), 0);
  EXPECT_EQ(sweep_in(11), 1);
  EXPECT_EQ(job(late).status, TaskStatus::failed) << "ended with its time";
  auto const second = task("a");
  expect_ended(late);
  EXPECT_EQ(get(id).status, running) << "an attempt that was given up says nothing any more";
  report(second, TaskStatus::completed);
  EXPECT_EQ(get(id).status, completed);
  expect_ended(second);
  EXPECT_EQ(get(id).status, completed);
}

TEST_F(WorkflowRunsTest, WhatWasReportedCannotBeReportedOtherwiseAfterwards) {
  auto const id = create({step_of("a"), step_of("b", {"a"})}).id;
  execute(id);
  auto const first = task("a");
  report(first, TaskStatus::completed, R"({"v":1})");
  for (auto const* other : {R"({"v":2})", "null"}) {
    auto const refused = try_report(first, TaskStatus::completed, other);
    ASSERT_FALSE(refused) << other;
    EXPECT_EQ(refused.error().code, ErrorCode::conflict);
  }
  EXPECT_EQ(good(tasks().get(first)).result.text, R"({"v":1})");
  EXPECT_TRUE(try_report(first, TaskStatus::completed, R"({"v":1})")) << "said once more";
}

TEST_F(WorkflowRunsTest, WhatWasCancelledHasNotFailed) {
  auto const id = create({step_of("a", {}, 1), step_of("b", {}, 1)}).id;
  auto const counts = [&](RunDetail const& run) {
    std::vector<std::int64_t> failed_ones{run.run.tasks_total, run.run.tasks_failed};
    for (auto const& phase : run.phases) failed_ones.push_back(phase.tasks_failed);
    return failed_ones;
  };
  auto const last_run = [&] {
    History history(store().store());
    auto const runs = good(history.runs({})).rows;
    return good(history.run(runs.at(0).id));
  };
  using Counts = std::vector<std::int64_t>;
  execute(id);
  report("a", TaskStatus::failed);
  set_status(id, cancelled);
  EXPECT_EQ(counts(last_run()), (Counts{3, 1, 1, 0}));
  execute(id);
  report("a", TaskStatus::failed);
  report("a", TaskStatus::failed);
  EXPECT_EQ(counts(last_run()), (Counts{3, 2, 2, 0})) << "another was under way";
  execute(id);
  report("b", TaskStatus::failed);
  set_task("b", TaskStatus::cancelled);
  EXPECT_EQ(counts(last_run()), (Counts{3, 1, 0, 1})) << "its own task was called off";
  execute(id);
  good(tasks().remove(task("b"), actor()));
  EXPECT_EQ(counts(last_run()), (Counts{2, 0, 0, 0}));
  execute(id);
  set_status(id, paused);
  report("a", TaskStatus::failed);
  set_status(id, cancelled);
  EXPECT_EQ(counts(last_run()), (Counts{2, 1, 1, 0})) << "it was to be tried again";
}

TEST_F(WorkflowRunsTest, TheTaskOfAStepStaysWithItsWorkflow) {
  auto const id = create({step_of("a")}).id;
  auto const other = create({step_of("b")}).id;
  execute(id);
  auto const body = boost::json::object{{"workflow_id", other.to_string()}};
  EXPECT_EQ(failure(update_task(task("a"), body)).code, ErrorCode::conflict);
  EXPECT_EQ(failure(update_task(task("a"), {{"workflow_id", nullptr}})).code, ErrorCode::conflict);
  report("a", TaskStatus::completed);
  EXPECT_EQ(get(id).status, completed);
}

TEST_F(WorkflowRunsTest, APausedRunGivesNothingOutUntilItIsResumed) {
  auto const id = diamond(1);
  execute(id);
  EXPECT_TRUE(set_status(id, paused).is_paused);
  report("a", TaskStatus::completed);
  report("b", TaskStatus::failed);
  EXPECT_TRUE(open_jobs().empty());
  EXPECT_EQ(states(id), (Names{"completed", "pending", "pending", "pending"}));
  EXPECT_EQ(set_status(id, active).status, active);
  EXPECT_EQ(open_steps(), Names{"b"});
  set_status(id, paused);
  EXPECT_EQ(execute(id).status, running) << "executing resumes, too";
  EXPECT_EQ(get(id).run_number, 1);
  report("b", TaskStatus::completed);
  EXPECT_EQ(open_steps(), Names{"c"});
}

TEST_F(WorkflowRunsTest, ARunningWorkflowCannotBeExecutedOrRebuilt) {
  auto const id = diamond();
  execute(id);
  EXPECT_EQ(failure(workflows().execute(id, {}, actor())).code, ErrorCode::conflict);
  WorkflowExecutionBody later;
  later.scheduled_at = Timestamp::now();
  EXPECT_EQ(failure(workflows().execute(id, later, actor())).code, ErrorCode::conflict);
  auto const steps = boost::json::parse(R"({"steps":[]})");
  EXPECT_EQ(failure(workflows().update(id, steps, describe::Api::v2, actor())).code,
            ErrorCode::conflict);
  EXPECT_EQ(jobs().size(), 2U);
}

TEST_F(WorkflowRunsTest, CancellingEndsTheOpenTasks) {
  auto const id = diamond();
  execute(id);
  report("a", TaskStatus::completed);
  EXPECT_EQ(set_status(id, cancelled).status, cancelled);
  EXPECT_TRUE(open_jobs().empty());
  EXPECT_EQ(states(id), (Names{"completed", "cancelled", "cancelled", "cancelled"}));
  auto const run = only_run();
  EXPECT_EQ(run.run.status, RunStatus::cancelled);
  EXPECT_EQ(run.run.final_result, WorkResult::partial);
  EXPECT_EQ(run.run.phases_skipped, 3);
}

TEST_F(WorkflowRunsTest, ItCanBeExecutedAgainAndStartsAnew) {
  auto const id = create({step_of("a")}).id;
  execute(id);
  report("a", TaskStatus::failed);
  auto const again = execute(id);
  EXPECT_EQ(again.status, running);
  EXPECT_EQ(again.run_number, 2);
  EXPECT_EQ(again.steps[0].attempts, 1);
  EXPECT_FALSE(again.steps[0].output || again.completed_at);
  EXPECT_EQ(progress_of(again), 0);
  report("a", TaskStatus::completed);
  History history(store().store());
  auto const runs = good(history.runs({})).rows;
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0].execution_number, 2);
  EXPECT_NE(runs[0].execution_id, runs[1].execution_id);
}

TEST_F(WorkflowRunsTest, AScheduledRunStartsWhenItsTimeHasCome) {
  auto const id = create({step_of("a")}).id;
  WorkflowExecutionBody later;
  later.scheduled_at = Timestamp{Timestamp::now().micros + 60'000'000};
  EXPECT_EQ(good(workflows().execute(id, later, actor())).status, scheduled);
  EXPECT_EQ(sweep_in(50), 0);
  restart();
  EXPECT_EQ(sweep_in(61), 1);
  EXPECT_EQ(sweep_in(61), 0);
  EXPECT_EQ(get(id).status, running);
  report("a", TaskStatus::completed);
  EXPECT_EQ(only_run().run.triggered_by, "schedule");
}

TEST_F(WorkflowRunsTest, AScheduledRunThatWasCalledOffDoesNotStart) {
  auto const id = create({step_of("a")}).id;
  WorkflowExecutionBody later;
  later.scheduled_at = Timestamp::now();
  good(workflows().execute(id, later, actor()));
  set_status(id, inactive);
  EXPECT_EQ(sweep_in(10), 0);
  EXPECT_TRUE(jobs().empty());
}

TEST_F(WorkflowRunsTest, AnAgentThatIsGoneFailsTheStepBeforeAnythingIsGivenOut) {
  auto const id = diamond();
  auto edit = [&](store::Transaction& transaction) -> Task<Result<void>> {
    auto const done = co_await transaction.execute(
        "UPDATE workflow_steps SET agent_id = $1 WHERE step_key = 'b'", {Uuid::random()});
    if (!done) co_return std::unexpected(done.error());
    co_return {};
  };
  good(store().store().write(std::move(edit)));
  EXPECT_EQ(execute(id).status, failed);
  EXPECT_TRUE(jobs().empty());
  EXPECT_NE(get(id).steps[1].output->text.find("not found"), std::string::npos);
}

TEST_F(WorkflowRunsTest, OutputsAreBounded) {
  auto const id = create({step_of("a")}).id;
  execute(id);
  auto const output = [](std::size_t bytes) {
    return R"({"x":")" + std::string(bytes - 8, 'x') + "\"}";
  };
  auto const reported = task("a");
  auto const refused =
      try_report(reported, TaskStatus::completed, output(WorkflowChange::kStepOutputBytesMax + 1));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::too_large);
  EXPECT_EQ(get(id).status, running);
}

TEST_F(WorkflowRunsTest, AFinishedRunLeavesItsHistory) {
  auto const id = diamond(1);
  execute(id);
  report("a", TaskStatus::failed);
  report("a", TaskStatus::completed, R"({"from":"a"})");
  report("b", TaskStatus::completed);
  report("c", TaskStatus::completed);
  report("d", TaskStatus::completed);
  auto const detail = only_run();
  auto const& run = detail.run;
  EXPECT_EQ(run.workflow_id, id);
  EXPECT_EQ(run.workflow_name, "Release");
  EXPECT_EQ(run.status, RunStatus::completed);
  EXPECT_EQ(run.final_result, WorkResult::success);
  EXPECT_EQ(run.triggered_by, "ann");
  EXPECT_EQ(run.phases_total, 4);
  EXPECT_EQ(run.phases_completed, 4);
  EXPECT_EQ(run.tasks_total, 5);
  EXPECT_EQ(run.tasks_completed, 4);
  EXPECT_EQ(run.tasks_failed, 1);
  EXPECT_EQ(run.success_rate, 1);
  ASSERT_EQ(detail.phases.size(), 4U);
  EXPECT_EQ(detail.phases[0].phase_name, "Step a");
  EXPECT_EQ(detail.phases[0].output.text, R"({"from":"a"})");
  EXPECT_EQ(detail.phases[0].tasks_total, 2);
  EXPECT_EQ(detail.phases[0].tasks_failed, 1);
  EXPECT_EQ(detail.phases[0].dependents.text, R"(["c"])");
  EXPECT_EQ(detail.phases[2].dependencies.text, R"(["a","b"])");
  ASSERT_EQ(detail.handoffs.size(), 3U);
  EXPECT_EQ(detail.handoffs[2].source_phase_name, "Step c");
  EXPECT_EQ(detail.handoffs[2].target_phase_name, "Step d");
}

TEST_F(WorkflowRunsTest, DeletingAWorkflowEndsItsTasks) {
  auto const id = diamond();
  execute(id);
  good(workflows().remove(id, actor()));
  EXPECT_TRUE(open_jobs().empty());
  EXPECT_EQ(failure(workflows().get(id)).code, ErrorCode::not_found);
  EXPECT_EQ(good(workflows().summary()).total, 0);
}

TEST_F(WorkflowRunsTest, DeletingARunWithoutStepsLeavesNoCountBehind) {
  auto const id = create({}).id;
  execute(id);
  good(workflows().remove(id, actor()));
  auto const summary = good(workflows().summary());
  EXPECT_EQ(summary.total, 0);
  EXPECT_EQ(summary.active, 0);
  EXPECT_EQ(only_run().run.status, RunStatus::cancelled);
}

// Every status's row as it is.
Task<Result<std::string>> all_totals(store::Session& session) {
  std::string text;
  auto const done = co_await session.query(
      "SELECT status, workflows, templates, progress, success FROM workflow_totals ORDER BY status",
      {}, [&](store::Row const& row) {
        text.append(row.text(0));
        for (int i = 1; i < 5; ++i) text.append(" ").append(std::to_string(row.integer(i)));
        text.append("\n");
      });
  if (!done) co_return std::unexpected(done.error());
  co_return text;
}

TEST_F(WorkflowRunsTest, AMigrationMakesSpoiltTotalsAnew) {
  auto const id = diamond();
  execute(id);
  report("a", TaskStatus::completed);
  Workflow draft;
  draft.name = "Bare";
  draft.is_template = true;
  auto const bare = good(workflows().create(draft, actor())).id;
  good(workflows().set_progress(bare, {50, 7, 5, 1}, actor()));
  create({});
  auto const read = [&] { return good(store().store().read(store::ReadCost::scan, all_totals)); };
  auto const right = read();
  // 5 of 7, and nothing of nothing.
  ASSERT_NE(right.find("active 2 1 71428571 83333333"), std::string::npos) << right;
  ASSERT_NE(right.find("running 1 0 25000000 100000000"), std::string::npos) << right;
  auto const change = [&](std::string sql) {
    auto const execute = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
      co_return co_await transaction.execute(sql, {});
    };
    good(store().store().write(execute));
  };
  change(
      "UPDATE workflow_totals SET workflows = workflows - 1, templates = -1, progress = 7,"
      " success = 9");
  ASSERT_NE(read(), right);
  for (auto const& migration : store::migrations()) {
    if (migration.name == "totals of workflows anew") change(std::string(migration.sqlite));
  }
  EXPECT_EQ(read(), right);
}

TEST_F(WorkflowRunsTest, TasksBesideStepsCountAndFinishARunWithoutSteps) {
  auto const id = create({}).id;
  execute(id);
  TaskRecord draft;
  draft.title = "Beside";
  draft.workflow_id = id;
  auto const task = good(tasks().create(draft, actor())).id;
  EXPECT_EQ(total_count(get(id)), 1);
  auto const belongs_to = [&](std::string const& workflow) {
    auto const body = boost::json::parse(R"({"workflow_id":)" + workflow + "}");
    good(tasks().update(task, body, describe::Api::v1, actor()));
  };
  belongs_to("null");
  EXPECT_EQ(total_count(get(id)), 0);
  EXPECT_EQ(get(id).status, running);
  belongs_to('"' + id.to_string() + '"');
  set_task(task, TaskStatus::in_progress);
  EXPECT_EQ(get(id).status, running);
  set_task(task, TaskStatus::completed);
  EXPECT_EQ(get(id).status, completed);
  EXPECT_EQ(progress_of(get(id)), 100);
  EXPECT_EQ(only_run().run.tasks_total, 1);
  good(tasks().remove(task, actor()));
  EXPECT_EQ(total_count(get(id)), 0);
}

TEST_F(WorkflowRunsTest, ARunWhoseTasksHaveAllEndedIsOver) {
  auto const id = create({}).id;
  auto const beside = [&](TaskStatus status) {
    TaskRecord draft;
    draft.title = "Beside";
    draft.workflow_id = id;
    draft.status = status;
    return good(tasks().create(draft, actor())).id;
  };
  auto const task = beside(TaskStatus::completed);
  EXPECT_EQ(execute(id).status, completed);
  EXPECT_EQ(only_run().run.final_result, WorkResult::success);
  EXPECT_EQ(execute(id).run_number, 2) << "nothing is under way";
  set_task(task, TaskStatus::failed);
  EXPECT_EQ(execute(id).status, failed);
  set_task(task, TaskStatus::pending);
  EXPECT_EQ(execute(id).status, running);
  EXPECT_EQ(failure(workflows().execute(id, {}, actor())).code, ErrorCode::conflict);
}

TEST_F(WorkflowRunsTest, ARunIsNotOverWhileATaskBesideItsStepsIsOpen) {
  auto const id = create({step_of("a")}).id;
  TaskRecord draft;
  draft.title = "Beside";
  draft.workflow_id = id;
  auto const beside = good(tasks().create(draft, actor())).id;
  execute(id);
  report("a", TaskStatus::completed);
  EXPECT_EQ(get(id).status, running);
  set_task(beside, TaskStatus::completed);
  EXPECT_EQ(get(id).status, completed);
  EXPECT_EQ(progress_of(get(id)), 100);
  EXPECT_EQ(only_run().run.final_result, WorkResult::success);
}

TEST_F(WorkflowRunsTest, ASweepLooksAtNothingButWhatIsDue) {
  auto const plan = [&](std::string_view question) {
    std::string steps;
    auto explain = [&](store::Session& session) -> Task<Result<void>> {
      auto const sql = "EXPLAIN QUERY PLAN " + std::string(question);
      auto const done = co_await session.query(
          sql, {1, 1}, [&](store::Row const& row) { steps.append(row.text(3)).append(";"); });
      if (!done) co_return std::unexpected(done.error());
      co_return {};
    };
    good(store().store().read(store::ReadCost::point, std::move(explain)));
    return steps;
  };
  EXPECT_EQ(plan(kScheduledStarts),
            "SEARCH workflows USING INDEX workflows_due (status=? AND scheduled_at<?);");
  EXPECT_EQ(plan(kLateAttempts),
            "SEARCH workflow_steps USING COVERING INDEX workflow_steps_due (deadline_at<?);");
}

TEST_F(WorkflowRunsTest, ProgressOfAWorkflowWithPartsCannotBeSet) {
  auto const id = diamond();
  execute(id);
  report("a", TaskStatus::completed);
  auto const kept = good(workflows().set_progress(id, {99, 7, 5, 1}, actor()));
  EXPECT_EQ(progress_of(kept), 25);
  EXPECT_EQ(total_count(kept), 4);
  EXPECT_EQ(kept.status, running);
  EXPECT_EQ(good(workflows().set_progress(id, {100, {}, {}, {}}, actor())).status, running);
}

}  // namespace
}  // namespace subforge::domain
