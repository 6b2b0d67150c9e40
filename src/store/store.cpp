#include "store/store.hpp"

#include "base/text.hpp"

namespace subforge::store {

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
  static std::string const insert =
      "INSERT INTO events (at, kind, level, subject, actor, audience, version, correlation_id,"
      " payload) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
  static std::string const insert_returning = insert + " RETURNING id";
  event.at = now_;
  auto const audience = event.audience.to_text();
  auto const take_id = [&event](Row const& row) { event.id = row.integer(0); };
  // SQLite keeps what RETURNING returns in a table of its own, which costs a third of the insert.
  bool const is_sqlite = session_.dialect() == Dialect::sqlite;
  auto const inserted = co_await session_.query(
      is_sqlite ? insert : insert_returning,
      {event.at, event.kind, static_cast<int>(event.level), event.subject, event.actor, audience,
       event.version, event.correlation_id, event.payload},
      take_id);
  if (!inserted) co_return std::unexpected(inserted.error());
  if (is_sqlite) {
    auto const asked = co_await session_.query("SELECT last_insert_rowid()", {}, take_id);
    if (!asked) co_return std::unexpected(asked.error());
  }
  auto const id = event.id;
  if (!event.audience.rooms.empty()) {
    auto const noted = co_await note_rooms(event);
    if (!noted) co_return std::unexpected(noted.error());
  }
  events_.push_back(std::move(event));
  co_return id;
}

// By which a room's history is found.
Task<Result<std::int64_t>> Transaction::note_rooms(Event const& event) {
  static constexpr std::string_view kInto = "INSERT INTO event_rooms (event_id, room) VALUES ";
  if (event.audience.rooms.size() == 1) {
    static auto const one = std::string(kInto) + "($1, $2)";
    co_return co_await session_.execute(one, {event.id, event.audience.rooms.front()});
  }
  auto sql = std::string(kInto) + "($1, $2)";
  std::vector<Value> parameters{event.id};
  for (auto const& room : event.audience.rooms) {
    parameters.emplace_back(room);
    if (parameters.size() > 2) sql += ", ($1, $" + std::to_string(parameters.size()) + ")";
  }
  sql += " ON CONFLICT (room, event_id) DO NOTHING";
  co_return co_await session_.execute(sql, parameters);
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
  std::int64_t last = 0;
  auto const newest = co_await session.query("SELECT coalesce(max(id), 0) FROM events", {},
                                             [&](Row const& row) { last = row.integer(0); });
  if (!newest) co_return std::unexpected(newest.error());
  last_id_.store(last, std::memory_order_release);
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
}

}  // namespace subforge::store
