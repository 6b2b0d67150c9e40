#include "store/postgres/postgres_readers.hpp"

#include <utility>

namespace subforge::store {
namespace {

// Goes on in another turn's letter.
struct Later {
  EventLoop& loop;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiting) {
    loop.post([waiting] { waiting.resume(); });
  }
  void await_resume() const noexcept {}
};

// A new connection costs the server a process, and most readers need one for less than a
// millisecond.
constexpr std::int64_t kGrowthPauseMs = 5;

constexpr char const* kBeginSnapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

}  // namespace

// ---- Point reads -----------------------------------------------------------------------------

bool PostgresReaders::start(Query& query) {
  if (state_.silent()) {
    query.outcome = std::unexpected(postgres_unavailable(state_.health().cause));
    return true;
  }
  if (points_ != nullptr && points_->broken()) {
    // Whoever waited for it is told first.
    loop_.post([gone = std::move(points_)] {});
  }
  if (points_ != nullptr) {
    if (points_->waiting() < limits_.point_queue_max) return points_->start(query);
    query.outcome = fail(ErrorCode::unavailable, "The server is overloaded", "point reads");
    return true;
  }
  if (!state_.up()) {
    query.outcome = std::unexpected(postgres_unavailable(state_.health().cause));
    return true;
  }
  if (early_.size() >= limits_.point_queue_max) {
    query.outcome = fail(ErrorCode::unavailable, "The server is overloaded", "point reads");
    return true;
  }
  early_.push_back(&query);
  if (!std::exchange(connecting_, true)) connect_for_points();
  return false;
}

Detached PostgresReaders::connect_for_points() {
  auto made = co_await PostgresConnection::connect(options_, PostgresAccess::read_only, state_);
  // Even a failure seen at once comes after the caller has begun to wait.
  co_await Later{loop_};
  connecting_ = false;
  auto const early = std::exchange(early_, {});
  if (made) points_ = std::move(*made);
  for (auto* const query : early) {
    if (!made) {
      query->outcome = std::unexpected(made.error());
    } else if (!start(*query)) {  // Who went on before it may have found the connection broken.
      continue;
    }
    query->waiting.resume();
  }
}

// ---- Longer reads ----------------------------------------------------------------------------

auto PostgresReaders::acquire() -> Task<Result<Connection>> {
  for (bool has_waited = false;; has_waited = true) {
    if (closed_.load(std::memory_order_acquire)) {
      co_return fail(ErrorCode::unavailable, "The database is closed");
    }
    while (!idle_.empty() && !state_.silent()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      if (connection->broken()) continue;
      ++scanning_;
      co_return connection;
    }
    if (!state_.up()) co_return std::unexpected(postgres_unavailable(state_.health().cause));
    if (scanning_ < limits_.scan_connections && (scanning_ == 0 || has_waited)) {
      ++scanning_;
      ++making_;
      auto made = co_await PostgresConnection::connect(options_, PostgresAccess::read_only, state_);
      --making_;
      if (!made) release(nullptr);
      co_return made;
    }
    if (waiters_.size() >= limits_.scan_queue_max) {
      co_return fail(ErrorCode::unavailable, "The server is overloaded", "long reads");
    }
    struct Awaiter {
      PostgresReaders& readers;
      Waiter waiter;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> handle) {
        waiter.handle = handle;
        readers.waiters_.push_back(&waiter);
        if (!readers.growth_.armed()) readers.grow_soon();
      }
      Connection await_resume() { return std::move(waiter.connection); }
    };
    auto given = co_await Awaiter{*this, {}};
    if (given != nullptr) co_return given;
  }
}

void PostgresReaders::grow_soon() {
  if (scanning_ >= limits_.scan_connections) return;
  growth_.arm(loop_.timers(), monotonic_ns() + kGrowthPauseMs * 1'000'000);
}

void PostgresReaders::grow() {
  if (waiters_.empty()) return;
  if (making_ == 0 && scanning_ < limits_.scan_connections) {
    auto* const waiter = waiters_.front();
    waiters_.pop_front();
    loop_.post([waiter] { waiter->handle.resume(); });
  }
  grow_soon();
}

void PostgresReaders::release(Connection connection) {
  if (connection != nullptr && !connection->broken() && !waiters_.empty()) {
    auto* const waiter = waiters_.front();
    waiters_.pop_front();
    waiter->connection = std::move(connection);
    return loop_.post([waiter] { waiter->handle.resume(); });
  }
  --scanning_;
  if (connection != nullptr && !connection->broken()) return idle_.push_back(std::move(connection));
  // The next one makes its own. All look: if that one is refused, nobody would call the others.
  loop_.post([waiting = std::exchange(waiters_, {})] {
    for (auto* const waiter : waiting) waiter->handle.resume();
  });
}

Task<Result<void>> PostgresReaders::scan(ReadWork work) {
  auto acquired = co_await acquire();
  if (!acquired) co_return std::unexpected(acquired.error());
  auto connection = std::move(*acquired);
  connection->defer(kBeginSnapshot);
  Result<void> outcome;
  try {
    co_await work(*connection);
  } catch (std::exception const& bug) {
    outcome = fail(ErrorCode::internal, "Internal server error", bug.what());
  }
  if (connection->has_deferred()) {
    connection->forget_deferred();  // It read nothing.
  } else {
    connection->send_unanswered("COMMIT");
  }
  release(std::move(connection));
  co_return outcome;
}

}  // namespace subforge::store
