// How many messages a loop's viewers were sent in the last minutes, up to a day.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/time.hpp"

namespace subforge::realtime {

class Throughput {
 public:
  static constexpr std::int64_t kMinutesMax = 1'440;

  void count(std::size_t messages = 1) { counted_ += static_cast<std::int64_t>(messages); }
  // Puts what was counted to the minute that it is; to be called about as often as messages come.
  void settle(Timestamp now) {
    auto const minute = now.micros / 60'000'000;
    // Minutes in which nothing came.
    auto const from = std::max(minute_ + 1, minute - kMinutesMax + 1);
    for (auto gone = from; gone <= minute; ++gone) slot(gone) = 0;
    minute_ = std::max(minute_, minute);
    slot(minute_) += counted_ - settled_;
    settled_ = counted_;
  }
  // In the newest minutes, the one under way included.
  [[nodiscard]] std::int64_t in_minutes(std::int64_t minutes) const {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < std::min(minutes, kMinutesMax); ++i) sum += slot(minute_ - i);
    return sum;
  }

 private:
  [[nodiscard]] std::int64_t& slot(std::int64_t minute) {
    return minutes_[static_cast<std::size_t>((minute % kMinutesMax + kMinutesMax) % kMinutesMax)];
  }
  [[nodiscard]] std::int64_t slot(std::int64_t minute) const {
    return const_cast<Throughput*>(this)->slot(minute);
  }

  std::array<std::int64_t, kMinutesMax> minutes_{};
  std::int64_t minute_ = 0;  // Since 1970, of the newest slot.
  std::int64_t counted_ = 0;
  std::int64_t settled_ = 0;
};

}  // namespace subforge::realtime
