// What workers tell monitors by themselves: events of the worker, and of its tasks once somebody
// asked for those. They are published and kept nowhere; one that nobody hears is lost.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/json_writer.hpp"
#include "base/time.hpp"
#include "jobs/celery/task_observer.hpp"

namespace subforge::jobs::celery {

// Lamport's clock, by which events of several nodes are put in order.
class Clock {
 public:
  std::int64_t forward() { return ++value_; }
  void adjust(std::int64_t heard) { value_ = (heard > value_ ? heard : value_) + 1; }
  [[nodiscard]] std::int64_t value() const { return value_; }

 private:
  std::int64_t value_ = 0;
};

struct WorkerFigures {
  std::size_t active = 0;
  std::int64_t processed = 0;
};

class EventWriter {
 public:
  // Events of tasks that are sent together at most.
  static constexpr std::size_t kBufferedMax = 24;
  static constexpr double kHeartbeatSeconds = 2;

  using Publish = std::move_only_function<void(std::string_view routing_key, std::string letter)>;
  EventWriter(std::string node, std::string version, Clock& clock, Publish publish)
      : node_(std::move(node)),
        version_(std::move(version)),
        clock_(clock),
        publish_(std::move(publish)) {}

  // worker-online, worker-heartbeat, worker-offline.
  void worker(std::string_view type, WorkerFigures const& figures);

  void received(ObservedTask const& task);
  void started(ObservedTask const& task);
  void succeeded(ObservedTask const& task, std::string_view result_repr, double runtime_seconds);
  void failed(ObservedTask const& task, ObservedFailure const& failure);
  void retried(ObservedTask const& task, ObservedFailure const& failure);
  void revoked(ObservedTask const& task, ObservedRevocation const& revocation);
  void rejected(ObservedTask const& task, bool requeued);

  // Sends what was gathered of tasks.
  void flush();
  [[nodiscard]] bool gathered() const { return buffered_ > 0; }

 private:
  template <class Fields>
  void task(std::string_view type, std::string_view id, Fields write_fields);
  void failure(std::string_view type, ObservedTask const& task, ObservedFailure const& failure);
  void begin(JsonWriter& json, std::string_view type);
  void publish(std::string_view routing_key, std::string_view body);

  std::string const node_;
  std::string const version_;
  Clock& clock_;
  Publish publish_;
  std::string buffer_;  // Events with commas between.
  std::size_t buffered_ = 0;
};

// The channel of events with this routing key.
[[nodiscard]] std::string event_channel(std::int64_t database, std::string_view routing_key);

}  // namespace subforge::jobs::celery
