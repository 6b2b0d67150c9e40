#include "runtime/timer_wheel.hpp"

#include <algorithm>

namespace subforge {

void Timer::arm(TimerWheel& wheel, std::int64_t deadline_ns) {
  cancel();
  wheel.insert(*this, (deadline_ns + TimerWheel::kTickNs - 1) / TimerWheel::kTickNs);
}

void Timer::cancel() {
  if (wheel_ != nullptr) wheel_->remove(*this);
}

TimerWheel::~TimerWheel() {
  for (auto& slot : slots_) {
    while (slot.first != nullptr) remove(*slot.first);
  }
}

void TimerWheel::insert(Timer& timer, std::int64_t tick) {
  timer.wheel_ = this;
  timer.tick_ = std::max(tick, current_tick_ + 1);
  auto const index = slot_of(timer.tick_);
  auto& slot = slots_[index];
  timer.previous_ = nullptr;
  timer.next_ = slot.first;
  if (slot.first != nullptr) slot.first->previous_ = &timer;
  slot.first = &timer;
  occupied_.set(index);
  ++count_;
}

void TimerWheel::remove(Timer& timer) {
  auto const index = slot_of(timer.tick_);
  if (timer.previous_ != nullptr) {
    timer.previous_->next_ = timer.next_;
  } else {
    slots_[index].first = timer.next_;
    if (timer.next_ == nullptr) occupied_.reset(index);
  }
  if (timer.next_ != nullptr) timer.next_->previous_ = timer.previous_;
  timer.previous_ = timer.next_ = nullptr;
  timer.wheel_ = nullptr;
  --count_;
}

void TimerWheel::advance(std::int64_t now_ns) {
  std::int64_t const now_tick = now_ns / kTickNs;
  // After a long pause each slot needs one visit, not one per tick missed.
  std::int64_t tick = std::max(current_tick_ + 1, now_tick - static_cast<std::int64_t>(kSlots) + 1);
  current_tick_ = std::max(current_tick_, now_tick);
  for (; tick <= now_tick && count_ > 0; ++tick) {
    if (occupied_.test(slot_of(tick))) fire_slot(tick);
  }
}

void TimerWheel::fire_slot(std::int64_t tick) {
  // A callback may cancel any timer, so the scan starts over after each; what is re-armed lands
  // beyond the current tick and is not met again in this pass.
  auto& slot = slots_[slot_of(tick)];
  for (bool fired = true; fired;) {
    fired = false;
    for (auto* timer = slot.first; timer != nullptr; timer = timer->next_) {
      if (timer->tick_ > current_tick_) continue;
      remove(*timer);
      timer->on_fire_();
      fired = true;
      break;
    }
  }
}

std::optional<std::int64_t> TimerWheel::next_ns() const {
  if (count_ == 0) return std::nullopt;
  for (std::int64_t tick = current_tick_ + 1;; ++tick) {
    if (occupied_.test(slot_of(tick))) return tick * kTickNs;
  }
}

}  // namespace subforge
