#include "store/store.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include "base/text.hpp"
#include "store/announcement.hpp"
#include "store/event_history.hpp"

namespace subforge::store {
namespace {

// Several rows cost a statement less than each one of its own, the more so where ids are noted.
constexpr std::size_t kRowsAtOnce = 16;

// The texts of a statement that inserts up to so many rows.
class Inserts {
 public:
  Inserts(std::string_view into, std::size_t columns, std::string_view end = {}) {
    std::size_t mark = 0;
    std::string sql(into);
    for (std::size_t row = 1; row <= kRowsAtOnce; ++row) {
      for (std::size_t column = 0; column < columns; ++column) {
        sql += column > 0 ? ", $" : row > 1 ? ", ($" : "($";
        sql += std::to_string(++mark);
      }
      sql += ")";
      texts_[row] = sql + std::string(end);
    }
  }
  [[nodiscard]] std::string const& of(std::size_t rows) const { return texts_[rows]; }

 private:
  std::array<std::string, kRowsAtOnce + 1> texts_;
};

}  // namespace

EventView event_view(Row const& row) {
  return {.id = row.integer(0),
          .at = row.timestamp(1),
          .kind = row.text(2),
          .level = static_cast<LogLevel>(row.integer(3)),
          .subject = row.text(4),
          .actor = row.text(5),
          .audience = row.text(6),
          .version = row.integer(7),
          .correlation_id = row.text(8),
          .payload = row.text(9)};
}

Event event_of(EventView const& view) {
  return {.id = view.id,
          .at = view.at,
          .kind = std::string(view.kind),
          .level = view.level,
          .subject = std::string(view.subject),
          .actor = std::string(view.actor),
          .audience = Audience::parse(view.audience).value_or(Audience{}),
          .version = view.version,
          .correlation_id = std::string(view.correlation_id),
          .payload = std::string(view.payload)};
}

Event event_from_row(Row const& row) { return event_of(event_view(row)); }

Task<Result<std::int64_t>> Transaction::publish(Event event) {
  std::vector<Event> one;
  one.push_back(std::move(event));
  return publish(std::move(one));
}

Task<Result<std::int64_t>> Transaction::publish(std::vector<Event> events) {
  // PostgreSQL gives an id by looking at the rows that are there before the statement.
  auto const at_once = session_.dialect() == Dialect::sqlite ? kRowsAtOnce : 1;
  for (std::span<Event> rest(events); !rest.empty();) {
    auto const some = rest.first(std::min(at_once, rest.size()));
    if (auto const done = co_await insert(some); !done) co_return done;
    rest = rest.subspan(some.size());
  }
  if (auto const noted = co_await note_rooms(events); !noted) co_return noted;
  auto const first = events.empty() ? 0 : events.front().id;
  std::ranges::move(events, std::back_inserter(events_));
  co_return first;
}

Task<Result<std::int64_t>> Transaction::insert(std::span<Event> events) {
  static Inserts const inserts(
      "INSERT INTO events (at, kind, level, subject, actor, audience, version, correlation_id,"
      " payload) VALUES ",
      9);
  static auto const returning = inserts.of(1) + " RETURNING id";
  std::vector<std::string> audiences;
  audiences.reserve(events.size());
  std::vector<Value> values;
  values.reserve(events.size() * 9);
  for (auto& event : events) {
    event.at = now_;
    auto const& audience = audiences.emplace_back(event.audience.to_text());
    values.insert(values.end(),
                  {event.at, event.kind, static_cast<int>(event.level), event.subject, event.actor,
                   audience, event.version, event.correlation_id, event.payload});
  }
  auto const last = static_cast<std::int64_t>(events.size()) - 1;
  auto const take_ids = [&](Row const& row) {
    for (auto id = row.integer(0) - last; auto& event : events) event.id = id++;
  };
  if (session_.dialect() != Dialect::sqlite) {
    co_return co_await session_.query(returning, values, take_ids);
  }
  // SQLite keeps what RETURNING returns in a table of its own, which costs a third of the insert.
  auto const inserted = co_await session_.execute(inserts.of(events.size()), values);
  if (!inserted) co_return inserted;
  co_return co_await session_.query("SELECT last_insert_rowid()", {}, take_ids);
}

// By which a room's history is found.
Task<Result<std::int64_t>> Transaction::note_rooms(std::span<Event const> events) {
  static Inserts const inserts("INSERT INTO event_rooms (event_id, room) VALUES ", 2,
                               " ON CONFLICT (room, event_id) DO NOTHING");
  std::vector<Value> values;
  for (auto const& event : events) {
    for (auto const& room : event.audience.rooms) {
      values.emplace_back(event.id);
      values.emplace_back(room);
    }
  }
  for (std::span<Value const> rest(values); !rest.empty();) {
    auto const some = rest.first(std::min(2 * kRowsAtOnce, rest.size()));
    auto const done = co_await session_.execute(inserts.of(some.size() / 2), some);
    if (!done) co_return done;
    rest = rest.subspan(some.size());
  }
  co_return 0;
}

Task<Result<std::int64_t>> Transaction::announce(std::string_view text) {
  if (session_.dialect() != Dialect::postgres) co_return 0;
  for (auto const& piece : announcement_pieces(Uuid::random(), text)) {
    auto const told =
        co_await session_.execute("SELECT pg_notify('subforge_changes', $1)", {piece});
    if (!told) co_return told;
  }
  co_return 0;
}

Result<void> Store::open() {
  if (auto migrated = database_.migrate(); !migrated) return migrated;
  if (auto started = database_.start(*this); !started) return started;
  // As a write, which has the database's thread to itself: no change can slip in between what is
  // read here and what followers are told from then on.
  EventLoop loop;
  auto load = [this](Transaction& transaction) { return load_state(transaction.session()); };
  auto loaded = block_on(loop, write(load));
  if (!loaded) close();
  return loaded;
}

Task<Result<void>> Store::load_state(Session& session) {
  auto const epoch = co_await session.query("SELECT value FROM meta WHERE key = 'log_epoch'", {},
                                            [&](Row const& row) { epoch_ = row.text(0); });
  if (!epoch) co_return std::unexpected(epoch.error());
  // Also where age has emptied the log meanwhile: who stands there has missed nothing.
  auto const last = co_await last_id_given(session);
  if (!last) co_return std::unexpected(last.error());
  last_id_.store(*last, std::memory_order_release);
  told_id_.store(*last, std::memory_order_release);
  loaded_ = true;
  co_return {};
}

std::string Store::event_id_text(std::int64_t id) const {
  return epoch_ + "-" + std::to_string(id);
}

std::optional<std::int64_t> Store::parse_event_id(std::string_view text) const {
  if (text.size() <= epoch_.size() + 1 || !text.starts_with(epoch_)) return std::nullopt;
  text.remove_prefix(epoch_.size());
  if (text[0] != '-' || text[1] == '-') return std::nullopt;
  return parse_number<std::int64_t>(text.substr(1));
}

Task<Result<void>> Store::committed(Session& session, std::vector<Event> events) {
  if (events.empty()) co_return {};
  if (events.front().id != last_event_id() + 1) {
    // Another process wrote in between; the log itself has both, in order.
    co_return co_await tell_gap(session);
  }
  std::vector<EventPtr> shared;
  shared.reserve(events.size());
  for (auto& event : events) shared.push_back(std::make_shared<Event const>(std::move(event)));
  tell(shared);
  co_return {};
}

Task<Result<void>> Store::changed_elsewhere(Session& session) {
  if (!loaded_) co_return {};
  co_return co_await tell_gap(session);
}

void Store::announced(std::string_view text) {
  for (auto* const follower : followers_) follower->on_announced(text);
}

Task<Result<void>> Store::tell_gap(Session& session) {
  static constexpr int kBatch = 1000;
  auto const sql =
      "SELECT " + std::string(kEventColumns) + " FROM events WHERE id > $1 ORDER BY id LIMIT $2";
  for (;;) {
    std::vector<EventPtr> found;
    auto const done = co_await session.query(sql, {last_event_id(), kBatch}, [&](Row const& row) {
      found.push_back(std::make_shared<Event const>(event_from_row(row)));
    });
    if (!done) {
      logger_.error("reading the event log failed", {{"cause", done.error().context}});
      co_return std::unexpected(done.error());
    }
    if (found.empty()) co_return {};
    tell(found);
    if (found.size() < kBatch) co_return {};
  }
}

void Store::tell(std::vector<EventPtr> const& events) {
  last_id_.store(events.back()->id, std::memory_order_release);
  for (auto* const follower : followers_) follower->on_events(events);
  told_id_.store(events.back()->id, std::memory_order_release);
}

Task<Result<bool>> Store::is_up_to_date() {
  std::int64_t newest = 0;
  auto look = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query("SELECT coalesce(max(id), 0) FROM events", {},
                                     [&](Row const& row) { newest = row.integer(0); });
  };
  auto const looked = co_await read(ReadCost::point, std::move(look));
  if (!looked) co_return std::unexpected(looked.error());
  co_return told_id_.load(std::memory_order_acquire) >= newest;
}

}  // namespace subforge::store
