// What happened: the newest events of the log that match a filter. Costs grow with what is asked
// for: a room's events and those of a kind are found by their own indexes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "store/store.hpp"

namespace subforge::store {

struct HistoryFilter {
  // Rows that one question looks at for each kind, or in all: whoever may see few of many events
  // gets what is among them.
  static constexpr std::int64_t kLookedAtMax = 10'000;

  std::optional<std::string> room = {};  // Also beside other rooms.
  std::vector<std::string> kinds = {};   // None: any.
  std::optional<Timestamp> since = {};   // Strictly newer.
  std::int64_t limit = 50;
};

struct History {
  std::vector<EventPtr> events;  // The newest `limit` that are wanted, oldest first.
  bool complete = true;          // False where older ones may match and were not looked at.
};

[[nodiscard]] Task<Result<History>> newest_events(Session& session, HistoryFilter filter,
                                                  std::function<bool(EventPtr const&)> wanted);

// How many events the log has now.
[[nodiscard]] Task<Result<std::int64_t>> events_kept(Session& session);

}  // namespace subforge::store
