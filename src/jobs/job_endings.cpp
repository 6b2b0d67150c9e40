// How starts of jobs end: one by one and many together.
#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "base/random.hpp"
#include "jobs/job_rows.hpp"
#include "jobs/row_groups.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs {
namespace {

using store::Row;
using store::Transaction;

std::string const kInsertNew = store::insert_sql<Job>("jobs") + " ON CONFLICT (id) DO NOTHING";
// What both kinds of ends give back: all that the figures and the news need.
std::string const kReturning = " RETURNING " + std::string(kSettledColumns);
constexpr std::string_view kSucceed =
    "UPDATE jobs SET stage = 'ended', status = 'success', completed_at = $1, progress = 100,"
    " result = $2, error = NULL, traceback = NULL WHERE id = $3 AND fence = $4 AND stage = "
    "'leased'";

}  // namespace

JobRows::Ending JobRows::ending_of(Outcome const& outcome, Job const& job) const {
  using Kind = Outcome::Kind;
  auto error = clean_text(outcome.error, limits_.error_bytes_max);
  if (outcome.kind == Kind::success) return {JobStatus::success};
  if (outcome.kind == Kind::revoked) return {JobStatus::revoked, std::move(error)};
  auto const* const definition = registry_.find(job.name);
  Definition const unknown{};
  auto const& rules = definition != nullptr ? *definition : unknown;
  bool const tries_left = job.retry_count < job.max_retries;
  bool const by_itself = outcome.kind == Kind::failure && !outcome.for_good &&
                         job.retry_count < rules.automatic_retries;
  if (!tries_left || !(by_itself || outcome.kind == Kind::retry)) {
    return {JobStatus::failure, std::move(error)};
  }
  auto const wait_ms =
      outcome.retry_after_ms.value_or(backoff_ms(rules, job.retry_count + 1, fast_random()));
  return {JobStatus::retry, std::move(error), std::max<std::int64_t>(wait_ms, 0) * 1'000};
}

Task<Result<void>> JobRows::write_success(Transaction& transaction, Settlement const& settlement,
                                          Settled& settled) {
  auto const& [lease, outcome] = settlement;
  auto const now = transaction.now();
  static std::string const kSql = std::string(kSucceed) + kReturning;
  auto const changed =
      co_await transaction.query(kSql, {now, outcome.data, lease.id, lease.fence},
                                 [&](Row const& row) { read_settled(row, settled.job); });
  if (!changed) co_return std::unexpected(changed.error());
  if (*changed > 0) settled.verdict = Verdict::taken;
  co_return {};
}

Task<Result<void>> JobRows::write_other(Transaction& transaction, Settlement const& settlement,
                                        Settled& settled) const {
  static std::string const kEnd =
      "UPDATE jobs SET stage = 'ended', status = $1, completed_at = $2, error = $3, traceback = $4,"
      " result = $5, progress = CASE WHEN $6 = 1 THEN 0 ELSE progress END"
      " WHERE id = $7 AND fence = $8 AND stage = 'leased'" +
      kReturning;
  static std::string const kRetry =
      "UPDATE jobs SET stage = $1, status = 'retry', due_at = $2, rank = $3, error = $4,"
      " traceback = $5, progress = 0, progress_note = '', retry_count = retry_count + 1,"
      " worker_id = NULL WHERE id = $6 AND fence = $7 AND stage = 'leased'" +
      kReturning;
  auto const& [lease, outcome] = settlement;
  auto const job = co_await select_job(transaction.session(), lease.id);
  if (!job && job.error().code == ErrorCode::not_found) co_return {};
  if (!job) co_return std::unexpected(job.error());
  auto const ending = ending_of(outcome, *job);
  auto const traceback = clean_text(outcome.traceback, limits_.error_bytes_max);
  std::optional<std::string_view> const told =
      traceback.empty() ? std::nullopt : std::optional<std::string_view>(traceback);
  auto const now = transaction.now();
  auto const read = [&](Row const& row) { read_settled(row, settled.job); };
  Result<std::int64_t> changed = 0;
  if (ending.status == JobStatus::retry) {
    Timestamp const due{now.micros + ending.wait_us};
    auto const stage = ending.wait_us > 0 ? Stage::delayed : Stage::ready;
    changed =
        co_await transaction.query(kRetry,
                                   {describe::to_text(stage), due, rank_of(due, job->priority),
                                    ending.error, told, lease.id, lease.fence},
                                   read);
  } else {
    bool const failed = ending.status == JobStatus::failure;
    changed = co_await transaction.query(kEnd,
                                         {describe::to_text(ending.status), now, ending.error, told,
                                          outcome.data, failed, lease.id, lease.fence},
                                         read);
  }
  if (!changed) co_return std::unexpected(changed.error());
  if (*changed == 0) co_return {};
  settled.verdict = ending.status == JobStatus::retry ? Verdict::retried : Verdict::taken;
  settled.job.status = ending.status;
  settled.job.error = ending.error;
  co_return {};
}

Task<Result<void>> JobRows::after_failure(Transaction& transaction, Job const& job) const {
  auto const* const definition = registry_.find(job.name);
  if (definition == nullptr || !definition->on_failure) co_return {};
  auto const whole = co_await select_job(transaction.session(), job.id);
  if (!whole) co_return std::unexpected(whole.error());
  co_return co_await definition->on_failure(transaction, *whole);
}

Task<Result<JobRows::Settled>> JobRows::settle(Transaction& transaction,
                                               Settlement const& settlement,
                                               JobChanges& changes) const {
  if (settlement.lease.draft) co_return co_await settle_draft(transaction, settlement, changes);
  Settled settled;
  auto& job = settled.job;
  job.id = settlement.lease.id;
  job.status = JobStatus::success;
  auto const& outcome = settlement.outcome;
  Result<void> written;
  if (outcome.kind == Outcome::Kind::success) {
    if (outcome.data.size() <= limits_.result_bytes_max) {
      written = co_await write_success(transaction, settlement, settled);
    } else {
      Settlement const too_large{
          settlement.lease,
          failed_for_good("The result has " + std::to_string(outcome.data.size()) +
                          " bytes; at most " + std::to_string(limits_.result_bytes_max) +
                          " are kept")};
      written = co_await write_other(transaction, too_large, settled);
    }
  } else {
    written = co_await write_other(transaction, settlement, settled);
  }
  if (!written) co_return std::unexpected(written.error());
  if (settled.verdict == Verdict::refused) co_return settled;
  if (!outcome.metadata.empty()) {
    auto const whole = co_await select_job(transaction.session(), job.id);
    if (!whole) co_return std::unexpected(whole.error());
    auto const merged = merged_objects(whole->metadata.text, outcome.metadata);
    auto const noted = co_await transaction.execute("UPDATE jobs SET metadata = $1 WHERE id = $2",
                                                    {merged, job.id});
    if (!noted) co_return std::unexpected(noted.error());
  }
  changes.moved(job, JobStatus::started);
  if (settled.verdict == Verdict::taken) changes.ended(job);
  if (settled.verdict == Verdict::taken && job.status != JobStatus::success) {
    if (auto done = co_await after_failure(transaction, job); !done) {
      co_return std::unexpected(done.error());
    }
  }
  changes.tell(settled.verdict == Verdict::taken ? kEndedEvent : kChangedEvent, job);
  co_return settled;
}

Task<Result<bool>> JobRows::write_draft(Transaction& transaction, Job const& draft,
                                        JobChanges& changes) {
  auto const bound = store::bind_record(draft);
  auto const inserted = co_await transaction.execute(kInsertNew, bound.values());
  if (!inserted) co_return std::unexpected(inserted.error());
  if (*inserted == 0) co_return false;
  changes.added(draft);
  changes.tell(kChangedEvent, draft);
  co_return true;
}

// What ends otherwise than well first becomes what it would have been with a row from the start,
// and so does what has got its row meanwhile.
Task<Result<JobRows::Settled>> JobRows::settle_draft(Transaction& transaction,
                                                     Settlement const& settlement,
                                                     JobChanges& changes) const {
  auto const& [lease, outcome] = settlement;
  auto const& draft = *lease.draft;
  if (auto written = co_await write_draft(transaction, draft, changes); !written) {
    co_return std::unexpected(written.error());
  }
  auto const row = co_await select_job(transaction.session(), lease.id);
  if (!row) co_return std::unexpected(row.error());
  // Only what this worker began itself is its own; others count their starts from 1, too.
  if (row->worker_id != draft.worker_id) co_return Settled{};
  Settlement const with_row{{lease.id, draft.fence, lease.receipt}, outcome};
  co_return co_await settle(transaction, with_row, changes);
}

// ---- Ends together -----------------------------------------------------------------------------

bool JobRows::ends_well(Settlement const& settlement) const {
  auto const& outcome = settlement.outcome;
  return outcome.kind == Outcome::Kind::success && outcome.metadata.empty() &&
         outcome.data.size() <= limits_.result_bytes_max;
}

Task<Result<std::vector<JobRows::Settled>>> JobRows::settle_all(
    Transaction& transaction, std::span<Settlement const* const> settlements,
    JobChanges& changes) const {
  std::vector<Settled> all(settlements.size());
  std::vector<std::size_t> drafts;
  std::vector<std::size_t> rows;
  std::vector<std::size_t> known;
  bool const sqlite = transaction.session().dialect() == store::Dialect::sqlite;
  for (std::size_t i = 0; i < settlements.size(); ++i) {
    auto const& one = *settlements[i];
    if (one.lease.draft && ends_well(one)) {
      drafts.push_back(i);
    } else if (sqlite && ends_well(one)) {
      (one.lease.seq > 0 && one.lease.start ? known : rows).push_back(i);
    } else {
      auto settled = co_await settle(transaction, one, changes);
      if (!settled) co_return std::unexpected(settled.error());
      all[i] = *std::move(settled);
    }
  }
  auto const others = co_await end_drafts(transaction, settlements, drafts, all, changes);
  if (!others) co_return std::unexpected(others.error());
  for (auto const place : *others) {
    if (sqlite) {
      rows.push_back(place);
      continue;
    }
    auto settled = co_await settle_draft(transaction, *settlements[place], changes);
    if (!settled) co_return std::unexpected(settled.error());
    all[place] = *std::move(settled);
  }
  auto done = co_await end_rows(transaction, settlements, rows, all, changes);
  if (done) done = co_await end_known(transaction, settlements, known, all, changes);
  if (!done) co_return std::unexpected(done.error());
  co_return all;
}

// Each is one row that is written once. The places of those that have got a row meanwhile.
Task<Result<std::vector<std::size_t>>> JobRows::end_drafts(
    Transaction& transaction, std::span<Settlement const* const> settlements,
    std::span<std::size_t const> places, std::vector<Settled>& all, JobChanges& changes) {
  std::vector<std::size_t> others;
  if (places.empty()) co_return others;
  std::vector<Job const*> jobs;
  jobs.reserve(places.size());
  for (auto const place : places) {
    auto const& [lease, outcome] = *settlements[place];
    auto& job = all[place].job = *lease.draft;
    job.stage = Stage::ended;
    job.status = JobStatus::success;
    job.completed_at = transaction.now();
    job.progress = 100;
    job.result.text = outcome.data;
    jobs.push_back(&job);
  }
  auto const added = co_await insert_new_jobs(transaction, jobs);
  if (!added) co_return std::unexpected(added.error());
  for (std::size_t i = 0; i < places.size(); ++i) {
    auto& settled = all[places[i]];
    if (!(*added)[i]) {
      settled = {};
      others.push_back(places[i]);
      continue;
    }
    settled.verdict = Verdict::taken;
    changes.added(settled.job);
    changes.ended(settled.job);
    changes.tell(kEndedEvent, settled.job);
  }
  co_return others;
}

// Their leases say all that is to be told of them.
Task<Result<void>> JobRows::end_known(Transaction& transaction,
                                      std::span<Settlement const* const> settlements,
                                      std::span<std::size_t const> places,
                                      std::vector<Settled>& all, JobChanges& changes) {
  struct Known {
    std::pair<std::int64_t, std::int64_t> start;  // Its row and its fence.
    std::size_t place = 0;
  };
  std::vector<Known> rows;
  rows.reserve(places.size());
  for (auto const place : places) {
    auto const& lease = settlements[place]->lease;
    rows.push_back({{lease.seq, lease.fence}, place});
  }
  std::ranges::sort(rows, {}, [](Known const& one) { return std::pair(one.start, one.place); });
  // Of the same start the first end counts.
  auto const twice = std::ranges::unique(rows, {}, &Known::start);
  rows.erase(twice.begin(), twice.end());
  // By what one statement can say of several rows.
  std::map<std::tuple<std::string_view, Uuid, std::int64_t>, std::vector<std::int64_t>> groups;
  for (auto const& [start, place] : rows) {
    auto const& [lease, outcome] = *settlements[place];
    groups[{outcome.data, lease.start->worker_id, lease.fence}].push_back(lease.seq);
  }
  for (auto& [same, seqs] : groups) {
    auto const& [result, worker, fence] = same;
    auto const written =
        co_await write_held_successes(transaction, std::move(seqs), result, worker, fence);
    if (!written) co_return std::unexpected(written.error());
    for (auto const seq : *written) {
      auto const start = std::pair(seq, fence);
      auto const place = std::ranges::lower_bound(rows, start, {}, &Known::start)->place;
      auto const& lease = settlements[place]->lease;
      auto& [verdict, job] = all[place];
      verdict = Verdict::taken;
      job.id = lease.id;
      job.name = lease.start->name;
      job.queue = lease.start->queue;
      job.priority = lease.start->priority;
      job.created_at = lease.start->created_at;
      job.started_at = lease.start->started_at;
      job.retry_count = lease.start->retry_count;
      job.batch_id = lease.start->batch_id;
      job.status = JobStatus::success;
      job.completed_at = transaction.now();
      job.progress = 100;
      changes.moved(job, JobStatus::started);
      changes.ended(job);
      changes.tell(kEndedEvent, job);
    }
  }
  co_return {};
}

Task<Result<void>> JobRows::end_rows(Transaction& transaction,
                                     std::span<Settlement const* const> settlements,
                                     std::span<std::size_t const> places, std::vector<Settled>& all,
                                     JobChanges& changes) {
  if (places.empty()) co_return {};
  std::vector<Lease const*> leases;
  leases.reserve(places.size());
  std::map<std::pair<Uuid, std::int64_t>, std::size_t> by_lease;
  for (auto const place : places) {
    auto const& lease = settlements[place]->lease;
    leases.push_back(&lease);
    by_lease.emplace(std::pair(lease.id, lease.draft ? lease.draft->fence : lease.fence), place);
  }
  auto leased = co_await select_leased(transaction, leases);
  if (!leased) co_return std::unexpected(leased.error());
  std::map<std::string_view, std::vector<std::int64_t>> by_result;
  for (auto& [seq, fence, job] : *leased) {
    auto const found = by_lease.find({job.id, fence});
    if (found == by_lease.end()) continue;
    auto& settled = all[found->second];
    // Of what began without a row only what this worker began itself is its own; others count their
    // starts from 1, too.
    auto const& draft = settlements[found->second]->lease.draft;
    if (draft && draft->worker_id != job.worker_id) continue;
    by_result[settlements[found->second]->outcome.data].push_back(seq);
    by_lease.erase(found);
    settled.verdict = Verdict::taken;
    settled.job = std::move(job);
    settled.job.status = JobStatus::success;
    settled.job.completed_at = transaction.now();
    settled.job.progress = 100;
    changes.moved(settled.job, JobStatus::started);
    changes.ended(settled.job);
    changes.tell(kEndedEvent, settled.job);
  }
  for (auto& [result, seqs] : by_result) {
    auto done = co_await write_successes(transaction, std::move(seqs), result);
    if (!done) co_return done;
  }
  co_return {};
}

}  // namespace subforge::jobs
