// Sums over the runs that began in each hour, kept in the transactions that record and remove runs;
// so that figures over any range of time read hours, and runs only where the range cuts an hour.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "store/listing.hpp"
#include "store/store.hpp"

namespace subforge::domain {

// Both ends belong to it; an absent one is open.
struct TimeRange {
  std::optional<Timestamp> start;
  std::optional<Timestamp> end;
};

struct RunSummary {
  std::int64_t total = 0;
  std::int64_t successful = 0;
  std::map<std::string, std::int64_t> by_status;
  std::optional<double> average_duration_seconds;
  std::int64_t tasks_total = 0;
  std::int64_t tasks_completed = 0;
  std::optional<double> average_quality_score;
  std::optional<double> average_efficiency_score;
};

// Add to the sums, or take from them, the stored runs that meet the condition. They are taken away
// before they change or go.
Task<Result<void>> add_to_run_sums(store::Transaction& transaction, store::Where runs);
Task<Result<void>> take_from_run_sums(store::Transaction& transaction, store::Where runs);
// Hours before this one that have no run left.
Task<Result<void>> drop_empty_run_sums(store::Transaction& transaction, Timestamp before);

// Of the runs that started within the range.
Task<Result<RunSummary>> summed_runs(store::Session& session, TimeRange started);

}  // namespace subforge::domain
