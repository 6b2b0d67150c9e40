#include "jobs/celery/observed.hpp"

#include <csignal>

#include <boost/json/value.hpp>

#include "describe/exact_json.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

boost::json::value parse(std::string_view text) {
  boost::system::error_code error;
  auto value = describe::parse_exact_json(text, error);
  return error ? boost::json::value() : value;
}

}  // namespace

Observed::Observed(TaskObserver const& observer, TaskMessage const& message) {
  if (observer.wants_reprs()) {
    args_repr = python_tuple_repr(parse(message.args));
    kwargs_repr = python_repr(parse(message.kwargs));
  }
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
  task.stamps = stamps_of(message);
}

void tell_received(TaskObserver& observer, TaskMessage const& message) {
  Observed const one(observer, message);
  observer.received(one.task);
}

void tell_started(TaskObserver& observer, TaskMessage const& message) {
  Observed const one(observer, message);
  observer.received(one.task);
  observer.started(one.task);
}

void tell_failed(TaskObserver& observer, Ended const& ended) {
  Observed const one(observer, ended.message);
  observer.received(one.task);
  observer.failed(one.task, {exception_repr(ended.error), {}});
}

void tell_unstarted(TaskObserver& observer, Ended const& ended) {
  if (ended.again) return;
  if (ended.status != JobStatus::revoked) return tell_failed(observer, ended);
  Observed const one(observer, ended.message);
  observer.received(one.task);
  ObservedRevocation revocation;
  revocation.expired = ended.error == revoked_exception("expired");
  observer.revoked(one.task, revocation);
}

void tell_ended(TaskObserver& observer, Ended const& ended, double seconds) {
  Observed const one(observer, ended.message);
  if (ended.status == JobStatus::success) {
    auto const result = observer.wants_reprs() ? python_repr(parse(ended.result)) : std::string();
    return observer.succeeded(one.task, result, seconds);
  }
  if (ended.status == JobStatus::revoked) return tell_terminated(observer, ended.message);
  auto const exception = exception_repr(ended.error);
  ObservedFailure const failure{
      exception, ended.traceback ? std::string_view(*ended.traceback) : std::string_view()};
  if (ended.status == JobStatus::retry) return observer.retried(one.task, failure);
  observer.failed(one.task, failure);
}

void tell_terminated(TaskObserver& observer, TaskMessage const& message) {
  Observed const one(observer, message);
  ObservedRevocation revocation;
  revocation.terminated = true;
  revocation.signal = SIGTERM;
  observer.revoked(one.task, revocation);
}

void tell_rejected(TaskObserver& observer, TaskMessage const& message, bool requeued) {
  Observed const one(observer, message);
  observer.rejected(one.task, requeued);
}

}  // namespace subforge::jobs::celery
