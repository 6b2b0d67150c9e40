// How many messages one connection may send: so many a second, and twice as many at once after a
// time of silence.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace subforge::realtime {

// How a connection that sends more ends (docs/websocket-protocol.md).
inline constexpr std::uint16_t kTooManyMessages = 4429;
inline constexpr std::string_view kTooManyMessagesText =
    "too many messages; reconnect, and send fewer a second";

class MessageRate {
 public:
  // 0 sets no bound.
  explicit MessageRate(std::int64_t per_second) : per_second_(per_second) {}

  // Counts one message; false if it is one too many.
  bool admit(std::int64_t now_ns) {
    if (per_second_ == 0) return true;
    // The time at which all that was sent would have been sent at the steady rate.
    std::int64_t const step_ns = 1'000'000'000 / per_second_;
    std::int64_t const ahead_ns = std::max<std::int64_t>(due_ns_ - now_ns, 0);
    if (ahead_ns + step_ns > 2 * per_second_ * step_ns) return false;
    due_ns_ = now_ns + ahead_ns + step_ns;
    return true;
  }

 private:
  std::int64_t per_second_;
  std::int64_t due_ns_ = 0;
};

}  // namespace subforge::realtime
