// Carries what the outbox holds to Redis, in its order. Any number of processes may do so at once:
// Redis itself knows which row was pushed last, and takes none twice.
//
// Lives on one loop and is used from there.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "jobs/celery/broker.hpp"
#include "jobs/celery/endings.hpp"
#include "jobs/celery/mirror.hpp"
#include "jobs/celery/outbox.hpp"
#include "jobs/celery/results.hpp"
#include "runtime/event_loop.hpp"
#include "store/store.hpp"

namespace subforge::jobs::celery {

class Relay {
 public:
  static constexpr std::int64_t kRowsAtOnce = 500;
  static constexpr std::int64_t kPutOffUs = 2'000'000;  // What could not be pushed.

  struct Parts {
    EventLoop& loop;
    store::Store& store;
    Broker& broker;
    Results& results;
    Endings& endings;
    Mirror& mirror;
    std::string origin;
    Logger logger;
  };

  explicit Relay(Parts parts) : parts_(std::move(parts)) {}

  // Carries everything that is there now. A call that finds another one under way waits for it,
  // which then also carries what came meanwhile.
  Task<Result<void>> flush();
  // The same, by itself and soon. Any thread.
  void wake();
  // The connection is there again: Redis may have lost what it had.
  void begin_anew() { synced_ = false; }
  // Whether Redis lost what it had with the connection still there: then the next flush begins
  // anew. And whether it is the database that did.
  Task<Result<void>> look();
  // Called after something was pushed, which Redis does not tell of where it comes from.
  void on_pushed(std::function<void()> call) { on_pushed_ = std::move(call); }
  // Nothing that it does by itself is under way.
  [[nodiscard]] bool at_rest() const { return tasks_.running() == 0; }

 private:
  Task<Result<void>> carry_all();
  Task<Result<bool>> carry_page();
  Task<Result<void>> move_waiting();
  Task<Result<void>> push(std::span<OutboxRow const> rows);
  Task<Result<void>> put_off(std::span<OutboxRow const* const> rows,
                             std::span<std::int64_t const> failed);
  void note_loss(std::int64_t mark);
  Task<Result<void>> keep_ahead(std::int64_t mark);
  Task<Result<void>> say(OutboxRow const& row);
  Task<Result<std::vector<OutboxRow const*>>> still_to_do(std::span<OutboxRow const> rows);
  Task<void> flush_by_itself();

  // Goes on once the call that is under way is done.
  auto end_of_flush() {
    struct Awaiter {
      std::vector<std::coroutine_handle<>>& waiting;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> handle) { waiting.push_back(handle); }
      void await_resume() const noexcept {}
    };
    return Awaiter{waiting_};
  }

  Parts parts_;
  std::function<void()> on_pushed_;
  TaskGroup tasks_;
  std::atomic<bool> woken_{false};
  std::vector<std::coroutine_handle<>> waiting_;
  Result<void> flushed_;
  bool flushing_ = false;
  bool again_ = false;
  bool synced_ = false;  // `until_` is what Redis says, or newer.
  bool pushed_ = false;  // Anything, in this flush.
  std::int64_t until_ = 0;
  std::int64_t seen_ = 0;  // Redis has said that it knows of this row.
};

}  // namespace subforge::jobs::celery
