#include "runtime/timer_wheel.hpp"

#include <algorithm>
#include <bit>

namespace subforge {

void Timer::arm(TimerWheel& wheel, std::int64_t deadline_ns) {
  cancel();
  bool const between_ticks = deadline_ns % TimerWheel::kTickNs != 0;
  wheel.insert(*this, deadline_ns / TimerWheel::kTickNs + (between_ticks ? 1 : 0));
}

void Timer::cancel() {
  if (wheel_ != nullptr) wheel_->remove(*this);
}

TimerWheel::~TimerWheel() {
  for (auto& slot : slots_) {
    while (!slot.alone()) remove(static_cast<Timer&>(*slot.next));
  }
}

void TimerWheel::insert(Timer& timer, std::int64_t tick) {
  timer.wheel_ = this;
  timer.tick_ = std::max(tick, current_tick_ + 1);
  auto const slot = slot_of(timer.tick_);
  timer.join(slots_[slot]);
  occupied_[slot / kWordBits] |= std::uint64_t{1} << (slot % kWordBits);
  ++count_;
}

void TimerWheel::remove(Timer& timer) {
  timer.leave();
  timer.wheel_ = nullptr;
  --count_;
  forget_if_empty(slot_of(timer.tick_));
}

void TimerWheel::forget_if_empty(std::size_t slot) {
  if (!slots_[slot].alone()) return;
  occupied_[slot / kWordBits] &= ~(std::uint64_t{1} << (slot % kWordBits));
}

void TimerWheel::advance(std::int64_t now_ns) {
  std::int64_t const now_tick = now_ns / kTickNs;
  // After a long pause each slot needs one visit, not one per tick missed.
  std::int64_t tick = std::max(current_tick_ + 1, now_tick - static_cast<std::int64_t>(kSlots) + 1);
  current_tick_ = std::max(current_tick_, now_tick);
  for (; tick <= now_tick && count_ > 0; ++tick) fire_slot(slot_of(tick));
}

void TimerWheel::fire_slot(std::size_t slot) {
  auto& head = slots_[slot];
  if (head.alone()) return;
  // What is due moves to a list of its own first. So callbacks may cancel any of it, what they arm
  // is not met again in this pass, and a timer of a later round is looked at once.
  TimerLink due;
  for (auto* link = head.next; link != &head;) {
    auto& timer = static_cast<Timer&>(*link);
    link = link->next;
    if (timer.tick_ > current_tick_) continue;
    timer.leave();
    timer.join(due);
  }
  forget_if_empty(slot);
  while (!due.alone()) {
    auto& timer = static_cast<Timer&>(*due.next);
    remove(timer);
    timer.on_fire_();
  }
}

std::optional<std::int64_t> TimerWheel::next_ns() const {
  if (count_ == 0) return std::nullopt;
  auto const first = slot_of(current_tick_ + 1);
  auto const from_first = ~std::uint64_t{0} << (first % kWordBits);
  // The search starts within a word and, a turn later, ends within the same.
  for (std::size_t step = 0; step <= kWords; ++step) {
    auto const index = (first / kWordBits + step) % kWords;
    auto word = occupied_[index];
    if (step == 0) word &= from_first;
    if (step == kWords) word &= ~from_first;
    if (word == 0) continue;
    auto const slot = index * kWordBits + static_cast<std::size_t>(std::countr_zero(word));
    auto const ticks = static_cast<std::int64_t>((slot + kSlots - first) % kSlots);
    return (current_tick_ + 1 + ticks) * kTickNs;
  }
  return (current_tick_ + 1) * kTickNs;  // Asked by a callback: what remains is being fired now.
}

}  // namespace subforge
