#include "jobs/jobs.hpp"

#include <algorithm>

#include "describe/parse_json.hpp"
#include "jobs/job_figures.hpp"
#include "jobs/job_lists.hpp"
#include "jobs/job_rows.hpp"
#include "store/counts.hpp"
#include "store/record_sql.hpp"
#include "store/tables.hpp"

namespace subforge::jobs {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

}  // namespace

Task<Result<std::vector<Enqueued>>> Jobs::enqueue(std::vector<JobSpec> specs) {
  // These are refused before anything is written, if at all; what the caller's task has joined to
  // the write may be refused behind it.
  bool const plain =
      co_await carried_context() == nullptr && std::ranges::none_of(specs, [](JobSpec const& spec) {
        return spec.id != Uuid{} || spec.unique_key || spec.batch_id;
      });
  auto add = [this, specs = std::move(specs)](Transaction& transaction) {
    return queue_.enqueue_in(transaction, specs);
  };
  co_return co_await store_.write(std::move(add), plain ? store::Undo::commit : store::Undo::job);
}

Task<Result<Job>> Jobs::get(Uuid id) {
  auto read = [id](Session& session) { return select_job(session, id); };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

Task<Result<JobPage>> Jobs::list(JobFilter filter) {
  auto read = [&filter](Session& session) { return read_job_page(session, filter); };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

// ---- Figures -----------------------------------------------------------------------------------

Task<Result<JobStatistics>> Jobs::statistics() {
  auto read = [](Session& session) -> Task<Result<JobStatistics>> {
    auto const counts = co_await store::read_counts(session, "jobs");
    if (!counts) co_return std::unexpected(counts.error());
    JobStatistics statistics;
    statistics.total = count_named(*counts, "jobs");
    for (auto const& [status, name] : names_of(JobStatus{})) {
      statistics.by_status[static_cast<std::size_t>(status)] =
          count_named(*counts, count_of_status(status));
    }
    for (std::size_t i = 0; i < priority::kNames.size(); ++i) {
      statistics.by_priority[i] =
          count_named(*counts, count_of_priority(priority::kNames[i].first));
    }
    auto const timed = count_named(*counts, kTimedCount);
    if (timed > 0) {
      statistics.average_seconds = static_cast<double>(count_named(*counts, kDurationCount)) / 1e6 /
                                   static_cast<double>(timed);
    }
    if (statistics.total > 0) {
      auto const successes = statistics.by_status[static_cast<std::size_t>(JobStatus::success)];
      statistics.success_rate =
          static_cast<double>(successes) * 100 / static_cast<double>(statistics.total);
    }
    co_return statistics;
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

namespace {

Task<Result<void>> read_workers(Session& session, std::vector<WorkerFigures>& workers) {
  auto const done = co_await session.query(
      "SELECT id, name, queues, slots, started_at, heard_at, coalesce(held.n, 0) FROM job_workers"
      " LEFT JOIN (SELECT worker_id, count(*) AS n FROM jobs WHERE status = 'started'"
      " AND stage = 'leased' GROUP BY worker_id) AS held ON held.worker_id = id"
      " ORDER BY started_at, id",
      {}, [&](Row const& row) {
        WorkerFigures worker;
        worker.id = row.uuid(0);
        worker.name = row.text(1);
        worker.queues =
            describe::parse_plain_list(row.text(2)).value_or(std::vector<std::string>{});
        worker.slots = row.integer(3);
        worker.started_at = row.timestamp(4);
        worker.heard_at = row.timestamp(5);
        worker.busy = row.integer(6);
        workers.push_back(std::move(worker));
      });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

// "<status>,<queue>" behind the name of the counts.
void add_queue_figures(std::map<std::string, QueueFigures>& queues, std::string_view rest,
                       std::int64_t n) {
  auto const comma = rest.find(',');
  if (comma == std::string_view::npos) return;
  auto const what = rest.substr(0, comma);
  auto& figures = queues[std::string(rest.substr(comma + 1))];
  if (what == "pending" || what == "retry") figures.pending += n;
  if (what == "started") figures.active += n;
  if (what == "failure") figures.failed += n;
}

}  // namespace

namespace {

std::map<std::string, QueueFigures> queues_of(store::Counts const& counts) {
  static constexpr std::string_view kPrefix = "jobs.status,queue=";
  std::map<std::string, QueueFigures> queues;
  for (auto const& [name, n] : counts) {
    if (!name.starts_with(kPrefix)) continue;
    add_queue_figures(queues, std::string_view(name).substr(kPrefix.size()), n);
  }
  return queues;
}

}  // namespace

Task<Result<QueueStatus>> Jobs::queue_status() {
  auto read = [](Session& session) -> Task<Result<QueueStatus>> {
    auto const counts = co_await store::read_counts(session, "jobs");
    if (!counts) co_return std::unexpected(counts.error());
    QueueStatus status;
    status.queues = queues_of(*counts);
    if (auto done = co_await read_workers(session, status.workers); !done) {
      co_return std::unexpected(done.error());
    }
    // The last minute that is over, and the one that has begun.
    auto const minute = Timestamp::now().micros / 60'000'000;
    std::int64_t duration_us = 0;
    auto const done = co_await session.query(
        "SELECT coalesce(sum(ended), 0), coalesce(sum(duration_us), 0) FROM job_minutes"
        " WHERE minute = $1",
        {minute - 1}, [&](Row const& row) {
          status.ended_last_minute = row.integer(0);
          duration_us = row.integer(1);
        });
    if (!done) co_return std::unexpected(done.error());
    if (status.ended_last_minute > 0) {
      status.average_seconds_last_minute =
          static_cast<double>(duration_us) / 1e6 / static_cast<double>(status.ended_last_minute);
    }
    co_return status;
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

// ---- By hand -----------------------------------------------------------------------------------

Task<Result<Job>> Jobs::cancel(Uuid id, std::string actor) {
  auto end = [this, id, actor = std::move(actor)](Transaction& transaction) {
    return queue_.cancel_in(transaction, id, actor, "The task was cancelled");
  };
  co_return co_await store_.write(std::move(end));
}

Task<Result<Job>> Jobs::retry(Uuid id, std::string actor) {
  auto again = [this, id, actor = std::move(actor)](Transaction& transaction) {
    return queue_.put_back_in(transaction, id, actor, false);
  };
  co_return co_await store_.write(std::move(again));
}

Task<Result<Job>> Jobs::put_back(Uuid id, std::string actor) {
  auto again = [this, id, actor = std::move(actor)](Transaction& transaction) {
    return queue_.put_back_in(transaction, id, actor, true);
  };
  co_return co_await store_.write(std::move(again));
}

namespace {

// Notes what changed, for whoever asks who did it.
template <class T>
void apply_edit(std::optional<T> const& wanted, T& kept, std::string_view what,
                std::string& changed) {
  if (!wanted || *wanted == kept) return;
  kept = *wanted;
  if (!changed.empty()) changed += ", ";
  changed += what;
}

Result<void> check_edited(Job const& job, QueueLimits const& limits) {
  for (auto const& checked :
       {check_payload(job.args.text, job.kwargs.text, job.metadata.text, limits.payload_bytes_max),
        check_queue_name(job.queue), check_priority(job.priority),
        check_retries(job.max_retries)}) {
    if (!checked) return checked;
  }
  return {};
}

}  // namespace

Task<Result<Job>> Jobs::edit(Uuid id, JobEdit edit, std::string actor) {
  auto change = [this, id, edit = std::move(edit),
                 actor = std::move(actor)](Transaction& transaction) -> Task<Result<Job>> {
    auto const before = co_await select_job(transaction.session(), id);
    if (!before) co_return before;
    if (before->status != JobStatus::failure && before->status != JobStatus::revoked) {
      co_return fail(ErrorCode::invalid, "Only failed or revoked tasks can be edited");
    }
    auto job = *before;
    std::string changed;
    apply_edit(edit.args, job.args.text, "args", changed);
    apply_edit(edit.kwargs, job.kwargs.text, "kwargs", changed);
    // Whoever says what is to be done answers for it.
    if (!changed.empty()) job.created_by = actor;
    apply_edit(edit.queue, job.queue, "queue", changed);
    apply_edit(edit.priority, job.priority, "priority", changed);
    apply_edit(edit.max_retries, job.max_retries, "max_retries", changed);
    if (auto checked = check_edited(job, queue_.limits()); !checked) {
      co_return std::unexpected(checked.error());
    }
    if (changed.empty()) co_return job;
    auto const update = store::update_of_changes<Job>("jobs", "id", job.id, *before, job);
    auto const done = co_await transaction.execute(update.sql, update.bound.values());
    if (!done) co_return std::unexpected(done.error());
    JobChanges changes;
    changes.removed(*before);
    changes.added(job);
    changes.tell(kChangedEvent, job, actor);
    if (auto noted = co_await JobRows::note_action(transaction, id, actor, "edited", changed);
        !noted) {
      co_return std::unexpected(noted.error());
    }
    if (auto applied = co_await changes.apply(transaction); !applied) {
      co_return std::unexpected(applied.error());
    }
    co_return job;
  };
  co_return co_await store_.write(std::move(change));
}

Task<Result<std::vector<JobAction>>> Jobs::actions(Uuid id) {
  constexpr int kMost = 1'000;
  auto read = [id](Session& session) -> Task<Result<std::vector<JobAction>>> {
    std::vector<JobAction> actions;
    auto const done = co_await session.query(
        "SELECT at, actor, action, detail FROM job_actions WHERE job_id = $1"
        " ORDER BY seq DESC LIMIT $2",
        {id, kMost}, [&](Row const& row) {
          actions.push_back({row.timestamp(0), std::string(row.text(1)), std::string(row.text(2)),
                             std::string(row.text(3))});
        });
    if (!done) co_return std::unexpected(done.error());
    co_return actions;
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

Task<Result<std::vector<StoredLine>>> Jobs::lines(Uuid id, std::int64_t after, std::int64_t limit) {
  auto read = [=](Session& session) -> Task<Result<std::vector<StoredLine>>> {
    std::vector<StoredLine> lines;
    auto const done = co_await session.query(
        "SELECT number, at, level, line FROM job_lines WHERE job_id = $1 AND number > $2"
        " ORDER BY number LIMIT $3",
        {id, after, limit}, [&](Row const& row) {
          lines.push_back({row.integer(0), row.timestamp(1), static_cast<LogLevel>(row.integer(2)),
                           std::string(row.text(3))});
        });
    if (!done) co_return std::unexpected(done.error());
    co_return lines;
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

// ---- Clearing up -------------------------------------------------------------------------------

// With what belongs to it. How many characters of it may have been long.
Task<Result<std::int64_t>> Jobs::remove_in(Transaction& transaction, Uuid id) {
  std::int64_t length = 0;
  auto const add = [&length](Row const& row) { length += row.integer(0); };
  for (auto const* const sql :
       {"DELETE FROM job_lines WHERE job_id = $1 RETURNING length(line)",
        "DELETE FROM job_actions WHERE job_id = $1", "DELETE FROM job_batches WHERE then_id = $1",
        "DELETE FROM job_messages WHERE job_id = $1 RETURNING length(message)",
        "DELETE FROM job_outbox WHERE job_id = $1",
        "DELETE FROM jobs WHERE id = $1 RETURNING length(result) + length(args) + length(kwargs)"
        " + length(metadata) + coalesce(length(traceback), 0)"}) {
    auto const done = co_await transaction.query(sql, {id}, add);
    if (!done) co_return std::unexpected(done.error());
  }
  co_return length;
}

// In the order of their creation: what ended before was created before.
Task<Result<Jobs::Removed>> Jobs::remove_ended(Timestamp before, Place& after) {
  Place last;
  auto remove = [before, &after, &last](Transaction& transaction) -> Task<Result<Removed>> {
    // What the figures need, and nothing that may be long.
    constexpr std::string_view kSql =
        "SELECT id, status, priority, queue, created_at, seq FROM jobs WHERE created_at < $1"
        " AND (created_at, seq) > ($2, $3) AND completed_at < $4 ORDER BY created_at, seq LIMIT $5";
    struct Ended {
      Job job;
      Place place;
    };
    std::vector<Ended> ended;
    auto const found = co_await transaction.query(
        kSql, {before, after.created_at, after.seq, before, kRemovedAtOnce}, [&](Row const& row) {
          auto& [job, place] = ended.emplace_back();
          job.id = row.uuid(0);
          job.status = describe::from_text<JobStatus>(row.text(1)).value_or(JobStatus::failure);
          job.priority = row.integer(2);
          job.queue = row.text(3);
          place = {row.timestamp(4), row.integer(5)};
        });
    if (!found) co_return std::unexpected(found.error());
    Removed removed{0, std::ssize(ended) == kRemovedAtOnce};
    last = after;
    JobChanges changes;
    std::int64_t length = 0;
    for (auto const& [job, place] : ended) {
      auto const one = co_await remove_in(transaction, job.id);
      if (!one) co_return std::unexpected(one.error());
      changes.removed(job);
      last = place;
      ++removed.count;
      // SQLite keeps in memory what it may have to undo.
      if ((length += *one) < kRemovedLength) continue;
      removed.more = true;
      break;
    }
    if (auto done = co_await changes.apply(transaction); !done) {
      co_return std::unexpected(done.error());
    }
    co_return removed;
  };
  auto const removed = co_await store_.write(std::move(remove));
  if (removed) after = last;
  co_return removed;
}

Task<Result<std::int64_t>> Jobs::clean_up(Timestamp before, GoOn go_on) {
  auto count = [before](Session& session) -> Task<Result<std::int64_t>> {
    store::Value const value = before;
    co_return co_await store::read_number(
        session, "SELECT count(*) FROM jobs WHERE created_at < $1 AND completed_at < $1",
        std::span(&value, 1));
  };
  auto const there = co_await store_.read(store::ReadCost::scan, count);
  if (!there) co_return there;
  std::int64_t all = 0;
  Place after;
  for (;;) {
    auto const removed = co_await remove_ended(before, after);
    if (!removed) co_return std::unexpected(removed.error());
    all += removed->count;
    if (!removed->more) co_return all;
    auto const share = static_cast<double>(all) / static_cast<double>(std::max(all, *there));
    if (go_on && !go_on(share)) co_return all;
  }
}

}  // namespace subforge::jobs
