// A hashed timing wheel (Varghese and Lauck 1987): arming and cancelling cost a few instructions
// whatever the number of timers; deadlines are rounded up to a tick.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <functional>
#include <optional>

namespace subforge {

class TimerWheel;

// One timer, owned by whoever waits; destroying it cancels it.
class Timer {
 public:
  explicit Timer(std::move_only_function<void()> on_fire) : on_fire_(std::move(on_fire)) {}
  ~Timer() { cancel(); }
  Timer(Timer const&) = delete;
  Timer& operator=(Timer const&) = delete;

  // Fires once, at `deadline_ns` of the monotonic clock or within a tick after; replaces what was
  // armed before. `on_fire` may re-arm the timer and may destroy it.
  void arm(TimerWheel& wheel, std::int64_t deadline_ns);
  void cancel();
  [[nodiscard]] bool armed() const { return wheel_ != nullptr; }

 private:
  friend class TimerWheel;
  TimerWheel* wheel_ = nullptr;
  Timer* previous_ = nullptr;
  Timer* next_ = nullptr;
  std::int64_t tick_ = 0;
  std::move_only_function<void()> on_fire_;
};

class TimerWheel {
 public:
  static constexpr std::int64_t kTickNs = 20'000'000;
  static constexpr std::size_t kSlots = 1024;

  explicit TimerWheel(std::int64_t now_ns) : current_tick_(now_ns / kTickNs) {}
  ~TimerWheel();
  TimerWheel(TimerWheel const&) = delete;
  TimerWheel& operator=(TimerWheel const&) = delete;

  // Fires everything due.
  void advance(std::int64_t now_ns);
  // When to call advance() next at the latest; nothing while no timer is armed.
  [[nodiscard]] std::optional<std::int64_t> next_ns() const;

 private:
  friend class Timer;
  struct Slot {
    Timer* first = nullptr;
  };
  static std::size_t slot_of(std::int64_t tick) {
    return static_cast<std::size_t>(tick) % kSlots;
  }
  void insert(Timer& timer, std::int64_t tick);
  void remove(Timer& timer);
  void fire_slot(std::int64_t tick);

  std::int64_t current_tick_;
  std::array<Slot, kSlots> slots_{};
  std::bitset<kSlots> occupied_;
  std::size_t count_ = 0;
};

}  // namespace subforge
