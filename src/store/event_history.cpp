#include "store/event_history.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace subforge::store {
namespace {

constexpr std::int64_t kPageMin = 25;
constexpr std::int64_t kPageMax = 250;
constexpr std::size_t kPageBytesMax = 256U << 10;  // Or it is one event.

// Ids of the log; `first` is 1 more than `last` where it is empty.
struct Span {
  std::int64_t first = 1;
  std::int64_t last = 0;
};

Task<Result<Span>> ids_kept(Session& session) {
  Span span;
  auto const last = co_await last_id_given(session);
  if (!last) co_return std::unexpected(last.error());
  auto const read = co_await session.query("SELECT min(id) FROM events", {}, [&](Row const& row) {
    span = {row.is_null(0) ? *last + 1 : row.integer(0), *last};
  });
  if (!read) co_return std::unexpected(read.error());
  co_return span;
}

Task<Result<std::int64_t>> time_of(Session& session, std::int64_t id) {
  std::int64_t at = INT64_MAX;
  auto const read = co_await session.query("SELECT at FROM events WHERE id = $1", {id},
                                           [&](Row const& row) { at = row.integer(0); });
  if (!read) co_return std::unexpected(read.error());
  co_return at;
}

// Times follow ids but where a clock was set back, or two servers' clocks differ: so many events
// before the place that a few steps find are looked at too.
constexpr std::int64_t kDisorderMax = 2'000;

// An id behind which all events stand that are newer than `since`.
Task<Result<std::int64_t>> begin_since(Session& session, Timestamp since) {
  auto const span = co_await ids_kept(session);
  if (!span) co_return std::unexpected(span.error());
  auto low = span->first - 1;  // Not newer.
  auto high = span->last + 1;  // Newer.
  while (high - low > 1) {
    auto const middle = low + (high - low) / 2;
    auto const at = co_await time_of(session, middle);
    if (!at) co_return std::unexpected(at.error());
    (*at <= since.micros ? low : high) = middle;
  }
  co_return std::max(span->first - 1, low - kDisorderMax);
}

// One ordered sequence of events: a room's, a kind's, or all.
struct Source {
  std::optional<std::string> room;
  std::optional<std::string> kind;
};

// Both ends are outside.
struct Range {
  std::int64_t after = 0;
  std::int64_t before = INT64_MAX;
};

// The columns, what is asked, and the end of each of the two directions. `order` is the column that
// the index of what is asked has: SQLite would sort a whole room by an equal one of another table.
std::string sql_of(std::string_view what, std::string_view order, bool forward) {
  return std::string("SELECT ")
      .append(kEventColumns)
      .append(what)
      .append(" ORDER BY ")
      .append(order)
      .append(forward ? " LIMIT " : " DESC LIMIT ");
}

struct EventPage {
  std::vector<EventPtr> events;
  bool cut = false;  // What came behind would have been too much.
};

Task<Result<EventPage>> read_page(Session& session, Source const& source, Range range, bool forward,
                                  std::int64_t rows) {
  struct Questions {
    std::string all;
    std::string of_kind;
    std::string of_room;
    explicit Questions(bool forward)
        : all(sql_of(" FROM events WHERE id > $1 AND id < $2", "id", forward) + "$3"),
          of_kind(sql_of(" FROM events WHERE id > $1 AND id < $2 AND kind = $3", "id", forward) +
                  "$4"),
          of_room(sql_of(" FROM event_rooms JOIN events ON id = event_id"
                         " WHERE event_id > $1 AND event_id < $2 AND room = $3",
                         "event_id", forward) +
                  "$4") {}
  };
  static std::array<Questions, 2> const directions{Questions(false), Questions(true)};
  auto const& questions = directions[forward ? 1 : 0];
  EventPage page;
  std::size_t bytes = 0;
  auto const add = [&](Row const& row) {
    if (page.cut) return;
    auto const event = event_view(row);
    bytes += event.payload.size();
    page.cut = bytes > kPageBytesMax && !page.events.empty();
    if (!page.cut) page.events.push_back(std::make_shared<Event const>(event_of(event)));
  };
  std::vector<Value> parameters{range.after, range.before};
  if (source.room) parameters.emplace_back(*source.room);
  if (source.kind) parameters.emplace_back(*source.kind);
  parameters.emplace_back(rows);
  auto const& sql = source.room   ? questions.of_room
                    : source.kind ? questions.of_kind
                                  : questions.all;
  auto const read = co_await session.query(sql, parameters, add);
  if (!read) co_return std::unexpected(read.error());
  co_return page;
}

// How reading a source ended.
struct Stopped {
  bool at_limit = false;       // As many as were asked for were found ...
  bool too_many = false;       // ... or too many were looked at; otherwise nothing is left.
  std::int64_t looked_to = 0;  // The last that was looked at.
};

EventPtr id_alone(Event const& event) {
  auto id = std::make_shared<Event>();
  id->id = event.id;
  return id;
}

// Adds those of one source that are wanted, from one end of the range on.
Task<Result<Stopped>> collect(Session& session, Source const& source, Range range,
                              HistoryFilter const& filter,
                              std::function<bool(EventPtr const&)> const& wanted,
                              std::vector<EventPtr>& found) {
  bool const forward = filter.first_ones;
  auto limit = filter.limit;
  auto const rows_max = std::clamp(limit, kPageMin, kPageMax);
  auto rows = rows_max;
  std::size_t bytes = 0;
  Stopped stopped;
  for (std::int64_t looked_at = 0; looked_at < HistoryFilter::kLookedAtMax;) {
    auto page = co_await read_page(session, source, range, forward, rows);
    if (!page) co_return std::unexpected(page.error());
    auto const count = std::ssize(page->events);
    for (auto& event : page->events) {
      stopped.looked_to = (forward ? range.after : range.before) = event->id;
      if (!wanted(event)) continue;
      bytes += event->payload.size();
      found.push_back(filter.ids_alone ? id_alone(*event) : std::move(event));
      stopped.at_limit = --limit == 0;
      stopped.too_many = !filter.ids_alone && bytes > filter.bytes_max;
      if (stopped.at_limit || stopped.too_many) co_return stopped;
    }
    if (count < rows && !page->cut) co_return stopped;
    // Large events are read fewer at a time, so that none is read often.
    rows = page->cut ? count + 1 : std::min(rows * 2, rows_max);
    looked_at += count;
  }
  stopped.too_many = true;
  co_return stopped;
}

Task<Result<std::int64_t>> begin_of(Session& session, HistoryFilter const& filter) {
  auto const after = filter.after.value_or(0);
  if (!filter.since) co_return after;
  auto const last = co_await begin_since(session, *filter.since);
  if (!last) co_return last;
  co_return std::max(after, *last);
}

std::vector<Source> sources_of(HistoryFilter const& filter) {
  if (filter.room || filter.kinds.empty()) return {{filter.room, std::nullopt}};
  std::vector<Source> sources;
  for (auto const& kind : filter.kinds) sources.push_back({std::nullopt, kind});
  return sources;
}

// Whether events that may match were removed.
Task<Result<bool>> are_some_gone(Session& session, HistoryFilter const& filter) {
  auto const kept = co_await ids_kept(session);
  if (!kept) co_return std::unexpected(kept.error());
  if (kept->first <= filter.after.value_or(0) + 1) co_return false;
  if (!filter.since || kept->first > kept->last) co_return true;
  auto const at = co_await time_of(session, kept->first);
  if (!at) co_return std::unexpected(at.error());
  co_return *at > filter.since->micros;
}

}  // namespace

Task<Result<History>> find_events(Session& session, HistoryFilter filter,
                                  std::function<bool(EventPtr const&)> wanted) {
  History history;
  if (filter.limit <= 0) co_return history;
  bool const forward = filter.first_ones;
  auto const begin = co_await begin_of(session, filter);
  if (!begin) co_return std::unexpected(begin.error());
  std::function<bool(EventPtr const&)> const matches = [&](EventPtr const& event) {
    if (filter.since && event->at <= *filter.since) return false;
    if (!filter.kinds.empty() && std::ranges::find(filter.kinds, event->kind) == filter.kinds.end())
      return false;
    return wanted(event);
  };
  auto& events = history.events;
  for (auto const& source : sources_of(filter)) {
    auto const stopped =
        co_await collect(session, source, {.after = *begin}, filter, matches, events);
    if (!stopped) co_return std::unexpected(stopped.error());
    bool const more = stopped->at_limit || stopped->too_many;
    if (!forward && stopped->too_many) history.complete = false;
    if (forward && more) {
      history.next = std::min(history.next.value_or(INT64_MAX), stopped->looked_to);
    }
  }
  std::ranges::sort(events, {}, [](EventPtr const& event) { return event->id; });
  // Behind where one source was left, others are not told yet.
  if (history.next) {
    std::erase_if(events, [&](EventPtr const& event) { return event->id > *history.next; });
  }
  auto const surplus = std::ssize(events) - filter.limit;
  if (surplus > 0 && forward) {
    events.resize(static_cast<std::size_t>(filter.limit));
    history.next = events.back()->id;
  } else if (surplus > 0) {
    events.erase(events.begin(), events.begin() + surplus);
  }
  // Backwards, what was asked for may be found before the beginning of the log.
  if (forward || std::ssize(events) < filter.limit) {
    auto const gone = co_await are_some_gone(session, filter);
    if (!gone) co_return std::unexpected(gone.error());
    if (*gone) history.complete = false;
  }
  co_return history;
}

Task<Result<std::int64_t>> last_id_given(Session& session) {
  std::int64_t last = 0;
  // Each database has its own note of the highest id that was removed.
  auto const* const sql =
      session.dialect() == Dialect::sqlite
          ? "SELECT max(coalesce((SELECT max(id) FROM events), 0),"
            " coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0))"
          : "SELECT greatest((SELECT max(id) FROM events), (SELECT id FROM events_removed))";
  auto const read = co_await session.query(sql, {}, [&](Row const& row) { last = row.integer(0); });
  if (!read) co_return std::unexpected(read.error());
  co_return last;
}

Task<Result<std::int64_t>> events_kept(Session& session) {
  auto const span = co_await ids_kept(session);
  if (!span) co_return std::unexpected(span.error());
  co_return span->last - span->first + 1;  // Ids have no gaps.
}

}  // namespace subforge::store
