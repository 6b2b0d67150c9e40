#include "realtime/recent_events.hpp"

#include <algorithm>

namespace subforge::realtime {

// An event is held with what it looks like in up to three protocols, plain and deflated: each about
// as long as its payload.
std::size_t RecentEvents::weight(LiveEvent const& event) {
  return sizeof(LiveEvent) + sizeof(store::Event) + 7 * event.event().payload.size();
}

void RecentEvents::add(std::int64_t before, std::span<LiveEventPtr const> events,
                       std::int64_t last) {
  std::lock_guard const lock(mutex_);
  if (!std::exchange(begun_, true)) floor_ = before;
  last_ = last;
  for (auto const& event : events) {
    bytes_ += weight(*event);
    events_.push_back(event);
  }
  while (events_.size() > events_max_ || bytes_ > bytes_max_) {
    floor_ = events_.front()->event().id;
    bytes_ -= weight(*events_.front());
    events_.pop_front();
  }
}

std::int64_t RecentEvents::begin(std::int64_t last) {
  std::lock_guard const lock(mutex_);
  if (!std::exchange(begun_, true)) floor_ = last_ = last;
  return floor_;
}

bool RecentEvents::prepend(std::int64_t before, std::span<LiveEventPtr const> events,
                           std::int64_t floor) {
  std::lock_guard const lock(mutex_);
  std::size_t bytes = bytes_;
  for (auto const& event : events) bytes += weight(*event);
  bool const fits = events_.size() + events.size() <= events_max_ && bytes <= bytes_max_;
  if (!fits || floor_ != floor) return false;
  events_.insert(events_.begin(), events.begin(), events.end());
  bytes_ = bytes;
  floor_ = before;
  return true;
}

std::optional<EventPage> RecentEvents::after(std::int64_t position, std::size_t limit) const {
  std::lock_guard const lock(mutex_);
  if (!begun_ || position < floor_) return std::nullopt;
  EventPage page;
  auto const first = std::ranges::upper_bound(
      events_, position, {}, [](LiveEventPtr const& event) { return event->event().id; });
  auto const left = static_cast<std::size_t>(events_.end() - first);
  page.events.assign(first, first + static_cast<std::ptrdiff_t>(std::min(left, limit)));
  page.last = left > limit ? page.events.back()->event().id : std::max(last_, position);
  return page;
}

}  // namespace subforge::realtime
