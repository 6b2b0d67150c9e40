// Figures about background tasks for whoever watches over a long time: nothing of it is found by
// looking at many rows.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "jobs/job.hpp"
#include "jobs/registry.hpp"
#include "store/counts.hpp"
#include "store/store.hpp"

namespace subforge::jobs {

struct QueueLoad {
  std::int64_t waiting = 0;  // For a worker or their time.
  std::int64_t running = 0;
  std::int64_t due_us = 0;  // How long the next one has been due; 0 where a broker has it.
};
struct JobFigures {
  std::map<std::string, QueueLoad> queues;
  std::int64_t workers = 0;
  std::array<std::int64_t, 6> ended{};  // Ever, in the order of JobStatus.
  std::int64_t timed = 0;               // All of them, which took so long together.
  std::int64_t duration_us = 0;
};
Task<Result<JobFigures>> job_figures(store::Store& store, Registry const& registry);

// The name of a count: how often jobs ended so, ever. Clearing up takes none away, and being put
// back neither.
[[nodiscard]] std::string count_of_ends(JobStatus status);
// 0 where it was never counted.
[[nodiscard]] std::int64_t count_named(store::Counts const& counts, std::string_view name);

}  // namespace subforge::jobs
