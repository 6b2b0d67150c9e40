#include "jobs/celery/adoption.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/json_writer.hpp"
#include "jobs/celery/outbox.hpp"
#include "jobs/celery/wire.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs::celery {
namespace {

using store::Row;
using store::Transaction;

int job_columns() {
  static int const columns =
      static_cast<int>(std::ranges::count(store::column_list<Job>(), ',')) + 1;
  return columns;
}

bool has_expired(TaskMessage const& message, Timestamp now) {
  return message.expires && *message.expires <= now;
}

JobSpec spec_of(Received const& one) {
  auto const& message = *one.message;
  JobSpec spec;
  spec.id = one.id;
  spec.name = message.task;
  spec.args = message.args;
  spec.kwargs = message.kwargs;
  spec.queue = message.queue;
  spec.priority = our_priority(message.priority);
  spec.eta = message.eta;
  spec.expires_at = message.expires;
  spec.hard_limit_seconds = message.hard_limit;
  spec.soft_limit_seconds = message.soft_limit;
  if (!is_uuid(message.id)) {
    spec.metadata = R"({"celery_id":)" + json_string(message.id) + "}";
  }
  return spec;
}

Ended revoked(Received const& one, std::string_view why) {
  return {.message = *one.message, .status = JobStatus::revoked, .error = revoked_exception(why)};
}

}  // namespace

struct Adopter::Work {
  Transaction& transaction;
  Uuid worker;
  JobChanges& changes;
  Adoption adoption;
  std::vector<std::size_t> places;  // Of what start_own() did not start.
};

bool Adopter::limited(std::string_view name) const {
  auto const* const definition = rows_.registry().find(name);
  return definition != nullptr && definition->limited();
}

Result<Job> Adopter::draft(Received const& one, Timestamp now) const {
  auto job = rows_.draft(spec_of(one), now);
  if (job) job->retry_count = one.message->retries;
  return job;
}

bool Adopter::starts_at_once(Received const& one, Timestamp now) const {
  auto const& message = *one.message;
  return !limited(message.task) && !has_expired(message, now) &&
         !(message.eta && *message.eta > now) && !one.unwanted;
}

Task<Result<Adoption>> Adopter::adopt_in(Transaction& transaction, Uuid worker,
                                         std::span<Received const> received,
                                         JobChanges& changes) const {
  Work work{transaction, worker, changes, {}, {}};
  if (received.empty()) co_return std::move(work.adoption);
  if (auto done = co_await start_own(work, received); !done) {
    co_return std::unexpected(done.error());
  }
  std::vector<store::Value> ids;
  for (auto const place : work.places) ids.emplace_back(received[place].id);
  std::map<Uuid, Job> known;
  if (!ids.empty()) {
    auto const sql = "SELECT " + store::column_list<Job>() + " FROM jobs WHERE id IN (" +
                     marks(ids.size(), 1) + ")";
    auto const read = co_await transaction.session().query(sql, ids, [&](Row const& row) {
      auto job = store::read_row<Job>(row);
      known.emplace(job.id, std::move(job));
    });
    if (!read) co_return std::unexpected(read.error());
  }
  std::set<Uuid> seen;
  for (auto const& one : work.adoption.started) seen.insert(one.claimed.job.id);
  for (auto const place : work.places) {
    auto const& one = received[place];
    auto const found = known.find(one.id);
    Result<void> taken;
    if (!seen.insert(one.id).second) {
      work.adoption.acknowledged.push_back(one.tag);  // Twice in one go.
    } else if (found == known.end()) {
      taken = co_await take_foreign(work, one, place);
    } else {
      taken = co_await take_known(work, one, place, std::move(found->second));
    }
    if (!taken) co_return std::unexpected(taken.error());
  }
  co_return std::move(work.adoption);
}

// Jobs of ours that wait in Redis for a worker, and may be started.
Task<Result<void>> Adopter::start_own(Work& work, std::span<Received const> received) const {
  auto const now = work.transaction.now();
  std::map<Uuid, std::size_t> places;
  std::vector<store::Value> values{now, work.worker};
  for (std::size_t i = 0; i < received.size(); ++i) {
    if (starts_at_once(received[i], now) && places.emplace(received[i].id, i).second) {
      values.emplace_back(received[i].id);
    } else {
      work.places.push_back(i);
    }
  }
  if (places.empty()) co_return {};
  auto const sql =
      "UPDATE jobs SET stage = 'leased', status = 'started', started_at = $1, fence = fence + 1,"
      " worker_id = $2 WHERE stage = 'outbound' AND status <> 'started' AND completed_at IS NULL"
      " AND id IN (" +
      marks(places.size(), 3) + ") RETURNING " + store::column_list<Job>() + ", seq";
  std::vector<Uuid> started;
  auto const updated = co_await work.transaction.session().query(sql, values, [&](Row const& row) {
    auto job = store::read_row<Job>(row);
    auto const& one = received[places.at(job.id)];
    started.push_back(job.id);
    work.changes.moved(job, job.error ? JobStatus::retry : JobStatus::pending);
    Started begun{{std::move(job), {}}, row.integer(job_columns()), *one.message};
    begun.claimed.lease = {begun.claimed.job.id, begun.claimed.job.fence, one.tag};
    work.adoption.started.push_back(std::move(begun));
  });
  if (!updated) co_return std::unexpected(updated.error());
  for (auto const& id : started) places.erase(id);
  for (auto const& [id, place] : places) work.places.push_back(place);
  std::ranges::sort(work.places);
  for (auto& begun : work.adoption.started) {
    auto& job = begun.claimed.job;
    if (begun.message.retries <= job.retry_count) continue;
    // Tries of workers in Python count, too.
    job.retry_count = begun.message.retries;
    auto const noted = co_await work.transaction.execute(
        "UPDATE jobs SET retry_count = $1 WHERE id = $2", {job.retry_count, job.id});
    if (!noted) co_return std::unexpected(noted.error());
  }
  co_return co_await remove_pushes(work.transaction, started);
}

// Nobody here knows of it: it gets a record.
Task<Result<void>> Adopter::take_foreign(Work& work, Received const& one, std::size_t place) const {
  static std::string const kInsert = store::insert_sql<Job>("jobs") + " RETURNING seq";
  auto const now = work.transaction.now();
  auto drafted = draft(one, now);
  if (!drafted) {
    // No record can hold it; who waits for it is told.
    auto const& why = drafted.error().message;
    work.adoption.ended.push_back({.message = *one.message,
                                   .status = JobStatus::failure,
                                   .error = exception("ValueError", why)});
    work.adoption.acknowledged.push_back(one.tag);
    co_return {};
  }
  auto& job = *drafted;
  bool const late = has_expired(*one.message, now);
  bool const waits = !late && !one.unwanted && (!job.lane.empty() || job.stage == Stage::delayed);
  if (late || one.unwanted) {
    job.stage = Stage::ended;
    job.status = JobStatus::revoked;
    job.completed_at = now;
    job.error = late ? "The task expired before it was started" : "It was revoked";
  } else if (!waits) {
    job.stage = Stage::leased;
    job.status = JobStatus::started;
    job.started_at = now;
    job.fence = 1;
    job.worker_id = work.worker;
  }
  std::int64_t seq = 0;
  auto const bound = store::bind_record(job);
  auto const inserted = co_await work.transaction.session().query(
      kInsert, bound.values(), [&](Row const& row) { seq = row.integer(0); });
  if (!inserted) co_return std::unexpected(inserted.error());
  work.changes.added(job);
  if (waits || says_more(*one.message)) {
    auto const kept = co_await keep_message(work.transaction, job.id, *one.message);
    if (!kept) co_return kept;
  }
  if (job.stage == Stage::leased) {
    work.changes.tell(kChangedEvent, job);
    Started begun{{std::move(job), {}}, seq, *one.message};
    begun.claimed.lease = {begun.claimed.job.id, 1, one.tag};
    work.adoption.started.push_back(std::move(begun));
    co_return {};
  }
  work.adoption.acknowledged.push_back(one.tag);
  if (waits) {
    if (job.stage == Stage::delayed) work.adoption.scheduled.push_back(place);
    work.changes.tell(kEnqueuedEvent, job);
    co_return {};
  }
  work.changes.ended(job);
  work.changes.tell(kEndedEvent, job);
  work.adoption.ended.push_back(revoked(one, late ? "expired" : "revoked"));
  co_return {};
}

// There is a record already: of a job that waits, and cannot be started just now, or of one that
// this message is one too many of.
Task<Result<void>> Adopter::take_known(Work& work, Received const& one, std::size_t place,
                                       Job job) const {
  auto& acknowledged = work.adoption.acknowledged;
  if (job.stage == Stage::outbound && one.unwanted && job.fence == 0 && job.retry_count == 0) {
    acknowledged.push_back(one.tag);
    auto const gone =
        co_await rows_.cancel(work.transaction, one.id, "celery", "It was revoked", work.changes);
    if (!gone) co_return std::unexpected(gone.error());
    work.adoption.ended.push_back(revoked(one, "revoked"));
    co_return co_await remove_pushes(work.transaction, std::span(&one.id, 1));
  }
  if (job.stage == Stage::outbound)
    co_return co_await keep_waiting(work, one, place, std::move(job));
  acknowledged.push_back(one.tag);
  // It has ended: who waits for its result may not have been told.
  if (job.stage == Stage::ended) {
    work.adoption.ended.push_back(ended_of_job(job, *one.message));
    work.adoption.ended.back().again = true;
  }
  co_return {};
}

// It waits in the database: for its time, or for its name to be allowed. So does what somebody else
// had begun, whose claim follows in this transaction, and what has expired, until it is revoked
// with the others that have.
Task<Result<void>> Adopter::keep_waiting(Work& work, Received const& one, std::size_t place,
                                         Job job) const {
  auto const now = work.transaction.now();
  bool const later = one.message->eta && *one.message->eta > now;
  bool const late = has_expired(*one.message, now);
  auto const due = later ? *one.message->eta : now;
  auto const stage = later ? Stage::delayed : Stage::ready;
  std::string_view const lane = limited(job.name) ? std::string_view(job.name) : "";
  auto const updated = co_await work.transaction.execute(
      "UPDATE jobs SET stage = $1, lane = $2, due_at = $3, rank = $4, expires_at = $5,"
      " retry_count = $6, status = $7 WHERE id = $8",
      {describe::to_text(stage), lane, due, rank_of(due, job.priority), one.message->expires,
       std::max(job.retry_count, one.message->retries), describe::to_text(status_of_waiting(job)),
       job.id});
  if (!updated) co_return std::unexpected(updated.error());
  auto const before = std::exchange(job.status, status_of_waiting(job));
  work.changes.moved(job, before);
  if (auto removed = co_await remove_pushes(work.transaction, std::span(&one.id, 1)); !removed) {
    co_return removed;
  }
  work.adoption.acknowledged.push_back(one.tag);
  if (late) {
    work.adoption.ended.push_back(revoked(one, "expired"));
    co_return {};
  }
  if (later) work.adoption.scheduled.push_back(place);
  work.changes.tell(kEnqueuedEvent, job);
  if (!says_more(*one.message)) co_return {};
  co_return co_await keep_message(work.transaction, job.id, *one.message);
}

}  // namespace subforge::jobs::celery
