// Of the queue over Redis: how its workers live, and what happens by itself.
#include <algorithm>
#include <map>
#include <set>

#include "base/json_writer.hpp"
#include "jobs/celery/celery_queue.hpp"
#include "jobs/celery/observed.hpp"
#include "jobs/celery/outbox.hpp"
#include "jobs/celery/wire.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs::celery {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

constexpr std::int64_t kExpiredAtOnce = 500;
constexpr std::int64_t kServedRounds = 600;  // Ten minutes.
// How long what was not in its list is believed to be with somebody.
constexpr std::int64_t kElsewhereUs = 30'000'000;
// How long somebody who may have begun it in time has to tell of its end, at least.
constexpr std::int64_t kGivenUpSeconds = 3'600;

std::string progress_json(ProgressReport const& report) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("current", report.percent);
  json.member("total", 100);
  json.member("note", report.note);
  json.end_object();
  return text;
}

constexpr std::string_view kExpired =
    " expires_at IS NOT NULL AND completed_at IS NULL AND stage = 'outbound'"
    " AND status <> 'started'";

// What expired between these times, and the rows that pushed it (0: none).
struct Expired {
  Job job;
  std::int64_t row = 0;
};
Task<Result<std::vector<Expired>>> select_expired(Session& session, Timestamp after,
                                                  Timestamp until) {
  auto const sql = "SELECT " + store::column_list<Job>() +
                   ", coalesce((SELECT max(job_outbox.seq) FROM job_outbox"
                   " WHERE job_id = jobs.id AND kind = 'push'), 0) FROM jobs WHERE" +
                   std::string(kExpired) +
                   " AND expires_at > $1 AND expires_at <= $2 ORDER BY expires_at DESC LIMIT $3";
  auto const columns = static_cast<int>(std::ranges::count(store::column_list<Job>(), ',')) + 1;
  std::vector<Expired> found;
  auto const read = co_await session.query(
      sql, {after, until, kExpiredAtOnce},
      [&](Row const& row) { found.push_back({store::read_row<Job>(row), row.integer(columns)}); });
  if (!read) co_return std::unexpected(read.error());
  co_return found;
}

Task<Result<std::int64_t>> end_expired(store::Store& store, std::span<Uuid const> ids) {
  auto end = [ids](Transaction& transaction) -> Task<Result<std::int64_t>> {
    JobChanges changes;
    std::int64_t count = 0;
    for (auto const& id : ids) {
      auto job = co_await select_job(transaction.session(), id);
      if (!job && job.error().code == ErrorCode::not_found) continue;
      if (!job) co_return std::unexpected(job.error());
      if (job->stage != Stage::outbound || job->status == JobStatus::started) continue;
      if (auto done = co_await JobRows::expire(transaction, std::move(*job), changes); !done) {
        co_return std::unexpected(done.error());
      }
      if (auto done = co_await remove_pushes(transaction, std::span(&id, 1)); !done) {
        co_return std::unexpected(done.error());
      }
      if (auto done = co_await add_to_outbox(transaction, id, OutboxKind::end); !done) {
        co_return std::unexpected(done.error());
      }
      ++count;
    }
    if (auto done = co_await changes.apply(transaction); !done) {
      co_return std::unexpected(done.error());
    }
    co_return count;
  };
  co_return co_await store.write(std::move(end));
}

Task<Result<std::set<Uuid>>> known_workers(store::Store& store) {
  std::set<Uuid> known;
  auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query("SELECT id FROM job_workers", {},
                                     [&](Row const& row) { known.insert(row.uuid(0)); });
  };
  auto const done = co_await store.read(store::ReadCost::point, read);
  if (!done) co_return std::unexpected(done.error());
  co_return known;
}

}  // namespace

// ---- Life of workers ---------------------------------------------------------------------------

Task<Result<Beat>> CeleryQueue::beat(Uuid worker_id, std::span<Lease const> held,
                                     std::vector<ProgressReport> reports,
                                     std::vector<LogLine> lines) {
  std::vector<ResultMeta> told;
  for (auto& report : reports) {
    auto const found = find_held(report.lease);
    if (found == held_.end()) continue;
    // By now it has a row.
    if (report.lease.draft) report.lease.fence = report.lease.draft->fence;
    if (found->second.message->ignore_result) continue;
    if (report.percent == 0 && report.note.empty()) continue;
    auto& meta = told.emplace_back();
    meta.task_id = found->second.message->id;
    meta.status = state::kProgress;
    meta.result = progress_json(report);
    meta.group_id = found->second.message->group;
    meta.parent_id = found->second.message->parent_id;
  }
  auto const beat =
      co_await EmbeddedQueue::beat(worker_id, held, std::move(reports), std::move(lines));
  co_await loop_.resume_here();
  if (beat && !beat->alive) let_go(worker_id);
  if (!beat || !beat->alive || !broker_.up()) co_return beat;
  if (results_.up()) results_.tell(told);
  auto const renewed = co_await broker_.renew(worker_id);
  if (!renewed) {
    logger().warning("Redis could not be told that a worker lives",
                     {{"cause", renewed.error().message}});
  }
  co_return beat;
}

// Others have what it held, or will have it.
void CeleryQueue::let_go(Uuid worker) {
  std::erase_if(held_, [&](auto const& one) {
    if (one.second.worker != worker) return false;
    if (observer_ != nullptr) tell_rejected(*observer_, *one.second.message);
    return true;
  });
}

Task<Result<void>> CeleryQueue::resign(Uuid worker_id) {
  auto const gone = co_await EmbeddedQueue::resign(worker_id);
  co_await loop_.resume_here();
  let_go(worker_id);
  if (!gone || !broker_.up()) co_return gone;
  co_await tell_untold();
  // What is left to do in Redis others do as well.
  auto done = co_await reclaim_from(worker_id);
  if (done) done = co_await relay_.flush();
  if (!done) {
    logger().warning("a worker left something in Redis that others take back",
                     {{"cause", done.error().message}});
  }
  co_return gone;
}

// ---- By itself ---------------------------------------------------------------------------------

// Who holds nothing but messages that Redis cannot be told the ends of says seldom that it lives.
Task<Result<void>> CeleryQueue::hear_those_who_tell() {
  std::set<Uuid> telling;
  for (auto const& one : untold_) telling.insert(one.worker);
  if (telling.empty()) co_return {};
  auto hear = [&telling](Transaction& transaction) -> Task<Result<void>> {
    auto const unknown = co_await unknown_of(transaction, telling);
    if (!unknown) co_return std::unexpected(unknown.error());
    co_return {};
  };
  auto const heard = co_await store().write(std::move(hear));
  co_await loop_.resume_here();
  co_return heard;
}

Task<Result<std::int64_t>> CeleryQueue::tend() {
  if (auto heard = co_await hear_those_who_tell(); !heard) {
    co_return std::unexpected(heard.error());
  }
  auto const tended = co_await EmbeddedQueue::tend();
  if (!tended) co_return tended;
  co_await loop_.resume_here();
  if (!broker_.up() || !results_.up()) co_return tended;
  co_await tell_untold();
  // Before what was lost is pushed anew: its old messages are done with.
  Result<void> done = co_await reclaim();
  if (done) done = co_await relay_.look();
  if (done) done = co_await relay_.flush();
  if (done) done = co_await mirror_.tend();
  if (done) done = co_await sweep();
  auto const expired = co_await expire_outbound();
  if (!expired && done) done = std::unexpected(expired.error());
  auto const lost = co_await lost_.tend();
  co_await loop_.resume_here();
  if (!lost && done) done = std::unexpected(lost.error());
  note_refusal(done);
  // The next look comes soon; what the connection's loss means is logged elsewhere.
  if (!done && done.error().code != ErrorCode::unavailable) {
    co_return std::unexpected(done.error());
  }
  if (lost.value_or(0) > 0) relay_.wake();
  co_return *tended + expired.value_or(0) + lost.value_or(0);
}

void CeleryQueue::note_refusal(Result<void> const& tended) {
  bool const refuses =
      !tended && tended.error().message == redis::kUnavailable && broker_.up() && results_.up();
  if (!refuses) return refused_.store(nullptr);
  auto const known = refused_.load();
  auto const since = known ? known->since : Timestamp::now();
  refused_.store(std::make_shared<BrokerHealth const>(false, options_.broker.url.address(), since,
                                                      tended.error().context));
}

// Whoever takes a message looks at its time by itself. What still lies in its list is taken out, so
// that nobody can; what does not somebody may have begun in time.
Task<Result<std::int64_t>> CeleryQueue::expire_outbound() {
  auto const now = Timestamp::now();
  auto const patience = std::max(options_.visibility_seconds, kGivenUpSeconds);
  Timestamp const given_up{now.micros - patience * 1'000'000};
  std::vector<Uuid> gone(taken_out_.begin(), taken_out_.end());
  std::vector<Expired> expired;
  auto look = [&](Session& session) -> Task<Result<void>> {
    auto lost = co_await select_expired(session, Timestamp{}, given_up);
    if (!lost) co_return std::unexpected(lost.error());
    for (auto const& one : *lost) gone.push_back(one.job.id);
    auto late = co_await select_expired(session, given_up, now);
    if (!late) co_return std::unexpected(late.error());
    expired = *std::move(late);
    co_return {};
  };
  auto const looked = co_await store().read(store::ReadCost::point, look);
  co_await loop_.resume_here();
  if (!looked) co_return std::unexpected(looked.error());
  std::erase_if(elsewhere_, [now](auto const& one) { return one.second <= now; });
  std::map<std::string, std::vector<std::string>> tags;
  std::map<std::string, Uuid> ids;
  for (auto const& [job, row] : expired) {
    if (!elsewhere_.emplace(job.id, Timestamp{now.micros + kElsewhereUs}).second) continue;
    auto const tag = broker_.tag_of(row);
    // Others may have sent it with a priority between ours.
    for (auto const band : kBands) {
      auto const list = list_name(job.queue, band);
      tags[list].push_back(tag);
      tags[broker_.own_list(list)].push_back(tag);
    }
    ids.emplace(tag, job.id);
  }
  for (auto const& [list, wanted] : tags) {
    auto const found = co_await broker_.take_out(list, wanted);
    if (!found && found.error().code == ErrorCode::unavailable) {
      co_return std::unexpected(found.error());
    }
    if (!found) continue;  // It is no list.
    for (auto const& tag : *found) {
      gone.push_back(ids.at(tag));
      taken_out_.insert(ids.at(tag));
    }
  }
  if (gone.empty()) co_return 0;
  auto const ended = co_await end_expired(store(), gone);
  co_await loop_.resume_here();
  if (!ended) co_return ended;
  for (auto const& id : gone) taken_out_.erase(id);
  relay_.wake();
  co_return ended;
}

// What workers held that the database does not know any more.
Task<Result<void>> CeleryQueue::reclaim() {
  auto const takers = co_await broker_.takers();
  if (!takers) co_return std::unexpected(takers.error());
  if (takers->empty()) co_return {};
  auto const known = co_await known_workers(store());
  if (!known) co_return std::unexpected(known.error());
  for (auto const& taker : *takers) {
    if (known->contains(taker)) continue;
    if (auto done = co_await reclaim_from(taker); !done) co_return done;
  }
  co_return {};
}

// The row of each job says what becomes of the message that its worker left. Others do the same at
// the same time.
Task<Result<void>> CeleryQueue::reclaim_from(Uuid worker) {
  auto const held = co_await broker_.held_by(worker);
  if (!held) co_return std::unexpected(held.error());
  Untold untold{worker, {}, {}};
  std::vector<GivenBack> back;
  for (auto const& one : *held) {
    auto [message, fault] = read_message(one.text);
    if (message.id.empty()) {
      untold.tags.push_back(one.tag);  // It is no task, and nobody waits for it.
      continue;
    }
    auto const id = uuid_of(message.id);
    std::optional<Job> job;
    std::int64_t newest = 0;
    auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
      auto row = co_await select_job(session, id);
      if (!row && row.error().code != ErrorCode::not_found) co_return std::unexpected(row.error());
      if (row) job = std::move(*row);
      co_return co_await session.query(
          "SELECT coalesce(max(seq), 0) FROM job_outbox WHERE job_id = $1 AND kind = 'push'", {id},
          [&](Row const& found) { newest = found.integer(0); });
    };
    auto const looked = co_await store().read(store::ReadCost::point, read);
    if (!looked) co_return std::unexpected(looked.error());
    bool restore = !job;
    if (job && job->stage == Stage::outbound) {
      // Taken, and its worker died before the row was leased; else a newer message is on its way.
      auto const row = broker_.row_of(one.tag);
      restore = row != 0 ? row == newest : job->fence == 0 || message.retries > job->retry_count;
    }
    if (restore) {
      auto const queue = co_await broker_.queue_for(message.exchange, message.routing_key);
      if (!queue) co_return std::unexpected(queue.error());
      back.push_back(
          {one.tag, list_name(*queue, band_of(message.priority)), marked_redelivered(one.text)});
      continue;
    }
    untold.tags.push_back(one.tag);
    if (job && job->stage == Stage::ended) {
      untold.ended.push_back(ended_of_job(*job, std::move(message)));
      untold.ended.back().again = true;
    }
  }
  if (auto done = co_await broker_.give_back(worker, back); !done) co_return done;
  if (auto done = co_await endings_.tell(untold.ended); !done) co_return done;
  if (auto done = co_await broker_.take_away(worker, untold.tags); !done) co_return done;
  co_return co_await broker_.forget(worker);
}

// What anybody took too long ago goes back, the oldest to be the next.
Task<Result<void>> CeleryQueue::sweep() {
  constexpr std::int64_t kRoundsMax = 10;
  auto const rounds = std::clamp<std::int64_t>(options_.visibility_seconds / 2, 1, kRoundsMax);
  if (++rounds_ % kServedRounds == 0) co_await say_what_is_served();
  if (rounds_ % rounds != 0) co_return {};
  auto const late = co_await broker_.begin_sweep(options_.visibility_seconds);
  if (!late) co_return std::unexpected(late.error());
  if (late->empty()) co_return {};
  std::vector<GivenBack> back;
  for (auto const& one : *late) {
    auto const message = read_message(one.text).message;
    auto const queue = co_await broker_.queue_for(message.exchange, message.routing_key);
    if (!queue) co_return std::unexpected(queue.error());
    if (queue->empty()) continue;  // It is no message; who put it there knows better.
    back.push_back(
        {one.tag, list_name(*queue, band_of(message.priority)), marked_redelivered(one.text)});
  }
  auto const done = co_await broker_.give_back(std::nullopt, back);
  auto const ended = co_await broker_.end_sweep();
  if (!back.empty()) {
    logger().warning("tasks were not acknowledged in time and wait again",
                     {{"count", back.size()}});
    if (on_arrival_) on_arrival_();
  }
  co_return done ? ended : done;
}

}  // namespace subforge::jobs::celery
