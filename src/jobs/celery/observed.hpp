// Tells a TaskObserver what happens, in its words.
#pragma once

#include <string>

#include "jobs/celery/endings.hpp"
#include "jobs/celery/message.hpp"
#include "jobs/celery/task_observer.hpp"

namespace subforge::jobs::celery {

// A message as it is shown, with the texts that were made for that. Refers to the message.
struct Observed {
  std::string args_repr;
  std::string kwargs_repr;
  ObservedTask task;

  explicit Observed(TaskMessage const& message);
  Observed(Observed const&) = delete;
  Observed& operator=(Observed const&) = delete;
};
[[nodiscard]] inline Observed observed(TaskMessage const& message) { return Observed(message); }

void tell_received(TaskObserver& observer, TaskMessage const& message);
void tell_started(TaskObserver& observer, TaskMessage const& message);  // Received just before.
// Of a message that could not be understood.
void tell_failed(TaskObserver& observer, Ended const& ended);
// Of one that ended without a start: it had expired, was revoked, or had ended before.
void tell_unstarted(TaskObserver& observer, Ended const& ended);
void tell_ended(TaskObserver& observer, Ended const& ended, double seconds);
// Its result does not count: it was cancelled, or another worker has it.
void tell_taken_away(TaskObserver& observer, TaskMessage const& message);

}  // namespace subforge::jobs::celery
