// Several rows of jobs with one statement: most of what a statement about one row costs is to open
// and to close the table with its indexes.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "jobs/queue.hpp"
#include "store/database.hpp"

namespace subforge::jobs {

// After an error of either of these some of the rows may be there: the transaction must not go on.
Task<Result<void>> insert_jobs(store::Transaction& transaction, std::span<Job const* const> jobs);
// Of jobs whose id has no row yet. For each, whether it was added.
Task<Result<std::vector<bool>>> insert_new_jobs(store::Transaction& transaction,
                                                std::span<Job const* const> jobs);

// The start that a job is in.
struct LeasedRow {
  std::int64_t seq = 0;
  std::int64_t fence = 0;
  Job job;  // Only what ends are counted and told by.
};
inline constexpr std::string_view kSettledColumns =
    "name, priority, queue, created_at, started_at, completed_at, retry_count, batch_id, progress,"
    " lane";
void read_settled(store::Row const& row, Job& job, int column = 0);

// For SQLite, where others cannot write in between.
// The rows of these leases that some worker has; of a lease that names its row this row, whichever
// job has it now.
Task<Result<std::vector<LeasedRow>>> select_leased(store::Transaction& transaction,
                                                   std::span<Lease const* const> leases);
// All of them are the worker's from now on.
Task<Result<void>> write_starts(store::Transaction& transaction, std::vector<std::int64_t> seqs,
                                Uuid worker);
// The same result for all of these that the worker has had since a start of that number; which they
// were.
Task<Result<std::vector<std::int64_t>>> write_held_successes(store::Transaction& transaction,
                                                             std::vector<std::int64_t> seqs,
                                                             std::string_view result, Uuid worker,
                                                             std::int64_t fence);
// The same result for all of them.
Task<Result<void>> write_successes(store::Transaction& transaction, std::vector<std::int64_t> seqs,
                                   std::string_view result);

}  // namespace subforge::jobs
