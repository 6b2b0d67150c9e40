// History on a real store: what is recorded is what is read, and sums follow from the rows.
#include "domain/history/history.hpp"

#include <map>
#include <random>

#include <gtest/gtest.h>

#include "store/record_sql.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::domain {
namespace {

constexpr std::int64_t kSecond = 1'000'000;
constexpr std::int64_t kDay = 86'400 * kSecond;

class HistoryTest : public testing::Test {
 protected:
  template <class T>
  T good(Task<Result<T>> task) {
    auto outcome = store_.run(std::move(task));
    if (!outcome) throw std::runtime_error(outcome.error().message + outcome.error().context);
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
  }
  template <class Record>
  Result<Record> record(Record made, Task<Result<Record>> (*write)(store::Transaction&, Record)) {
    auto job = [made, write](store::Transaction& transaction) { return write(transaction, made); };
    return store_.run(store_.store().write(job));
  }
  WorkflowHistory run(WorkflowHistory made) {
    return record(std::move(made), &record_run_in).value();
  }
  PhaseHistory phase(PhaseHistory made) {
    return record(std::move(made), &record_phase_in).value();
  }

  WorkflowHistory draft(std::int64_t started, std::string agents = "[]") {
    WorkflowHistory made;
    made.workflow_id = workflow_;
    made.started_at = {started};
    made.agents_assigned.text = std::move(agents);
    return made;
  }
  PhaseHistory phase_of(WorkflowHistory const& of, std::int64_t started, std::int64_t seconds,
                        WorkResult result) {
    PhaseHistory made;
    made.workflow_history_id = of.id;
    made.agent_id = "scout";
    made.agent_name = "The Scout";
    made.started_at = Timestamp{started};
    made.completed_at = Timestamp{started + seconds * kSecond};
    made.result = result;
    made.tasks_total = 2;
    made.tasks_completed = result == WorkResult::success ? 2 : 1;
    return made;
  }
  std::string columns(std::string const& table) {
    std::string found;
    auto read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
      co_return co_await session.query("SELECT name FROM pragma_table_info($1) ORDER BY cid",
                                       {table}, [&](store::Row const& row) {
                                         if (!found.empty()) found += ", ";
                                         found += row.text(0);
                                       });
    };
    good(store_.store().read(store::ReadCost::scan, std::move(read)));
    return found;
  }

  store::TemporaryFolder folder_;
  store::EventRecorder recorder_;
  store::TestStore store_{folder_.path(), {&recorder_}};
  History history_{store_.store()};
  Uuid const workflow_ = Uuid::random();
};

TEST_F(HistoryTest, TheTablesHaveTheColumnsOfTheDescriptions) {
  EXPECT_EQ(columns("workflow_history"), "seq, " + store::column_list<WorkflowHistory>());
  EXPECT_EQ(columns("phase_history"), "seq, " + store::column_list<PhaseHistory>());
  EXPECT_EQ(columns("handoff_history"), "seq, " + store::column_list<HandoffHistory>());
  EXPECT_EQ(columns("agent_performance"), "seq, " + store::column_list<AgentPerformance>());
}

TEST_F(HistoryTest, ARunIsNumberedAndKeepsWhatItWasWhenRecordedAgain) {
  auto first = draft(kDay);
  first.status = RunStatus::running;
  auto const running = run(first);
  EXPECT_EQ(running.execution_number, 1);
  EXPECT_NE(running.id, Uuid{});
  EXPECT_FALSE(running.execution_id.empty());
  EXPECT_FALSE(running.duration_seconds);
  EXPECT_EQ(run(draft(2 * kDay)).execution_number, 2);

  auto ended = draft(kDay);
  ended.id = running.id;
  ended.status = RunStatus::failed;
  ended.completed_at = Timestamp{kDay + 90 * kSecond};
  ended.critical.text = R"([{"m":1},{"m":2}])";
  auto const stored = run(ended);
  EXPECT_EQ(stored.execution_number, 1);
  EXPECT_EQ(stored.execution_id, running.execution_id);
  EXPECT_EQ(stored.created_at, running.created_at);
  EXPECT_EQ(stored.duration_seconds, 90.0);
  EXPECT_EQ(stored.critical_count, 2);
  auto const page = good(history_.runs({}));
  ASSERT_EQ(page.rows.size(), 2U);
  EXPECT_EQ(page.rows[1].status, RunStatus::failed);
  EXPECT_EQ(page.rows[1].critical.text, ended.critical.text);
}

TEST_F(HistoryTest, APhaseNeedsItsRun) {
  PhaseHistory orphan;
  orphan.workflow_history_id = Uuid::random();
  auto const refused = record(orphan, &record_phase_in);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::invalid);
}

TEST_F(HistoryTest, PagesAreCutAndFiltered) {
  for (int i = 1; i <= 5; ++i) {
    auto made = draft(i * kDay);
    made.project_id = i % 2 == 0 ? "even" : "odd";
    run(made);
  }
  RunFilter filter;
  filter.limit = 2;
  auto const first = good(history_.runs(filter));
  EXPECT_EQ(first.total, 5);
  EXPECT_TRUE(first.next);
  EXPECT_EQ(first.rows.at(0).started_at.micros, 5 * kDay);
  filter.offset = 4;
  auto const last = good(history_.runs(filter));
  EXPECT_EQ(last.rows.size(), 1U);
  EXPECT_FALSE(last.next);
  filter = {};
  filter.project_id = "odd";
  filter.started = {Timestamp{kDay}, Timestamp{3 * kDay}};
  EXPECT_EQ(good(history_.runs(filter)).total, 2) << "both ends belong to the range";
}

TEST_F(HistoryTest, APerformanceIsTheSumOfTheAgentsRows) {
  auto made = draft(10 * kDay, R"([{"id":"scout"},{"id":"other"},{"id":"scout"}])");
  made.final_result = WorkResult::success;
  auto const done = run(made);
  run(draft(10 * kDay, R"([{"id":"scouting"}])"));
  phase(phase_of(done, 10 * kDay + kSecond, 60, WorkResult::success));
  auto overlapping = phase_of(done, 10 * kDay + 30 * kSecond, 20, WorkResult::failure);
  overlapping.errors.text = R"(["a","b"])";
  phase(overlapping);
  phase(phase_of(done, 20 * kDay, 60, WorkResult::success));  // Outside.

  recorder_.take();
  auto const row =
      good(history_.calculate({"scout", {10 * kDay}, {11 * kDay}, "day"}, Actor{"alice"}));
  EXPECT_EQ(row.agent_name, "The Scout");
  EXPECT_EQ(row.agent_type, std::nullopt);
  EXPECT_EQ(row.workflows_total, 1);
  EXPECT_EQ(row.workflows_successful, 1);
  EXPECT_EQ(row.phases_total, 2);
  EXPECT_EQ(row.phases_failed, 1);
  EXPECT_EQ(row.tasks_total, 4);
  EXPECT_EQ(row.tasks_successful, 3);
  EXPECT_EQ(row.active_seconds, 80);
  EXPECT_EQ(row.average_phase_seconds, 40.0);
  EXPECT_NEAR(row.consistency_score.value(), 0.5, 1e-9);  // Mean 40, spread 20.
  EXPECT_EQ(row.overload_incidents, 1);
  EXPECT_EQ(row.total_errors, 2);
  EXPECT_NEAR(row.utilization_percentage, 80.0 / 864, 1e-9);
  EXPECT_EQ(row.performance_trend, std::nullopt);
  EXPECT_EQ(recorder_.take().size(), 1U);

  auto const next =
      good(history_.calculate({"scout", {20 * kDay}, {21 * kDay}, "day"}, Actor{"alice"}));
  EXPECT_EQ(next.performance_trend, "improving");
  EXPECT_NEAR(next.improvement_rate.value(), 0.5, 1e-9);
  EXPECT_EQ(good(history_.performances({})).rows.size(), 2U);
}

TEST_F(HistoryTest, CleaningUpTakesThePartsAlong) {
  auto const old = run(draft(kDay));
  auto const kept = run(draft(3 * kDay));
  phase(phase_of(old, kDay, 1, WorkResult::success));
  phase(phase_of(kept, kDay, 1, WorkResult::success));
  auto const cleaned = good(history_.clean_up({2 * kDay}, Actor{}));
  EXPECT_EQ(cleaned.runs, 1);
  EXPECT_EQ(cleaned.performances, 0);
  EXPECT_EQ(good(history_.phases({})).rows.size(), 1U);
  EXPECT_EQ(store_.run(history_.run(old.id)).error().code, ErrorCode::not_found);
  EXPECT_EQ(good(history_.run(kept.id)).phases.size(), 1U);
}

TEST_F(HistoryTest, CleaningUpGoesOnUntilNothingIsLeft) {
  auto fill = [this](store::Transaction& transaction) -> Task<Result<void>> {
    for (int i = 0; i < 2 * History::kCleanupBatch + 1; ++i) {
      auto const made = co_await record_run_in(transaction, draft(kDay + i));
      if (!made) co_return std::unexpected(made.error());
    }
    co_return {};
  };
  good(store_.store().write(fill));
  EXPECT_EQ(good(history_.clean_up({2 * kDay}, Actor{})).runs, 2 * History::kCleanupBatch + 1);
}

TEST_F(HistoryTest, TheSummaryIsOfTheRangeAlone) {
  auto made = draft(kDay);
  made.final_result = WorkResult::success;
  made.completed_at = Timestamp{kDay + 10 * kSecond};
  made.tasks_total = 4;
  made.tasks_completed = 3;
  run(made);
  made.started_at = {5 * kDay};
  run(made);
  auto const summary = good(history_.summary({Timestamp{0}, Timestamp{2 * kDay}}));
  EXPECT_EQ(summary.total, 1);
  EXPECT_EQ(summary.successful, 1);
  EXPECT_EQ(summary.average_duration_seconds, 10.0);
  EXPECT_EQ(summary.tasks_completed, 3);
  EXPECT_EQ(summary.average_quality_score, std::nullopt);
}

// Runs are recorded, recorded again and removed; the sums of any range stay those of its runs.
TEST_F(HistoryTest, SumsKeptByTheHourAreThoseOfTheRuns) {
  constexpr std::int64_t kSpan = 3 * 3600 * kSecond;
  constexpr RunStatus kStates[] = {RunStatus::running, RunStatus::completed, RunStatus::failed};
  auto const seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  auto const below = [&](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  // Often at the edge of an hour, and on both sides of 1970.
  auto const some_time = [&] {
    return below(3) == 0 ? (below(7) - 3) * 3600 * kSecond + below(3) - 1
                         : below(2 * kSpan) - kSpan;
  };
  std::map<Uuid, WorkflowHistory> kept;
  auto const expect_sums_of = [&](TimeRange range) {
    RunSummary wanted;
    double duration = 0;
    std::int64_t timed = 0;
    for (auto const& [id, run] : kept) {
      if (range.start && run.started_at < *range.start) continue;
      if (range.end && run.started_at > *range.end) continue;
      wanted.total += 1;
      wanted.successful += run.final_result == WorkResult::success ? 1 : 0;
      wanted.by_status[std::string(describe::to_text(run.status))] += 1;
      wanted.tasks_total += run.tasks_total;
      if (!run.duration_seconds) continue;
      duration += *run.duration_seconds;
      timed += 1;
    }
    auto const found = good(history_.summary(range));
    EXPECT_EQ(found.total, wanted.total);
    EXPECT_EQ(found.successful, wanted.successful);
    EXPECT_EQ(found.by_status, wanted.by_status);
    EXPECT_EQ(found.tasks_total, wanted.tasks_total);
    ASSERT_EQ(found.average_duration_seconds.has_value(), timed > 0);
    if (timed > 0) {
      EXPECT_NEAR(*found.average_duration_seconds, duration / static_cast<double>(timed), 1e-5);
    }
  };
  for (int step = 0; step < 150; ++step) {
    if (step % 50 == 49) {
      Timestamp const cutoff{some_time()};
      good(history_.clean_up(cutoff, Actor{}));
      std::erase_if(kept, [&](auto const& run) { return run.second.started_at < cutoff; });
    } else {
      auto made = draft(some_time());
      if (!kept.empty() && below(3) == 0) made.id = kept.begin()->first;
      made.status = kStates[below(3)];
      made.tasks_total = below(5);
      if (made.status != RunStatus::running) {
        made.completed_at = Timestamp{made.started_at.micros + below(1'000) * 1'000};
        made.final_result =
            made.status == RunStatus::failed ? WorkResult::failure : WorkResult::success;
      }
      auto stored = run(made);
      kept[stored.id] = std::move(stored);
    }
    auto const one = some_time();
    auto const other = some_time();
    expect_sums_of({Timestamp{std::min(one, other)}, Timestamp{std::max(one, other)}});
    expect_sums_of({Timestamp{one}, std::nullopt});
    expect_sums_of({std::nullopt, Timestamp{one}});
    expect_sums_of({});
    if (HasFailure()) break;
  }
}

}  // namespace
}  // namespace subforge::domain
