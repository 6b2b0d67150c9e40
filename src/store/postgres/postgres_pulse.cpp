#include "store/postgres/postgres_pulse.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace subforge::store {
namespace {

constexpr std::int64_t kPauseMs = 100;  // Between two questions.

// Its own answers are waited for no longer than the server may be silent.
PostgresOptions impatient(PostgresOptions server) {
  server.connect_timeout_ms = std::min(server.connect_timeout_ms, server.silence_ms);
  return server;
}

}  // namespace

PostgresPulse::PostgresPulse(PostgresOptions const& server, PostgresState& state, Logger logger)
    : server_(impatient(server)), state_(state), logger_(logger), thread_([this] { run(); }) {}

PostgresPulse::~PostgresPulse() {
  {
    std::lock_guard const lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void PostgresPulse::run() {
  while (!wait(kPauseMs)) beat();
}

// True once it is to end.
bool PostgresPulse::wait(std::int64_t pause_ms) {
  std::unique_lock lock(mutex_);
  return stopped_.wait_for(lock, std::chrono::milliseconds(pause_ms), [this] { return stop_; });
}

void PostgresPulse::beat() {
  auto const asked_ns = monotonic_ns();
  auto const silence_ns = server_.silence_ms * 1'000'000;
  if (connection_ == nullptr) {
    auto opened = PostgresConnection::open(server_, PostgresAccess::read_only);
    // One that refuses is not silent: what has a connection hears of its end.
    if (!opened && monotonic_ns() - asked_ns < server_.connect_timeout_ms * 1'000'000) return;
    if (opened) connection_ = std::move(*opened);
  }
  // Whoever else was answered meanwhile is proof of life: then this one only had no turn.
  while (!wait(0)) {
    auto const heard_ns = std::max(asked_ns, state_.answered_ns());
    auto const left_ms = (heard_ns + silence_ns - monotonic_ns()) / 1'000'000;
    if (left_ms <= 0) {
      if (state_.went_silent()) logger_.error("the database does not answer");
      return;
    }
    if (connection_ == nullptr) return;
    if (connection_->answers_within(left_ms)) {
      if (state_.went_loud()) logger_.warning("the database answers again");
      return;
    }
    if (connection_->broken()) return connection_.reset();
  }
}

}  // namespace subforge::store
