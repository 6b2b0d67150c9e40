#include "store/event_retention.hpp"

namespace subforge::store {

Task<Result<std::int64_t>> EventRetention::thin(Timestamp now) {
  constexpr std::int64_t kDayUs = 86'400'000'000;
  std::int64_t const last = count_ > 0 ? store_.last_event_id() - count_ : 0;
  std::int64_t const before = days_ > 0 ? now.micros - days_ * kDayUs : INT64_MIN;
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
  // Times follow ids but where the clock was set back; then an event goes a little early.
  auto remove = [last, before](Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "DELETE FROM events WHERE id <= (SELECT coalesce(max(id), 0) FROM"
        " (SELECT id, at FROM events ORDER BY id LIMIT $1) AS oldest WHERE id <= $2 OR at < $3)",
        {kRemovedAtOnce, last, before});
  };
  co_return co_await store_.write(remove);
}

}  // namespace subforge::store
