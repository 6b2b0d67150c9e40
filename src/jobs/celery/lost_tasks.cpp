#include "jobs/celery/lost_tasks.hpp"

#include <algorithm>
#include <set>
#include <unordered_set>

#include "jobs/celery/outbox.hpp"
#include "jobs/celery/wire.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs::celery {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

constexpr std::int64_t kSecondNs = 1'000'000'000;

// Only what any writer of JSON writes as it is can be looked for in a text.
bool is_plain(std::string_view task_id) {
  return !task_id.empty() && std::ranges::all_of(task_id, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == ':';
  });
}

Task<Result<bool>> end_one(JobRows const& rows, Transaction& transaction, Uuid id,
                           std::string const& error, JobChanges& changes) {
  auto const before = co_await select_job(transaction.session(), id);
  if (!before && before.error().code == ErrorCode::not_found) co_return false;
  if (!before) co_return std::unexpected(before.error());
  if (before->stage != Stage::outbound) co_return false;
  auto after = *before;
  after.stage = Stage::ended;
  after.status = JobStatus::failure;
  after.completed_at = transaction.now();
  after.error = error;
  after.progress = 0;
  ++after.fence;
  auto const update = store::update_of_changes<Job>("jobs", "id", id, *before, after);
  auto const done = co_await transaction.execute(update.sql, update.bound.values());
  if (!done) co_return std::unexpected(done.error());
  changes.moved(after, before->status);
  changes.ended(after);
  changes.tell(kEndedEvent, after);
  if (auto followed = co_await rows.after_failure(transaction, after); !followed) {
    co_return std::unexpected(followed.error());
  }
  if (auto removed = co_await remove_pushes(transaction, std::span(&id, 1)); !removed) {
    co_return std::unexpected(removed.error());
  }
  if (auto told = co_await add_to_outbox(transaction, id, OutboxKind::end); !told) {
    co_return std::unexpected(told.error());
  }
  co_return true;
}

}  // namespace

// A part of those that wait for others each time, from the oldest on.
Task<Result<std::vector<LostTasks::Candidate>>> LostTasks::candidates(std::int64_t pushed) {
  std::vector<Candidate> found;
  std::int64_t last = 0;
  std::int64_t count = 0;
  auto read = [&](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(
        "SELECT seq, id, task_id, queue, status, progress, progress_note, retry_count,"
        " coalesce((SELECT max(job_outbox.seq) FROM job_outbox"
        " WHERE job_outbox.job_id = jobs.id AND kind = 'push'), 0)"
        " FROM jobs LEFT JOIN job_messages ON job_messages.job_id = id"
        " WHERE stage = 'outbound' AND seq > $1 ORDER BY seq LIMIT $2",
        {looked_until_, kLookedForAtOnce}, [&](Row const& row) {
          last = row.integer(0);
          ++count;
          Candidate one;
          one.id = row.uuid(1);
          one.task_id = row.is_null(2) ? one.id.to_string() : std::string(row.text(2));
          if (row.integer(8) > pushed || !is_plain(one.task_id)) return;
          one.queue = row.text(3);
          one.news = std::string(row.text(4)) + ' ' + std::to_string(row.real(5)) + ' ' +
                     std::to_string(row.integer(7)) + ' ' + std::string(row.text(6));
          found.push_back(std::move(one));
        });
  };
  auto const done = co_await parts_.store.read(store::ReadCost::scan, read);
  if (!done) co_return std::unexpected(done.error());
  looked_until_ = count < kLookedForAtOnce ? 0 : last;
  co_return found;
}

// Those that have been missed for too long.
std::vector<LostTasks::Candidate> LostTasks::note(std::span<Candidate const> looked_for,
                                                  Broker::Found const& found) {
  std::vector<Candidate> lost;
  std::unordered_set<std::string_view> const there(found.ids.begin(), found.ids.end());
  auto const now_ns = monotonic_ns();
  for (auto const& one : looked_for) {
    if (there.contains(one.task_id)) {
      missed_.erase(one.id);
      continue;
    }
    // It may lie where nobody looked.
    if (!found.all) continue;
    auto const known = missed_.find(one.id);
    if (known == missed_.end()) {
      if (missed_.size() < kMissedMax) missed_.emplace(one.id, Missed{now_ns, one.news});
    } else if (known->second.news != one.news) {
      known->second = {now_ns, one.news};
    } else if (now_ns - known->second.since_ns >= seconds_ * kSecondNs) {
      lost.push_back(one);
    }
  }
  return lost;
}

Task<Result<std::int64_t>> LostTasks::tend() {
  auto const pause = std::clamp<std::int64_t>(seconds_ / 10, 1, kLookSecondsMax);
  if (monotonic_ns() - looked_at_ns_ < pause * kSecondNs) co_return 0;
  looked_at_ns_ = monotonic_ns();
  auto const pushed = co_await parts_.broker.relayed();
  if (!pushed) co_return std::unexpected(pushed.error());
  bool const whole_round = looked_until_ == 0;
  auto const looked_for = co_await candidates(*pushed);
  if (!looked_for) co_return std::unexpected(looked_for.error());
  std::set<std::string> lists;
  std::vector<std::string> ids;
  for (auto const& one : *looked_for) {
    for (auto const band : kBands) {
      auto list = list_name(one.queue, band);
      lists.insert(parts_.broker.own_list(list));
      lists.insert(std::move(list));
    }
    ids.push_back(one.task_id);
  }
  std::vector<Candidate> lost;
  if (!ids.empty()) {
    std::vector<std::string> const places(lists.begin(), lists.end());
    auto const found = co_await parts_.broker.find(places, ids);
    if (!found) co_return std::unexpected(found.error());
    lost = note(*looked_for, *found);
  }
  if (whole_round && looked_until_ == 0) {
    // All that wait were looked for: what is not among them has ended.
    std::unordered_set<Uuid> waiting;
    for (auto const& one : *looked_for) waiting.insert(one.id);
    std::erase_if(missed_, [&](auto const& one) { return !waiting.contains(one.first); });
  }
  if (lost.empty()) co_return 0;
  co_return co_await end(std::move(lost));
}

Task<Result<std::int64_t>> LostTasks::end(std::vector<Candidate> lost) {
  std::vector<std::string> ids;
  for (auto const& one : lost) ids.push_back(one.task_id);
  // Somebody may have told of an end that was not heard.
  auto const metas = co_await parts_.results.get(ids);
  if (!metas) co_return std::unexpected(metas.error());
  std::vector<ResultMeta> told;
  for (auto const& meta : *metas) {
    if (meta && is_final_state(meta->status)) told.push_back(*meta);
  }
  if (auto taken = co_await parts_.mirror.take(std::move(told)); !taken) {
    co_return std::unexpected(taken.error());
  }
  auto const error = "Nobody told of its end: for " + std::to_string(seconds_) +
                     " seconds its message was in no list and with no worker";
  auto write = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
    JobChanges changes;
    std::int64_t count = 0;
    for (auto const& one : lost) {
      auto const ended = co_await end_one(parts_.rows, transaction, one.id, error, changes);
      if (!ended) co_return std::unexpected(ended.error());
      if (*ended) ++count;
    }
    if (auto done = co_await changes.apply(transaction); !done) {
      co_return std::unexpected(done.error());
    }
    co_return count;
  };
  auto const ended = co_await parts_.store.write(write);
  if (!ended) co_return ended;
  for (auto const& one : lost) missed_.erase(one.id);
  if (*ended > 0) {
    parts_.logger.warning("background tasks failed, as nobody told of their end",
                          {{"count", *ended}, {"seconds", seconds_}});
  }
  co_return ended;
}

}  // namespace subforge::jobs::celery
