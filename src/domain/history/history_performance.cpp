// How an agent performed over a period: summed up in SQL from the rows of that agent and period.
#include <algorithm>
#include <cmath>

#include "domain/history/history.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

// Types of phases told apart in one row.
constexpr std::int64_t kCategoriesMax = 50;
// A success rate must move by more than this to be called a trend.
constexpr double kTrendThreshold = 0.05;

std::string const kInsert = store::insert_sql<AgentPerformance>("agent_performance");

double seconds_of(Timestamp from, Timestamp to) {
  return static_cast<double>(to.micros - from.micros) / 1e6;
}

std::optional<double> ratio(double sum, std::int64_t count) {
  if (count == 0) return std::nullopt;
  return sum / static_cast<double>(count);
}

Task<Result<void>> name_agent(Session& session, AgentPerformance& row) {
  if (auto const id = Uuid::parse(row.agent_id)) {
    auto const known = co_await session.query("SELECT name, agent_type FROM agents WHERE id = $1",
                                              {*id}, [&](Row const& found) {
                                                row.agent_name = found.text(0);
                                                row.agent_type = found.text(1);
                                              });
    if (!known) co_return std::unexpected(known.error());
  }
  if (!row.agent_name.empty()) co_return {};
  row.agent_name = row.agent_id;
  auto const named = co_await session.query(
      "SELECT agent_name FROM phase_history WHERE agent_id = $1 AND sort_at >= $2"
      " AND sort_at <= $3 AND agent_name IS NOT NULL ORDER BY sort_at, seq LIMIT 1",
      {row.agent_id, row.period_start, row.period_end},
      [&](Row const& found) { row.agent_name = found.text(0); });
  if (!named) co_return std::unexpected(named.error());
  co_return {};
}

Task<Result<void>> sum_runs(Session& session, AgentPerformance& row) {
  auto const done = co_await session.query(
      "SELECT count(*), count(CASE WHEN w.final_result = 'success' THEN 1 END),"
      " count(CASE WHEN w.final_result = 'failure' THEN 1 END), coalesce(sum(critical_count), 0)"
      " FROM workflow_history_agents a JOIN workflow_history w ON w.id = a.workflow_history_id"
      " WHERE a.agent_id = $1 AND a.started_at >= $2 AND a.started_at <= $3",
      {row.agent_id, row.period_start, row.period_end}, [&](Row const& sums) {
        row.workflows_total = sums.integer(0);
        row.workflows_successful = sums.integer(1);
        row.workflows_failed = sums.integer(2);
        row.critical_issues = sums.integer(3);
      });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Task<Result<void>> sum_phases(Session& session, AgentPerformance& row) {
  auto const done = co_await session.query(
      "SELECT count(*), count(CASE WHEN result = 'success' THEN 1 END),"
      " count(CASE WHEN result = 'failure' THEN 1 END), coalesce(sum(tasks_total), 0),"
      " coalesce(sum(tasks_completed), 0), coalesce(sum(tasks_failed), 0),"
      " coalesce(sum(duration_seconds), 0.0), count(duration_seconds),"
      " coalesce(sum(duration_seconds * duration_seconds), 0.0),"
      " avg(quality_score), avg(performance_score),"
      " coalesce(sum(error_count), 0), coalesce(sum(warning_count), 0)"
      " FROM phase_history WHERE agent_id = $1 AND started_at IS NOT NULL"
      " AND sort_at >= $2 AND sort_at <= $3",
      {row.agent_id, row.period_start, row.period_end}, [&](Row const& sums) {
        row.phases_total = sums.integer(0);
        row.phases_successful = sums.integer(1);
        row.phases_failed = sums.integer(2);
        row.tasks_total = sums.integer(3);
        row.tasks_successful = sums.integer(4);
        row.tasks_failed = sums.integer(5);
        row.active_seconds = sums.real(6);
        row.average_task_seconds = ratio(row.active_seconds, row.tasks_total);
        row.average_phase_seconds = ratio(row.active_seconds, row.phases_total);
        auto const timed = sums.integer(7);
        if (timed >= 2 && row.active_seconds > 0) {
          auto const count = static_cast<double>(timed);
          auto const mean = row.active_seconds / count;
          auto const variance = std::max(sums.real(8) / count - mean * mean, 0.0);
          row.consistency_score = std::max(1.0 - std::sqrt(variance) / mean, 0.0);
        }
        if (!sums.is_null(9)) row.average_quality_score = sums.real(9);
        if (!sums.is_null(10)) row.average_performance_score = sums.real(10);
        row.total_errors = sums.integer(11);
        row.total_warnings = sums.integer(12);
      });
  if (!done) co_return std::unexpected(done.error());
  auto const length = seconds_of(row.period_start, row.period_end);
  row.utilization_percentage = std::min(100.0, row.active_seconds / length * 100);
  row.idle_seconds = std::max(0.0, length - row.active_seconds);
  co_return {};
}

Task<Result<void>> count_overlaps(Session& session, AgentPerformance& row) {
  auto const done = co_await session.query(
      "SELECT count(*) FROM (SELECT started_at, max(completed_at) OVER (ORDER BY sort_at, seq"
      " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS busy_until FROM phase_history"
      " WHERE agent_id = $1 AND started_at IS NOT NULL AND sort_at >= $2 AND sort_at <= $3)"
      " AS timed WHERE started_at < busy_until",
      {row.agent_id, row.period_start, row.period_end},
      [&](Row const& sums) { row.overload_incidents = sums.integer(0); });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Task<Result<void>> sum_categories(Session& session, AgentPerformance& row) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  auto const done = co_await session.query(
      "SELECT phase_type, count(*), count(CASE WHEN result = 'success' THEN 1 END)"
      " FROM phase_history WHERE agent_id = $1 AND started_at IS NOT NULL AND sort_at >= $2"
      " AND sort_at <= $3 AND phase_type IS NOT NULL GROUP BY phase_type ORDER BY phase_type"
      " LIMIT $4",
      {row.agent_id, row.period_start, row.period_end, kCategoriesMax}, [&](Row const& sums) {
        auto const total = sums.integer(1);
        json.key(sums.text(0));
        json.begin_object();
        json.member("total", total);
        json.member("success_rate",
                    static_cast<double>(sums.integer(2)) / static_cast<double>(total));
        json.end_object();
      });
  if (!done) co_return std::unexpected(done.error());
  json.end_object();
  row.task_category_performance.text = std::move(text);
  co_return {};
}

Task<Result<void>> sum_handoffs(Session& session, AgentPerformance& row) {
  auto const done = co_await session.query(
      "SELECT count(CASE WHEN result = 'success' THEN 1 END),"
      " count(CASE WHEN result = 'failure' THEN 1 END), avg(duration_seconds)"
      " FROM handoff_history WHERE (source_agent_id = $1 OR target_agent_id = $1)"
      " AND initiated_at >= $2 AND initiated_at <= $3",
      {row.agent_id, row.period_start, row.period_end}, [&](Row const& sums) {
        row.successful_handoffs = sums.integer(0);
        row.failed_handoffs = sums.integer(1);
        if (!sums.is_null(2)) row.average_handoff_seconds = sums.real(2);
      });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

// Against the newest row of the agent's periods of this type that ended before this one began.
Task<Result<void>> compare_with_last(Session& session, AgentPerformance& row) {
  if (row.phases_total == 0) co_return {};
  auto const done = co_await session.query(
      "SELECT phases_total, phases_successful FROM agent_performance WHERE agent_id = $1"
      " AND period_type = $2 AND period_start < $3 AND period_end <= $3 AND phases_total > 0"
      " ORDER BY period_start DESC, seq DESC LIMIT 1",
      {row.agent_id, row.period_type, row.period_start}, [&](Row const& last) {
        auto const before = OutcomeCounts::of(last.integer(0), last.integer(1), 0).success_rate;
        auto const change = phase_outcomes(row).success_rate - before;
        row.improvement_rate = change;
        row.performance_trend = change > kTrendThreshold    ? "improving"
                                : change < -kTrendThreshold ? "declining"
                                                            : "stable";
      });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Task<Result<void>> compute(Session& session, AgentPerformance& row) {
  using Step = Task<Result<void>> (*)(Session&, AgentPerformance&);
  static constexpr Step kSteps[] = {&name_agent,       &sum_runs,       &sum_phases,
                                    &count_overlaps,   &sum_categories, &sum_handoffs,
                                    &compare_with_last};
  for (auto const step : kSteps) {
    if (auto const done = co_await step(session, row); !done) co_return done;
  }
  co_return {};
}

}  // namespace

Task<Result<AgentPerformance>> History::calculate(PerformanceRequest request, Actor actor) {
  AgentPerformance row;
  row.agent_id = std::move(request.agent_id);
  row.period_start = request.start;
  row.period_end = request.end;
  row.period_type = std::move(request.period_type);
  // Summing up takes long where there is much: it must not hold up writers.
  auto read = [&row](Session& session) { return compute(session, row); };
  if (auto const done = co_await store_.read(store::ReadCost::scan, std::move(read)); !done) {
    co_return std::unexpected(done.error());
  }
  auto insert = [&row, &actor](Transaction& transaction) -> Task<Result<AgentPerformance>> {
    row.id = Uuid::random();
    row.created_at = row.updated_at = row.calculated_at = transaction.now();
    auto const bound = store::bind_record(row);
    auto const inserted = co_await transaction.execute(kInsert, bound.values());
    if (!inserted) co_return std::unexpected(inserted.error());
    store::Event event;
    event.kind = "history.performance";
    event.subject = "history";
    event.actor = actor.user;
    JsonWriter json(event.payload = {});
    json.begin_object();
    json.member("id", row.id);
    json.member("agent_id", row.agent_id);
    json.end_object();
    auto const told = co_await transaction.publish(std::move(event));
    if (!told) co_return std::unexpected(told.error());
    co_return row;
  };
  co_return co_await store_.write(insert);
}

}  // namespace subforge::domain
