#include "jobs/row_groups.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <utility>

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

namespace {

// Statements about rows that are named by where they are, or in some other way. Rows that were
// written one after the other follow each other: from first to last costs less than a list.
struct RowTexts {
  Texts of_list;
  std::string of_run;
};
template <class Make>
RowTexts row_texts(std::size_t marks_before, Make make) {
  auto const first = "$" + std::to_string(marks_before + 1);
  auto const last = "$" + std::to_string(marks_before + 2);
  return {texts([&](std::size_t size) {
            return make("seq IN (" + marks(marks_before + 1, size) + ")");
          }),
          make("seq BETWEEN " + first + " AND " + last)};
}
constexpr std::size_t kRunMin = 4;

// How many numbers at the front of a sorted list follow each other.
std::size_t run_length(std::span<std::int64_t const> sorted) {
  std::size_t length = 1;
  while (length < sorted.size() && sorted[length] == sorted[length - 1] + 1) ++length;
  return length;
}

// Runs the statement for lists as often as the list is long; `values` comes before.
template <class T>
Task<Result<std::int64_t>> run_list(Transaction& transaction, Texts const& sql,
                                    std::vector<Value> values, std::span<T const> list,
                                    store::OnRow on_row) {
  std::int64_t changed = 0;
  auto const before = values.size();
  while (!list.empty()) {
    auto const place = next_around(list.size());
    auto const size = kSizes[place];
    values.erase(values.begin() + static_cast<std::ptrdiff_t>(before), values.end());
    add_list(values, list, size);
    auto const done = co_await transaction.session().query(sql[place], values, on_row);
    if (!done) co_return done;
    changed += *done;
    list = list.subspan(std::min(size, list.size()));
  }
  co_return changed;
}

// How many rows the statement changed.
Task<Result<std::int64_t>> run_rows(Transaction& transaction, RowTexts const& sql,
                                    std::vector<Value> values, std::vector<std::int64_t> seqs,
                                    store::OnRow on_row) {
  std::int64_t changed = 0;
  std::ranges::sort(seqs);
  std::vector<std::int64_t> others;
  for (std::span<std::int64_t const> rest(seqs); !rest.empty();) {
    auto const run = rest.first(run_length(rest));
    rest = rest.subspan(run.size());
    if (run.size() < kRunMin) {
      others.insert(others.end(), run.begin(), run.end());
      continue;
    }
    auto bounded = values;
    bounded.insert(bounded.end(), {run.front(), run.back()});
    auto const done = co_await transaction.session().query(sql.of_run, bounded, on_row);
    if (!done) co_return done;
    changed += *done;
  }
  auto const done = co_await run_list(transaction, sql.of_list, std::move(values),
                                      std::span(std::as_const(others)), on_row);
  if (!done) co_return done;
  co_return changed + *done;
}

Result<void> done(Result<std::int64_t> const& changed) {
  if (!changed) return std::unexpected(changed.error());
  return {};
}

std::string leased_text(std::string const& where) {
  return "SELECT seq, fence, id, worker_id, " + std::string(kSettledColumns) + " FROM jobs WHERE " +
         where + " AND stage = 'leased'";
}

}  // namespace

Task<Result<std::vector<LeasedRow>>> select_leased(Transaction& transaction,
                                                   std::span<Lease const* const> leases) {
  static RowTexts const by_seq = row_texts(0, leased_text);
  static Texts const by_id =
      texts([](std::size_t size) { return leased_text("id IN (" + marks(1, size) + ")"); });
  std::vector<std::int64_t> seqs;
  std::vector<Uuid> ids;
  for (auto const* const lease : leases) {
    lease->seq > 0 ? seqs.push_back(lease->seq) : ids.push_back(lease->id);
  }
  std::vector<LeasedRow> rows;
  rows.reserve(leases.size());
  auto const read = [&rows](Row const& row) {
    auto& one = rows.emplace_back(LeasedRow{row.integer(0), row.integer(1), {}});
    one.job.id = row.uuid(2);
    if (!row.is_null(3)) one.job.worker_id = row.uuid(3);
    read_settled(row, one.job, 4);
  };
  auto looked = co_await run_rows(transaction, by_seq, {}, std::move(seqs), read);
  if (looked) {
    looked = co_await run_list(transaction, by_id, {}, std::span(std::as_const(ids)), read);
  }
  if (!looked) co_return std::unexpected(looked.error());
  co_return rows;
}

// None is asked what it changed: for SQLite to return that is a trigger, a table of its own and a
// journal of the statement.
namespace {
constexpr auto ignore_row = [](Row const&) {};
}  // namespace

Task<Result<void>> write_starts(Transaction& transaction, std::vector<std::int64_t> seqs,
                                Uuid worker) {
  static RowTexts const sql = row_texts(2, [](std::string const& where) {
    return "UPDATE OR FAIL jobs SET stage = 'leased', status = 'started', started_at = $1,"
           " worker_id = $2, fence = fence + 1 WHERE " +
           where;
  });
  co_return done(co_await run_rows(transaction, sql, {transaction.now(), worker}, std::move(seqs),
                                   ignore_row));
}

Task<Result<void>> write_successes(Transaction& transaction, std::vector<std::int64_t> seqs,
                                   std::string_view result) {
  static RowTexts const sql = row_texts(2, [](std::string const& where) {
    return "UPDATE OR FAIL jobs SET stage = 'ended', status = 'success', completed_at = $1,"
           " progress = 100, result = $2, error = NULL, traceback = NULL WHERE " +
           where;
  });
  co_return done(co_await run_rows(transaction, sql, {transaction.now(), result}, std::move(seqs),
                                   ignore_row));
}

Task<Result<std::vector<std::int64_t>>> write_held_successes(Transaction& transaction,
                                                             std::vector<std::int64_t> seqs,
                                                             std::string_view result, Uuid worker,
                                                             std::int64_t fence) {
  static RowTexts const update = row_texts(4, [](std::string const& where) {
    return "UPDATE OR FAIL jobs SET stage = 'ended', status = 'success', completed_at = $1,"
           " progress = 100, result = $2, error = NULL, traceback = NULL WHERE"
           " worker_id = $3 AND fence = $4 AND stage = 'leased' AND " +
           where;
  });
  auto const changed = co_await run_rows(
      transaction, update, {transaction.now(), result, worker, fence}, seqs, ignore_row);
  if (!changed) co_return std::unexpected(changed.error());
  if (*changed == std::ssize(seqs)) co_return seqs;
  static RowTexts const look = row_texts(3, [](std::string const& where) {
    return "SELECT seq FROM jobs WHERE completed_at = $1 AND worker_id = $2 AND fence = $3"
           " AND status = 'success' AND " +
           where;
  });
  std::vector<std::int64_t> written;
  auto const looked =
      co_await run_rows(transaction, look, {transaction.now(), worker, fence}, std::move(seqs),
                        [&written](Row const& row) { written.push_back(row.integer(0)); });
  if (!looked) co_return std::unexpected(looked.error());
  co_return written;
}

}  // namespace subforge::jobs
