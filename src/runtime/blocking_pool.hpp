// Threads for work that would hold up an event loop: long queries, parsing of large documents.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.hpp"
#include "runtime/event_loop.hpp"

namespace subforge {

class BlockingPool {
 public:
  // What its threads claim of the cores where all of them are busy.
  enum class Claim : std::uint8_t {
    equal,   // As much as the thread that makes the pool.
    behind,  // Less, for long work: see stay_behind().
  };

  // At most `queue_max` jobs wait; one more is refused, and its caller is told "unavailable".
  BlockingPool(std::size_t threads, std::size_t queue_max, Claim claim = Claim::equal);
  ~BlockingPool() { stop(); }
  BlockingPool(BlockingPool const&) = delete;
  BlockingPool& operator=(BlockingPool const&) = delete;

  // Finishes what is queued and refuses the rest, from then on. Not from two threads at once.
  void stop();

  // False if the queue is full or the pool was stopped. The job must not throw.
  using Job = std::move_only_function<void()>;
  [[nodiscard]] bool try_submit(Job job);

  // Runs `work()` on a pool thread and continues on the loop that awaited. `work` returns a
  // Result<T>; so does this. An exception of `work` is thrown here.
  template <class Work>
  auto run(Work work) -> Task<std::invoke_result_t<Work>> {
    using Outcome = std::invoke_result_t<Work>;
    struct Awaiter {
      BlockingPool& pool;
      Work& work;
      std::optional<Outcome> outcome = std::nullopt;
      std::exception_ptr failure = nullptr;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      bool await_suspend(std::coroutine_handle<> waiting) {
        auto* const loop = EventLoop::current();
        bool const accepted = pool.try_submit([this, waiting, loop] {
          try {
            outcome.emplace(work());
          } catch (...) {
            failure = std::current_exception();
          }
          loop->post([waiting] { waiting.resume(); });
        });
        if (!accepted) outcome.emplace(fail(ErrorCode::unavailable, "The server is overloaded"));
        return accepted;
      }
      Outcome await_resume() {
        if (failure) std::rethrow_exception(failure);
        return std::move(*outcome);
      }
    };
    co_return co_await Awaiter{*this, work};
  }

 private:
  void serve();

  std::size_t const queue_max_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace subforge
