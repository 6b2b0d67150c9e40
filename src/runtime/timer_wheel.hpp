// A hashed timing wheel (Varghese and Lauck 1987): arming and cancelling cost a few instructions
// whatever the number of timers; deadlines are rounded up to a tick.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

namespace subforge {

class TimerWheel;

// A place in a circular list. A timer leaves whichever list holds it without knowing which.
struct TimerLink {
  TimerLink* previous = this;
  TimerLink* next = this;

  TimerLink() = default;
  TimerLink(TimerLink const&) = delete;
  TimerLink& operator=(TimerLink const&) = delete;

  [[nodiscard]] bool alone() const { return next == this; }
  void leave() {
    previous->next = next;
    next->previous = previous;
    previous = next = this;
  }
  // Goes to the end of the list that `head` begins.
  void join(TimerLink& head) {
    previous = head.previous;
    next = &head;
    previous->next = this;
    head.previous = this;
  }
};

// One timer, owned by whoever waits; destroying it cancels it.
class Timer : private TimerLink {
 public:
  explicit Timer(std::move_only_function<void()> on_fire) : on_fire_(std::move(on_fire)) {}
  ~Timer() { cancel(); }
  Timer(Timer const&) = delete;
  Timer& operator=(Timer const&) = delete;

  // Fires once, at `deadline_ns` of the monotonic clock or within a tick after; replaces what was
  // armed before. Timers of one tick fire in the order in which they were armed. `on_fire` may
  // re-arm the timer, may destroy it, and may do the same to any other; it must not throw.
  void arm(TimerWheel& wheel, std::int64_t deadline_ns);
  void cancel();
  [[nodiscard]] bool armed() const { return wheel_ != nullptr; }

 private:
  friend class TimerWheel;
  TimerWheel* wheel_ = nullptr;
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

  // Fires everything due, tick by tick; only when it was called more than a whole turn of the wheel
  // late (20 s) may timers of different ticks change places.
  void advance(std::int64_t now_ns);
  // When to call advance() next at the latest; nothing while no timer is armed.
  [[nodiscard]] std::optional<std::int64_t> next_ns() const;

 private:
  friend class Timer;
  static constexpr std::size_t kWordBits = 64;
  static constexpr std::size_t kWords = kSlots / kWordBits;

  static std::size_t slot_of(std::int64_t tick) { return static_cast<std::size_t>(tick) % kSlots; }
  void insert(Timer& timer, std::int64_t tick);
  void remove(Timer& timer);
  void fire_slot(std::size_t slot);
  void forget_if_empty(std::size_t slot);

  std::int64_t current_tick_;
  std::array<TimerLink, kSlots> slots_;
  std::array<std::uint64_t, kWords> occupied_{};  // One bit a slot: the next is found by words.
  std::size_t count_ = 0;
};

}  // namespace subforge
