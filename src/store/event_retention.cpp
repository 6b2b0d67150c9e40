#include "store/event_retention.hpp"

namespace subforge::store {
namespace {

// Times follow ids but where the clock was set back; then an event goes a little early.
Task<Result<std::int64_t>> remove_oldest(Transaction& transaction, std::int64_t last,
                                         std::int64_t before) {
  std::int64_t newest = 0;
  std::vector<std::pair<std::int64_t, Audience>> oldest;
  auto const looked = co_await transaction.query(
      "SELECT id, at, audience FROM events ORDER BY id LIMIT $1", {EventRetention::kRemovedAtOnce},
      [&](Row const& row) {
        if (row.integer(0) <= last || row.integer(1) < before) newest = row.integer(0);
        oldest.emplace_back(row.integer(0), Audience::parse(row.text(2)).value_or(Audience{}));
      });
  if (!looked) co_return std::unexpected(looked.error());
  for (auto const& [id, audience] : oldest) {
    if (id > newest) break;
    for (auto const& room : audience.rooms) {
      auto const removed = co_await transaction.execute(
          "DELETE FROM event_rooms WHERE room = $1 AND event_id = $2", {room, id});
      if (!removed) co_return std::unexpected(removed.error());
    }
  }
  co_return co_await transaction.execute("DELETE FROM events WHERE id <= $1", {newest});
}

}  // namespace

Task<Result<std::int64_t>> EventRetention::thin(Timestamp now) {
  auto const last = keeps_behind();
  auto const before = keeps_since(now).micros;
  bool any = false;
  auto look = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(
        "SELECT id, at FROM events ORDER BY id LIMIT 1", {},
        [&](Row const& row) { any = row.integer(0) <= last || row.integer(1) < before; });
  };
  if (auto const looked = co_await store_.read(ReadCost::point, look); !looked) {
    co_return std::unexpected(looked.error());
  }
  if (!any) co_return 0;
  auto remove = [last, before](Transaction& transaction) -> Task<Result<std::int64_t>> {
    return remove_oldest(transaction, last, before);
  };
  co_return co_await store_.write(remove);
}

}  // namespace subforge::store
