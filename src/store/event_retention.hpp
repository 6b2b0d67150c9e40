// How long the event log is kept. The oldest events are removed, in order: what is left is the
// log's end without gaps, and whoever asks for what came before notices by the first id.
#pragma once

#include <cstdint>

#include "store/store.hpp"

namespace subforge::store {

class EventRetention {
 public:
  // Removed in one transaction, so that no writer waits long.
  static constexpr std::int64_t kRemovedAtOnce = 500;

  // Events older than `days`, and all but the newest `count`, are removed; 0 sets no bound.
  EventRetention(Store& store, std::int64_t days, std::int64_t count)
      : store_(store), days_(days), count_(count) {}

  // What is kept: events behind this one, and not older than that time.
  [[nodiscard]] std::int64_t keeps_behind() const {
    return count_ > 0 ? store_.last_event_id() - count_ : 0;
  }
  [[nodiscard]] Timestamp keeps_since(Timestamp now) const {
    constexpr std::int64_t kDayUs = 86'400'000'000;
    return {days_ > 0 ? now.micros - days_ * kDayUs : INT64_MIN};
  }
  // Removes at most kRemovedAtOnce events and tells how many; fewer means that all is done.
  Task<Result<std::int64_t>> thin(Timestamp now);

 private:
  Store& store_;
  std::int64_t const days_;
  std::int64_t const count_;
};

}  // namespace subforge::store
