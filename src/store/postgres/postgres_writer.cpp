#include "store/postgres/postgres_writer.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <utility>

#include "base/random.hpp"
#include "base/time.hpp"

namespace subforge::store {
namespace {

// Who holds it may write. The number is only this program's, within its own database.
constexpr char const* kTakeTurn = "SELECT pg_advisory_xact_lock(8391727402650183)";
constexpr char const* kNotify = "NOTIFY subforge_changes";
constexpr char const* kListen = "LISTEN subforge_changes";
// What is told is on disk, whatever the server is set to by itself.
constexpr char const* kDurable =
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local')";

Result<void> run_now(PostgresConnection& connection, std::string_view sql) {
  auto const run = [&]() -> Task<Result<std::int64_t>> {
    co_return co_await connection.execute(sql);
  };
  auto const done = run().run_inline();
  if (!done) return std::unexpected(done.error());
  return {};
}

}  // namespace

// What the thread waits at while nothing is to be done.
struct PostgresWriter::WakeUp {
  int const fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  ~WakeUp() { ::close(fd); }
  void ring() const { ::eventfd_write(fd, 1); }
  void hear() const {
    eventfd_t count = 0;
    ::eventfd_read(fd, &count);
  }
};

PostgresWriter::PostgresWriter(PostgresWriterOptions options, PostgresOptions const& server,
                               PostgresState& state, Logger logger, CommitListener& listener,
                               std::unique_ptr<PostgresConnection> connection)
    : options_(options),
      server_(server),
      state_(state),
      logger_(logger),
      listener_(listener),
      connection_(std::move(connection)),
      reconnect_ms_(options.reconnect_ms_min),
      wake_(std::make_shared<WakeUp>()) {
  connection_->watch(state_);
  state_.went_up(connection_->host_address());
  take_notifications();
  thread_ = std::thread([this] { run(); });
}

auto PostgresWriter::open_connection(PostgresOptions const& server)
    -> Result<std::unique_ptr<PostgresConnection>> {
  auto opened = PostgresConnection::open(server, PostgresAccess::read_write);
  if (!opened) return opened;
  for (auto const* const sql : {kDurable, kListen}) {
    if (auto done = run_now(**opened, sql); !done) return std::unexpected(done.error());
  }
  return opened;
}

bool PostgresWriter::submit(WriteJob& job) {
  bool wake = false;
  {
    std::lock_guard const lock(mutex_);
    if (!accepting_ || !state_.up() || queue_.size() >= options_.queue_jobs_max) return false;
    queue_.push_back(&job);
    wake = queue_.size() == wake_at_jobs_;
  }
  if (!wake) return true;
  // What a loop submits in one turn is to share one commit.
  if (auto* const loop = EventLoop::current()) {
    loop->at_turn_end([wake_up = wake_] { wake_up->ring(); });
  } else {
    wake_->ring();
  }
  return true;
}

void PostgresWriter::stop() {
  {
    std::lock_guard const lock(mutex_);
    accepting_ = false;
  }
  wake_->ring();
  if (thread_.joinable()) thread_.join();
}

void PostgresWriter::run() {
  std::vector<WriteJob*> group;
  while (wait_for_work()) {
    wait_for_company();
    take_group(group);
    if (!group.empty()) run_group(group);
    group.clear();
    look_for_changes();
    keep_connected();
  }
}

// Returns when something is to be done; false once the writer was stopped and nothing is queued.
bool PostgresWriter::wait_for_work() {
  {
    std::lock_guard const lock(mutex_);
    if (!queue_.empty()) return true;
    if (!accepting_) return false;
  }
  if (notified_) return true;
  auto wake_ns = std::int64_t{0};
  if (connection_ == nullptr) {
    wake_ns = reconnect_at_ns_;
  } else if (listener_behind_) {
    wake_ns = listener_asked_ns_ + options_.listener_retry_ms * 1'000'000;
  }
  std::array<pollfd, 2> ready{pollfd{wake_->fd, POLLIN, 0},
                              pollfd{connection_ ? connection_->socket() : -1, POLLIN, 0}};
  int timeout_ms = -1;
  if (wake_ns != 0) {
    timeout_ms = static_cast<int>(std::max<std::int64_t>(wake_ns - monotonic_ns(), 0) / 1'000'000);
    ++timeout_ms;
  }
  ::poll(ready.data(), ready.size(), timeout_ms);
  wake_->hear();
  std::lock_guard const lock(mutex_);
  return accepting_ || !queue_.empty();
}

void PostgresWriter::wait_for_company() {
  {
    std::lock_guard const lock(mutex_);
    auto const wait_us = std::min(commit_ns_ / 2'000, options_.group_wait_us_max);
    if (committed_ns_ + wait_us * 1'000 <= monotonic_ns() || queue_.empty() ||
        queue_.size() >= last_group_jobs_) {
      return;
    }
    wake_at_jobs_ = last_group_jobs_;
  }
  auto const wait_us = std::min(commit_ns_ / 2'000, options_.group_wait_us_max);
  auto const left_ns = std::max<std::int64_t>(committed_ns_ + wait_us * 1'000 - monotonic_ns(), 0);
  timespec const left{0, left_ns};
  pollfd wake{wake_->fd, POLLIN, 0};
  ::ppoll(&wake, 1, &left, nullptr);
  wake_->hear();
  std::lock_guard const lock(mutex_);
  wake_at_jobs_ = 1;
}

void PostgresWriter::take_group(std::vector<WriteJob*>& group) {
  std::lock_guard const lock(mutex_);
  if (queue_.size() <= options_.group_jobs_max) {
    group.swap(queue_);
  } else {
    auto const end = queue_.begin() + static_cast<std::ptrdiff_t>(options_.group_jobs_max);
    group.assign(queue_.begin(), end);
    queue_.erase(queue_.begin(), end);
  }
  if (!group.empty()) last_group_jobs_ = group.size();
}

// ---- A group ---------------------------------------------------------------------------------

void PostgresWriter::run_group(std::span<WriteJob* const> jobs) {
  if (connection_ == nullptr) return fail_all(jobs, postgres_unavailable(state_.health().cause));
  connection_->begin_anew();
  auto const committed = run_jobs(jobs);
  connection_->forget_deferred();
  if (!committed) {
    connection_->send_unanswered("ROLLBACK");
    // Before the jobs are told: who tries again at once meets what is the case.
    note_loss();
    logger_.error("commit failed", {{"writes", jobs.size()}, {"cause", committed.error().context}});
    return fail_all(jobs, committed.error());
  }
  tell(jobs);
  committed_ns_ = monotonic_ns();
  for (auto* const job : jobs) job->finished();
}

void PostgresWriter::fail_all(std::span<WriteJob* const> jobs, Error const& cause) {
  for (auto* const job : jobs) {
    job->outcome = std::unexpected(cause);
    job->finished();
  }
}

Result<void> PostgresWriter::run_jobs(std::span<WriteJob* const> jobs) {
  bool const alone = jobs.size() == 1;
  connection_->defer("BEGIN");
  connection_->defer(kTakeTurn);
  for (auto* const job : jobs) {
    if (!alone) connection_->defer("SAVEPOINT job");
    job->outcome = run_with_retries(*job, alone);
    if (connection_->broken() || connection_->deferred_failed()) {
      auto cause = job->outcome ? postgres_unavailable(connection_->why_broken())
                                : std::move(job->outcome.error());
      return std::unexpected(std::move(cause));
    }
    if (alone) break;
    if (!job->outcome) connection_->defer("ROLLBACK TO SAVEPOINT job");
    connection_->defer("RELEASE SAVEPOINT job");
  }
  if (alone && !jobs.front()->outcome) {
    // If it asked for nothing, it has not even begun.
    if (!connection_->has_deferred()) connection_->send_unanswered("ROLLBACK");
    connection_->forget_deferred();
    return {};
  }
  return commit();
}

Result<void> PostgresWriter::commit() {
  connection_->defer(kNotify);
  auto const before_ns = monotonic_ns();
  if (auto done = run_now(*connection_, "COMMIT"); !done) return done;
  commit_ns_ += (monotonic_ns() - before_ns - commit_ns_) / 8;
  // A transaction that had failed is answered so, and no error.
  if (connection_->last_command() == "COMMIT") return {};
  return fail(ErrorCode::database, "Database error occurred",
              "the transaction was rolled back instead of committed");
}

Result<void> PostgresWriter::run_with_retries(WriteJob& job, bool alone) {
  for (int attempt = 1;; ++attempt) {
    auto const lost = connection_->retryable_failures();
    auto outcome = run_job(job);
    bool const again = !outcome && connection_->retryable_failures() != lost &&
                       !connection_->broken() && !connection_->deferred_failed() &&
                       attempt < options_.attempts_max;
    if (!again) return outcome;
    job.events.clear();
    // First the locks are let go, then the other one gets time to take them.
    auto const undone = run_now(*connection_, alone ? "ROLLBACK" : "ROLLBACK TO SAVEPOINT job");
    if (!undone) return undone;
    auto const pause_ms = 10 * attempt + static_cast<int>(fast_random() % 10);
    std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
    if (!alone) continue;
    connection_->defer("BEGIN");
    connection_->defer(kTakeTurn);
  }
}

Result<void> PostgresWriter::run_job(WriteJob& job) {
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

// ---- What followers hear ---------------------------------------------------------------------

void PostgresWriter::tell(std::span<WriteJob* const> jobs) {
  std::vector<Event> events;
  for (auto* const job : jobs) {
    if (!job->outcome) continue;
    for (auto& event : job->events) events.push_back(std::move(event));
  }
  if (listener_.committed(*connection_, std::move(events)).run_inline()) return;
  listener_behind_ = true;
  listener_asked_ns_ = 0;
}

void PostgresWriter::look_for_changes() {
  if (connection_ == nullptr) return;
  take_notifications();
  bool const again = listener_behind_ &&
                     monotonic_ns() - listener_asked_ns_ >= options_.listener_retry_ms * 1'000'000;
  if (notified_ || again) let_listener_look();
}

void PostgresWriter::let_listener_look() {
  listener_asked_ns_ = monotonic_ns();
  listener_behind_ = !listener_.changed_elsewhere(*connection_).run_inline();
  // What came together with the answers to the listener is no longer there to be polled for.
  notified_ = false;
  take_notifications();
}

void PostgresWriter::take_notifications() {
  notified_ |= connection_->take_notifications([this](std::string_view piece) {
    if (auto const text = announcements_.add(piece)) listener_.announced(*text);
  });
}

// ---- The connection --------------------------------------------------------------------------

void PostgresWriter::note_loss() {
  if (connection_ == nullptr || !connection_->broken()) return;
  auto const why = connection_->why_broken();
  logger_.error("the database is gone", {{"cause", why}});
  state_.went_down(why);
  connection_.reset();
  fail_queued(why);
  notified_ = false;
  reconnect_ms_ = options_.reconnect_ms_min;
  reconnect_at_ns_ = monotonic_ns();
}

// Who waits behind what was lost is told now, and not after the next try to connect.
void PostgresWriter::fail_queued(std::string const& why) {
  std::vector<WriteJob*> waiting;
  {
    std::lock_guard const lock(mutex_);
    waiting.swap(queue_);
  }
  fail_all(waiting, postgres_unavailable(why));
}

void PostgresWriter::keep_connected() {
  note_loss();
  if (connection_ != nullptr || monotonic_ns() < reconnect_at_ns_) return;
  auto opened = open_connection(server_);
  if (opened) {
    connection_ = std::move(*opened);
    connection_->watch(state_);
    state_.went_loud();  // It answered just now.
    // Whatever was committed while nobody heard of it is told before anything new is written.
    let_listener_look();
    if (connection_->broken()) return note_loss();
    logger_.warning("the database is back");
    return state_.went_up(connection_->host_address());
  }
  state_.went_down(opened.error().context);
  auto const half = static_cast<std::uint64_t>(std::max<std::int64_t>(reconnect_ms_ / 2, 1));
  auto const pause_ms = reconnect_ms_ / 2 + static_cast<std::int64_t>(fast_random() % half);
  reconnect_at_ns_ = monotonic_ns() + pause_ms * 1'000'000;
  reconnect_ms_ = std::min(reconnect_ms_ * 2, options_.reconnect_ms_max);
}

}  // namespace subforge::store
