// Of the queue over Redis: tasks of others that begin without a row. Most are over before anybody
// could look at them, and then their row is written once, with their end; what runs on gets it by
// and by.
//
// Until then their message in the book is the only trace of them. Whoever finds what a dead worker
// held gives a message back that there is no row of; it is marked as delivered before, and has its
// row from the start the next time, so that what costs workers their life is counted.
#include <algorithm>
#include <bit>
#include <limits>
#include <unordered_set>

#include "jobs/celery/celery_queue.hpp"
#include "jobs/celery/observed.hpp"
#include "jobs/celery/outbox.hpp"

namespace subforge::jobs::celery {

using store::Row;
using store::Session;
using store::Transaction;

namespace {

constexpr std::int64_t kMs = 1'000'000;

}  // namespace

// What the record alone can tell, and waits for nothing.
bool CeleryQueue::may_begin(Received const& one, Timestamp now) const {
  return broker_.row_of(one.tag) == 0 && !one.message->redelivered && !says_more(*one.message) &&
         adopter_.starts_at_once(one, now);
}

CeleryQueue::HeldJobs::iterator CeleryQueue::find_held(Uuid job, std::int64_t fence) {
  auto const [first, last] = held_.equal_range(job);
  auto const found =
      std::find_if(first, last, [fence](auto const& one) { return one.second.fence == fence; });
  return found == last ? held_.end() : found;
}

bool CeleryQueue::has_begun(Uuid job, Uuid worker) const {
  auto const [first, last] = held_.equal_range(job);
  return std::any_of(first, last, [&](auto const& one) {
    return one.second.draft && one.second.worker == worker;
  });
}

// Which of the ids have a row. Error: stale, if the worker is not known any more.
Task<Result<void>> CeleryQueue::look_at_rows(Uuid worker, std::span<Uuid const> ids,
                                             std::set<Uuid>& known) {
  // Few sizes, so that the statements stay prepared: the last one fills up.
  auto const size = std::bit_ceil(ids.size());
  auto const sql =
      "SELECT id FROM job_workers WHERE id = $1 UNION ALL"
      " SELECT id FROM jobs WHERE id IN (" +
      marks(size, 2) + ")";
  std::vector<store::Value> values{worker};
  values.reserve(1 + size);
  values.insert(values.end(), ids.begin(), ids.end());
  values.resize(1 + size, ids.back());
  auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(sql, values,
                                     [&](Row const& row) { known.insert(row.uuid(0)); });
  };
  auto const looked = co_await store().read(store::ReadCost::point, read);
  co_await loop_.resume_here();
  if (!looked) co_return std::unexpected(looked.error());
  if (known.contains(worker)) co_return {};
  co_return fail(ErrorCode::stale, "The worker was silent for too long");
}

// Takes those that begin without a row out of what was received.
Task<Result<std::vector<CeleryQueue::Begun>>> CeleryQueue::set_apart(
    Uuid worker, std::vector<Received>& received) {
  std::vector<Begun> begun;
  auto const now = Timestamp::now();
  std::vector<Uuid> ids;
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < received.size(); ++i) {
    if (!may_begin(received[i], now)) continue;
    ids.push_back(received[i].id);
    places.push_back(i);
  }
  if (ids.empty()) co_return begun;
  std::set<Uuid> known;
  if (auto looked = co_await look_at_rows(worker, ids, known); !looked) {
    co_return std::unexpected(looked.error());
  }
  std::vector<std::string> twice;
  std::vector<Received> others;
  std::unordered_set<Uuid> seen;
  begun.reserve(ids.size());
  auto next = places.begin();
  for (std::size_t i = 0; i < received.size(); ++i) {
    auto& one = received[i];
    bool const may = next != places.end() && *next == i;
    if (may) ++next;
    if (!may || known.contains(one.id)) {
      others.push_back(std::move(one));
      continue;
    }
    if (has_begun(one.id, worker) || seen.contains(one.id)) {
      twice.push_back(std::move(one.tag));
      continue;
    }
    auto job = adopter_.draft(one, now);
    if (!job) {
      others.push_back(std::move(one));
      continue;
    }
    seen.insert(one.id);
    job->stage = Stage::leased;
    job->status = JobStatus::started;
    job->started_at = now;
    job->fence = 1;
    job->worker_id = worker;
    begun.emplace_back(std::move(one), std::make_shared<Job const>(*std::move(job)));
  }
  received = std::move(others);
  if (!twice.empty()) co_await tell({worker, {}, std::move(twice)});
  co_return begun;
}

// A claim of nothing, but with the time at which something is due.
Task<Result<Claim>> CeleryQueue::next_delayed() {
  Claim claim;
  auto const now = Timestamp::now();
  auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(
        "SELECT min(due_at) FROM jobs WHERE stage = 'delayed'", {}, [&](Row const& row) {
          if (row.is_null(0)) return;
          claim.again_in_us = std::max<std::int64_t>(row.integer(0) - now.micros, 0);
        });
  };
  auto const looked = co_await store().read(store::ReadCost::point, read);
  co_await loop_.resume_here();
  if (!looked) co_return std::unexpected(looked.error());
  co_return claim;
}

void CeleryQueue::begin_without_rows(Uuid worker, std::vector<Begun> begun, Claim& claim) {
  auto const now_ns = monotonic_ns();
  claim.jobs.reserve(claim.jobs.size() + begun.size());
  for (auto& [received, draft] : begun) {
    mirror_.forget(draft->id);
    Lease lease{draft->id, -++begun_, std::move(received.tag), draft};
    if (observer_ != nullptr) tell_started(*observer_, *received.message);
    held_.emplace(lease.id, Held{std::move(received.message), worker, lease.fence, now_ns, draft});
    unwritten_.push_back({lease.id, lease.fence, now_ns});
    claim.jobs.emplace_back(*draft, std::move(lease));
  }
  wait_for_rows(now_ns);
}

void CeleryQueue::wait_for_rows(std::int64_t at_least_ns) {
  if (unwritten_.empty() || rows_due_.armed()) return;
  auto const due_ns = unwritten_.front().begun_ns + kRowAfterMs * kMs;
  rows_due_.arm(loop_.timers(), std::max(due_ns, at_least_ns));
}

Task<void> CeleryQueue::write_rows_by_and_by() {
  auto const now_ns = monotonic_ns();
  auto const written = co_await write_rows_begun_before(now_ns - kRowAfterMs * kMs);
  if (!written) {
    logger().warning("tasks of others could not be entered in the database",
                     {{"cause", written.error().message}, {"context", written.error().context}});
  }
  wait_for_rows(written ? now_ns : now_ns + kRowAfterMs * kMs);
}

Task<Result<void>> CeleryQueue::write_rows() {
  return write_rows_begun_before(std::numeric_limits<std::int64_t>::max());
}

Task<Result<void>> CeleryQueue::write_rows_begun_before(std::int64_t before_ns) {
  std::vector<std::shared_ptr<Job const>> drafts;
  std::vector<Unwritten> taken;
  while (!unwritten_.empty() && unwritten_.front().begun_ns <= before_ns) {
    auto const one = unwritten_.front();
    unwritten_.pop_front();
    auto const found = find_held(one.job, one.fence);
    if (found == held_.end() || found->second.settling) continue;
    drafts.push_back(found->second.draft);
    taken.push_back(one);
  }
  if (drafts.empty()) co_return {};
  auto write = [&drafts](Transaction& transaction) -> Task<Result<void>> {
    std::set<Uuid> workers;
    for (auto const& draft : drafts) workers.insert(*draft->worker_id);
    auto const unknown = co_await unknown_of(transaction, workers);
    if (!unknown) co_return std::unexpected(unknown.error());
    JobChanges changes;
    for (auto const& draft : drafts) {
      if (unknown->contains(*draft->worker_id)) continue;
      // Where there is a row already, its end will be refused.
      auto const written = co_await JobRows::write_draft(transaction, *draft, changes);
      if (!written) co_return std::unexpected(written.error());
    }
    co_return co_await changes.apply(transaction);
  };
  auto written = co_await store().write(std::move(write));
  co_await loop_.resume_here();
  if (!written) unwritten_.insert(unwritten_.begin(), taken.begin(), taken.end());
  co_return written;
}

// One that holds nothing but what has no row yet is to be noticed soon as well.
Task<Result<std::set<Uuid>>> CeleryQueue::holders() {
  co_await loop_.resume_here();
  if (!broker_.up()) co_return std::set<Uuid>{};
  auto found = co_await broker_.holders();
  if (!found && found.error().code == ErrorCode::unavailable) co_return std::set<Uuid>{};
  co_return found;
}

}  // namespace subforge::jobs::celery
