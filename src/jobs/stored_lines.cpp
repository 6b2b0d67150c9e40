#include "jobs/stored_lines.hpp"

#include <map>

#include "jobs/job_rows.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs {

using store::Row;

Task<Result<void>> write_reports(store::Transaction& transaction,
                                 std::span<ProgressReport const> reports) {
  static std::string const kSql =
      "UPDATE jobs SET progress = $1, progress_note = $2"
      " WHERE id = $3 AND fence = $4 AND stage = 'leased' RETURNING " +
      store::column_list<Job>();
  JobChanges changes;
  for (auto const& report : reports) {
    auto const done = co_await transaction.query(
        kSql, {report.percent, report.note, report.lease.id, report.lease.fence},
        [&](Row const& row) { changes.tell(kChangedEvent, store::read_row<Job>(row)); });
    if (!done) co_return std::unexpected(done.error());
  }
  co_return co_await changes.apply(transaction);
}

Task<Result<void>> write_lines(store::Transaction& transaction, std::span<LogLine const> lines) {
  std::map<Uuid, std::int64_t> last;
  for (auto const& line : lines) {
    auto [number, is_new] = last.try_emplace(line.id, 0);
    if (is_new) {
      auto const read = co_await transaction.query(
          "SELECT coalesce(max(number), 0) FROM job_lines WHERE job_id = $1", {line.id},
          [&](Row const& row) { number->second = row.integer(0); });
      if (!read) co_return std::unexpected(read.error());
    }
    auto const added = co_await transaction.execute(
        "INSERT INTO job_lines (job_id, number, at, level, line) VALUES ($1, $2, $3, $4, $5)",
        {line.id, ++number->second, line.at, static_cast<int>(line.level), line.text});
    if (!added) co_return std::unexpected(added.error());
  }
  co_return {};
}

}  // namespace subforge::jobs
