#include "store/postgres/postgres_pulse.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace subforge::store {
namespace {

constexpr std::int64_t kPauseMs = 100;  // Between two questions.
constexpr std::int64_t kTurnMs = 50;    // Of waiting for an answer.

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
  auto heard_ns = state_.answered_ns();
  if (connection_ == nullptr) {
    auto const asked_ns = monotonic_ns();
    auto opened = PostgresConnection::open(server_, PostgresAccess::read_only);
    if (!opened) {
      // One that refuses is not silent: what has a connection hears of its end.
      bool const waited = monotonic_ns() - asked_ns >= server_.connect_timeout_ms * 1'000'000;
      if (waited && state_.answered_ns() == heard_ns) note_silence();
      return;
    }
    connection_ = std::move(*opened);
  }
  // A turn counts as one however long it takes: where this process had no processor, perhaps as all
  // of the machine stood still, the server had none either.
  auto const turns = std::max<std::int64_t>(server_.silence_ms / kTurnMs, 1);
  for (std::int64_t silent = 0; silent < turns; ++silent) {
    if (wait(0)) return;
    if (connection_->answers_within(kTurnMs)) {
      if (state_.went_loud()) logger_.warning("the database answers again");
      return;
    }
    if (connection_->broken()) return connection_.reset();
    // Whoever else was answered meanwhile is proof of life: then this one only had no turn.
    if (auto const now_ns = state_.answered_ns(); now_ns != std::exchange(heard_ns, now_ns)) {
      silent = -1;
    }
  }
  note_silence();
}

void PostgresPulse::note_silence() {
  if (state_.went_silent()) logger_.error("the database does not answer");
}

}  // namespace subforge::store
