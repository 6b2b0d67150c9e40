#include "store/postgres/postgres_state.hpp"

#include <algorithm>

namespace subforge::store {

DatabaseHealth PostgresState::health() const {
  std::lock_guard const lock(mutex_);
  if (!health_.up) return health_;
  if (silent()) return {false, silent_since_, "the server does not answer"};
  return {true, std::max(health_.since, silent_since_), {}};
}

bool PostgresState::went_silent() {
  std::lock_guard const lock(mutex_);
  if (silent_.exchange(true)) return false;
  silent_since_ = Timestamp::now();
  return true;
}

bool PostgresState::went_loud() {
  std::lock_guard const lock(mutex_);
  if (!silent_.exchange(false)) return false;
  silent_since_ = Timestamp::now();
  return true;
}

std::string PostgresState::host_address() const {
  std::lock_guard const lock(mutex_);
  return host_address_;
}

void PostgresState::went_up(std::string host_address) {
  std::lock_guard const lock(mutex_);
  host_address_ = std::move(host_address);
  health_ = {true, Timestamp::now(), {}};
  up_.store(true, std::memory_order_release);
}

void PostgresState::went_down(std::string why) {
  std::lock_guard const lock(mutex_);
  up_.store(false, std::memory_order_release);
  if (health_.up) health_.since = Timestamp::now();
  health_.up = false;
  health_.cause = std::move(why);
}

Error postgres_unavailable(std::string context) {
  return {ErrorCode::unavailable, "The database is not available", std::move(context)};
}

}  // namespace subforge::store
