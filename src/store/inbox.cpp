#include "store/inbox.hpp"

namespace subforge::store {

Task<Result<std::int64_t>> Inbox::send(Transaction& transaction, Event event) {
  auto kept = event;
  kept.at = transaction.now();
  auto const id = co_await transaction.publish(std::move(event));
  if (!id) co_return id;
  auto const& user = kept.audience.user;
  auto const added = co_await transaction.execute(
      "INSERT INTO inbox (user_id, event_id, at, kind, subject, actor, correlation_id, payload)"
      " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
      {user, *id, kept.at.micros, kept.kind, kept.subject, kept.actor, kept.correlation_id,
       kept.payload});
  if (!added) co_return added;
  auto const pushed_out = co_await transaction.execute(
      "DELETE FROM inbox WHERE user_id = $1 AND event_id <= (SELECT event_id FROM inbox"
      " WHERE user_id = $1 ORDER BY event_id DESC LIMIT 1 OFFSET $2)",
      {user, limits_.messages_max});
  if (!pushed_out) co_return pushed_out;
  if (*pushed_out > 0) {
    logger_.warning("an inbox is full; its oldest message is gone",
                    {{"user", user}, {"messages", limits_.messages_max}});
  }
  co_return id;
}

Task<Result<KeptMessages>> Inbox::read(Session& session, std::string_view user, std::int64_t after,
                                       std::int64_t last, std::int64_t limit,
                                       std::size_t bytes_max) {
  KeptMessages kept;
  std::size_t bytes = 0;
  auto const add = [&](Row const& row) {
    if (kept.more) return;
    auto const payload = row.text(6);
    bytes += payload.size();
    kept.more = std::ssize(kept.events) == limit || (bytes > bytes_max && !kept.events.empty());
    if (kept.more) return;
    Event event;
    event.id = row.integer(0);
    event.at = {row.integer(1)};
    event.kind = row.text(2);
    event.subject = row.text(3);
    event.actor = row.text(4);
    event.correlation_id = row.text(5);
    event.payload = payload;
    event.audience = Audience::one(std::string(user));
    kept.events.push_back(std::move(event));
  };
  auto const done = co_await session.query(
      "SELECT event_id, at, kind, subject, actor, correlation_id, payload FROM inbox"
      " WHERE user_id = $1 AND event_id > $2 AND event_id <= $3 ORDER BY event_id LIMIT $4",
      {user, after, last, limit + 1}, add);
  if (!done) co_return std::unexpected(done.error());
  co_return kept;
}

Task<Result<std::int64_t>> Inbox::acknowledge(Transaction& transaction, std::string user,
                                              std::int64_t last) {
  co_return co_await transaction.execute("DELETE FROM inbox WHERE user_id = $1 AND event_id <= $2",
                                         {user, last});
}

Task<Result<std::int64_t>> Inbox::expire(Timestamp now) {
  constexpr std::int64_t kDayUs = 86'400'000'000;
  if (limits_.days <= 0) co_return 0;
  auto const before = now.micros - limits_.days * kDayUs;
  bool any = false;
  auto look = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query("SELECT 1 FROM inbox WHERE at < $1 LIMIT 1", {before},
                                     [&](Row const&) { any = true; });
  };
  if (auto const looked = co_await store_.read(ReadCost::point, look); !looked) co_return looked;
  if (!any) co_return 0;
  auto remove = [before](Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "DELETE FROM inbox WHERE (user_id, event_id) IN (SELECT user_id, event_id FROM inbox"
        " WHERE at < $1 ORDER BY at LIMIT $2)",
        {before, kRemovedAtOnce});
  };
  co_return co_await store_.write(remove);
}

}  // namespace subforge::store
