// The newest events, kept in memory so that who comes back soon is served without the database, and
// a crowd that comes back together shares what each event looks like.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "realtime/live_event.hpp"

namespace subforge::realtime {

struct EventPage {
  std::vector<LiveEventPtr> events;
  std::int64_t last = 0;  // The position of the log that the page reaches.
};

class RecentEvents {
 public:
  RecentEvents(std::size_t events_max, std::size_t bytes_max)
      : events_max_(events_max), bytes_max_(bytes_max) {}

  // All events of the log behind `before`, up to `last`, in order, without those for nobody.
  void add(std::int64_t before, std::span<LiveEventPtr const> events, std::int64_t last);

  // Begins behind `last`, if nothing has come yet. Everything behind the position that it gives is
  // here.
  std::int64_t begin(std::int64_t last);
  // What comes right before: all events behind `before` up to `floor`, as above. False if they are
  // not wanted: there is no room for them, or what is here begins elsewhere by now.
  bool prepend(std::int64_t before, std::span<LiveEventPtr const> events, std::int64_t floor);

  // At most `limit` events behind `position`; nothing if they are not all here.
  [[nodiscard]] std::optional<EventPage> after(std::int64_t position, std::size_t limit) const;

 private:
  static std::size_t weight(LiveEvent const& event);

  std::size_t const events_max_;
  std::size_t const bytes_max_;
  // lint: allow(locks): one commit, or one page for who came back; no message comes by here.
  mutable std::mutex mutex_;
  std::deque<LiveEventPtr> events_;
  std::size_t bytes_ = 0;
  bool begun_ = false;
  std::int64_t floor_ = 0;  // Everything behind it, up to `last_`, is here.
  std::int64_t last_ = 0;
};

}  // namespace subforge::realtime
