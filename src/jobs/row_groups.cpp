#include "jobs/row_groups.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "store/record_sql.hpp"

namespace subforge::jobs {
namespace {

using store::Row;
using store::Transaction;
using store::Value;

// Few sizes, so that the statements stay prepared.
constexpr std::array<std::size_t, 3> kSizes = {16, 4, 1};

// A statement for each of them.
using Texts = std::array<std::string, kSizes.size()>;
template <class Make>
Texts texts(Make make) {
  return {make(kSizes[0]), make(kSizes[1]), make(kSizes[2])};
}

// The place of the largest size that is no larger than what is left.
std::size_t next_within(std::size_t left) {
  return static_cast<std::size_t>(
      std::ranges::find_if(kSizes, [left](std::size_t size) { return size <= left; }) -
      kSizes.begin());
}

// The place of the smallest size that holds what is left, or else of the largest one.
std::size_t next_around(std::size_t left) {
  auto place = kSizes.size() - 1;
  while (place > 0 && kSizes[place] < left) --place;
  return place;
}

std::string marks(std::size_t from, std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += (i == 0 ? "$" : ", $") + std::to_string(from + i);
  }
  return text;
}

// As many values as there are marks: the last one fills up.
template <class T>
void add_list(std::vector<Value>& values, std::span<T const> list, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) values.emplace_back(list[std::min(i, list.size() - 1)]);
}

// An error in one of several rows would have SQLite undo the others, for which it keeps copies of
// pages. Whoever writes gives up the whole transaction anyway.
Texts insert_texts(store::Dialect dialect, std::string_view tail) {
  return texts([&](std::size_t rows) {
    auto text = store::insert_sql<Job>("jobs", rows);
    constexpr std::string_view kInsert = "INSERT";
    if (dialect == store::Dialect::sqlite) text.insert(kInsert.size(), " OR FAIL");
    return text.append(tail);
  });
}

enum class Conflict : std::uint8_t { error, nothing };

Texts const& insert_texts(store::Dialect dialect, Conflict conflict) {
  using enum store::Dialect;
  constexpr std::string_view kNothing = " ON CONFLICT (id) DO NOTHING";
  static Texts const all[] = {insert_texts(sqlite, ""), insert_texts(sqlite, kNothing),
                              insert_texts(postgres, ""), insert_texts(postgres, kNothing)};
  return all[(dialect == sqlite ? 0 : 2) + (conflict == Conflict::error ? 0 : 1)];
}

Task<Result<std::int64_t>> insert(Transaction& transaction, std::span<Job const* const> jobs,
                                  std::string_view sql) {
  store::BoundRecord bound;
  for (auto const* const job : jobs) store::bind_row(bound, *job);
  co_return co_await transaction.execute(sql, bound.values());
}

}  // namespace

Task<Result<void>> insert_jobs(Transaction& transaction, std::span<Job const* const> jobs) {
  auto const& sql = insert_texts(transaction.session().dialect(), Conflict::error);
  while (!jobs.empty()) {
    auto const place = next_within(jobs.size());
    auto const size = kSizes[place];
    auto const inserted = co_await insert(transaction, jobs.first(size), sql[place]);
    if (!inserted) co_return std::unexpected(inserted.error());
    jobs = jobs.subspan(size);
  }
  co_return {};
}

Task<Result<std::vector<bool>>> insert_new_jobs(Transaction& transaction,
                                                std::span<Job const* const> jobs) {
  std::vector<bool> fresh;
  fresh.reserve(jobs.size());
  auto const& sql = insert_texts(transaction.session().dialect(), Conflict::nothing);
  while (!jobs.empty()) {
    auto const place = next_within(jobs.size());
    auto const size = kSizes[place];
    auto const group = jobs.first(size);
    auto const inserted = co_await insert(transaction, group, sql[place]);
    if (!inserted) co_return std::unexpected(inserted.error());
    jobs = jobs.subspan(size);
    if (*inserted == static_cast<std::int64_t>(size)) {
      fresh.insert(fresh.end(), size, true);
      continue;
    }
    // Nobody else writes meanwhile: the newest rows are those that were added.
    std::set<Uuid> added;
    auto const newest = co_await transaction.session().query(
        "SELECT id FROM jobs ORDER BY seq DESC LIMIT $1", {*inserted},
        [&](Row const& row) { added.insert(row.uuid(0)); });
    if (!newest) co_return std::unexpected(newest.error());
    for (auto const* const job : group) fresh.push_back(added.erase(job->id) > 0);
  }
  co_return fresh;
}

void read_settled(Row const& row, Job& job, int column) {
  job.name = row.text(column);
  job.priority = row.integer(column + 1);
  job.queue = row.text(column + 2);
  job.created_at = row.timestamp(column + 3);
  if (!row.is_null(column + 4)) job.started_at = row.timestamp(column + 4);
  if (!row.is_null(column + 5)) job.completed_at = row.timestamp(column + 5);
  job.retry_count = row.integer(column + 6);
  if (!row.is_null(column + 7)) job.batch_id = row.uuid(column + 7);
  job.progress = row.real(column + 8);
  job.lane = row.text(column + 9);
}

Task<Result<std::vector<LeasedRow>>> select_leased(Transaction& transaction,
                                                   std::span<Uuid const> ids) {
  static Texts const sql = texts([](std::size_t size) {
    return "SELECT seq, fence, id, worker_id, " + std::string(kSettledColumns) +
           " FROM jobs WHERE id IN (" + marks(1, size) + ") AND stage = 'leased'";
  });
  std::vector<LeasedRow> rows;
  rows.reserve(ids.size());
  while (!ids.empty()) {
    auto const place = next_around(ids.size());
    auto const size = kSizes[place];
    std::vector<Value> values;
    add_list(values, ids, size);
    auto const found =
        co_await transaction.session().query(sql[place], values, [&](Row const& row) {
          auto& one = rows.emplace_back(LeasedRow{row.integer(0), row.integer(1), {}});
          one.job.id = row.uuid(2);
          if (!row.is_null(3)) one.job.worker_id = row.uuid(3);
          read_settled(row, one.job, 4);
        });
    if (!found) co_return std::unexpected(found.error());
    ids = ids.subspan(std::min(size, ids.size()));
  }
  co_return rows;
}

// Not asked what it changed: for SQLite to return that is a trigger, a table of its own and a
// journal of the statement.
Task<Result<void>> write_successes(Transaction& transaction, std::span<std::int64_t const> seqs,
                                   std::string_view result) {
  static Texts const sql = texts([](std::size_t size) {
    return "UPDATE OR FAIL jobs SET stage = 'ended', status = 'success', completed_at = $1,"
           " progress = 100, result = $2, error = NULL WHERE seq IN (" +
           marks(3, size) + ")";
  });
  while (!seqs.empty()) {
    auto const place = next_around(seqs.size());
    auto const size = kSizes[place];
    std::vector<Value> values{transaction.now(), result};
    add_list(values, seqs, size);
    auto const changed = co_await transaction.execute(sql[place], values);
    if (!changed) co_return std::unexpected(changed.error());
    seqs = seqs.subspan(std::min(size, seqs.size()));
  }
  co_return {};
}

}  // namespace subforge::jobs
