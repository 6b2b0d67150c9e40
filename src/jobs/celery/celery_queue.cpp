#include "jobs/celery/celery_queue.hpp"

#include <algorithm>
#include <set>

#include "jobs/celery/observed.hpp"
#include "jobs/celery/outbox.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {

using store::Row;
using store::Session;
using store::Transaction;

namespace {

// How soon Redis is asked again what a worker has.
constexpr std::int64_t kUnsureUs = 1'000'000;

}  // namespace

CeleryQueue::CeleryQueue(EventLoop& loop, BlockingPool& resolver, store::Store& store,
                         Registry const& registry, QueueLimits limits, CeleryOptions options,
                         Logger logger)
    : EmbeddedQueue(store, registry, std::move(limits), logger),
      loop_(loop),
      options_(std::move(options)),
      broker_(loop, resolver, options_.broker, logger),
      results_(loop, resolver, options_.results, options_.result_seconds, logger),
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

// ---- In ----------------------------------------------------------------------------------------

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

// ---- Claims ------------------------------------------------------------------------------------

Task<Result<Uuid>> CeleryQueue::enlist(WorkerInfo const& info) {
  auto id = co_await EmbeddedQueue::enlist(info);
  co_await loop_.resume_here();
  if (id && broker_.up()) (void)co_await broker_.bind(info.queues);
  co_return id;
}

Task<Result<Claim>> CeleryQueue::claim(ClaimRequest request) {
  co_await loop_.resume_here();
  auto const carried = co_await relay_.flush();
  if (!carried && carried.error().code != ErrorCode::unavailable) {
    logger().warning("background tasks could not be handed to Redis",
                     {{"cause", carried.error().message}, {"context", carried.error().context}});
  }
  auto const worker = request.worker_id;
  bool unsure = false;
  if (request.held) unsure = !co_await give_back_unheld(worker, *request.held);
  auto picked = co_await pop(request);
  unsure |= picked.unsure;
  auto received = co_await read(worker, std::move(picked.popped));
  auto begun = co_await set_apart(worker, received);
  Result<Taken> taken;
  if (!begun) {
    taken = std::unexpected(begun.error());
  } else if (!begun->empty() && received.empty() && !picked.waits_here && !request.held) {
    auto claim = co_await next_delayed();
    if (claim) taken->claim = *std::move(claim);
  } else {
    request.most -= std::min(request.most, begun->size());
    taken = co_await take(std::move(request), received);
  }
  if (!taken) {
    if (begun) {
      for (auto& one : *begun) received.push_back(std::move(one.received));
    }
    co_await give_back(worker, received);
    if (taken.error().code == ErrorCode::stale) let_go(worker);
    co_return std::unexpected(taken.error());
  }
  if (unsure) {
    taken->claim.unsure = true;
    taken->claim.again_in_us = std::min(taken->claim.again_in_us.value_or(kUnsureUs), kUnsureUs);
  }
  if (picked.more) taken->claim.again_in_us = 0;
  auto claim = co_await begin(worker, received, *std::move(taken));
  if (claim) begin_without_rows(worker, *std::move(begun), *claim);
  co_return claim;
}

// The most urgent lists first, and of equals another queue first each time.
std::vector<std::string> CeleryQueue::lists_of(std::span<std::string const> queues) {
  ++claims_;
  auto bands = kBands;
  if (claims_ % kFairRound == 0) std::ranges::reverse(bands);
  auto const first = static_cast<std::size_t>(claims_) % std::max<std::size_t>(queues.size(), 1);
  std::vector<std::string> lists;
  for (int const band : bands) {
    for (std::size_t i = 0; i < queues.size(); ++i) {
      lists.push_back(list_name(queues[(first + i) % queues.size()], band));
    }
  }
  return lists;
}

// While Redis was away nobody could tell it that they live.
Task<void> CeleryQueue::renew_all() {
  std::set<Uuid> workers;
  for (auto const& [lease, held] : held_) workers.insert(held.worker);
  for (auto const& worker : workers) (void)co_await broker_.renew(worker);
}

// Half of the places are left to what waits in the database, if anything does.
Task<CeleryQueue::Picked> CeleryQueue::pop(ClaimRequest const& request) {
  Picked picked;
  if (!broker_.up() || request.queues.empty()) co_return picked;
  auto lists = lists_of(request.queues);
  picked.waits_here = (co_await EmbeddedQueue::waiting(request.queues)).value_or(true);
  auto wanted = request.most;
  if (picked.waits_here) wanted = (request.most + (claims_ % 2 == 0 ? 1U : 0U)) / 2;
  picked.more = wanted < request.most;
  if (wanted == 0) co_return picked;
  auto taken = co_await broker_.pop(lists, wanted, request.worker_id);
  if (!taken) {
    logger().warning("nothing could be taken from Redis",
                     {{"cause", taken.error().message}, {"context", taken.error().context}});
    picked.unsure = true;
    co_return picked;
  }
  picked.popped = *std::move(taken);
  picked.more = picked.popped.size() == wanted;
  if (!picked.more) tasks_.spawn(look_again(std::move(lists)));
  co_return picked;
}

// What comes from here on is told.
Task<void> CeleryQueue::look_again(std::vector<std::string> lists) {
  auto const any = co_await broker_.look(lists);
  if (any && *any && on_arrival_) on_arrival_();
}

// What cannot be understood is done with at once.
Task<std::vector<Received>> CeleryQueue::read(Uuid worker, std::vector<Popped> popped) {
  std::vector<Received> received;
  received.reserve(popped.size());
  Untold untold{worker, {}, {}};
  for (auto& one : popped) {
    auto [message, fault] = read_message(one.text);
    message.queue = one.list.substr(0, one.list.find(kSeparator.front()));
    if (fault || one.tag.empty()) {
      logger().warning("a message in Redis is no task",
                       {{"queue", message.queue},
                        {"id", message.id},
                        {"cause", fault ? exception_text(*fault) : "it has no delivery tag"}});
      if (!one.tag.empty()) untold.tags.push_back(one.tag);
      if (message.id.empty()) continue;
      Ended ended{.message = std::move(message),
                  .status = JobStatus::failure,
                  .error = fault.value_or(Exception{})};
      if (observer_ != nullptr) tell_failed(*observer_, ended);
      untold.ended.push_back(std::move(ended));
      continue;
    }
    bool const unwanted = observer_ != nullptr && observer_->is_revoked(message.id);
    auto const id = uuid_of(message.id);
    received.emplace_back(std::move(one.list), std::move(one.tag), std::move(one.text), id,
                          std::move(message), unwanted);
  }
  if (!untold.tags.empty() || !untold.ended.empty()) co_await tell(std::move(untold));
  co_return received;
}

Task<Result<CeleryQueue::Taken>> CeleryQueue::take(ClaimRequest request,
                                                   std::vector<Received> const& received) {
  auto write = [this, request = std::move(request),
                &received](Transaction& transaction) -> Task<Result<Taken>> {
    Taken taken;
    auto rest = request;
    // Before it has more.
    if (auto const held = std::exchange(rest.held, {})) {
      auto const back = co_await take_unheld(transaction, request.worker_id, *held);
      if (!back) co_return std::unexpected(back.error());
    }
    JobChanges changes;
    auto adoption = co_await adopter_.adopt_in(transaction, request.worker_id, received, changes);
    if (!adoption) co_return std::unexpected(adoption.error());
    if (auto done = co_await changes.apply(transaction); !done) {
      co_return std::unexpected(done.error());
    }
    rest.most -= std::min(rest.most, adoption->started.size());
    auto claim = co_await claim_in(transaction, rest);
    if (!claim) co_return std::unexpected(claim.error());
    taken.adoption = *std::move(adoption);
    taken.claim = *std::move(claim);
    co_return taken;
  };
  auto taken = co_await store().write(std::move(write));
  co_await loop_.resume_here();
  co_return taken;
}

// In the end the first one is the next again.
Task<void> CeleryQueue::give_back(Uuid worker, std::vector<Received> const& received) {
  std::vector<GivenBack> elements;
  for (auto one = received.rbegin(); one != received.rend(); ++one) {
    elements.push_back({one->tag, one->list, one->text});
  }
  auto const done = co_await broker_.give_back(worker, elements);
  if (done) co_return;
  logger().warning("tasks could not be given back to Redis",
                   {{"count", elements.size()}, {"cause", done.error().message}});
}

// Messages that are with a worker only by what Redis says: the answer that told of them was lost,
// or they could not be given back. What still has to be told of is the worker's, too.
Task<Result<void>> CeleryQueue::give_back_unheld(Uuid worker, std::vector<Lease> const& held) {
  auto const found = co_await broker_.held_by(worker);
  if (!found) co_return std::unexpected(found.error());
  if (telling_) co_return fail(ErrorCode::unavailable, "Redis is being told of ends");
  std::set<std::string> known;
  for (auto const& lease : held) known.insert(lease.receipt);
  for (auto const& untold : untold_) {
    known.insert(untold.tags.begin(), untold.tags.end());
    for (auto const& one : untold.by_row) known.insert(one.lease.receipt);
  }
  std::vector<GivenBack> back;
  for (auto const& one : *found) {
    if (known.contains(one.tag)) continue;
    auto const message = read_message(one.text).message;
    auto const queue = co_await broker_.queue_for(message.exchange, message.routing_key);
    if (!queue) co_return std::unexpected(queue.error());
    if (queue->empty()) continue;  // It is no message, or larger than any that is read.
    back.push_back(
        {one.tag, list_name(*queue, band_of(message.priority)), marked_redelivered(one.text)});
  }
  if (!back.empty()) {
    logger().warning("tasks were with a worker that did not know of them and wait again",
                     {{"count", back.size()}});
  }
  co_return co_await broker_.give_back(worker, back);
}

Task<Result<void>> CeleryQueue::fill_messages(std::vector<ClaimedJob> const& jobs,
                                              std::vector<TaskMessage>& messages) {
  std::vector<Uuid> ids;
  for (auto const& one : jobs) ids.push_back(one.job.id);
  auto read = [&](Session& session) { return kept_messages(session, ids); };
  auto const kept = co_await store().read(store::ReadCost::point, read);
  if (!kept) co_return std::unexpected(kept.error());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    messages.push_back(message_of_job(jobs[i].job, (*kept)[i], options_.origin));
  }
  co_return {};
}

// The jobs that were taken, the most urgent first; and what Redis is to be told of the others.
Task<Result<Claim>> CeleryQueue::begin(Uuid worker, std::vector<Received> const& received,
                                       Taken taken) {
  auto& [adoption, claim] = taken;
  std::vector<TaskMessage> messages;
  if (!claim.jobs.empty()) {
    // The jobs are this worker's; without their messages they can still be run.
    auto const filled = co_await fill_messages(claim.jobs, messages);
    if (!filled) {
      for (auto const& one : claim.jobs) {
        messages.push_back(message_of_job(one.job, {}, options_.origin));
      }
    }
  }
  auto const now_ns = monotonic_ns();
  auto const hold = [&](ClaimedJob const& one, TaskMessage message) {
    mirror_.forget(one.job.id);
    Held held{std::move(message), worker, now_ns};
    if (observer_ != nullptr) {
      held.revoked_before = observer_->is_revoked(held.message.id);
      tell_started(*observer_, held.message);
    }
    held_.insert_or_assign({one.lease.id, one.lease.fence}, std::move(held));
  };
  for (std::size_t i = 0; i < claim.jobs.size(); ++i) hold(claim.jobs[i], std::move(messages[i]));
  std::ranges::sort(adoption.started, {},
                    [](Started const& one) { return std::pair(one.claimed.job.rank, one.seq); });
  std::vector<ClaimedJob> adopted;
  for (auto& one : adoption.started) {
    hold(one.claimed, std::move(one.message));
    adopted.push_back(std::move(one.claimed));
  }
  std::vector<ClaimedJob> all;
  all.reserve(adopted.size() + claim.jobs.size());
  std::ranges::merge(std::move_iterator(adopted.begin()), std::move_iterator(adopted.end()),
                     std::move_iterator(claim.jobs.begin()), std::move_iterator(claim.jobs.end()),
                     std::back_inserter(all), [](ClaimedJob const& a, ClaimedJob const& b) {
                       return a.job.rank < b.job.rank;
                     });
  claim.jobs = std::move(all);
  if (observer_ != nullptr) {
    for (auto const place : adoption.scheduled) tell_received(*observer_, received[place].message);
    for (auto const& ended : adoption.ended) tell_unstarted(*observer_, ended);
  }
  if (!adoption.ended.empty() || !adoption.acknowledged.empty()) {
    co_await tell({worker, std::move(adoption.ended), std::move(adoption.acknowledged)});
  }
  co_return std::move(claim);
}

Task<Result<bool>> CeleryQueue::waiting(std::span<std::string const> queues) {
  auto const here = co_await EmbeddedQueue::waiting(queues);
  if (!here || *here) co_return here;
  co_await loop_.resume_here();
  if (!broker_.up() || queues.empty()) co_return false;
  auto const lists = lists_of(queues);
  co_return co_await broker_.look(lists);
}

// ---- Results -----------------------------------------------------------------------------------

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
      auto const found = held_.find({lease.id, lease.fence});
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
    auto const found = held_.find({lease.id, lease.fence});
    // Its worker is lost; whoever takes back what it held does with the message as the row says.
    if (found == held_.end()) continue;
    auto const taken_out = held_.extract(found);
    auto& held = taken_out.mapped();
    untold.worker = held.worker;
    auto const verdict = (*verdicts)[i];
    bool const by_outbox = lease.receipt.empty() && verdict == Verdict::taken;
    outbox |= by_outbox;
    if (verdict == Verdict::refused) {
      if (observer_ != nullptr) tell_rejected(*observer_, held.message);
      untold.by_row.push_back({lease, std::move(held)});
      continue;
    }
    bool const unwanted = verdict == Verdict::retried && observer_ != nullptr &&
                          !held.revoked_before && observer_->is_revoked(held.message.id);
    if (unwanted) revoked.push_back(lease.id);
    Result<std::optional<Job>> row = std::nullopt;
    if (row_may_differ(settlements[i])) row = co_await row_of(lease.id);
    auto ended = end_of(settlements[i], verdict, row ? *std::move(row) : std::nullopt,
                        row ? std::move(held.message) : held.message);
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
  untold.ended.push_back(ended_of_job(*job, std::move(held.message)));
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
