// Lists of jobs: a page of those that a filter finds, and how many it finds.
#pragma once

#include "jobs/jobs.hpp"
#include "store/database.hpp"

namespace subforge::jobs {

Task<Result<JobPage>> read_job_page(store::Session& session, JobFilter const& filter);

}  // namespace subforge::jobs
