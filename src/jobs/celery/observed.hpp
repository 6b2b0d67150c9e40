// Tells a TaskObserver what happens, in its words.
#pragma once

#include <string>

#include "jobs/celery/endings.hpp"
#include "jobs/celery/message.hpp"
#include "jobs/celery/task_observer.hpp"

namespace subforge::jobs::celery {

// A message as it is shown, with the texts that were made for that, if they are wanted. Refers to
// the message.
struct Observed {
  std::string args_repr;
  std::string kwargs_repr;
  ObservedTask task;

  Observed(TaskObserver const& observer, TaskMessage const& message);
  Observed(Observed const&) = delete;
  Observed& operator=(Observed const&) = delete;
};

void tell_received(TaskObserver& observer, TaskMessage const& message);
void tell_started(TaskObserver& observer, TaskMessage const& message);  // Received just before.
// Of a message that could not be understood.
void tell_failed(TaskObserver& observer, Ended const& ended);
// Of one that ended without a start: it had expired, was revoked, or had ended before.
void tell_unstarted(TaskObserver& observer, Ended const& ended);
void tell_ended(TaskObserver& observer, Ended const& ended, double seconds);
// Somebody cancelled it while it ran.
void tell_terminated(TaskObserver& observer, TaskMessage const& message);
// Its result does not count: another worker has it. Or it was given back.
void tell_rejected(TaskObserver& observer, TaskMessage const& message, bool requeued = false);

}  // namespace subforge::jobs::celery
