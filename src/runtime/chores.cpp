#include "runtime/chores.hpp"

#include <algorithm>
#include <utility>

namespace subforge {

void Chores::add(Chore chore) {
  entries_.push_back(std::make_unique<Entry>(*this, std::move(chore)));
}

void Chores::start() {
  for (auto& entry : entries_) {
    entry->timer.arm(loop_.timers(), monotonic_ns() + entry->chore.first_ns);
  }
}

void Chores::cancel() {
  cancelled_ = true;
  for (auto& entry : entries_) entry->timer.cancel();
}

void Chores::look(Entry& entry) {
  entry.timer.arm(loop_.timers(), loop_.now_ns() + entry.chore.period_ns);
  if (!std::exchange(entry.busy, true)) tasks_.spawn(carry_out(entry));
}

Task<void> Chores::carry_out(Entry& entry) {
  bool const more = co_await entry.chore.work();
  entry.busy = false;
  if (!more || cancelled_) co_return;
  auto const soon_ns = loop_.now_ns() + std::min(entry.chore.period_ns, kAgainNs);
  entry.timer.arm(loop_.timers(), soon_ns);
}

}  // namespace subforge
