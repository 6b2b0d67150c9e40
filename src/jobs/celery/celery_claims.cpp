// Of the queue over Redis: what its workers take, from the lists of Redis and from the database.
#include <algorithm>
#include <set>

#include "base/text.hpp"
#include "jobs/celery/celery_queue.hpp"
#include "jobs/celery/observed.hpp"
#include "jobs/celery/outbox.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {

using store::Session;
using store::Transaction;

namespace {

// How soon Redis is asked again what a worker has.
constexpr std::int64_t kUnsureUs = 1'000'000;
constexpr std::int64_t kWarnedAgainNs = 600'000'000'000;

std::string queue_of_list(std::string_view list) {
  return std::string(list.substr(0, list.find(kSeparator.front())));
}

}  // namespace

Task<Result<Uuid>> CeleryQueue::enlist(WorkerInfo const& info) {
  if (auto known = co_await know_former_logs(); !known) co_return std::unexpected(known.error());
  auto id = co_await EmbeddedQueue::enlist(info);
  co_await loop_.resume_here();
  served_.insert(info.queues.begin(), info.queues.end());
  if (id && broker_.up()) {
    (void)co_await broker_.bind(info.queues);
    co_await say_what_is_served();
  }
  co_return id;
}

// Those that the log had before the database was restored from a backup.
Task<Result<void>> CeleryQueue::know_former_logs() {
  std::string names;
  auto read = [&names](Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query("SELECT value FROM meta WHERE key = 'log_epochs_before'", {},
                                     [&names](store::Row const& row) { names = row.text(0); });
  };
  auto const done = co_await store().read(store::ReadCost::point, read);
  co_await loop_.resume_here();
  if (!done) co_return std::unexpected(done.error());
  broker_.came_from(split_list(names, ' '));
  co_return {};
}

Task<void> CeleryQueue::say_what_is_served() {
  if (served_.empty()) co_return;
  auto const said = co_await broker_.serve(served_);
  if (said) co_return;
  logger().warning("Redis could not be told which queues are served",
                   {{"cause", said.error().message}});
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
  if (!co_await leave_to_others(worker, picked.popped)) unsure = true;
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
      auto list = list_name(queues[(first + i) % queues.size()], band);
      lists.push_back(broker_.own_list(list));
      lists.push_back(std::move(list));
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

// A database that shares the broker has asked for them, and its own workers take from that queue:
// what they do is to be done to its data, not to ours. Those that cannot be left go back.
Task<Result<void>> CeleryQueue::leave_to_others(Uuid worker, std::vector<Popped>& popped) {
  std::vector<std::pair<std::string, std::string>> places;
  std::vector<std::size_t> at;
  for (std::size_t i = 0; i < popped.size(); ++i) {
    auto owner = broker_.others_of(popped[i].tag);
    if (!owner) continue;
    places.emplace_back(*std::move(owner), queue_of_list(popped[i].list));
    at.push_back(i);
  }
  if (at.empty()) co_return {};
  auto const served = co_await broker_.served(places);
  std::vector<GivenBack> left;
  for (std::size_t n = at.size(); n-- > 0;) {
    auto& one = popped[at[n]];
    if (served && !(*served)[n]) continue;
    auto list = served ? places[n].first + one.list : one.list;
    left.push_back({std::move(one.tag), std::move(list), std::move(one.text), served.has_value()});
    popped.erase(popped.begin() + static_cast<std::ptrdiff_t>(at[n]));
  }
  if (served) std::ranges::reverse(left);
  if (auto given = co_await broker_.give_back(worker, left); !given) co_return given;
  if (!served) co_return std::unexpected(served.error());
  if (left.empty() || monotonic_ns() < warn_of_others_at_ns_) co_return {};
  warn_of_others_at_ns_ = monotonic_ns() + kWarnedAgainNs;
  logger().warning(
      "another database shares the broker and a queue, whose tasks are left to its workers",
      {{"count", left.size()}, {"list", left.front().list}});
  co_return {};
}

// What cannot be understood is done with at once.
Task<std::vector<Received>> CeleryQueue::read(Uuid worker, std::vector<Popped> popped) {
  std::vector<Received> received;
  received.reserve(popped.size());
  Untold untold{worker, {}, {}};
  for (auto& one : popped) {
    auto [message, fault] = read_message(one.text);
    message.queue = queue_of_list(broker_.shared_list(one.list));
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
    bool const unwanted =
        observer_ != nullptr && observer_->is_revoked(message.id, stamps_of(message));
    auto const id = uuid_of(message.id);
    received.emplace_back(std::move(one.list), std::move(one.tag), std::move(one.text), id,
                          std::make_unique<TaskMessage>(std::move(message)), unwanted);
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
    Held held{std::make_unique<TaskMessage>(std::move(message)), worker, one.lease.fence, now_ns};
    if (observer_ != nullptr) {
      held.revoked_before = observer_->is_revoked(held.message->id, stamps_of(*held.message));
      tell_started(*observer_, *held.message);
    }
    if (auto const before = find_held(one.lease); before != held_.end()) held_.erase(before);
    held_.emplace(one.lease.id, std::move(held));
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
    for (auto const place : adoption.scheduled) tell_received(*observer_, *received[place].message);
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

}  // namespace subforge::jobs::celery
