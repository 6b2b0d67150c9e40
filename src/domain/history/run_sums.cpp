#include "domain/history/run_sums.hpp"

#include <algorithm>
#include <string_view>

namespace subforge::domain {
namespace {

using store::Row;
using store::Session;
using store::Transaction;
using store::Where;

constexpr std::int64_t kHour = 3'600'000'000;  // In microseconds.

// Each sum's column in workflow_history_hours, and what it is over runs. Times and scores are
// summed as whole millionths, so that what is taken away is just what was added; a figure beyond
// 1e8 counts as that.
struct Sum {
  std::string_view name;
  std::string_view of_runs;
};
constexpr Sum kSums[] = {
    {"runs", "count(*)"},
    {"successful", "count(CASE WHEN final_result = 'success' THEN 1 END)"},
    {"tasks_total", "coalesce(sum(tasks_total), 0)"},
    {"tasks_completed", "coalesce(sum(tasks_completed), 0)"},
    {"duration",
     "coalesce(sum(CAST(round((CASE WHEN duration_seconds > 1e8 THEN 1e8 ELSE duration_seconds"
     " END) * 1e6) AS BIGINT)), 0)"},
    {"durations", "count(duration_seconds)"},
    {"quality",
     "coalesce(sum(CAST(round((CASE WHEN quality_score > 1e8 THEN 1e8 ELSE quality_score"
     " END) * 1e6) AS BIGINT)), 0)"},
    {"qualities", "count(quality_score)"},
    {"efficiency",
     "coalesce(sum(CAST(round((CASE WHEN efficiency_score > 1e8 THEN 1e8 ELSE efficiency_score"
     " END) * 1e6) AS BIGINT)), 0)"},
    {"efficiencies", "count(efficiency_score)"},
};

// Of the runs that `where` finds, by hour and status; `sign` goes before each sum.
std::string fold_sql(std::string_view sign, std::string const& where) {
  std::string columns;
  std::string sums;
  std::string set;
  for (auto const& [name, of_runs] : kSums) {
    columns.append(", ").append(name);
    sums.append(", ").append(sign).append(of_runs);
    if (!set.empty()) set += ", ";
    set.append(name).append(" = workflow_history_hours.").append(name);
    set.append(" + excluded.").append(name);
  }
  auto const size = std::to_string(kHour);
  // The remainder of what lies before 1970 is negative.
  auto const hour =
      "started_at - ((started_at % " + size + ") + " + size + ") % " + size + " AS hour";
  return "INSERT INTO workflow_history_hours (hour, status" + columns + ") SELECT " + hour +
         ", status" + sums + " FROM workflow_history" + where +
         " GROUP BY 1, 2 ORDER BY 1, 2 ON CONFLICT (hour, status) DO UPDATE SET " + set;
}

Task<Result<void>> fold(Transaction& transaction, std::string_view sign, Where runs) {
  auto const done = co_await transaction.execute(fold_sql(sign, runs.sql()), runs.values());
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

// What is selected of hours, or of runs, in the order in which Totals reads it.
std::string of_hours() {
  std::string text = "SELECT status";
  for (auto const& sum : kSums) text.append(", sum(").append(sum.name).append(")");
  return text + " FROM workflow_history_hours";
}
std::string of_runs() {
  std::string text = "SELECT status";
  for (auto const& sum : kSums) text.append(", ").append(sum.of_runs);
  return text + " FROM workflow_history";
}

struct Totals {
  RunSummary summary;
  struct Mean {
    std::int64_t sum = 0;
    std::int64_t count = 0;
    void add(Row const& row, int column) {
      sum += row.integer(column);
      count += row.integer(column + 1);
    }
    [[nodiscard]] std::optional<double> value() const {
      if (count == 0) return std::nullopt;
      return static_cast<double>(sum) / 1e6 / static_cast<double>(count);
    }
  };
  Mean duration;
  Mean quality;
  Mean efficiency;

  void add(Row const& row) {
    auto const runs = row.integer(1);
    if (runs != 0) summary.by_status[std::string(row.text(0))] += runs;
    summary.total += runs;
    summary.successful += row.integer(2);
    summary.tasks_total += row.integer(3);
    summary.tasks_completed += row.integer(4);
    duration.add(row, 5);
    quality.add(row, 7);
    efficiency.add(row, 9);
  }
};

std::int64_t hour_of(Timestamp time) {
  auto const within = (time.micros % kHour + kHour) % kHour;
  return time.micros - within;
}

}  // namespace

Task<Result<void>> add_to_run_sums(Transaction& transaction, Where runs) {
  return fold(transaction, "", std::move(runs));
}

Task<Result<void>> take_from_run_sums(Transaction& transaction, Where runs) {
  return fold(transaction, "-", std::move(runs));
}

Task<Result<void>> drop_empty_run_sums(Transaction& transaction, Timestamp before) {
  auto const done = co_await transaction.execute(
      "DELETE FROM workflow_history_hours WHERE hour < $1 AND runs = 0", {before});
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Task<Result<RunSummary>> summed_runs(Session& session, TimeRange started) {
  Totals totals;
  // What begins in [from, end), where an absent bound is open.
  auto const add = [&](std::string const& sql, std::string_view column,
                       std::optional<Timestamp> from,
                       std::optional<Timestamp> end) -> Task<Result<void>> {
    if (from && end && end->micros <= from->micros) co_return {};
    Where where;
    if (from) where.at_least(column, *from);
    if (end) where.at_most(column, Timestamp{end->micros - 1});
    auto const done = co_await session.query(sql + where.sql() + " GROUP BY status", where.values(),
                                             [&totals](Row const& row) { totals.add(row); });
    if (!done) co_return std::unexpected(done.error());
    co_return {};
  };
  auto const from = started.start;
  auto const end = started.end ? std::optional(Timestamp{started.end->micros + 1}) : std::nullopt;
  // Hours that lie within as a whole, and the runs before and behind them.
  auto hours_from = from;
  auto hours_end = end;
  if (from) hours_from = Timestamp{hour_of({from->micros + kHour - 1})};
  if (end) hours_end = Timestamp{hour_of(*end)};
  if (hours_from && hours_end && hours_end->micros < hours_from->micros) hours_end = hours_from;

  if (auto done = co_await add(of_hours(), "hour", hours_from, hours_end); !done) {
    co_return std::unexpected(done.error());
  }
  if (from) {
    auto const before_hours = end ? std::min(*hours_from, *end) : *hours_from;
    if (auto done = co_await add(of_runs(), "started_at", from, before_hours); !done) {
      co_return std::unexpected(done.error());
    }
  }
  if (end) {
    if (auto done = co_await add(of_runs(), "started_at", hours_end, end); !done) {
      co_return std::unexpected(done.error());
    }
  }
  totals.summary.average_duration_seconds = totals.duration.value();
  totals.summary.average_quality_score = totals.quality.value();
  totals.summary.average_efficiency_score = totals.efficiency.value();
  co_return std::move(totals.summary);
}

}  // namespace subforge::domain
