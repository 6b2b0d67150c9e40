#include "store/background_write.hpp"

#include <utility>

namespace subforge::store {
namespace {

using BackgroundWrite = std::function<Task<Result<void>>(Transaction&)>;

class FunctionJob final : public WriteJob {
 public:
  explicit FunctionJob(BackgroundWrite const& write)
      : WriteJob(Urgency::background), write_(write) {}

  Task<Result<void>> run(Session& session) override {
    Transaction transaction(session, events, Timestamp::now());
    auto written = co_await write_(transaction);
    if (written && !events.empty()) {
      co_return fail(ErrorCode::internal, "Internal server error",
                     "a write in the background published an event");
    }
    co_return written;
  }
  void finished() override {
    loop_->post([waiting = waiting_] { waiting.resume(); });
  }

  // Whether it waits in the database's queue.
  bool wait_in(Database& database, std::coroutine_handle<> waiting) {
    waiting_ = waiting;
    if (database.submit(*this)) return true;
    outcome = fail(ErrorCode::unavailable, "The database does not accept writes now");
    return false;
  }

 private:
  BackgroundWrite const& write_;
  EventLoop* const loop_ = EventLoop::current();
  std::coroutine_handle<> waiting_;
};

struct InTheBackground {
  FunctionJob& job;
  Database& database;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> handle) { return job.wait_in(database, handle); }
  void await_resume() const noexcept {}
};

}  // namespace

Task<Result<void>> write_in_background(Store& store, BackgroundWrite write) {
  FunctionJob job(write);
  co_await InTheBackground{job, store.database()};
  co_return std::move(job.outcome);
}

}  // namespace subforge::store
