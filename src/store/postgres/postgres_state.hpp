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
  // How long a write waits for the one other process that writes.
  std::int64_t write_lock_timeout_ms = 5'000;
  // A writer that stands still for so long in the middle of its work is undone by the server.
  std::int64_t idle_transaction_timeout_ms = 10'000;
};

// Whether the server can be reached, as the writer sees it: its connection always stands or is
// being made anew. Any thread may ask.
class PostgresState {
 public:
  [[nodiscard]] bool up() const { return up_.load(std::memory_order_acquire); }
  [[nodiscard]] DatabaseHealth health() const;
  // The address that the host's name led to; readers need not look it up again.
  [[nodiscard]] std::string host_address() const;

  void went_up(std::string host_address);
  void went_down(std::string why);

 private:
  std::atomic<bool> up_{true};
  mutable std::mutex mutex_;
  DatabaseHealth health_;
  std::string host_address_;
};

// What a caller is told while there is no connection.
[[nodiscard]] Error postgres_unavailable(std::string context);

}  // namespace subforge::store
