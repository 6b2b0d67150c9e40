#include "store/sqlite/sqlite_writer.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <iterator>

#include "base/time.hpp"

namespace subforge::store {
namespace {

constexpr std::int64_t kFailureLogNs = 1'000'000'000;

}  // namespace

SqliteWriter::SqliteWriter(SqliteWriterOptions options, Logger logger, CommitListener& listener,
                           DiskTurns& disk_turns, std::unique_ptr<SqliteConnection> connection,
                           std::unique_ptr<SqliteConnection> checkpointer)
    : options_(options),
      logger_(logger),
      listener_(listener),
      disk_turns_(disk_turns),
      connection_(std::move(connection)),
      lock_wait_ms_(connection_->lock_wait_ms()),
      checkpoint_at_pages_(options.checkpoint_pages),
      checkpointer_(std::move(checkpointer)) {
  // A version that cannot be read is taken for a change: the listener looks once too often.
  data_version_ = connection_->data_version().value_or(-1);
  thread_ = std::thread([this] { run(); });
}

bool SqliteWriter::submit(WriteJob& job) {
  bool wake = false;
  {
    std::lock_guard const lock(mutex_);
    if (!accepting_ || queue_.size() + background_.size() >= options_.queue_jobs_max) return false;
    if (job.urgency == Urgency::background) {
      background_.push_back(&job);
      wake = queue_.empty();
    } else {
      queue_.push_back(&job);
      wake = queue_.size() == wake_at_jobs_;
    }
  }
  if (!wake) return true;
  // What a loop submits in one turn, such as a burst of messages that came together, is to share
  // one commit; and waking a thread costs more than submitting to it.
  if (auto* const loop = EventLoop::current()) {
    loop->at_turn_end([wake = wake_] { wake->notify_one(); });
  } else {
    wake_->notify_one();
  }
  return true;
}

void SqliteWriter::stop() {
  {
    std::lock_guard const lock(mutex_);
    accepting_ = false;
  }
  wake_->notify_one();
  if (thread_.joinable()) thread_.join();
  checkpoint_thread_.stop();
}

void SqliteWriter::run() {
  std::vector<WriteJob*> group;
  std::unique_lock lock(mutex_);
  for (;;) {
    wait_for_work(lock);
    if (queue_.empty() && background_.empty() && !accepting_) return;
    // In turns where there are both: neither waits for more than one of the other kind.
    bool const may_begin = !background_.empty() && ns_to_background() <= 0;
    if (may_begin && (queue_.empty() || !in_background_)) {
      in_background_ = true;
      group.assign(1, background_.front());
      background_.pop_front();
    } else if (!queue_.empty()) {
      in_background_ = false;
      wait_for_company(lock);
      take_group(group);
    }
    lock.unlock();
    if (!group.empty()) run_group(group);
    group.clear();
    look_for_changes();
    shorten_log();
    lock.lock();
  }
}

// Until the next write in the background may begin. The end waits for nobody.
std::int64_t SqliteWriter::ns_to_background() const {
  return accepting_ ? background_from_ns_ - monotonic_ns() : 0;
}

void SqliteWriter::wait_for_work(std::unique_lock<std::mutex>& lock) {
  if (!queue_.empty() || !accepting_) return;
  auto wait_ns = options_.change_poll_ms * 1'000'000;
  if (!background_.empty()) wait_ns = std::min(wait_ns, ns_to_background());
  if (wait_ns > 0) wake_->wait_for(lock, std::chrono::nanoseconds(wait_ns));
}

void SqliteWriter::wait_for_company(std::unique_lock<std::mutex>& lock) {
  auto const wait_us = std::min(commit_ns_ / 2'000, options_.group_wait_us_max);
  auto const left_ns = committed_ns_ + wait_us * 1'000 - monotonic_ns();
  if (queue_.size() >= last_group_jobs_ || left_ns <= 0) return;
  wake_at_jobs_ = last_group_jobs_;
  wake_->wait_for(lock, std::chrono::nanoseconds(left_ns),
                  [this] { return queue_.size() >= wake_at_jobs_ || !accepting_; });
  wake_at_jobs_ = 1;
}

void SqliteWriter::take_group(std::vector<WriteJob*>& group) {
  if (queue_.size() <= options_.group_jobs_max) {
    group.swap(queue_);
  } else {
    auto const end = queue_.begin() + static_cast<std::ptrdiff_t>(options_.group_jobs_max);
    group.assign(queue_.begin(), end);
    queue_.erase(queue_.begin(), end);
  }
  last_group_jobs_ = group.size();
}

void SqliteWriter::run_group(std::span<WriteJob* const> jobs) {
  auto const begun_ns = monotonic_ns();
  auto const committed = run_jobs(jobs);
  if (!committed) {
    if (connection_->in_transaction()) (void)connection_->run("ROLLBACK");
    for (auto* const job : jobs) job->outcome = committed;
    log_failure(jobs.size(), committed.error());
  } else {
    tell(jobs);
  }
  auto const now_ns = monotonic_ns();
  if (!in_background_) {
    committed_ns_ = now_ns;
  } else if (now_ns - committed_ns_ < options_.others_ms * 1'000'000) {
    background_from_ns_ = now_ns + options_.background_pauses * (now_ns - begun_ns);
  }
  for (auto* const job : jobs) job->finished();
}

void SqliteWriter::log_failure(std::size_t writes, Error const& cause) {
  // A full disk fails every write for as long as it lasts; a line a second tells that as well.
  failed_writes_ += writes;
  if (failure_logged_ns_ != 0 && monotonic_ns() - failure_logged_ns_ < kFailureLogNs) return;
  logger_.error("commit failed", {{"writes", failed_writes_}, {"cause", cause.context}});
  failure_logged_ns_ = monotonic_ns();
  failed_writes_ = 0;
}

// As a script: the setting takes effect when its statement is prepared.
Result<void> SqliteWriter::sync_commits(bool wanted) {
  if (synced_ == wanted) return {};
  auto set =
      connection_->run_script(wanted ? "PRAGMA synchronous=FULL;" : "PRAGMA synchronous=NORMAL;");
  if (set) synced_ = wanted;
  return set;
}

Result<void> SqliteWriter::begin() {
  if (auto set = sync_commits(!in_background_); !set) return set;
  auto begun = connection_->run("BEGIN IMMEDIATE");
  if (begun.has_value() == locked_out_) {
    locked_out_ = !begun;
    connection_->set_lock_wait_ms(locked_out_ ? options_.lock_wait_again_ms : lock_wait_ms_);
  }
  return begun;
}

Result<void> SqliteWriter::run_jobs(std::span<WriteJob* const> jobs) {
  if (auto begun = begin(); !begun) return begun;
  for (auto* const job : jobs) {
    // Alone in its transaction, a job needs no savepoint to be undone. A savepoint costs nearly as
    // much as an insert: every page that is changed behind it is copied once more.
    bool const marked = jobs.size() > 1 && job->undo == Undo::job;
    auto const changes = connection_->changes();
    job->outcome = marked ? run_in_savepoint(*job) : run_job(*job);
    if (!connection_->in_transaction()) {
      return fail(ErrorCode::unavailable, "Database error occurred",
                  "the database rolled the transaction back" +
                      (job->outcome ? std::string() : ": " + job->outcome.error().context));
    }
    if (!marked && jobs.size() > 1 && !job->outcome && connection_->changes() != changes) {
      return fail(ErrorCode::unavailable, "Database error occurred",
                  "a write that cannot be undone alone failed: " + job->outcome.error().context);
    }
  }
  if (jobs.size() == 1 && !jobs.front()->outcome) return connection_->run("ROLLBACK");
  auto const before_ns = monotonic_ns();
  auto committed = commit();
  changes_.fetch_add(1, std::memory_order_acq_rel);
  if (synced_) commit_ns_ += (monotonic_ns() - before_ns - commit_ns_) / 8;
  return committed;
}

Result<void> SqliteWriter::commit() {
  if (!synced_) return connection_->run("COMMIT");
  auto const first = disk_turns_.go_first();
  return connection_->run("COMMIT");
}

Result<void> SqliteWriter::run_job(WriteJob& job) {
  auto const failures = connection_->failures();
  Result<void> outcome;
  try {
    outcome = job.run(*connection_).run_inline();
  } catch (std::exception const& bug) {
    return fail(ErrorCode::internal, "Internal server error", bug.what());
  }
  if (outcome && connection_->failures() != failures) {
    return fail(ErrorCode::internal, "Internal server error",
                "a write reported success after a statement of it had failed");
  }
  return outcome;
}

Result<void> SqliteWriter::run_in_savepoint(WriteJob& job) {
  if (auto marked = connection_->run("SAVEPOINT job"); !marked) return marked;
  auto outcome = run_job(job);
  if (!connection_->in_transaction()) return outcome;
  if (!outcome) {
    if (auto undone = connection_->run("ROLLBACK TO job"); !undone) return undone;
  }
  if (auto released = connection_->run("RELEASE job"); !released) return released;
  return outcome;
}

void SqliteWriter::tell(std::span<WriteJob* const> jobs) {
  std::vector<Event> events;
  for (auto* const job : jobs) {
    if (!job->outcome) continue;
    std::ranges::move(job->events, std::back_inserter(events));
  }
  if (!listener_.committed(*connection_, std::move(events)).run_inline()) listener_behind_ = true;
}

void SqliteWriter::look_for_changes() {
  auto const now_ns = monotonic_ns();
  if (now_ns - looked_ns_ < options_.change_poll_ms * 1'000'000) return;
  looked_ns_ = now_ns;
  auto const version = connection_->data_version();
  if (!version) return;
  if (*version == data_version_ && !listener_behind_) return;
  data_version_ = *version;
  listener_behind_ = !listener_.changed_elsewhere(*connection_).run_inline();
}

void SqliteWriter::shorten_log() {
  auto const pages = connection_->log_pages();
  if (pages < log_pages_) checkpoint_at_pages_ = options_.checkpoint_pages;  // It began anew.
  log_pages_ = pages;
  switch (checkpoint_.load(std::memory_order_acquire)) {
    case Checkpoint::none: {
      if (pages < checkpoint_at_pages_) return;
      checkpoint_.store(Checkpoint::copying, std::memory_order_relaxed);
      bool const started = checkpoint_thread_.try_submit([this] {
        // An error is met again, and told, by the rest of it below.
        (void)checkpointer_->checkpoint();
        checkpoint_.store(Checkpoint::copied, std::memory_order_release);
      });
      if (!started) checkpoint_.store(Checkpoint::none, std::memory_order_relaxed);
      return;
    }
    case Checkpoint::copying: return;
    case Checkpoint::copied: {
      if (auto const rest = connection_->checkpoint(); !rest) {
        logger_.error("checkpoint failed", {{"cause", rest.error().context}});
      }
      // The next commit starts the log over, unless somebody reads what it began with just then:
      // in that case, and after an error, it grows by as much again.
      checkpoint_at_pages_ = pages + options_.checkpoint_pages;
      checkpoint_.store(Checkpoint::none, std::memory_order_relaxed);
    }
  }
}

}  // namespace subforge::store
