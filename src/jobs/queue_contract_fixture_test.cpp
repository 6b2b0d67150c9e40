#include <unistd.h>

#include "jobs/queue_contract_test.hpp"

namespace subforge::jobs {

Logger silent_logger() {
  static LogSink sink(STDERR_FILENO);
  return {sink, LogFormat::text, LogLevel::critical};
}

Task<Result<void>> count_one(store::Transaction& transaction, std::string name) {
  auto const done = co_await transaction.execute(
      "INSERT INTO record_counts (name, n) VALUES ($1, 1)"
      " ON CONFLICT (name) DO UPDATE SET n = record_counts.n + 1",
      {name});
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Effect counting(std::string name) {
  return [name = std::move(name)](store::Transaction& transaction) {
    return count_one(transaction, name);
  };
}

QueueContract::QueueContract() : place_(GetParam().make_place()) {
  registry_.add({.name = "plain"});
  registry_.add({.name = "stubborn", .automatic_retries = 2, .backoff_ms = 0});
  registry_.add({.name = "patient", .automatic_retries = 3, .backoff_ms = 60'000});
  registry_.add({.name = "lonely", .concurrency = 1});
  registry_.add({.name = "slow", .rate = {.count = 1, .per_seconds = 3'600, .burst = 2}});
}

void QueueContract::start(QueueLimits limits) {
  limits_ = std::move(limits);
  process_ = another_process();
  jobs_ = std::make_unique<Jobs>(process_->store(), process_->queue());
  worker_ = enlist(queue());
}

std::unique_ptr<QueueProcess> QueueContract::another_process() {
  return place_->open(loop_, registry_, limits_, {});
}

std::vector<Uuid> QueueContract::enqueue_all(std::vector<JobSpec> specs) {
  auto const added = run(jobs().enqueue(std::move(specs)));
  EXPECT_TRUE(added) << added.error().message << ": " << added.error().context;
  std::vector<Uuid> ids;
  if (added) {
    for (auto const& one : *added) ids.push_back(one.id);
  }
  return ids;
}

Uuid QueueContract::enqueue(JobSpec spec) {
  auto const ids = enqueue_all({std::move(spec)});
  return ids.empty() ? Uuid{} : ids.front();
}

Uuid QueueContract::enlist(Queue& queue, std::vector<std::string> queues) {
  auto const id = run(queue.enlist({"test", std::move(queues), 10}));
  EXPECT_TRUE(id) << id.error().message << ": " << id.error().context;
  return id.value_or(Uuid{});
}

std::vector<ClaimedJob> QueueContract::claim(Queue& queue, Uuid worker, std::size_t most,
                                             std::vector<std::string> queues) {
  auto claim = run(queue.claim({worker, std::move(queues), most}));
  EXPECT_TRUE(claim) << claim.error().message << ": " << claim.error().context;
  return claim ? std::move(claim->jobs) : std::vector<ClaimedJob>{};
}

Verdict QueueContract::settle(Queue& queue, Lease const& lease, Outcome outcome) {
  Settlement const one{lease, std::move(outcome)};
  auto const verdicts = run(queue.settle(worker_, std::span(&one, 1)));
  EXPECT_TRUE(verdicts) << verdicts.error().message << ": " << verdicts.error().context;
  return verdicts ? verdicts->front() : Verdict::refused;
}

Job QueueContract::job(Uuid id) {
  auto job = run(jobs().get(id));
  EXPECT_TRUE(job) << job.error().message << ": " << job.error().context;
  return job ? std::move(*job) : Job{};
}

std::int64_t QueueContract::number(std::string sql) {
  std::int64_t found = -1;
  auto const read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(sql, {},
                                     [&](store::Row const& row) { found = row.integer(0); });
  };
  auto const done = run(process_->store().read(store::ReadCost::scan, read));
  EXPECT_TRUE(done) << done.error().context;
  return found;
}

std::vector<std::string> QueueContract::claimed_names(std::size_t most) {
  std::vector<std::string> names;
  for (auto const& one : claim(most)) names.push_back(one.job.name);
  return names;
}

}  // namespace subforge::jobs
