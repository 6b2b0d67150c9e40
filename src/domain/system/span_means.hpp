// Means over the stored samples of the machine. Rows stand for different spans once they were
// thinned with age (SnapshotAges): raw ones for a moment of an hour, others for an hour or a day.
// Each counts as much as its span, and what clients posted does not count.
#pragma once

#include <span>
#include <string>

namespace subforge::domain {

// SQL that gives one row for the time since $1: how many rows there are, the mean of each column
// and the greatest value of `top`; null where nothing is known.
[[nodiscard]] inline std::string span_means_sql(std::span<char const* const> columns,
                                                char const* top) {
  std::string outer;
  std::string inner;
  for (std::string const column : columns) {
    outer += ", sum(" + column +
             " * hours)"
             " / nullif(sum(CASE WHEN " +
             column + " IS NULL THEN 0.0 ELSE hours END), 0.0)";
    inner += ", avg(" + column + ") AS " + column;
  }
  return "SELECT coalesce(sum(n), 0)" + outer + ", max(top) FROM (SELECT count(*) AS n" + inner +
         ", max(" + top +
         ") AS top, CASE origin WHEN 'day' THEN 24.0 WHEN 'hour' THEN 1.0"
         // Of an hour that has begun, or of which the server saw a part: that part.
         " ELSE (max(recorded_at) - min(recorded_at)) / 3600000000.0 + 0.01 END AS hours"
         " FROM system_metrics WHERE recorded_at >= $1 AND origin <> 'posted'"
         " GROUP BY origin, recorded_at / 3600000000) AS spans";
}

}  // namespace subforge::domain
