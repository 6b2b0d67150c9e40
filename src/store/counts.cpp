#include "store/counts.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <vector>

namespace subforge::store {

std::int64_t millionths(double figure) {
  constexpr double kFigureMax = 1e8;
  auto const bounded = std::clamp(figure, -kFigureMax, kFigureMax);
  return static_cast<std::int64_t>(std::floor(bounded * kMillionths + 0.5));
}

namespace {

// How many counts a statement may change. Few sizes, so that each is prepared once.
constexpr std::array<std::size_t, 4> kCountsAtOnce = {8, 4, 2, 1};

std::string change_sql(std::size_t counts) {
  std::string sql = "INSERT INTO record_counts (name, n) VALUES ($1, $2)";
  for (std::size_t i = 1; i < counts; ++i) {
    sql += ", ($" + std::to_string(2 * i + 1) + ", $" + std::to_string(2 * i + 2) + ")";
  }
  return sql + " ON CONFLICT (name) DO UPDATE SET n = record_counts.n + excluded.n";
}

}  // namespace

Task<Result<void>> CountChanges::apply(Transaction& transaction) const {
  static std::array<std::string, kCountsAtOnce.size()> const statements = {
      change_sql(kCountsAtOnce[0]), change_sql(kCountsAtOnce[1]), change_sql(kCountsAtOnce[2]),
      change_sql(kCountsAtOnce[3])};
  // A name and its change follow each other.
  std::vector<Value> values;
  for (auto const& [name, change] : changes_) {
    if (change != 0) values.insert(values.end(), {name, change});
  }
  std::span<Value const> rest(values);
  for (std::size_t i = 0; i < kCountsAtOnce.size(); ++i) {
    auto const size = 2 * kCountsAtOnce[i];
    for (; rest.size() >= size; rest = rest.subspan(size)) {
      auto const done = co_await transaction.execute(statements[i], rest.first(size));
      if (!done) co_return std::unexpected(done.error());
    }
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
