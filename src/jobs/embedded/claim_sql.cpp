#include "jobs/embedded/claim_sql.hpp"

#include <algorithm>

#include "jobs/job.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs {
namespace {

constexpr std::string_view kInTime = "(expires_at IS NULL OR expires_at > $1) AND stage = 'ready'";

std::string claimed_columns() { return store::column_list<Job>() + ", seq"; }

}  // namespace

ClaimSql::ClaimSql(std::size_t lanes, std::size_t queues, store::Dialect dialect) {
  bool const sqlite = dialect == store::Dialect::sqlite;
  if (sqlite && lanes == 1 && queues == 1) {
    text_ = "SELECT " + claimed_columns() + " FROM jobs WHERE " + std::string(kInTime) +
            " AND lane = $2 AND queue = $3 ORDER BY rank, seq LIMIT min($4, $5)";
    return;
  }
  int marks = sqlite ? 1 : 2;
  auto const mark = [&marks] { return "$" + std::to_string(++marks); };
  std::string parts;
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    auto const lane_mark = mark();
    std::string limit_mark;
    std::string of_lane;
    for (std::size_t queue = 0; queue < queues; ++queue) {
      if (queue > 0) of_lane += " UNION ALL ";
      of_lane +=
          "SELECT seq, rank FROM (SELECT seq, rank FROM jobs"
          " WHERE " +
          std::string(kInTime) + " AND lane = " + lane_mark + " AND queue = " + mark() +
          " ORDER BY rank, seq LIMIT ";
      if (queue == 0) limit_mark = mark();
      of_lane += limit_mark + ") AS one_queue";
    }
    if (lane > 0) parts += " UNION ALL ";
    parts += "SELECT seq, rank FROM (SELECT seq, rank FROM (" + of_lane +
             ") AS queues ORDER BY rank, seq LIMIT " + limit_mark + ") AS one_lane";
  }
  auto const first =
      "seq IN (SELECT seq FROM (" + parts + ") AS waiting ORDER BY rank, seq LIMIT " + mark() + ")";
  auto const columns = claimed_columns();
  text_ = sqlite ? "SELECT " + columns + " FROM jobs WHERE " + first
                 : "UPDATE jobs SET stage = 'leased', status = 'started', started_at = $1,"
                   " fence = fence + 1, worker_id = $2 WHERE " +
                       first + " RETURNING " + columns;
}

std::int64_t rate_interval_us(StartRate const& rate) {
  return static_cast<std::int64_t>(rate.per_seconds * 1e6 / static_cast<double>(rate.count));
}

std::int64_t rate_slack_us(StartRate const& rate) {
  return rate_interval_us(rate) * (std::max<std::int64_t>(rate.burst, 1) - 1);
}

std::int64_t allowed_by_rate(StartRate const& rate, std::int64_t next_at, Timestamp now) {
  auto const interval = std::max<std::int64_t>(rate_interval_us(rate), 1);
  // A clock that was set back must not stop all starts until it has caught up.
  next_at = std::clamp(next_at, now.micros, now.micros + rate_slack_us(rate) + interval);
  return (now.micros + rate_slack_us(rate) - next_at + interval) / interval;
}

std::int64_t next_rate_time(StartRate const& rate, std::int64_t next_at, Timestamp now,
                            std::int64_t starts) {
  return std::max(next_at, now.micros) + starts * rate_interval_us(rate);
}

}  // namespace subforge::jobs
