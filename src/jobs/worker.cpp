#include "jobs/worker.hpp"

#include <algorithm>

#include "jobs/job_changes.hpp"
#include "jobs/job_rows.hpp"

namespace subforge::jobs {
namespace {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::size_t kClaimedAtOnce = 500;
constexpr std::size_t kSettledAtOnce = 500;
constexpr std::int64_t kTroubleMsMin = 100;
constexpr std::int64_t kTroubleMsMax = 5'000;
constexpr std::int64_t kStoppingTickMs = 40;
constexpr std::size_t kLinesKeptMax = 10'000;  // While they cannot be told.

std::int64_t after_seconds(std::int64_t now_ns, double seconds) {
  constexpr double kSecondsMax = 1e9;
  return now_ns + static_cast<std::int64_t>(std::clamp(seconds, 0.0, kSecondsMax) * 1e9);
}

}  // namespace

Worker::Worker(EventLoop& loop, Parts parts, WorkerOptions options)
    : loop_(loop),
      parts_(parts),
      options_(std::move(options)),
      tick_([this] { on_tick(); }),
      again_([this] { wake(); }) {}

Worker::~Worker() { parts_.queue.on_arrival({}); }

void Worker::start() {
  tick_.arm(loop_.timers(), monotonic_ns() + options_.report_ms * kMs);
  parts_.queue.on_arrival([this] { wake(); });
  wake();
}

void Worker::on_events(std::span<store::EventPtr const> events) {
  std::vector<Uuid> cancelled;
  bool enqueued = false;
  for (auto const& event : events) {
    enqueued |= event->kind == kEnqueuedEvent;
    if (event->kind == kCancelledEvent) {
      for (auto const& id : jobs_of_event(*event)) cancelled.push_back(id);
    }
  }
  if (!cancelled.empty()) loop_.post([this, ids = std::move(cancelled)] { cancel(ids); });
  // Once for all that came until the loop gets to it.
  if (!enqueued || woken_.exchange(true, std::memory_order_acq_rel)) return;
  loop_.post([this] {
    woken_.store(false, std::memory_order_release);
    wake();
  });
}

// ---- Claiming ----------------------------------------------------------------------------------

std::size_t Worker::free_slots() const {
  // What has ended but is not on disk yet takes memory too.
  if (unsettled() >= 4 * options_.slots) return 0;
  return options_.slots - std::min(options_.slots, running_.size());
}

void Worker::wake() {
  hungry_ = true;
  if (stopping_ || claiming_ || free_slots() == 0) return;
  claiming_ = true;
  tasks_.spawn(claim_while_free());
}

// Nobody may have told: whoever was to wake this worker may have died.
Task<void> Worker::look_for_work() {
  auto const found = co_await parts_.queue.waiting(options_.queues);
  looking_ = false;
  if (found && *found) wake();
}

Task<void> Worker::claim_while_free() {
  while (hungry_ && !stopping_ && free_slots() > 0) {
    if (!co_await claim_once()) break;
  }
  claiming_ = false;
}

Task<bool> Worker::claim_once() {
  hungry_ = false;
  if (!id_) {
    auto const id = co_await parts_.queue.enlist(
        {options_.name, options_.queues, static_cast<std::int64_t>(options_.slots)});
    if (!id) {
      pause_after_error("a worker could not enlist", id.error());
      co_return false;
    }
    id_ = *id;
  }
  auto const most = std::min(free_slots(), kClaimedAtOnce);
  ClaimRequest request{*id_, options_.queues, most};
  if (unsure_) request.held = held();
  not_running_.clear();
  auto claim = co_await parts_.queue.claim(std::move(request));
  unsure_ = !claim || claim->unsure;
  if (!claim && claim.error().code == ErrorCode::stale) {
    lose_everything();
    co_return hungry_ = true;
  }
  if (!claim) {
    pause_after_error("tasks could not be claimed", claim.error());
    co_return false;
  }
  trouble_ms_ = 0;
  hungry_ |= claim->jobs.size() >= most;
  if (claim->again_in_us) {
    again_.arm(loop_.timers(), monotonic_ns() + *claim->again_in_us * 1'000);
  }
  std::vector<Lease> cancelled;
  for (auto& job : claim->jobs) {
    if (std::ranges::find(not_running_, job.job.id) != not_running_.end()) {
      cancelled.push_back(job.lease);
    }
    start_job(std::move(job));
  }
  if (!cancelled.empty()) tasks_.spawn(look_at_cancelled(std::move(cancelled)));
  co_return true;
}

// Whatever runs, or whose end may not be written yet.
std::vector<Lease> Worker::held() const {
  std::vector<Lease> all;
  for (auto const& [number, running] : running_) all.push_back(running->context.claimed_.lease);
  for (auto const& one : finished_) all.push_back(one.lease);
  for (auto const& one : group_) all.push_back(one.lease);
  for (auto const* const one : alone_) all.push_back(*one);
  return all;
}

void Worker::pause_after_error(char const* what, Error const& error) {
  trouble_ms_ = std::clamp(trouble_ms_ * 2, kTroubleMsMin, kTroubleMsMax);
  parts_.logger.warning(what, {{"cause", error.message}, {"context", error.context}});
  again_.arm(loop_.timers(), monotonic_ns() + trouble_ms_ * kMs);
}

// ---- Running -----------------------------------------------------------------------------------

// A lost start may still run while the same job is started again: each start has its own number.
void Worker::start_job(ClaimedJob&& job) {
  auto const number = ++starts_;
  auto& running =
      *running_.emplace(number, std::make_unique<Running>(std::move(job), parts_)).first->second;
  running_count_.store(running_.size(), std::memory_order_relaxed);
  tasks_.spawn(run(running, number));
}

Task<void> Worker::run(Running& running, std::uint64_t number) {
  arm_limits(running);
  auto outcome = co_await call_handler(running.context);
  co_await loop_.resume_here();
  (void)running.context.take_news(lines_);
  if (!running.decided) finish({running.context.claimed_.lease, std::move(outcome)});
  bool const limited = !running.context.job().lane.empty();
  if (running.cancelled) {
    co_await tell_stopped(running.context.claimed_.lease);
    hungry_ |= limited;  // No settlement follows that would see to that.
  }
  lane_freed_ |= limited;
  bury(number);
  if (hungry_) wake();
}

Task<void> Worker::tell_stopped(Lease lease) {
  for (auto pause_ms = kTroubleMsMin;; pause_ms = std::min(pause_ms * 2, kTroubleMsMax)) {
    auto const told = co_await parts_.queue.stopped(lease);
    co_await loop_.resume_here();
    if (told || told.error().code != ErrorCode::unavailable || stopped_) co_return;
    co_await loop_.sleep_ms(pause_ms);
  }
}

// Whoever asked a handler to stop may still hold what runs: it lives until the turn of the loop is
// over.
void Worker::bury(std::uint64_t number) {
  if (dead_.empty()) {
    loop_.at_turn_end([this] { dead_.clear(); });
  }
  auto const found = running_.find(number);
  dead_.push_back(std::move(found->second));
  running_.erase(found);
  running_count_.store(running_.size(), std::memory_order_relaxed);
}

// Handlers that are asked to stop may end at once, and leave the map.
std::vector<Worker::Running*> Worker::undecided() const {
  std::vector<Running*> all;
  for (auto const& [number, running] : running_) {
    if (!running->decided) all.push_back(running.get());
  }
  return all;
}

Task<Outcome> Worker::call_handler(JobContext& context) {
  auto const* const definition = parts_.registry.find(context.job().name);
  if (definition == nullptr) {
    co_return failed_for_good("NotRegistered: no worker here knows the task '" +
                              context.job().name + "'");
  }
  try {
    co_return co_await definition->handler(context);
  } catch (std::exception const& thrown) {
    co_return failed(thrown.what());
  }
}

void Worker::arm_limits(Running& running) {
  auto const& job = running.context.job();
  auto const* const definition = parts_.registry.find(job.name);
  if (definition == nullptr) return;
  auto const soft = job.soft_limit_seconds.value_or(definition->soft_limit_seconds);
  auto const hard = job.hard_limit_seconds.value_or(definition->hard_limit_seconds);
  auto const now_ns = monotonic_ns();
  if (soft > 0 && (hard <= 0 || soft < hard)) {
    running.context.soft_limit_seconds_ = soft;
    running.soft.emplace([&running] { running.context.stop(StopReason::soft_limit); });
    running.soft->arm(loop_.timers(), after_seconds(now_ns, soft));
  }
  running.hard.emplace([this, &running, hard] {
    if (running.decided) return running.context.hard_stop();
    running.decided = true;
    finish({running.context.claimed_.lease,
            failed_for_good("TimeLimitExceeded: it ran for more than " +
                            std::to_string(static_cast<std::int64_t>(hard)) + " s")});
    running.context.stop(StopReason::hard_limit);
    running.context.hard_stop();
  });
  if (hard > 0) running.hard->arm(loop_.timers(), after_seconds(now_ns, hard));
}

// Its result is not wanted any more; it has a little time to notice by itself.
void Worker::give_up(Running& running, StopReason reason) {
  running.decided = true;
  running.cancelled = reason == StopReason::cancelled;
  if (running.hard) running.hard->arm(loop_.timers(), monotonic_ns() + options_.grace_ms * kMs);
  running.context.stop(reason);
}

void Worker::cancel(std::vector<Uuid> const& ids) {
  if (claiming_) not_running_.insert(not_running_.end(), ids.begin(), ids.end());
  for (auto* const running : undecided()) {
    if (std::ranges::find(ids, running->context.job().id) == ids.end()) continue;
    give_up(*running, StopReason::cancelled);
  }
}

// Somebody cancelled them while they were claimed: before that, and they were put back since, or
// after it.
Task<void> Worker::look_at_cancelled(std::vector<Lease> leases) {
  for (auto const& lease : leases) {
    auto read = [&lease](store::Session& session) { return select_job(session, lease.id); };
    auto const job = co_await parts_.store.read(store::ReadCost::point, read);
    co_await loop_.resume_here();
    auto const fence = lease.draft ? lease.draft->fence : lease.fence;
    if (!job || (job->stage == Stage::leased && job->fence == fence)) continue;
    for (auto* const running : undecided()) {
      auto const& held = running->context.claimed_.lease;
      if (held.id == lease.id && held.fence == lease.fence) {
        give_up(*running, StopReason::cancelled);
      }
    }
  }
}

void Worker::lose_everything() {
  id_.reset();
  auto const lost = undecided();
  for (auto* const running : lost) give_up(*running, StopReason::lost);
  parts_.logger.warning("a worker was silent for too long",
                        {{"name", options_.name}, {"lost", lost.size()}});
}

// ---- Results -----------------------------------------------------------------------------------

void Worker::finish(Settlement settlement) {
  if (settlement.outcome.effect) {
    ++settling_count_;
    return tasks_.spawn(settle_alone(std::move(settlement)));
  }
  finished_.push_back(std::move(settlement));
  if (settling_ || std::exchange(settle_asked_, true)) return;
  loop_.at_turn_end([this] {
    settle_asked_ = false;
    if (settling_ || finished_.empty()) return;
    settling_ = true;
    tasks_.spawn(settle_groups());
  });
}

// One group after the other: what ends while one is written makes the next.
Task<void> Worker::settle_groups() {
  while (!finished_.empty()) {
    if (finished_.size() <= kSettledAtOnce) {
      group_ = std::exchange(finished_, {});
    } else {
      auto const end = finished_.begin() + kSettledAtOnce;
      group_.assign(std::move_iterator(finished_.begin()), std::move_iterator(end));
      finished_.erase(finished_.begin(), end);
    }
    settling_count_ += group_.size();
    auto const verdicts = co_await parts_.queue.settle(id_.value_or(Uuid{}), group_);
    // Together they may have failed because of one.
    if (verdicts) {
      note_verdicts(*verdicts);
    } else {
      co_await settle_each(group_);
    }
    auto const count = std::exchange(group_, {}).size();
    settling_count_ -= count;
    count_settled(count);
  }
  settling_ = false;
}

Task<void> Worker::settle_alone(Settlement settlement) {
  std::span<Settlement const> const alone(&settlement, 1);
  alone_.push_back(&settlement.lease);
  co_await settle_each(alone);
  std::erase(alone_, &settlement.lease);
  --settling_count_;
  count_settled(1);
}

Task<void> Worker::settle_each(std::span<Settlement const> settlements) {
  auto pause_ms = kTroubleMsMin;
  for (std::size_t i = 0; i < settlements.size();) {
    auto const one = settlements.subspan(i, 1);
    auto const verdict = co_await parts_.queue.settle(id_.value_or(Uuid{}), one);
    if (verdict) {
      note_verdicts(*verdict);
      ++i;
      continue;
    }
    auto const& error = verdict.error();
    parts_.logger.warning("the result of a task could not be written",
                          {{"cause", error.message}, {"context", error.context}});
    if (error.code != ErrorCode::unavailable) {
      // Nothing but its text can be at fault.
      Settlement const failure{one.front().lease, failed_for_good(error.message)};
      auto const told = co_await parts_.queue.settle(id_.value_or(Uuid{}), std::span(&failure, 1));
      if (told || told.error().code != ErrorCode::unavailable) ++i;
      if (told) continue;
    }
    if (stopped_) co_return;  // Whoever finds this worker silent takes them.
    co_await loop_.sleep_ms(pause_ms);
    pause_ms = std::min(pause_ms * 2, kTroubleMsMax);
  }
}

// When a retry is due is told by the next claim.
void Worker::note_verdicts(std::span<Verdict const> verdicts) {
  hungry_ |= std::ranges::find(verdicts, Verdict::retried) != verdicts.end();
}

void Worker::count_settled(std::size_t count) {
  settled_count_.fetch_add(count, std::memory_order_relaxed);
  // A place among those of a limited name is free now, which no event tells.
  hungry_ |= std::exchange(lane_freed_, false);
  if (hungry_) wake();
}

// ---- By the clock ------------------------------------------------------------------------------

void Worker::on_tick() {
  auto const now_ns = monotonic_ns();
  tick_.arm(loop_.timers(), now_ns + (stopping_ ? kStoppingTickMs : options_.report_ms) * kMs);
  if (stopping_) look_at_shutdown();
  bool const to_look = !stopping_ && !claiming_ && !looking_ && free_slots() > 0 &&
                       now_ns - looked_ns_ >= options_.look_ms * kMs;
  if (to_look) {
    looking_ = true;
    looked_ns_ = now_ns;
    tasks_.spawn(look_for_work());
  }
  // One that resigns would be told that it is unknown.
  if (stopped_ || leaving_ || beating_ || !id_) return;
  std::vector<ProgressReport> reports;
  auto lines = std::exchange(lines_, {});
  bool holds = unsettled() > 0;
  for (auto const& [number, running] : running_) {
    auto report = running->context.take_news(lines);
    if (running->decided) continue;
    holds = true;
    if (report) reports.push_back(std::move(*report));
  }
  auto const beat_ms = holds ? options_.beat_ms : options_.idle_beat_ms;
  bool const due = now_ns - beaten_ns_ >= beat_ms * kMs;
  if (!due && reports.empty() && lines.empty()) return;
  beating_ = true;
  tasks_.spawn(beat(std::move(reports), std::move(lines)));
}

Task<void> Worker::beat(std::vector<ProgressReport> reports, std::vector<LogLine> lines) {
  std::vector<Lease> held;
  for (auto const* const running : undecided()) held.push_back(running->context.claimed_.lease);
  auto const asked = *id_;
  auto const heard = co_await parts_.queue.beat(asked, held, std::move(reports), lines);
  beating_ = false;
  if (!heard) {
    if (heard.error().code == ErrorCode::unavailable) keep_lines(std::move(lines));
    parts_.logger.warning("a worker could not tell that it lives",
                          {{"cause", heard.error().message}});
    co_return;
  }
  beaten_ns_ = monotonic_ns();
  if (heard->alive || id_ != asked) co_return;
  lose_everything();
  wake();
}

// They are told with those that came since; of too many the newest are left out.
void Worker::keep_lines(std::vector<LogLine> lines) {
  std::ranges::move(lines_, std::back_inserter(lines));
  if (lines.size() > kLinesKeptMax) lines.resize(kLinesKeptMax);
  lines_ = std::move(lines);
}

// ---- The end -----------------------------------------------------------------------------------

void Worker::begin_shutdown(std::int64_t patience_ms) {
  if (std::exchange(stopping_, true)) return;
  again_.cancel();
  auto const now_ns = monotonic_ns();
  // Most of the time belongs to those that end by themselves.
  ask_at_ns_ = now_ns + patience_ms * kMs * 6 / 10;
  leave_at_ns_ = now_ns + patience_ms * kMs * 8 / 10;
  tick_.arm(loop_.timers(), now_ns);
}

void Worker::look_at_shutdown() {
  if (leaving_ || claiming_) return;
  auto const now_ns = monotonic_ns();
  bool const told = (lines_.empty() || !id_) && !beating_;
  bool const idle = running_.empty() && unsettled() == 0 && told && !looking_;
  if (!idle && now_ns >= ask_at_ns_) {
    for (auto* const running : undecided()) running->context.stop(StopReason::shutdown);
  }
  if (!idle && now_ns < leave_at_ns_) return;
  leaving_ = true;
  tasks_.spawn(leave());
}

Task<void> Worker::leave() {
  for (auto* const running : undecided()) {
    give_up(*running, StopReason::lost);
    running->context.hard_stop();
  }
  if (id_) {
    auto const gone = co_await parts_.queue.resign(*id_);
    if (!gone) {
      parts_.logger.warning("a worker could not resign", {{"cause", gone.error().message}});
    }
  }
  stopped_ = true;
  tick_.cancel();
}

}  // namespace subforge::jobs
