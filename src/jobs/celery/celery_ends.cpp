// Of the queue over Redis: how ends what its workers took. They bring a result, are told to stop,
// or give it back; then Redis is told.
#include <algorithm>
#include <utility>

#include "jobs/celery/celery_queue.hpp"
#include "jobs/celery/observed.hpp"
#include "jobs/celery/outbox.hpp"
#include "jobs/celery/revoked_ids.hpp"

namespace subforge::jobs::celery {

using store::Row;
using store::Session;
using store::Transaction;

// Whatever has no message in Redis would not be told again after a crash: the outbox does.
Task<Result<void>> CeleryQueue::settled_in(Transaction& transaction, Settlement const& settlement,
                                           JobRows::Settled const& settled) {
  if (!settlement.lease.receipt.empty() || settled.verdict != Verdict::taken) co_return {};
  co_return co_await add_to_outbox(transaction, settlement.lease.id, OutboxKind::end);
}

Task<Result<void>> CeleryQueue::ended_in(Transaction& transaction, Uuid id) {
  co_return co_await add_to_outbox(transaction, id, OutboxKind::end);
}

Task<Result<std::vector<Verdict>>> CeleryQueue::settle(Uuid worker_id,
                                                       std::span<Settlement const> settlements) {
  auto const mark = [&](bool settling) {
    for (auto const& [lease, outcome] : settlements) {
      auto const found = find_held(lease);
      if (found != held_.end()) found->second.settling = settling;
    }
  };
  mark(true);
  auto const verdicts = co_await EmbeddedQueue::settle(worker_id, settlements);
  co_await loop_.resume_here();
  if (!verdicts) {
    mark(false);
    co_return verdicts;
  }
  Untold untold{worker_id, {}, {}};
  untold.ended.reserve(settlements.size());
  untold.tags.reserve(settlements.size());
  bool outbox = false;
  std::vector<Uuid> revoked;
  for (std::size_t i = 0; i < settlements.size(); ++i) {
    auto const& lease = settlements[i].lease;
    auto const found = find_held(lease);
    // Its worker is lost; whoever takes back what it held does with the message as the row says.
    if (found == held_.end()) continue;
    auto const taken_out = held_.extract(found);
    auto& held = taken_out.mapped();
    untold.worker = held.worker;
    auto const verdict = (*verdicts)[i];
    bool const by_outbox = lease.receipt.empty() && verdict == Verdict::taken;
    outbox |= by_outbox;
    if (verdict == Verdict::refused) {
      if (observer_ != nullptr) tell_rejected(*observer_, *held.message);
      untold.by_row.push_back({lease, std::move(held)});
      continue;
    }
    bool const unwanted = verdict == Verdict::retried && observer_ != nullptr &&
                          !held.revoked_before &&
                          observer_->is_revoked(held.message->id, stamps_of(*held.message));
    if (unwanted) revoked.push_back(lease.id);
    Result<std::optional<Job>> row = std::nullopt;
    if (row_may_differ(settlements[i])) row = co_await row_of(lease.id);
    auto ended = end_of(settlements[i], verdict, row ? *std::move(row) : std::nullopt,
                        row ? std::move(*held.message) : *held.message);
    if (observer_ != nullptr) {
      tell_ended(*observer_, ended, static_cast<double>(monotonic_ns() - held.started_ns) / 1e9);
    }
    if (!row) {
      if (!by_outbox) untold.by_row.push_back({lease, std::move(held)});
      continue;
    }
    if (!lease.receipt.empty()) untold.tags.push_back(lease.receipt);
    bool const put_back = verdict == Verdict::taken && !is_final(ended.status);
    if (!by_outbox && !put_back) untold.ended.push_back(std::move(ended));
  }
  if (outbox) relay_.wake();
  if (!revoked.empty()) tasks_.spawn(revoke(std::move(revoked)));
  if (!untold.tags.empty() || !untold.ended.empty() || !untold.by_row.empty()) {
    co_await tell(std::move(untold));
  }
  co_return verdicts;
}

// It was cancelled, which the outbox tells; only its message is left.
Task<Result<void>> CeleryQueue::stopped(Lease lease) {
  if (auto const found = find_held(lease); found != held_.end()) {
    auto const held = std::move(found->second);
    held_.erase(found);
    if (observer_ != nullptr) tell_terminated(*observer_, *held.message);
    if (!lease.receipt.empty()) tasks_.spawn(tell({held.worker, {}, {lease.receipt}}));
  }
  co_return co_await EmbeddedQueue::stopped(std::move(lease));
}

// The rows wait again, and get new messages; the old ones are done with.
Task<Result<void>> CeleryQueue::release(Uuid worker_id, std::vector<Lease> leases) {
  if (auto written = co_await write_rows(); !written) co_return written;
  std::vector<std::string> tags;
  for (auto const& lease : leases) {
    if (!lease.receipt.empty()) tags.push_back(lease.receipt);
  }
  auto const ids = leases;
  for (auto& lease : leases) {
    if (lease.draft) lease.fence = lease.draft->fence;
  }
  auto const released = co_await EmbeddedQueue::release(worker_id, std::move(leases));
  co_await loop_.resume_here();
  if (!released) co_return released;
  for (auto const& lease : ids) {
    auto const found = find_held(lease);
    if (found == held_.end()) continue;
    if (observer_ != nullptr) tell_rejected(*observer_, *found->second.message, true);
    held_.erase(found);
  }
  co_await tell({worker_id, {}, std::move(tags)});
  co_return released;
}

// Somebody said while they ran that they are not wanted, which does not end what runs: but they are
// not tried again.
Task<void> CeleryQueue::revoke(std::vector<Uuid> ids) {
  for (auto const& id : ids) {
    auto end = [this, id](Transaction& transaction) {
      return cancel_in(transaction, id, "celery", "It was revoked");
    };
    auto const done = co_await store().write(end);
    co_await loop_.resume_here();
    if (done || done.error().code == ErrorCode::invalid) continue;  // Others were first.
    logger().warning("a background task could not be revoked",
                     {{"id", id.to_string()}, {"cause", done.error().message}});
  }
}

Task<void> CeleryQueue::revoke_stamped(std::set<std::string> stamps) {
  std::vector<Uuid> ids;
  auto look = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(
        "SELECT id, message FROM jobs JOIN job_messages ON job_id = id WHERE completed_at IS NULL"
        " AND stage IN ('delayed', 'ready', 'held') AND message LIKE '%\"stamps\"%'",
        {}, [&](Row const& row) {
          auto const message = read_message(row.text(1)).message;
          auto const* const its = stamps_of(message);
          if (its == nullptr) return;
          auto const any = std::ranges::any_of(
              stamp_keys(*its), [&](auto const& key) { return stamps.contains(key); });
          if (any) ids.push_back(row.uuid(0));
        });
  };
  auto const looked = co_await store().read(store::ReadCost::scan, look);
  co_await loop_.resume_here();
  if (!looked) {
    logger().warning("those that wait could not be looked through for stamps",
                     {{"cause", looked.error().message}});
  }
  co_await revoke(std::move(ids));
}

// One with an effect, or whose result is too large, may have ended otherwise than it says.
bool CeleryQueue::row_may_differ(Settlement const& settlement) const {
  auto const& outcome = settlement.outcome;
  return outcome.effect || outcome.data.size() > limits().result_bytes_max;
}

Task<Result<std::optional<Job>>> CeleryQueue::row_of(Uuid id) {
  auto read = [id](Session& session) { return select_job(session, id); };
  auto job = co_await store().read(store::ReadCost::point, read);
  co_await loop_.resume_here();
  if (!job) co_return std::unexpected(job.error());
  co_return *std::move(job);
}

// What a settlement came to.
Ended CeleryQueue::end_of(Settlement const& settlement, Verdict verdict, std::optional<Job> row,
                          TaskMessage message) const {
  auto const& outcome = settlement.outcome;
  if (row) {
    // It may have been started again already.
    if (verdict == Verdict::retried) row->status = JobStatus::retry;
    return ended_of_job(*row, std::move(message));
  }
  Ended ended{.message = std::move(message)};
  if (outcome.kind == Outcome::Kind::success) {
    ended.result = outcome.data;
    return ended;
  }
  Job job;
  job.name = ended.message.task;
  job.error = clean_text(outcome.error, limits().error_bytes_max);
  job.status = outcome.kind == Outcome::Kind::revoked ? JobStatus::revoked : JobStatus::failure;
  ended.error = exception_of_job(job);
  ended.status = verdict == Verdict::retried ? JobStatus::retry : job.status;
  if (!outcome.traceback.empty()) {
    ended.traceback = clean_text(outcome.traceback, limits().error_bytes_max);
  }
  return ended;
}

// Either others have it, or it was ended here and the answer was lost: then who waits for it is
// told. What began without a row, of a worker that is not known any more, is with others together
// with its message.
Task<Result<void>> CeleryQueue::look_at_row(ByRow& one, Untold& untold) {
  auto& [lease, held] = one;
  std::optional<Job> job;
  bool known = false;
  auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
    auto row = co_await select_job(session, lease.id);
    if (!row && row.error().code != ErrorCode::not_found) co_return std::unexpected(row.error());
    if (row) job = std::move(*row);
    co_return co_await session.query("SELECT 1 FROM job_workers WHERE id = $1", {held.worker},
                                     [&](Row const&) { known = true; });
  };
  auto const looked = co_await store().read(store::ReadCost::point, read);
  co_await loop_.resume_here();
  if (!looked) co_return std::unexpected(looked.error());
  if (lease.draft && (!known || !job)) co_return {};
  if (!lease.receipt.empty()) untold.tags.push_back(lease.receipt);
  if (!job || job->stage != Stage::ended) co_return {};
  untold.ended.push_back(ended_of_job(*job, std::move(*held.message)));
  untold.ended.back().again = true;
  co_return {};
}

// The results first, then that the messages are done with: who dies in between leaves them. What
// could not be told, or seen, is left for later.
Task<void> CeleryQueue::tell(Untold untold) {
  std::vector<ByRow> unseen;
  for (auto& one : std::exchange(untold.by_row, {})) {
    if (!co_await look_at_row(one, untold)) unseen.push_back(std::move(one));
  }
  Result<void> done = fail(ErrorCode::unavailable, "Redis is not available");
  if (broker_.up() && results_.up()) {
    done = co_await endings_.tell(untold.ended);
    if (done) done = co_await broker_.acknowledge(untold.worker, untold.tags);
  }
  if (done && unseen.empty()) co_return;
  if (done) untold = {untold.worker, {}, {}};
  untold.by_row = std::move(unseen);
  untold_.push_back(std::move(untold));
}

Task<void> CeleryQueue::tell_untold() {
  if (std::exchange(telling_, true)) co_return;
  for (auto& one : std::exchange(untold_, {})) co_await tell(std::move(one));
  telling_ = false;
}

}  // namespace subforge::jobs::celery
