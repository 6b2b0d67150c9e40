// Background tasks: route tables of /api/v2/background-tasks.
#pragma once

#include <set>
#include <string>

#include "http/route.hpp"
#include "jobs/jobs.hpp"
#include "jobs/registry.hpp"
#include "jobs/schedules.hpp"

namespace subforge::api {

// What the handlers work with.
struct BackgroundTaskParts {
  jobs::Jobs& jobs;
  jobs::Schedules& schedules;
  jobs::Registry const& registry;
  // Workers elsewhere may know names that this program does not.
  bool takes_any_name = false;
  // Names that only administrators may ask for.
  std::set<std::string, std::less<>> for_admins;
};

// The parts must outlive the routes.
[[nodiscard]] http::Routes background_tasks_v2(BackgroundTaskParts const& parts);
[[nodiscard]] http::Routes background_task_changes_v2(BackgroundTaskParts const& parts);
[[nodiscard]] http::Routes dead_letters_v2(BackgroundTaskParts const& parts);
[[nodiscard]] http::Routes task_schedules_v2(BackgroundTaskParts const& parts);

}  // namespace subforge::api
