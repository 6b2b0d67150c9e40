// What every worker of Celery's can do by itself, and its clients take for granted: map(),
// starmap() and chunks() of a task, what self.replace() of a group leads to, and a clean-up that is
// not needed where results expire.
#pragma once

#include <string>
#include <vector>

#include "jobs/registry.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::builtin {

// Both must outlive the workers; the tasks that are mapped over are those of the same registry.
void add_celery_definitions(jobs::Registry& registry, EventLoop& loop);
// Those that start whatever task they are told to.
[[nodiscard]] std::vector<std::string> celery_names_for_admins();

}  // namespace subforge::builtin
