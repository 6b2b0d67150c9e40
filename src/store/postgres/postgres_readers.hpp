// What one event loop reads with: a connection on which point reads follow each other without
// waiting for one another, and some that each serve one longer read at a time.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "runtime/event_loop.hpp"
#include "runtime/timer_wheel.hpp"
#include "store/database.hpp"
#include "store/postgres/postgres_connection.hpp"
#include "store/postgres/postgres_state.hpp"

namespace subforge::store {

struct PostgresReaderLimits {
  std::size_t scan_connections = 4;      // Of one loop, beside the one for point reads.
  std::size_t scan_queue_max = 500;      // Longer reads that may wait for a connection, a loop.
  std::size_t point_queue_max = 10'000;  // Point reads that may be under way, a loop.
};

class PostgresReaders final : private Session {
 public:
  PostgresReaders(EventLoop& loop, PostgresOptions const& options, PostgresState const& state,
                  PostgresReaderLimits limits)
      : loop_(loop), options_(options), state_(state), limits_(limits) {}

  [[nodiscard]] EventLoop const& loop() const { return loop_; }
  // For queries that each see what is newest. From the loop's own thread, as all below.
  [[nodiscard]] Session& point_session() { return *this; }
  // Runs `work` in one snapshot.
  Task<Result<void>> scan(ReadWork work);
  // From any thread: what waits for a connection, and what comes later, is refused.
  void close() { closed_.store(true, std::memory_order_release); }

 private:
  using Connection = std::unique_ptr<PostgresConnection>;
  // A scan that waits until another one is done with its connection.
  struct Waiter {
    std::coroutine_handle<> handle;
    Connection connection;  // Null if there is only room for a new one.
  };

  bool start(Query& query) override;
  [[nodiscard]] Dialect dialect() const override { return Dialect::postgres; }
  Detached connect_for_points();
  Task<Result<Connection>> acquire();
  void release(Connection connection);
  void grow_soon();
  void grow();

  EventLoop& loop_;
  PostgresOptions const& options_;
  PostgresState const& state_;
  PostgresReaderLimits const limits_;
  std::atomic<bool> closed_{false};

  Connection points_;
  bool connecting_ = false;
  std::vector<Query*> early_;  // Point reads that came before there was a connection.

  std::vector<Connection> idle_;
  std::size_t scanning_ = 0;  // Connections in use or being made.
  std::size_t making_ = 0;
  std::deque<Waiter*> waiters_;
  Timer growth_{[this] { grow(); }};  // One more for who has waited, if none is being made.
};

}  // namespace subforge::store
