#include "jobs/celery/observed.hpp"

#include <csignal>

#include <boost/json/value.hpp>

#include "describe/parse_json.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

boost::json::value parse(std::string_view text) {
  boost::system::error_code error;
  auto value = describe::parse_json(text, error);
  return error ? boost::json::value() : value;
}

}  // namespace

Observed::Observed(TaskMessage const& message)
    : args_repr(python_tuple_repr(parse(message.args))),
      kwargs_repr(python_repr(parse(message.kwargs))) {
  task.id = message.id;
  task.name = message.task;
  task.args = message.args;
  task.kwargs = message.kwargs;
  task.args_repr = args_repr;
  task.kwargs_repr = kwargs_repr;
  task.root_id = message.root_id;
  task.parent_id = message.parent_id;
  task.retries = message.retries;
  task.eta = message.eta;
  task.expires = message.expires;
  task.queue = message.queue;
  task.priority = message.priority;
  task.redelivered = message.redelivered;
  task.hard_limit_seconds = message.hard_limit;
  task.soft_limit_seconds = message.soft_limit;
}

void tell_received(TaskObserver& observer, TaskMessage const& message) {
  Observed const one(message);
  observer.received(one.task);
}

void tell_started(TaskObserver& observer, TaskMessage const& message) {
  Observed const one(message);
  observer.received(one.task);
  observer.started(one.task);
}

void tell_failed(TaskObserver& observer, Ended const& ended) {
  Observed const one(ended.message);
  observer.received(one.task);
  observer.failed(one.task, {exception_repr(ended.error), {}});
}

void tell_unstarted(TaskObserver& observer, Ended const& ended) {
  if (ended.again) return;
  if (ended.status != JobStatus::revoked) return tell_failed(observer, ended);
  Observed const one(ended.message);
  observer.received(one.task);
  ObservedRevocation revocation;
  revocation.expired = ended.error == revoked_exception("expired");
  observer.revoked(one.task, revocation);
}

void tell_ended(TaskObserver& observer, Ended const& ended, double seconds) {
  Observed const one(ended.message);
  auto const exception = exception_repr(ended.error);
  ObservedFailure const failure{
      exception, ended.traceback ? std::string_view(*ended.traceback) : std::string_view()};
  switch (ended.status) {
    case JobStatus::success:
      return observer.succeeded(one.task, python_repr(parse(ended.result)), seconds);
    case JobStatus::retry: return observer.retried(one.task, failure);
    case JobStatus::revoked: {
      ObservedRevocation revocation;
      revocation.terminated = true;
      revocation.signal = SIGTERM;
      return observer.revoked(one.task, revocation);
    }
    default: return observer.failed(one.task, failure);
  }
}

void tell_taken_away(TaskObserver& observer, TaskMessage const& message) {
  Observed const one(message);
  observer.rejected(one.task, false);
}

}  // namespace subforge::jobs::celery
