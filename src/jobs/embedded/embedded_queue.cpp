#include "jobs/embedded/embedded_queue.hpp"

#include <algorithm>

#include "jobs/stored_lines.hpp"

namespace subforge::jobs {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

std::set<Uuid> workers_of_drafts(std::span<Settlement const* const> settlements) {
  std::set<Uuid> workers;
  for (auto const* const one : settlements) {
    if (one->lease.draft) workers.insert(one->lease.draft->worker_id.value_or(Uuid{}));
  }
  return workers;
}

}  // namespace

// ---- In ----------------------------------------------------------------------------------------

Task<Result<std::vector<Enqueued>>> EmbeddedQueue::enqueue_in(Transaction& transaction,
                                                              std::span<JobSpec const> specs) {
  std::vector<Job> jobs;
  jobs.reserve(specs.size());
  for (auto const& spec : specs) {
    auto job = rows_.draft(spec, transaction.now());
    if (!job) co_return std::unexpected(job.error());
    jobs.push_back(std::move(*job));
  }
  JobChanges changes;
  auto all = co_await rows_.insert(transaction, jobs, changes);
  if (!all) co_return all;
  if (auto done = co_await changes.apply(transaction); !done) {
    co_return std::unexpected(done.error());
  }
  co_return all;
}

Task<Result<Uuid>> EmbeddedQueue::open_batch_in(Transaction& transaction, JobSpec const& then) {
  auto job = rows_.draft(then, transaction.now());
  if (!job) co_return std::unexpected(job.error());
  JobChanges changes;
  auto const batch = co_await rows_.open_batch(transaction, std::move(*job), changes);
  if (!batch) co_return batch;
  if (auto done = co_await changes.apply(transaction); !done) {
    co_return std::unexpected(done.error());
  }
  co_return batch;
}

Task<Result<void>> EmbeddedQueue::seal_batch_in(Transaction& transaction, Uuid batch) {
  JobChanges changes;
  if (auto done = co_await JobRows::seal_batch(transaction, batch, changes); !done) co_return done;
  co_return co_await changes.apply(transaction);
}

Task<Result<Job>> EmbeddedQueue::cancel_in(Transaction& transaction, Uuid id, std::string actor,
                                           std::string why) {
  JobChanges changes;
  auto job = co_await rows_.cancel(transaction, id, actor, why, changes);
  if (!job) co_return job;
  if (auto done = co_await changes.apply(transaction); !done) {
    co_return std::unexpected(done.error());
  }
  co_return job;
}

Task<Result<Job>> EmbeddedQueue::put_back_in(Transaction& transaction, Uuid id, std::string actor,
                                             bool fresh) {
  JobChanges changes;
  auto job = co_await rows_.put_back(transaction, id, actor, fresh, Stage::ready, changes);
  if (!job) co_return job;
  if (auto done = co_await changes.apply(transaction); !done) {
    co_return std::unexpected(done.error());
  }
  co_return job;
}

// ---- Results -----------------------------------------------------------------------------------

Task<Result<std::vector<Verdict>>> EmbeddedQueue::settle(Uuid,
                                                         std::span<Settlement const> settlements) {
  std::vector<Verdict> verdicts(settlements.size(), Verdict::refused);
  std::vector<Settlement const*> plain;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < settlements.size(); ++i) {
    if (settlements[i].outcome.effect) {
      auto const one = co_await settle_with_effect(settlements[i]);
      if (!one) co_return std::unexpected(one.error());
      verdicts[i] = *one;
    } else {
      plain.push_back(&settlements[i]);
      places.push_back(i);
    }
  }
  if (plain.empty()) co_return verdicts;
  auto const group = co_await settle_plain(plain);
  if (!group) co_return group;
  for (std::size_t i = 0; i < places.size(); ++i) verdicts[places[i]] = (*group)[i];
  co_return verdicts;
}

Task<Result<std::set<Uuid>>> EmbeddedQueue::unknown_of(Transaction& transaction,
                                                       std::set<Uuid> const& workers) {
  std::set<Uuid> unknown;
  for (auto const& worker : workers) {
    auto const heard = co_await transaction.execute(kHeard, {transaction.now(), worker});
    if (!heard) co_return std::unexpected(heard.error());
    if (*heard == 0) unknown.insert(worker);
  }
  co_return unknown;
}

// What began without a row, of a worker that is not known any more, is with others.
Task<Result<std::vector<JobRows::Settled>>> EmbeddedQueue::settle_in(
    Transaction& transaction, std::span<Settlement const* const> settlements,
    JobChanges& changes) const {
  auto const unknown = co_await unknown_of(transaction, workers_of_drafts(settlements));
  if (!unknown) co_return std::unexpected(unknown.error());
  if (unknown->empty()) co_return co_await rows_.settle_all(transaction, settlements, changes);
  std::vector<Settlement const*> valid;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < settlements.size(); ++i) {
    auto const& draft = settlements[i]->lease.draft;
    if (draft && unknown->contains(draft->worker_id.value_or(Uuid{}))) continue;
    valid.push_back(settlements[i]);
    places.push_back(i);
  }
  auto some = co_await rows_.settle_all(transaction, valid, changes);
  if (!some) co_return some;
  std::vector<JobRows::Settled> all(settlements.size());
  for (std::size_t i = 0; i < places.size(); ++i) all[places[i]] = std::move((*some)[i]);
  co_return all;
}

Task<Result<std::vector<Verdict>>> EmbeddedQueue::settle_plain(
    std::span<Settlement const* const> settlements) {
  using Verdicts = std::vector<Verdict>;
  auto write = [this, settlements](Transaction& transaction) -> Task<Result<Verdicts>> {
    Verdicts verdicts;
    verdicts.reserve(settlements.size());
    JobChanges changes;
    auto const all = co_await settle_in(transaction, settlements, changes);
    if (!all) co_return std::unexpected(all.error());
    for (std::size_t i = 0; i < settlements.size(); ++i) {
      auto const& settled = (*all)[i];
      verdicts.push_back(settled.verdict);
      // It was cancelled as it ended.
      auto const more = settled.verdict == Verdict::refused
                            ? co_await JobRows::free_place(transaction, settlements[i]->lease)
                            : co_await settled_in(transaction, *settlements[i], settled);
      if (!more) co_return std::unexpected(more.error());
    }
    if (auto done = co_await changes.apply(transaction); !done) {
      co_return std::unexpected(done.error());
    }
    co_return verdicts;
  };
  // What follows an end may fail, unless it is a good one.
  bool const good = std::ranges::all_of(
      settlements, [this](auto const* const one) { return rows_.ends_well(*one); });
  co_return co_await store_.write(std::move(write), good ? store::Undo::commit : store::Undo::job);
}

Task<Result<Verdict>> EmbeddedQueue::settle_with_effect(Settlement const& settlement) {
  // After a refusal nothing of it must happen; an error undoes the completion with it.
  auto write = [this, &settlement](Transaction& transaction) -> Task<Result<Verdict>> {
    JobChanges changes;
    Settlement const* const alone[] = {&settlement};
    auto const all = co_await settle_in(transaction, alone, changes);
    if (!all) co_return std::unexpected(all.error());
    auto const& settled = all->front();
    if (settled.verdict == Verdict::refused) {
      auto const freed = co_await JobRows::free_place(transaction, settlement.lease);
      if (!freed) co_return std::unexpected(freed.error());
      co_return Verdict::refused;
    }
    if (settlement.outcome.kind == Outcome::Kind::success) {
      auto const done = co_await settlement.outcome.effect(transaction);
      if (!done) co_return std::unexpected(done.error());
    }
    if (auto more = co_await settled_in(transaction, settlement, settled); !more) {
      co_return std::unexpected(more.error());
    }
    if (auto done = co_await changes.apply(transaction); !done) {
      co_return std::unexpected(done.error());
    }
    co_return settled.verdict;
  };
  auto verdict = co_await store_.write(std::move(write));
  if (verdict || verdict.error().code == ErrorCode::unavailable) co_return verdict;
  Settlement const failure{settlement.lease, failed(verdict.error().message)};
  Settlement const* const alone[] = {&failure};
  auto const told = co_await settle_plain(alone);
  if (!told) co_return std::unexpected(told.error());
  co_return told->front();
}

Task<Result<void>> EmbeddedQueue::stopped(Lease lease) {
  auto free = [lease = std::move(lease)](Transaction& transaction) {
    return JobRows::free_place(transaction, lease);
  };
  co_return co_await store_.write(std::move(free));
}

Task<Result<void>> EmbeddedQueue::release(Uuid, std::vector<Lease> leases) {
  auto give = [this, leases = std::move(leases)](Transaction& transaction) -> Task<Result<void>> {
    JobChanges changes;
    for (auto const& lease : leases) {
      auto job = co_await select_job(transaction.session(), lease.id);
      if (!job && job.error().code == ErrorCode::not_found) continue;
      if (!job) co_return std::unexpected(job.error());
      if (job->stage != Stage::leased || job->fence != lease.fence) {
        if (auto freed = co_await JobRows::free_place(transaction, lease); !freed) co_return freed;
        continue;
      }
      auto const back =
          co_await rows_.take_back(transaction, std::move(*job), Stage::ready, false, changes);
      if (!back) co_return back;
    }
    co_return co_await changes.apply(transaction);
  };
  co_return co_await store_.write(std::move(give));
}

// ---- Life of workers ---------------------------------------------------------------------------

Task<Result<Beat>> EmbeddedQueue::beat(Uuid worker_id, std::span<Lease const>,
                                       std::vector<ProgressReport> reports,
                                       std::vector<LogLine> lines) {
  auto tell = [worker_id, reports = std::move(reports),
               lines = std::move(lines)](Transaction& transaction) -> Task<Result<Beat>> {
    auto const heard = co_await transaction.execute(kHeard, {transaction.now(), worker_id});
    if (!heard) co_return std::unexpected(heard.error());
    auto const written = co_await write_reports(transaction, reports);
    if (!written) co_return std::unexpected(written.error());
    auto const kept = co_await write_lines(transaction, lines);
    if (!kept) co_return std::unexpected(kept.error());
    co_return Beat{*heard > 0};
  };
  co_return co_await store_.write(std::move(tell));
}

Task<Result<void>> EmbeddedQueue::resign(Uuid worker_id) {
  auto const taken = co_await take_from(worker_id, -1);
  if (!taken) co_return std::unexpected(taken.error());
  co_return {};
}

// What a worker held waits again. Where a beat is named, only if it has not moved.
Task<Result<std::int64_t>> EmbeddedQueue::take_from(Uuid worker_id, std::int64_t beat) {
  auto take = [this, worker_id, beat](Transaction& transaction) -> Task<Result<std::int64_t>> {
    bool const resigned = beat < 0;
    auto const gone = co_await transaction.execute(
        "DELETE FROM job_workers WHERE id = $1 AND (beat = $2 OR $2 < 0)", {worker_id, beat});
    if (!gone) co_return std::unexpected(gone.error());
    if (*gone == 0 && !resigned) co_return 0;
    auto const freed =
        co_await transaction.execute("DELETE FROM jobs_stopping WHERE worker_id = $1", {worker_id});
    if (!freed) co_return std::unexpected(freed.error());
    auto jobs = co_await select_jobs(transaction.session(), kHeld, {worker_id});
    if (!jobs) co_return std::unexpected(jobs.error());
    JobChanges changes;
    for (auto& job : *jobs) {
      auto const id = job.id;
      bool const last = !resigned && job.losses + 1 >= JobRows::kLossesMax;
      auto const back =
          co_await rows_.take_back(transaction, std::move(job), Stage::ready, !resigned, changes);
      if (!back) co_return std::unexpected(back.error());
      if (!last) continue;
      if (auto more = co_await ended_in(transaction, id); !more) {
        co_return std::unexpected(more.error());
      }
    }
    if (auto done = co_await changes.apply(transaction); !done) {
      co_return std::unexpected(done.error());
    }
    co_return static_cast<std::int64_t>(jobs->size());
  };
  co_return co_await store_.write(std::move(take));
}

Task<Result<std::int64_t>> EmbeddedQueue::tend() {
  // One that holds nothing may be silent for longer: it saves the disk a write a second.
  constexpr std::int64_t kIdleLooks = 300;
  struct Seen {
    Uuid id;
    std::int64_t beat;
    bool holds;
  };
  std::vector<Seen> seen;
  auto look = [&seen](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(
        "SELECT id, beat, CASE WHEN id IN (SELECT worker_id FROM jobs WHERE status = 'started'"
        " AND stage = 'leased') THEN 1 ELSE 0 END FROM job_workers",
        {}, [&](Row const& row) {
          seen.push_back({row.uuid(0), row.integer(1), row.integer(2) != 0});
        });
  };
  auto const looked = co_await store_.read(store::ReadCost::point, std::move(look));
  if (!looked) {
    // Who cannot be seen cannot be called silent.
    silences_.clear();
    co_return std::unexpected(looked.error());
  }
  auto const more = co_await holders();
  if (!more) co_return std::unexpected(more.error());
  std::map<Uuid, Silence> silences;
  std::int64_t moved = 0;
  for (auto const& worker : seen) {
    auto silence = silences_[worker.id];
    silence.looks = silence.beat == worker.beat ? silence.looks + 1 : 0;
    silence.beat = worker.beat;
    silences[worker.id] = silence;
    bool const holds = worker.holds || more->contains(worker.id);
    if (silence.looks < (holds ? limits_.lease_seconds : kIdleLooks)) continue;
    auto const taken = co_await take_from(worker.id, worker.beat);
    if (!taken) co_return std::unexpected(taken.error());
    if (*taken > 0) logger_.warning("a worker was lost", {{"jobs", *taken}});
    moved += *taken;
  }
  silences_ = std::move(silences);
  auto const expired = co_await expire();
  if (!expired) co_return expired;
  constexpr std::int64_t kMinuteRounds = 600;
  if (++rounds_ % kMinuteRounds == 0) {
    if (auto const forgotten = co_await forget_minutes(); !forgotten) co_return forgotten;
  }
  co_return moved + *expired;
}

Task<Result<std::int64_t>> EmbeddedQueue::expire() {
  auto const now = Timestamp::now();
  static constexpr std::string_view kDue =
      "expires_at IS NOT NULL AND completed_at IS NULL AND expires_at <= $1"
      " AND stage IN ('delayed', 'ready') LIMIT $2";
  bool any = false;
  auto look = [&](Session& session) -> Task<Result<std::int64_t>> {
    auto const sql = "SELECT 1 FROM jobs WHERE " + std::string(kDue);
    co_return co_await session.query(sql, {now, 1}, [&](Row const&) { any = true; });
  };
  if (auto const looked = co_await store_.read(store::ReadCost::point, look); !looked || !any) {
    if (!looked) co_return looked;
    co_return 0;
  }
  auto end = [this, now](Transaction& transaction) -> Task<Result<std::int64_t>> {
    auto jobs = co_await select_jobs(transaction.session(), kDue, {now, kTendedAtOnce});
    if (!jobs) co_return std::unexpected(jobs.error());
    JobChanges changes;
    for (auto& job : *jobs) {
      auto const id = job.id;
      auto const done = co_await JobRows::expire(transaction, std::move(job), changes);
      if (!done) co_return std::unexpected(done.error());
      if (auto more = co_await ended_in(transaction, id); !more) {
        co_return std::unexpected(more.error());
      }
    }
    if (auto done = co_await changes.apply(transaction); !done) {
      co_return std::unexpected(done.error());
    }
    co_return static_cast<std::int64_t>(jobs->size());
  };
  co_return co_await store_.write(std::move(end));
}

Task<Result<std::int64_t>> EmbeddedQueue::forget_minutes() {
  constexpr std::int64_t kKeptMinutes = 24 * 60;
  auto const before = Timestamp::now().micros / 60'000'000 - kKeptMinutes;
  auto remove = [before](Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute("DELETE FROM job_minutes WHERE minute < $1", {before});
  };
  co_return co_await store_.write(std::move(remove));
}

}  // namespace subforge::jobs
