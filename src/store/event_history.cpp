#include "store/event_history.hpp"

#include <algorithm>
#include <utility>

namespace subforge::store {
namespace {

constexpr std::int64_t kPageMin = 25;
constexpr std::int64_t kPageMax = 250;

// Ids of the log; `first` is 1 more than `last` where it is empty.
struct Span {
  std::int64_t first = 1;
  std::int64_t last = 0;
};

Task<Result<Span>> ids_kept(Session& session) {
  Span span;
  auto const read =
      co_await session.query("SELECT coalesce(min(id), 1), coalesce(max(id), 0) FROM events", {},
                             [&](Row const& row) { span = {row.integer(0), row.integer(1)}; });
  if (!read) co_return std::unexpected(read.error());
  co_return span;
}

// The last id whose event is not newer than `since`. Times follow ids but where the clock was set
// back, so that a few steps find it.
Task<Result<std::int64_t>> last_until(Session& session, Timestamp since) {
  auto const span = co_await ids_kept(session);
  if (!span) co_return std::unexpected(span.error());
  auto low = span->first - 1;  // Not newer.
  auto high = span->last + 1;  // Newer.
  while (high - low > 1) {
    auto const middle = low + (high - low) / 2;
    std::int64_t at = 0;
    auto const read = co_await session.query("SELECT at FROM events WHERE id = $1", {middle},
                                             [&](Row const& row) { at = row.integer(0); });
    if (!read) co_return std::unexpected(read.error());
    (at <= since.micros ? low : high) = middle;
  }
  co_return low;
}

// One ordered sequence of events: a room's, a kind's, or all.
struct Source {
  std::optional<std::string> room;
  std::optional<std::string> kind;
};

Task<Result<std::vector<EventPtr>>> page_before(Session& session, Source const& source,
                                                std::int64_t before, std::int64_t floor,
                                                std::int64_t rows) {
  static std::string const columns(kEventColumns);
  static auto const all =
      "SELECT " + columns + " FROM events WHERE id < $1 AND id > $2 ORDER BY id DESC LIMIT $3";
  static auto const of_kind =
      "SELECT " + columns +
      " FROM events WHERE id < $1 AND id > $2 AND kind = $3 ORDER BY id DESC LIMIT $4";
  static auto const of_room =
      "SELECT " + columns +
      " FROM event_rooms JOIN events ON id = event_id"
      " WHERE event_id < $1 AND event_id > $2 AND room = $3 ORDER BY event_id DESC LIMIT $4";
  std::vector<EventPtr> events;
  auto const add = [&](Row const& row) {
    events.push_back(std::make_shared<Event const>(event_from_row(row)));
  };
  std::vector<Value> parameters{before, floor};
  if (source.room) parameters.emplace_back(*source.room);
  if (source.kind) parameters.emplace_back(*source.kind);
  parameters.emplace_back(rows);
  auto const& sql = source.room ? of_room : source.kind ? of_kind : all;
  auto const read = co_await session.query(sql, parameters, add);
  if (!read) co_return std::unexpected(read.error());
  co_return events;
}

// Adds the newest of one source, newest first.
Task<Result<bool>> collect(Session& session, Source const& source, std::int64_t floor,
                           std::int64_t limit, std::function<bool(EventPtr const&)> const& wanted,
                           std::vector<EventPtr>& found) {
  auto const rows = std::clamp(limit, kPageMin, kPageMax);
  std::int64_t before = INT64_MAX;
  for (std::int64_t looked_at = 0; looked_at < HistoryFilter::kLookedAtMax;) {
    auto page = co_await page_before(session, source, before, floor, rows);
    if (!page) co_return std::unexpected(page.error());
    for (auto& event : *page) {
      before = event->id;
      if (!wanted(event)) continue;
      found.push_back(std::move(event));
      if (--limit == 0) co_return true;
    }
    if (std::ssize(*page) < rows) co_return true;
    looked_at += rows;
  }
  co_return false;
}

}  // namespace

Task<Result<History>> newest_events(Session& session, HistoryFilter filter,
                                    std::function<bool(EventPtr const&)> wanted) {
  History history;
  if (filter.limit <= 0) co_return history;
  std::int64_t floor = 0;
  if (filter.since) {
    auto const last = co_await last_until(session, *filter.since);
    if (!last) co_return std::unexpected(last.error());
    floor = *last;
  }
  std::function<bool(EventPtr const&)> const matches = [&](EventPtr const& event) {
    if (filter.since && event->at <= *filter.since) return false;
    if (!filter.kinds.empty() && std::ranges::find(filter.kinds, event->kind) == filter.kinds.end())
      return false;
    return wanted(event);
  };
  std::vector<Source> sources;
  if (filter.room || filter.kinds.empty()) {
    sources.push_back({filter.room, std::nullopt});
  } else {
    for (auto const& kind : filter.kinds) sources.push_back({std::nullopt, kind});
  }
  for (auto const& source : sources) {
    auto const whole =
        co_await collect(session, source, floor, filter.limit, matches, history.events);
    if (!whole) co_return std::unexpected(whole.error());
    history.complete = history.complete && *whole;
  }
  std::ranges::sort(history.events, {}, [](EventPtr const& event) { return event->id; });
  auto const surplus = std::ssize(history.events) - filter.limit;
  if (surplus > 0) history.events.erase(history.events.begin(), history.events.begin() + surplus);
  co_return history;
}

Task<Result<std::int64_t>> events_kept(Session& session) {
  auto const span = co_await ids_kept(session);
  if (!span) co_return std::unexpected(span.error());
  co_return span->last - span->first + 1;  // Ids have no gaps.
}

}  // namespace subforge::store
