// What happened: the newest events of the log that match a filter, or the first behind one. Costs
// grow with what is asked for: a room's events and those of a kind are found by their own indexes.
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
  std::optional<std::int64_t> after{};   // Behind this event.
  bool first_ones = false;               // The first `limit` that match, instead of the newest.
  std::int64_t limit = 50;
  // Of their payloads, for each kind or in all; beyond, the rest counts as not looked at.
  std::size_t bytes_max = SIZE_MAX;
  bool ids_alone = false;  // What is found is nothing but ids; so many bytes matter to nobody.
};

struct History {
  std::vector<EventPtr> events;  // Those that are wanted, oldest first.
  // False where older ones may match that were not looked at, or are no longer kept.
  bool complete = true;
  // Of the first ones: where the next begin, if there may be more.
  std::optional<std::int64_t> next = {};
};

[[nodiscard]] Task<Result<History>> find_events(Session& session, HistoryFilter filter,
                                                std::function<bool(EventPtr const&)> wanted);

// The last id that the log has given, be its event still there or not.
[[nodiscard]] Task<Result<std::int64_t>> last_id_given(Session& session);

// How many events the log has now.
[[nodiscard]] Task<Result<std::int64_t>> events_kept(Session& session);

}  // namespace subforge::store
