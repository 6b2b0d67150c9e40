// What running jobs tell of themselves, kept: how far they are, and the lines of their logs.
#pragma once

#include <span>
#include <vector>

#include "jobs/queue.hpp"

namespace subforge::jobs {

// Of jobs that are still leased with the same fence; told in the log, too.
Task<Result<void>> write_reports(store::Transaction& transaction,
                                 std::span<ProgressReport const> reports);
// In their order, behind those that are there.
Task<Result<void>> write_lines(store::Transaction& transaction, std::span<LogLine const> lines);

}  // namespace subforge::jobs
