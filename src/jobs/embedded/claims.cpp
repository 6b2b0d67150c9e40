// What workers get of the queue in the database.
#include <algorithm>

#include "jobs/embedded/claim_sql.hpp"
#include "jobs/embedded/embedded_queue.hpp"
#include "jobs/row_groups.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

std::string queues_json(std::vector<std::string> const& queues) {
  std::string text;
  JsonWriter json(text);
  json.begin_array();
  for (auto const& queue : queues) json.string(queue);
  json.end_array();
  return text;
}

int job_columns() {
  static int const columns =
      static_cast<int>(std::ranges::count(store::column_list<Job>(), ',')) + 1;
  return columns;
}

void sooner(std::optional<std::int64_t>& again, std::int64_t in_us) {
  in_us = std::max<std::int64_t>(in_us, 0);
  again = again ? std::min(*again, in_us) : in_us;
}

}  // namespace

Task<Result<Uuid>> EmbeddedQueue::enlist(WorkerInfo const& info) {
  auto add = [this, info](Transaction& transaction) -> Task<Result<Uuid>> {
    if (auto set = co_await rows_.set_lanes(transaction); !set) {
      co_return std::unexpected(set.error());
    }
    auto const id = Uuid::ordered(transaction.now());
    auto const queues = queues_json(info.queues);
    auto const added = co_await transaction.execute(
        "INSERT INTO job_workers (id, name, queues, slots, beat, started_at, heard_at)"
        " VALUES ($1, $2, $3, $4, 0, $5, $5)",
        {id, info.name, queues, info.slots, transaction.now()});
    if (!added) co_return std::unexpected(added.error());
    co_return id;
  };
  co_return co_await store_.write(std::move(add));
}

Task<Result<void>> EmbeddedQueue::limits_changed() {
  auto set = [this](Transaction& transaction) { return rows_.set_lanes(transaction); };
  co_return co_await store_.write(std::move(set));
}

Task<Result<Claim>> EmbeddedQueue::claim(ClaimRequest request) {
  auto take = [this, request = std::move(request)](Transaction& transaction) {
    return claim_in(transaction, request);
  };
  // Refused before anything is changed, if at all.
  co_return co_await store_.write(std::move(take), store::Undo::commit);
}

// One step into the index for each queue and lane: what waits elsewhere is not looked at.
Task<Result<bool>> EmbeddedQueue::waiting(std::span<std::string const> queues) {
  std::vector<store::Value> values{Timestamp::now()};
  std::string sql =
      "SELECT 1 FROM (SELECT seq FROM jobs WHERE stage = 'delayed' AND due_at <= $1 LIMIT 1) AS "
      "due";
  auto const add = [&](std::string_view lane) {
    for (auto const& queue : queues) {
      values.emplace_back(lane);
      values.emplace_back(queue);
      auto const mark = static_cast<int>(values.size());
      sql += " UNION ALL SELECT 1 FROM (SELECT seq FROM jobs WHERE stage = 'ready' AND lane = $" +
             std::to_string(mark - 1) + " AND queue = $" + std::to_string(mark) +
             " LIMIT 1) AS ready";
    }
  };
  add("");
  for (auto const* const definition : rows_.registry().all()) {
    if (definition->limited()) add(definition->name);
  }
  auto look = [&](Session& session) -> Task<Result<bool>> {
    bool any = false;
    auto const looked = co_await session.query(sql, values, [&](Row const&) { any = true; });
    if (!looked) co_return std::unexpected(looked.error());
    co_return any;
  };
  co_return co_await store_.read(store::ReadCost::point, look);
}

Task<Result<Claim>> EmbeddedQueue::claim_in(Transaction& transaction,
                                            ClaimRequest const& request) const {
  Claim claim;
  auto const now = transaction.now();
  auto const heard = co_await transaction.execute(kHeard, {now, request.worker_id});
  if (!heard) co_return std::unexpected(heard.error());
  if (*heard == 0) co_return fail(ErrorCode::stale, "The worker was silent for too long");
  if (request.held) {
    auto const back = co_await take_unheld(transaction, request.worker_id, *request.held);
    if (!back) co_return std::unexpected(back.error());
  }
  auto const ripened = co_await transaction.execute(
      "UPDATE jobs SET stage = 'ready' WHERE seq IN (SELECT seq FROM jobs"
      " WHERE stage = 'delayed' AND due_at <= $1 ORDER BY due_at LIMIT $2)",
      {now, kRipenedAtOnce});
  if (!ripened) co_return std::unexpected(ripened.error());
  auto const most = static_cast<std::int64_t>(request.most);
  auto const lanes = co_await allowances(transaction, most, claim);
  if (!lanes) co_return std::unexpected(lanes.error());
  JobChanges changes;
  auto found = co_await take_first(transaction, *lanes, request, changes);
  if (!found) co_return std::unexpected(found.error());
  std::map<std::string_view, std::int64_t> started;
  claim.jobs = *std::move(found);
  for (auto const& [job, lease] : claim.jobs) {
    if (!job.lane.empty()) ++started[job.lane];
  }
  for (auto const& lane : *lanes) {
    auto const count = started[lane.lane];
    if (lane.rate.count == 0 || count == 0) continue;
    auto const next_at = next_rate_time(lane.rate, lane.rate_next_at, now, count);
    auto const noted = co_await transaction.execute(
        "INSERT INTO job_rates (name, next_at) VALUES ($1, $2)"
        " ON CONFLICT (name) DO UPDATE SET next_at = excluded.next_at",
        {lane.lane, next_at});
    if (!noted) co_return std::unexpected(noted.error());
  }
  if (auto done = co_await changes.apply(transaction); !done) {
    co_return std::unexpected(done.error());
  }
  auto const next = co_await transaction.query(
      "SELECT min(due_at) FROM jobs WHERE stage = 'delayed'", {}, [&](Row const& row) {
        if (!row.is_null(0)) sooner(claim.again_in_us, row.integer(0) - now.micros);
      });
  if (!next) co_return std::unexpected(next.error());
  co_return claim;
}

// In the order in which they are to be started.
Task<Result<std::vector<ClaimedJob>>> EmbeddedQueue::take_first(Transaction& transaction,
                                                                std::span<Allowance const> lanes,
                                                                ClaimRequest const& request,
                                                                JobChanges& changes) {
  bool const sqlite = transaction.session().dialect() == store::Dialect::sqlite;
  ClaimSql const sql(lanes.size(), request.queues.size(), transaction.session().dialect());
  std::vector<store::Value> values{transaction.now()};
  if (!sqlite) values.emplace_back(request.worker_id);
  for (auto const& lane : lanes) {
    for (std::size_t i = 0; i < request.queues.size(); ++i) {
      if (i == 0) values.emplace_back(lane.lane);
      values.emplace_back(request.queues[i]);
      if (i == 0) values.emplace_back(lane.most);
    }
  }
  values.emplace_back(static_cast<std::int64_t>(request.most));
  std::vector<ClaimedJob> found;
  found.reserve(request.most);
  auto const read = co_await transaction.session().query(sql.text(), values, [&](Row const& row) {
    auto& [job, lease] = found.emplace_back(store::read_row<Job>(row), Lease{});
    lease.seq = row.integer(job_columns());
  });
  if (!read) co_return std::unexpected(read.error());
  // They mostly are in order already, and sorting moves them about all the same.
  auto const place = [](auto const& one) { return std::pair(one.job.rank, one.lease.seq); };
  if (!std::ranges::is_sorted(found, {}, place)) std::ranges::sort(found, {}, place);
  std::vector<std::int64_t> seqs;
  seqs.reserve(found.size());
  for (auto& [job, lease] : found) {
    if (sqlite) {
      job.stage = Stage::leased;
      job.status = JobStatus::started;
      job.started_at = transaction.now();
      job.worker_id = request.worker_id;
      ++job.fence;
      seqs.push_back(lease.seq);
      lease.start = Start{request.worker_id, job.name,       job.queue,       job.priority,
                          job.created_at,    job.started_at, job.retry_count, job.batch_id};
    }
    lease.id = job.id;
    lease.fence = job.fence;
    changes.moved(job, job.error ? JobStatus::retry : JobStatus::pending);
  }
  if (auto done = co_await write_starts(transaction, std::move(seqs), request.worker_id); !done) {
    co_return std::unexpected(done.error());
  }
  co_return found;
}

// It was cancelled before the worker heard that it had it.
Task<Result<void>> EmbeddedQueue::free_unheld(Transaction& transaction, Uuid worker,
                                              std::vector<Lease> const& held) {
  std::vector<Lease> stopping;
  auto const read = co_await transaction.query(
      "SELECT job_id, fence FROM jobs_stopping WHERE worker_id = $1", {worker},
      [&](Row const& row) { stopping.push_back({row.uuid(0), row.integer(1)}); });
  if (!read) co_return std::unexpected(read.error());
  for (auto const& one : stopping) {
    bool const known = std::ranges::any_of(held, [&](Lease const& lease) {
      return lease.id == one.id && one.fence == (lease.draft ? lease.draft->fence : lease.fence);
    });
    if (known) continue;
    if (auto freed = co_await JobRows::free_place(transaction, one); !freed) co_return freed;
  }
  co_return {};
}

Task<Result<void>> EmbeddedQueue::take_unheld(Transaction& transaction, Uuid worker,
                                              std::vector<Lease> const& held) const {
  auto jobs = co_await select_jobs(transaction.session(), kHeld, {worker});
  if (!jobs) co_return std::unexpected(jobs.error());
  if (auto freed = co_await free_unheld(transaction, worker, held); !freed) co_return freed;
  JobChanges changes;
  for (auto& job : *jobs) {
    bool const known = std::ranges::any_of(held, [&](Lease const& lease) {
      return lease.id == job.id && job.fence == (lease.draft ? lease.draft->fence : lease.fence);
    });
    if (known) continue;
    auto const back =
        co_await rows_.take_back(transaction, std::move(job), Stage::ready, false, changes);
    if (!back) co_return back;
  }
  co_return co_await changes.apply(transaction);
}

// What has no limits of its own, and then those names that have, wait and are not at their limits.
Task<Result<std::vector<EmbeddedQueue::Allowance>>> EmbeddedQueue::allowances(
    Transaction& transaction, std::int64_t most, Claim& claim) const {
  std::vector<Allowance> all{{.lane = "", .most = most}};
  for (auto const* const definition : rows_.registry().all()) {
    if (!definition->limited()) continue;
    auto const& name = definition->name;
    bool waits = false;
    auto const looked =
        co_await transaction.query("SELECT 1 FROM jobs WHERE stage = 'ready' AND lane = $1 LIMIT 1",
                                   {name}, [&](Row const&) { waits = true; });
    if (!looked) co_return std::unexpected(looked.error());
    if (!waits) continue;
    Allowance allowance{.lane = name, .most = most};
    if (definition->concurrency > 0) {
      std::int64_t running = 0;
      auto const counted = co_await transaction.query(
          "SELECT (SELECT count(*) FROM jobs WHERE stage = 'leased' AND lane = $1 AND lane <> '')"
          " + (SELECT count(*) FROM jobs_stopping WHERE lane = $1)",
          {name}, [&](Row const& row) { running = row.integer(0); });
      if (!counted) co_return std::unexpected(counted.error());
      allowance.most = std::clamp<std::int64_t>(definition->concurrency - running, 0, most);
    }
    if (definition->rate.count > 0) {
      auto const allowed = co_await allow_rate(transaction, *definition, allowance, claim);
      if (!allowed) co_return std::unexpected(allowed.error());
    }
    if (allowance.most > 0) all.push_back(std::move(allowance));
  }
  co_return all;
}

Task<Result<void>> EmbeddedQueue::allow_rate(Transaction& transaction, Definition const& definition,
                                             Allowance& allowance, Claim& claim) const {
  allowance.rate = definition.rate;
  auto const read =
      co_await transaction.query("SELECT next_at FROM job_rates WHERE name = $1", {definition.name},
                                 [&](Row const& row) { allowance.rate_next_at = row.integer(0); });
  if (!read) co_return std::unexpected(read.error());
  auto const now = transaction.now();
  auto const allowed = allowed_by_rate(definition.rate, allowance.rate_next_at, now);
  if (allowed < allowance.most) {
    auto const on_time = next_rate_time(definition.rate, allowance.rate_next_at, now, allowed) -
                         rate_slack_us(definition.rate);
    sooner(claim.again_in_us, std::max<std::int64_t>(on_time - now.micros, 1'000));
  }
  allowance.most = std::min(allowance.most, allowed);
  co_return {};
}

}  // namespace subforge::jobs
