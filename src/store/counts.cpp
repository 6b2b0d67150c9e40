#include "store/counts.hpp"

#include <algorithm>
#include <cmath>

namespace subforge::store {

std::int64_t millionths(double figure) {
  constexpr double kFigureMax = 1e8;
  auto const bounded = std::clamp(figure, -kFigureMax, kFigureMax);
  return static_cast<std::int64_t>(std::floor(bounded * kMillionths + 0.5));
}

Task<Result<void>> CountChanges::apply(Transaction& transaction) const {
  for (auto const& [name, change] : changes_) {
    if (change == 0) continue;
    auto const done = co_await transaction.execute(
        "INSERT INTO record_counts (name, n) VALUES ($1, $2)"
        " ON CONFLICT (name) DO UPDATE SET n = record_counts.n + excluded.n",
        {name, change});
    if (!done) co_return std::unexpected(done.error());
  }
  co_return {};
}

Task<Result<Counts>> read_counts(Session& session, std::string record) {
  // '.' and '/' follow each other in every encoding: the range holds what begins with "record.".
  auto const from = record + '.';
  auto const to = record + '/';
  Counts counts;
  auto const done = co_await session.query(
      "SELECT name, n FROM record_counts WHERE name = $1 OR (name >= $2 AND name < $3)",
      {record, from, to}, [&](Row const& row) { counts.emplace(row.text(0), row.integer(1)); });
  if (!done) co_return std::unexpected(done.error());
  co_return counts;
}

Task<Result<std::int64_t>> read_count(Session& session, std::string name) {
  std::int64_t n = 0;
  auto const done = co_await session.query("SELECT n FROM record_counts WHERE name = $1", {name},
                                           [&](Row const& row) { n = row.integer(0); });
  if (!done) co_return std::unexpected(done.error());
  co_return n;
}

}  // namespace subforge::store
