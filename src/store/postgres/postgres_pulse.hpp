// Asks the server again and again whether it still answers, on a connection of its own: one that is
// frozen, or cut off without a word, takes connections and queries and never answers them. Then
// everybody who waits is told so, instead of only once statements would have run out of time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "base/log.hpp"
#include "store/postgres/postgres_connection.hpp"
#include "store/postgres/postgres_state.hpp"

namespace subforge::store {

class PostgresPulse {
 public:
  // Both must outlive it. Begins at once.
  PostgresPulse(PostgresOptions const& server, PostgresState& state, Logger logger);
  ~PostgresPulse();
  PostgresPulse(PostgresPulse const&) = delete;
  PostgresPulse& operator=(PostgresPulse const&) = delete;

 private:
  void run();
  [[nodiscard]] bool wait(std::int64_t pause_ms);
  void beat();
  void note_silence();

  PostgresOptions const server_;
  PostgresState& state_;
  Logger logger_;
  std::unique_ptr<PostgresConnection> connection_;

  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;  // Last: it uses the rest.
};

}  // namespace subforge::store
