// The statement that finds a worker's jobs, and what rates allow.
#pragma once

#include <cstdint>
#include <string>

#include "base/time.hpp"
#include "jobs/registry.hpp"
#include "store/database.hpp"

namespace subforge::jobs {

// For so many lanes, the first of which is that of all names without limits, and so many queues.
// Each part reads no further into the index than its own limit, so that a claim costs what it
// gets, however much waits; of one queue and lane the rows are read from its index as they are
// found, without lists and sorting. Values: now, worker, then for each lane its name, first queue,
// limit and other queues, and at last how many in all. Rows are in no order, with their seq at the
// end.
//
// PostgreSQL gives them to the worker at once. For SQLite, where nobody else writes meanwhile, they
// are only read, without a value for the worker: write_starts() costs less than RETURNING.
class ClaimSql {
 public:
  ClaimSql(std::size_t lanes, std::size_t queues, store::Dialect dialect);
  [[nodiscard]] std::string const& text() const { return text_; }

 private:
  std::string text_;
};

// A rate is kept as the time at which the next start would be on time: a start is allowed from
// `slack` before, which is what a burst takes, and moves that time on by one interval.
[[nodiscard]] std::int64_t rate_interval_us(StartRate const& rate);
[[nodiscard]] std::int64_t rate_slack_us(StartRate const& rate);
[[nodiscard]] std::int64_t allowed_by_rate(StartRate const& rate, std::int64_t next_at,
                                           Timestamp now);
[[nodiscard]] std::int64_t next_rate_time(StartRate const& rate, std::int64_t next_at,
                                          Timestamp now, std::int64_t starts);

}  // namespace subforge::jobs
