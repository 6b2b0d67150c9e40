#include "jobs/celery/celery_queue.hpp"

#include <algorithm>

#include "jobs/celery/outbox.hpp"

namespace subforge::jobs::celery {

using store::Transaction;

CeleryQueue::CeleryQueue(EventLoop& loop, BlockingPool& resolver, store::Store& store,
                         Registry const& registry, QueueLimits limits, CeleryOptions options,
                         Logger logger)
    : EmbeddedQueue(store, registry, std::move(limits), logger),
      loop_(loop),
      options_(std::move(options)),
      broker_(loop, resolver, options_.broker, logger),
      results_(loop, resolver,
               {options_.results, options_.result_seconds, options_.result_prefix,
                options_.dates_with_offset},
               logger),
      endings_(broker_, results_, options_.origin, logger),
      mirror_(loop, store, results_, rows(), logger),
      relay_({loop, store, broker_, results_, endings_, mirror_, options_.origin, logger}),
      // What comes back to others by itself is not lost.
      lost_({store, broker_, results_, mirror_, rows(), logger},
            std::max(options_.lost_seconds, options_.visibility_seconds)),
      adopter_(rows()),
      rows_due_([this] { tasks_.spawn(write_rows_by_and_by()); }) {
  store.follow(*this);
}

CeleryQueue::~CeleryQueue() { stop(); }

void CeleryQueue::start() {
  auto const arrived = [this] {
    if (on_arrival_) on_arrival_();
  };
  broker_.on_arrival(arrived);
  relay_.on_pushed(arrived);
  broker_.on_connected([this] {
    relay_.begin_anew();
    relay_.wake();
    tasks_.spawn(renew_all());
    tasks_.spawn(say_what_is_served());
  });
  results_.on_result(
      [this](std::string_view task_id, std::string_view text) { mirror_.heard(task_id, text); });
  broker_.start(store().epoch());
  results_.start(store().epoch());
}

void CeleryQueue::stop() {
  rows_due_.cancel();
  broker_.stop();
  results_.stop();
}

Task<bool> CeleryQueue::connected(std::int64_t most_ms) {
  constexpr std::int64_t kLookMs = 5;
  for (std::int64_t waited_ms = 0; waited_ms < most_ms; waited_ms += kLookMs) {
    if (broker_.up() && results_.up()) co_return true;
    co_await loop_.sleep_ms(kLookMs);
  }
  co_return broker_.up() && results_.up();
}

std::optional<BrokerHealth> CeleryQueue::broker_health() const {
  auto const broker = broker_.health();
  auto const results = results_.health();
  auto const refused = refused_.load();
  if (broker.up && results.up && refused) return *refused;
  auto const& told = broker.up ? results : broker;
  auto const& url = broker.up && !results.up ? options_.results.url : options_.broker.url;
  return BrokerHealth{told.up, url.address(), told.since, told.cause};
}

// On the database's thread.
void CeleryQueue::on_events(std::span<store::EventPtr const> events) {
  for (auto const& event : events) {
    if (event->kind != kEnqueuedEvent && event->kind != kCancelledEvent) continue;
    return relay_.wake();
  }
}

Task<Result<std::vector<Enqueued>>> CeleryQueue::enqueue_in(Transaction& transaction,
                                                            std::span<JobSpec const> specs) {
  std::vector<Job> jobs;
  jobs.reserve(specs.size());
  for (auto const& spec : specs) {
    auto job = rows().draft(spec, transaction.now());
    if (!job) co_return std::unexpected(job.error());
    if (job->stage == Stage::ready && job->lane.empty()) job->stage = Stage::outbound;
    jobs.push_back(std::move(*job));
  }
  JobChanges changes;
  auto all = co_await rows().insert(transaction, jobs, changes);
  if (!all) co_return all;
  for (auto const& job : jobs) {
    if (job.stage != Stage::outbound) continue;
    auto const added = co_await add_to_outbox(transaction, job.id, OutboxKind::push);
    if (!added) co_return std::unexpected(added.error());
  }
  if (auto done = co_await changes.apply(transaction); !done) {
    co_return std::unexpected(done.error());
  }
  co_return all;
}

Task<Result<Job>> CeleryQueue::cancel_in(Transaction& transaction, Uuid id, std::string actor,
                                         std::string why) {
  auto const before = co_await select_job(transaction.session(), id);
  if (!before) co_return std::unexpected(before.error());
  auto job = co_await EmbeddedQueue::cancel_in(transaction, id, std::move(actor), std::move(why));
  if (!job) co_return job;
  if (auto removed = co_await remove_pushes(transaction, std::span(&id, 1)); !removed) {
    co_return std::unexpected(removed.error());
  }
  // Only what lies in a list can be with somebody who has to be told.
  auto const kind = before->stage == Stage::outbound ? OutboxKind::cancel : OutboxKind::end;
  if (auto added = co_await add_to_outbox(transaction, id, kind); !added) {
    co_return std::unexpected(added.error());
  }
  co_return job;
}

Task<Result<Job>> CeleryQueue::put_back_in(Transaction& transaction, Uuid id, std::string actor,
                                           bool fresh) {
  auto const before = co_await select_job(transaction.session(), id);
  if (!before) co_return std::unexpected(before.error());
  auto job = co_await EmbeddedQueue::put_back_in(transaction, id, std::move(actor), fresh);
  if (!job) co_return job;
  if (before->status == JobStatus::revoked) {
    if (auto named = co_await rename_message(transaction, *job); !named) {
      co_return std::unexpected(named.error());
    }
  }
  if (auto added = co_await add_to_outbox(transaction, id, OutboxKind::forget); !added) {
    co_return std::unexpected(added.error());
  }
  co_return job;
}

}  // namespace subforge::jobs::celery
