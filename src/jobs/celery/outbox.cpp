#include "jobs/celery/outbox.hpp"

#include <algorithm>
#include <map>

#include "jobs/celery/wire.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs::celery {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

int job_columns() {
  static int const columns =
      static_cast<int>(std::ranges::count(store::column_list<Job>(), ',')) + 1;
  return columns;
}

std::vector<store::Value> values_of(std::span<Uuid const> ids) { return {ids.begin(), ids.end()}; }

Result<void> done(Result<std::int64_t> const& changed) {
  if (!changed) return std::unexpected(changed.error());
  return {};
}

}  // namespace

std::string marks(std::size_t count, std::size_t from) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    text += (i == 0 ? "$" : ", $") + std::to_string(from + i);
  }
  return text;
}

Task<Result<void>> add_to_outbox(Transaction& transaction, Uuid job, OutboxKind kind) {
  co_return done(co_await transaction.execute(
      "INSERT INTO job_outbox (job_id, kind) VALUES ($1, $2)", {job, describe::to_text(kind)}));
}

Task<Result<void>> remove_pushes(Transaction& transaction, std::span<Uuid const> jobs) {
  if (jobs.empty()) co_return {};
  auto const sql =
      "DELETE FROM job_outbox WHERE kind = 'push' AND job_id IN (" + marks(jobs.size(), 1) + ")";
  auto const values = values_of(jobs);
  co_return done(co_await transaction.execute(sql, values));
}

Task<Result<std::vector<OutboxRow>>> read_outbox(Session& session, std::int64_t after,
                                                 std::int64_t most) {
  static std::string const kSql =
      "SELECT " + store::column_list<Job>() +
      ", job_outbox.seq, kind, message FROM job_outbox JOIN jobs ON jobs.id = job_outbox.job_id"
      " LEFT JOIN job_messages ON job_messages.job_id = job_outbox.job_id"
      " WHERE job_outbox.seq > $1 ORDER BY job_outbox.seq LIMIT $2";
  std::vector<OutboxRow> rows;
  auto const read = co_await session.query(kSql, {after, most}, [&](Row const& row) {
    auto const columns = job_columns();
    auto& one = rows.emplace_back();
    one.job = store::read_row<Job>(row);
    one.row = row.integer(columns);
    one.kind = describe::from_text<OutboxKind>(row.text(columns + 1)).value_or(OutboxKind::end);
    if (!row.is_null(columns + 2)) one.stored = row.text(columns + 2);
  });
  if (!read) co_return std::unexpected(read.error());
  co_return rows;
}

Task<Result<std::int64_t>> newest_row(Session& session) {
  auto const* const sql =
      session.dialect() == store::Dialect::sqlite
          ? "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job_outbox'), 0)"
          : "SELECT coalesce(pg_sequence_last_value("
            "CAST(pg_get_serial_sequence('job_outbox', 'seq') AS REGCLASS)), 0)";
  std::int64_t newest = 0;
  auto const read =
      co_await session.query(sql, {}, [&](Row const& row) { newest = row.integer(0); });
  if (!read) co_return read;
  co_return newest;
}

Task<Result<bool>> move_behind(Transaction& transaction, std::int64_t mark) {
  bool const sqlite = transaction.session().dialect() == store::Dialect::sqlite;
  if (!sqlite) {
    // Nobody takes rows of the sequence while it is set.
    auto const locked =
        co_await transaction.execute("LOCK TABLE job_outbox IN SHARE ROW EXCLUSIVE MODE");
    if (!locked) co_return std::unexpected(locked.error());
  }
  auto const newest = co_await newest_row(transaction.session());
  if (!newest) co_return std::unexpected(newest.error());
  if (*newest >= mark) co_return false;
  struct Kept {
    std::int64_t row = 0;
    Uuid job;
    std::string kind;
  };
  std::vector<Kept> all;
  auto const taken = co_await transaction.query(
      "DELETE FROM job_outbox RETURNING seq, job_id, kind", {}, [&](Row const& row) {
        all.push_back({row.integer(0), row.uuid(1), std::string(row.text(2))});
      });
  if (!taken) co_return std::unexpected(taken.error());
  // A row of that number, if only for a moment, is what the ones after it go on from.
  auto const nil = Uuid{};
  auto const set =
      sqlite ? co_await transaction.execute(
                   "INSERT INTO job_outbox (seq, job_id, kind) VALUES ($1, $2, 'end')", {mark, nil})
             : co_await transaction.execute(
                   "SELECT setval(pg_get_serial_sequence('job_outbox', 'seq'), $1)", {mark});
  if (!set) co_return std::unexpected(set.error());
  if (auto const removed = co_await transaction.execute("DELETE FROM job_outbox"); !removed) {
    co_return std::unexpected(removed.error());
  }
  std::ranges::sort(all, {}, &Kept::row);
  for (auto const& one : all) {
    auto const kind = describe::from_text<OutboxKind>(one.kind).value_or(OutboxKind::end);
    if (auto added = co_await add_to_outbox(transaction, one.job, kind); !added) {
      co_return std::unexpected(added.error());
    }
  }
  co_return true;
}

Task<Result<void>> remove_said(Transaction& transaction, std::int64_t until) {
  co_return done(co_await transaction.execute(
      "DELETE FROM job_outbox WHERE seq <= $1 AND kind <> 'push'", {until}));
}

Task<Result<bool>> anything_waits(Session& session, Timestamp now) {
  bool any = false;
  auto const looked = co_await session.query(
      "SELECT 1 FROM (SELECT seq FROM jobs WHERE stage = 'delayed' AND due_at <= $1 LIMIT 1) AS due"
      " UNION ALL SELECT 1 FROM (SELECT seq FROM jobs WHERE stage = 'ready' AND lane = ''"
      " AND (expires_at IS NULL OR expires_at > $1) LIMIT 1) AS ready",
      {now}, [&](Row const&) { any = true; });
  if (!looked) co_return std::unexpected(looked.error());
  co_return any;
}

Task<Result<std::int64_t>> move_to_outbox(Transaction& transaction, std::int64_t most) {
  auto const now = transaction.now();
  auto const ripened = co_await transaction.execute(
      "UPDATE jobs SET stage = 'ready' WHERE seq IN (SELECT seq FROM jobs"
      " WHERE stage = 'delayed' AND due_at <= $1 ORDER BY due_at LIMIT $2)",
      {now, most});
  if (!ripened) co_return ripened;
  struct Moved {
    std::int64_t rank = 0;
    std::int64_t seq = 0;
    Uuid id;
  };
  std::vector<Moved> moved;
  auto const updated = co_await transaction.query(
      "UPDATE jobs SET stage = 'outbound' WHERE seq IN (SELECT seq FROM jobs"
      " WHERE stage = 'ready' AND lane = '' AND (expires_at IS NULL OR expires_at > $1)"
      " ORDER BY rank, seq LIMIT $2) RETURNING id, rank, seq",
      {now, most},
      [&](Row const& row) { moved.push_back({row.integer(1), row.integer(2), row.uuid(0)}); });
  if (!updated) co_return updated;
  std::ranges::sort(moved, {}, [](auto const& one) { return std::pair(one.rank, one.seq); });
  std::vector<Uuid> ids;
  for (auto const& one : moved) ids.push_back(one.id);
  // Of a job only the newest row counts.
  if (auto removed = co_await remove_pushes(transaction, ids); !removed) {
    co_return std::unexpected(removed.error());
  }
  for (auto const& id : ids) {
    if (auto added = co_await add_to_outbox(transaction, id, OutboxKind::push); !added) {
      co_return std::unexpected(added.error());
    }
  }
  co_return static_cast<std::int64_t>(moved.size());
}

// ---- Messages ----------------------------------------------------------------------------------

bool says_more(TaskMessage const& message) {
  static constexpr std::array<std::string_view, 21> kKnown = {
      "lang",        "task",          "id",          "shadow",          "eta",
      "expires",     "group",         "group_index", "retries",         "timelimit",
      "root_id",     "parent_id",     "argsrepr",    "kwargsrepr",      "origin",
      "redelivered", "ignore_result", "stamps",      "stamped_headers", "replaced_task_nesting",
      "compression"};
  if (!message.callbacks.empty() || !message.errbacks.empty() || !message.chain.empty() ||
      !message.chord.empty() || !message.group.empty() || !message.parent_id.empty() ||
      message.ignore_result || stamps_of(message) != nullptr) {
    return true;
  }
  if (!message.root_id.empty() && message.root_id != message.id) return true;
  if (!is_uuid(message.id)) return true;
  return std::ranges::any_of(message.headers, [](auto const& header) {
    return std::ranges::find(kKnown, std::string_view(header.key())) == kKnown.end();
  });
}

Task<Result<void>> keep_message(Transaction& transaction, Uuid job, TaskMessage const& message) {
  auto const text = write_message(message);
  co_return done(co_await transaction.execute(
      "INSERT INTO job_messages (job_id, task_id, message) VALUES ($1, $2, $3)"
      " ON CONFLICT (job_id) DO UPDATE SET task_id = excluded.task_id, message = excluded.message",
      {job, message.id, text}));
}

Task<Result<void>> rename_message(Transaction& transaction, Job const& job) {
  auto const kept = co_await kept_messages(transaction.session(), std::span(&job.id, 1));
  if (!kept) co_return std::unexpected(kept.error());
  auto message = message_of_job(job, kept->front(), {});
  message.id = id_of_next_run(message.id);
  co_return co_await keep_message(transaction, job.id, message);
}

Task<Result<std::vector<std::string>>> kept_messages(Session& session, std::span<Uuid const> jobs) {
  std::vector<std::string> messages(jobs.size());
  if (jobs.empty()) co_return messages;
  std::map<Uuid, std::size_t> places;
  for (std::size_t i = 0; i < jobs.size(); ++i) places[jobs[i]] = i;
  auto const sql =
      "SELECT job_id, message FROM job_messages WHERE job_id IN (" + marks(jobs.size(), 1) + ")";
  auto const values = values_of(jobs);
  auto const read = co_await session.query(
      sql, values, [&](Row const& row) { messages[places[row.uuid(0)]] = row.text(1); });
  if (!read) co_return std::unexpected(read.error());
  co_return messages;
}

TaskMessage message_of_job(Job const& job, std::string_view stored, std::string_view origin) {
  TaskMessage message;
  message.id = job.id.to_string();
  message.priority = celery_priority(job.priority);
  if (!stored.empty()) {
    message = read_message(stored).message;
    // It may have been edited.
    if (our_priority(message.priority) != job.priority) {
      message.priority = celery_priority(job.priority);
    }
  }
  message.task = job.name;
  message.args = job.args.text;
  message.kwargs = job.kwargs.text;
  message.queue = job.queue;
  if (job.retry_count > message.retries) message.parent_id = message.id;
  message.retries = job.retry_count;
  message.eta.reset();
  message.expires = job.expires_at;
  message.hard_limit = job.hard_limit_seconds;
  message.soft_limit = job.soft_limit_seconds;
  message.redelivered = false;
  message.delivery_tag.clear();
  message.origin = origin;
  return message;
}

}  // namespace subforge::jobs::celery
