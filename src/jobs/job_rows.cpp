#include "jobs/job_rows.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "jobs/row_groups.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

std::string const kInsert = store::insert_sql<Job>("jobs");
std::string const kSelectById = "SELECT " + store::column_list<Job>() + " FROM jobs WHERE id = $1";

constexpr std::size_t kKeyBytesMax = 500;

}  // namespace

std::int64_t head_start_us(std::int64_t priority) {
  constexpr std::int64_t kMinuteUs = 60'000'000;
  if (priority >= priority::kCritical) return 30 * kMinuteUs;
  if (priority >= priority::kHigh) return 5 * kMinuteUs;
  return priority >= priority::kNormal ? kMinuteUs : 0;
}

std::int64_t rank_of(Timestamp due_at, std::int64_t priority) {
  return due_at.micros - head_start_us(priority);
}

Task<Result<Timestamp>> shared_clock(Session& session) {
  auto now = Timestamp::now();
  if (session.dialect() == store::Dialect::sqlite) co_return now;
  auto const read = co_await session.query(
      "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)", {},
      [&now](Row const& row) { now = row.timestamp(0); });
  if (!read) co_return std::unexpected(read.error());
  co_return now;
}

Task<Result<Job>> select_job(Session& session, Uuid id) {
  std::optional<Job> found;
  auto const done = co_await session.query(
      kSelectById, {id}, [&](Row const& row) { found = store::read_row<Job>(row); });
  if (!done) co_return std::unexpected(done.error());
  if (!found) co_return fail(ErrorCode::not_found, "Task " + id.to_string() + " not found");
  co_return std::move(*found);
}

Task<Result<std::vector<Job>>> select_jobs(Session& session, std::string_view where,
                                           std::vector<store::Value> values) {
  auto const sql = "SELECT " + store::column_list<Job>() + " FROM jobs WHERE " + std::string(where);
  std::vector<Job> jobs;
  auto const done = co_await session.query(
      sql, values, [&](Row const& row) { jobs.push_back(store::read_row<Job>(row)); });
  if (!done) co_return std::unexpected(done.error());
  co_return jobs;
}

// ---- In ----------------------------------------------------------------------------------------

Result<Job> JobRows::draft(JobSpec const& spec, Timestamp now) const {
  auto const* const definition = registry_.find(spec.name);
  Definition const unknown{};
  auto const& defaults = definition != nullptr ? *definition : unknown;
  if (auto checked = check_job_name(spec.name); !checked) return std::unexpected(checked.error());
  if (spec.unique_key && (spec.unique_key->empty() || spec.unique_key->size() > kKeyBytesMax)) {
    return fail(ErrorCode::invalid, "A unique key has 1 to 500 bytes");
  }
  auto const route = limits_.routes.find(spec.name);
  Job job;
  job.id = spec.id == Uuid{} ? Uuid::ordered(now) : spec.id;
  job.name = spec.name;
  job.priority = spec.priority.value_or(defaults.priority);
  job.max_retries = spec.max_retries.value_or(defaults.max_retries);
  job.queue = !spec.queue.empty()             ? spec.queue
              : route != limits_.routes.end() ? route->second
                                              : defaults.queue;
  for (auto const& checked :
       {check_payload(spec.args, spec.kwargs, spec.metadata, limits_.payload_bytes_max),
        check_priority(job.priority), check_retries(job.max_retries),
        check_queue_name(job.queue)}) {
    if (!checked) return std::unexpected(checked.error());
  }
  job.created_at = now;
  job.metadata.text = spec.metadata;
  job.args.text = spec.args;
  job.kwargs.text = spec.kwargs;
  job.eta = spec.eta;
  job.expires_at = spec.expires_at;
  job.soft_limit_seconds = spec.soft_limit_seconds;
  job.hard_limit_seconds = spec.hard_limit_seconds;
  job.unique_key = spec.unique_key;
  job.batch_id = spec.batch_id;
  if (!spec.created_by.empty()) job.created_by = spec.created_by;
  job.due_at = std::max(spec.eta.value_or(now), now);
  job.rank = rank_of(job.due_at, job.priority);
  job.stage = job.due_at > now ? Stage::delayed : Stage::ready;
  if (defaults.limited()) job.lane = job.name;
  return job;
}

Task<Result<std::vector<Enqueued>>> JobRows::insert(Transaction& transaction,
                                                    std::vector<Job>& jobs,
                                                    JobChanges& changes) const {
  std::vector<Enqueued> all;
  all.reserve(jobs.size());
  std::map<Uuid, std::int64_t> batches;
  std::vector<Job> added;
  added.reserve(jobs.size());
  std::vector<Job const*> unwritten;
  for (auto& job : jobs) {
    if (job.unique_key) {
      // One before it may have the same.
      auto const before = co_await insert_jobs(transaction, std::exchange(unwritten, {}));
      if (!before) co_return std::unexpected(before.error());
      std::optional<Uuid> taken;
      auto const looked = co_await transaction.query(
          "SELECT id FROM jobs WHERE unique_key = $1 AND completed_at IS NULL", {*job.unique_key},
          [&](Row const& row) { taken = row.uuid(0); });
      if (!looked) co_return std::unexpected(looked.error());
      if (taken) {
        all.push_back({*taken, false});
        continue;
      }
    }
    all.push_back({job.id, true});
    if (job.batch_id) ++batches[*job.batch_id];
    changes.added(job);
    changes.tell(kEnqueuedEvent, job, job.created_by.value_or(""));
    added.push_back(std::move(job));
    unwritten.push_back(&added.back());
  }
  if (auto done = co_await insert_jobs(transaction, unwritten); !done) {
    co_return std::unexpected(done.error());
  }
  for (auto const& [batch, more] : batches) {
    auto const grown = co_await transaction.execute(
        "UPDATE job_batches SET total = total + $1 WHERE id = $2 AND sealed = 0", {more, batch});
    if (!grown) co_return std::unexpected(grown.error());
    if (*grown == 0) co_return fail(ErrorCode::bad_reference, "There is no such open batch");
  }
  jobs = std::move(added);
  co_return all;
}

Task<Result<void>> JobRows::set_lanes(Transaction& transaction) const {
  std::vector<store::Value> limited;
  std::string marks;
  for (auto const* const definition : registry_.all()) {
    if (!definition->limited()) continue;
    limited.emplace_back(definition->name);
    marks += (marks.empty() ? "$" : ", $") + std::to_string(limited.size());
  }
  std::string free =
      "UPDATE jobs SET lane = '' WHERE status IN ('pending', 'started', 'retry') AND lane <> ''";
  if (!limited.empty()) free += " AND lane NOT IN (" + marks + ")";
  auto const freed = co_await transaction.execute(free, limited);
  if (!freed) co_return std::unexpected(freed.error());
  if (limited.empty()) co_return {};
  auto const bound = co_await transaction.execute(
      "UPDATE jobs SET lane = name WHERE status IN ('pending', 'started', 'retry') AND lane = ''"
      " AND name IN (" +
          marks + ")",
      limited);
  if (!bound) co_return std::unexpected(bound.error());
  co_return {};
}

Task<Result<Uuid>> JobRows::open_batch(Transaction& transaction, Job then,
                                       JobChanges& changes) const {
  then.stage = Stage::held;
  auto const batch = Uuid::ordered(transaction.now());
  auto const bound = store::bind_record(then);
  auto const inserted = co_await transaction.execute(kInsert, bound.values());
  if (!inserted) co_return std::unexpected(inserted.error());
  changes.added(then);
  auto const opened = co_await transaction.execute(
      "INSERT INTO job_batches (id, total, succeeded, failed, sealed, done, then_id, created_at)"
      " VALUES ($1, 0, 0, 0, 0, 0, $2, $3)",
      {batch, then.id, transaction.now()});
  if (!opened) co_return std::unexpected(opened.error());
  co_return batch;
}

Task<Result<void>> JobRows::seal_batch(Transaction& transaction, Uuid batch, JobChanges& changes) {
  auto const sealed =
      co_await transaction.execute("UPDATE job_batches SET sealed = 1 WHERE id = $1", {batch});
  if (!sealed) co_return std::unexpected(sealed.error());
  if (*sealed == 0) co_return fail(ErrorCode::bad_reference, "There is no such batch");
  co_return co_await finish_batch(transaction, batch, changes);
}

// ---- By hand -----------------------------------------------------------------------------------

Task<Result<Job>> JobRows::cancel(Transaction& transaction, Uuid id, std::string const& actor,
                                  std::string const& why, JobChanges& changes) const {
  auto job = co_await select_job(transaction.session(), id);
  if (!job) co_return job;
  if (is_final(job->status)) co_return fail(ErrorCode::invalid, "The task has ended already");
  auto const before = job->status;
  if (job->stage == Stage::leased && !job->lane.empty() && job->worker_id) {
    auto const kept = co_await transaction.execute(
        "INSERT INTO jobs_stopping (job_id, fence, lane, worker_id) VALUES ($1, $2, $3, $4)",
        {id, job->fence, job->lane, *job->worker_id});
    if (!kept) co_return std::unexpected(kept.error());
  }
  job->status = JobStatus::revoked;
  job->completed_at = transaction.now();
  job->stage = Stage::ended;
  if (!why.empty()) job->error = clean_text(why, limits_.error_bytes_max);
  auto const done = co_await transaction.execute(
      "UPDATE jobs SET stage = 'ended', status = 'revoked', completed_at = $1, error = $2"
      " WHERE id = $3",
      {*job->completed_at, job->error, id});
  if (!done) co_return std::unexpected(done.error());
  changes.moved(*job, before);
  changes.ended(*job);
  changes.tell(kCancelledEvent, *job, actor);
  if (auto noted = co_await note_action(transaction, id, actor, "cancelled", why); !noted) {
    co_return std::unexpected(noted.error());
  }
  if (auto followed = co_await after_failure(transaction, *job); !followed) {
    co_return std::unexpected(followed.error());
  }
  co_return job;
}

Task<Result<void>> JobRows::free_place(Transaction& transaction, Lease const& lease) {
  auto const fence = lease.draft ? lease.draft->fence : lease.fence;
  auto const freed = co_await transaction.execute(
      "DELETE FROM jobs_stopping WHERE job_id = $1 AND fence = $2", {lease.id, fence});
  if (!freed) co_return std::unexpected(freed.error());
  co_return {};
}

Task<Result<Job>> JobRows::put_back(Transaction& transaction, Uuid id, std::string const& actor,
                                    bool fresh, Stage stage, JobChanges& changes) const {
  auto job = co_await select_job(transaction.session(), id);
  if (!job) co_return job;
  if (job->status != JobStatus::failure && job->status != JobStatus::revoked) {
    co_return fail(ErrorCode::invalid, "Only failed or revoked tasks can be retried");
  }
  if (!fresh && job->retry_count >= job->max_retries) {
    co_return fail(ErrorCode::invalid, "The task has no retries left");
  }
  auto const before = job->status;
  changes.reopened(*job, before);
  job->status = JobStatus::pending;
  job->stage = stage;
  auto const* const definition = registry_.find(job->name);
  job->lane = definition != nullptr && definition->limited() ? job->name : "";
  job->due_at = transaction.now();
  job->rank = rank_of(job->due_at, job->priority);
  job->retry_count = fresh ? 0 : job->retry_count + 1;
  job->losses = 0;
  job->error.reset();
  job->traceback.reset();
  job->result.text = "null";
  job->progress = 0;
  job->progress_note.clear();
  job->started_at.reset();
  job->completed_at.reset();
  job->worker_id.reset();
  // Once too late is not too late again: somebody wants it now.
  job->expires_at.reset();
  auto const old = co_await select_job(transaction.session(), id);
  if (!old) co_return std::unexpected(old.error());
  auto const update = store::update_of_changes<Job>("jobs", "id", job->id, *old, *job);
  auto const done = co_await transaction.execute(update.sql, update.bound.values());
  if (!done && done.error().code == ErrorCode::conflict) {
    co_return fail(ErrorCode::conflict, "Another task with the same unique key is under way");
  }
  if (!done) co_return std::unexpected(done.error());
  changes.moved(*job, before);
  changes.tell(kEnqueuedEvent, *job, actor);
  if (auto noted = co_await note_action(transaction, id, actor, fresh ? "put_back" : "retried", {});
      !noted) {
    co_return std::unexpected(noted.error());
  }
  co_return job;
}

Task<Result<void>> JobRows::take_back(Transaction& transaction, Job job, Stage stage, bool lost,
                                      JobChanges& changes) const {
  auto const before = job.status;
  job.losses += lost ? 1 : 0;
  if (job.losses >= kLossesMax) {
    job.status = JobStatus::failure;
    job.error = "The worker was lost " + std::to_string(job.losses) + " times while it ran";
    job.completed_at = transaction.now();
    stage = Stage::ended;
  } else {
    job.status = job.error ? JobStatus::retry : JobStatus::pending;
  }
  auto const done = co_await transaction.execute(
      "UPDATE jobs SET stage = $1, status = $2, losses = $3, error = $4, completed_at = $5,"
      " worker_id = NULL, progress = 0, progress_note = '' WHERE id = $6",
      {describe::to_text(stage), describe::to_text(job.status), job.losses, job.error,
       job.completed_at, job.id});
  if (!done) co_return std::unexpected(done.error());
  changes.moved(job, before);
  if (stage == Stage::ended) {
    changes.ended(job);
    if (auto followed = co_await after_failure(transaction, job); !followed) co_return followed;
  }
  changes.tell(stage == Stage::ended ? kEndedEvent : kEnqueuedEvent, job);
  co_return {};
}

Task<Result<void>> JobRows::expire(Transaction& transaction, Job job, JobChanges& changes) {
  auto const before = job.status;
  job.status = JobStatus::revoked;
  job.completed_at = transaction.now();
  job.error = "The task expired before it was started";
  auto const done = co_await transaction.execute(
      "UPDATE jobs SET stage = 'ended', status = 'revoked', completed_at = $1, error = $2"
      " WHERE id = $3",
      {*job.completed_at, job.error, job.id});
  if (!done) co_return std::unexpected(done.error());
  changes.moved(job, before);
  changes.ended(job);
  changes.tell(kEndedEvent, job);
  co_return {};
}

Task<Result<void>> JobRows::note_action(Transaction& transaction, Uuid id, std::string actor,
                                        std::string action, std::string detail) {
  auto const noted = co_await transaction.execute(
      "INSERT INTO job_actions (job_id, at, actor, action, detail) VALUES ($1, $2, $3, $4, $5)",
      {id, transaction.now(), actor, action, detail});
  if (!noted) co_return std::unexpected(noted.error());
  co_return {};
}

}  // namespace subforge::jobs
