// What happens to the tasks that a process takes from Redis, told to whoever shows it to others
// (events and remote control of Celery). The queue calls it on its own loop, in this order for
// each start of a task:
//
//   received -> started -> succeeded | failed | retried | revoked | rejected
//   received -> revoked                       (it had expired, or was not wanted any more)
//   received -> failed                        (its message could not be understood)
//   received -> rejected                      (another one does it: it was given back)
//
// Between received and started there may be a long time, if the task has an eta or its name is at
// its limit; another process may have the rest of its life then, and this one hears no more of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <boost/json/fwd.hpp>

#include "base/time.hpp"

namespace subforge::jobs::celery {

// A task as its message says. Texts are good as long as the call.
struct ObservedTask {
  std::string_view id;  // Celery's: any text. Our record's id is uuid_of(id).
  std::string_view name;
  std::string_view args;    // JSON: a list.
  std::string_view kwargs;  // JSON: an object.
  std::string_view args_repr;
  std::string_view kwargs_repr;
  std::string_view root_id;    // Empty: none.
  std::string_view parent_id;  // Empty: none.
  std::int64_t retries = 0;
  std::optional<Timestamp> eta = {};
  std::optional<Timestamp> expires = {};
  std::string_view queue;     // Also the routing key; the exchange is the empty one.
  std::int64_t priority = 0;  // Celery's.
  bool redelivered = false;
  std::optional<double> hard_limit_seconds = {};
  std::optional<double> soft_limit_seconds = {};
  boost::json::object const* stamps = nullptr;  // By their headers; none: nothing.
};

struct ObservedFailure {
  std::string_view exception;  // As Python writes it: ValueError('bad', 42)
  std::string_view traceback;  // Empty: none.
};

struct ObservedRevocation {
  bool terminated = false;  // It ran already.
  bool expired = false;
  std::optional<int> signal = {};  // Of a task that ran.
};

class TaskObserver {
 public:
  virtual void received(ObservedTask const& task) = 0;
  virtual void started(ObservedTask const& task) = 0;
  virtual void succeeded(ObservedTask const& task, std::string_view result_repr,
                         double runtime_seconds) = 0;
  virtual void failed(ObservedTask const& task, ObservedFailure const& failure) = 0;
  // It is tried again later.
  virtual void retried(ObservedTask const& task, ObservedFailure const& failure) = 0;
  virtual void revoked(ObservedTask const& task, ObservedRevocation const& revocation) = 0;
  // This process has it no more: it was given back, or taken away from a worker that was silent.
  virtual void rejected(ObservedTask const& task, bool requeued) = 0;

  // Whether texts for people are wanted just now: else those of arguments and results are empty.
  [[nodiscard]] virtual bool wants_reprs() const = 0;
  // Asked of what was just received: whether somebody said that it is not to be run, by its id or
  // a stamp. Then its result is REVOKED, and revoked() follows.
  [[nodiscard]] virtual bool is_revoked(std::string_view task_id,
                                        boost::json::object const* stamps) = 0;

 protected:
  ~TaskObserver() = default;
};

}  // namespace subforge::jobs::celery
