// What the connections to one PostgreSQL server have in common.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include "store/database.hpp"

namespace subforge::store {

struct PostgresOptions {
  std::string url;  // postgresql://user:password@host:port/database?parameters, as libpq takes it.
  std::int64_t connect_timeout_ms = 5'000;
  std::int64_t statement_timeout_ms = 30'000;
  // How long a request that needs a new connection waits for it, where the server is known to be
  // up.
  std::int64_t reader_connect_timeout_ms = 900;
  // How long a read waits for a table that somebody has locked: those behind it on its connection
  // wait with it.
  std::int64_t read_lock_timeout_ms = 800;
  // How long a write waits for the one other process that writes.
  std::int64_t write_lock_timeout_ms = 5'000;
  // A writer that stands still for so long in the middle of its work is undone by the server.
  std::int64_t idle_transaction_timeout_ms = 10'000;
  // One that answers nobody for so long is as good as gone.
  std::int64_t silence_ms = 700;
};

// Whether the server can be reached, as the writer sees it: its connection always stands or is
// being made anew; and whether it answers. Any thread may ask.
class PostgresState {
 public:
  [[nodiscard]] bool up() const { return up_.load(std::memory_order_acquire) && !silent(); }
  // It takes questions, and answers none. Who waits for an answer gives up.
  [[nodiscard]] bool silent() const { return silent_.load(std::memory_order_acquire); }
  [[nodiscard]] DatabaseHealth health() const;
  // The address that the host's name led to; readers need not look it up again.
  [[nodiscard]] std::string host_address() const;

  void went_up(std::string host_address);
  void went_down(std::string why);
  // True if it was not so before.
  bool went_silent();
  bool went_loud();

  // When anybody was answered last (monotonic_ns()).
  void note_answer(std::int64_t now_ns) const {
    answered_ns_.store(now_ns, std::memory_order_relaxed);
  }
  [[nodiscard]] std::int64_t answered_ns() const {
    return answered_ns_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<bool> up_{true};
  std::atomic<bool> silent_{false};
  mutable std::atomic<std::int64_t> answered_ns_{0};
  mutable std::mutex mutex_;
  DatabaseHealth health_;     // As the writer sees it.
  Timestamp silent_since_{};  // Or loud since, if it is not silent.
  std::string host_address_;
};

// What a caller is told while there is no connection.
[[nodiscard]] Error postgres_unavailable(std::string context);

}  // namespace subforge::store
