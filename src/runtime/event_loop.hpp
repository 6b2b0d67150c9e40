// One thread's event loop: sockets by epoll, timers by a wheel, and a mailbox for other threads.
// Everything an event loop owns is touched by its own thread alone.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/time.hpp"
#include "runtime/task.hpp"
#include "runtime/timer_wheel.hpp"

namespace subforge {

// Receives the readiness of one descriptor; one with two descriptors needs two handlers.
class IoHandler {
 public:
  // `events` are epoll's bits (EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR ...). The handler may remove
  // and destroy itself or any other handler of the same loop.
  virtual void on_ready(std::uint32_t events) = 0;

 protected:
  ~IoHandler() = default;
};

class EventLoop {
 public:
  static constexpr std::size_t kEventsPerTurn = 256;

  EventLoop();
  ~EventLoop();
  EventLoop(EventLoop const&) = delete;
  EventLoop& operator=(EventLoop const&) = delete;

  // The loop the calling thread runs, or null.
  [[nodiscard]] static EventLoop* current();

  // Until stop(); returns after the turn that saw it. An exception that leaves a handler, a
  // callback or a timer is a bug and ends the process: the rest of the turn could not be made up
  // for.
  void run();
  void stop();  // From any thread.

  void add(int fd, std::uint32_t events, IoHandler& handler);
  void modify(int fd, std::uint32_t events, IoHandler& handler);
  void remove(int fd, IoHandler& handler);

  using Callback = std::move_only_function<void()>;
  // Runs `callback` on this loop soon, in the order posted. From any thread; once the callback has
  // begun, nothing of this loop is touched any more on the poster's behalf, so it may end the loop.
  void post(Callback callback);
  // Runs `callback` once at the end of this turn, after all sockets and mail were handled.
  void at_turn_end(Callback callback) { turn_end_.push_back(std::move(callback)); }

  [[nodiscard]] TimerWheel& timers() { return timers_; }
  // The monotonic clock, read once per turn.
  [[nodiscard]] std::int64_t now_ns() const { return now_ns_; }
  // The wall clock, read at most once per turn.
  [[nodiscard]] Timestamp wall_now();

  // Memory that any handler may use until it returns; so idle connections need no buffer.
  static constexpr std::size_t kScratchBytes = 64U << 10;
  [[nodiscard]] std::array<char, kScratchBytes>& scratch() { return *scratch_; }

  // co_await loop.resume_here(): continue on this loop's thread.
  auto resume_here() {
    struct Awaiter {
      EventLoop& loop;
      [[nodiscard]] bool await_ready() const noexcept { return current() == &loop; }
      void await_suspend(std::coroutine_handle<> waiting) {
        loop.post([waiting] { waiting.resume(); });
      }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this};
  }

  // co_await loop.sleep_ms(n), on the loop's own thread.
  auto sleep_ms(std::int64_t milliseconds) {
    struct Awaiter {
      EventLoop& loop;
      std::int64_t duration_ms;
      std::coroutine_handle<> waiting;
      Timer timer{[this] { waiting.resume(); }};
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> handle) {
        waiting = handle;
        timer.arm(loop.timers(), monotonic_ns() + duration_ms * 1'000'000);
      }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this, milliseconds, {}};
  }

 private:
  void turn() noexcept;
  void drain_mailbox();
  int wait_ms();
  void wake();

  int epoll_fd_;
  int wake_fd_;
  std::int64_t now_ns_;
  std::int64_t wall_read_at_ns_ = -1;
  Timestamp wall_now_;
  TimerWheel timers_;
  std::unique_ptr<std::array<char, kScratchBytes>> scratch_;

  std::array<epoll_event, kEventsPerTurn> events_;
  int event_next_ = 0;
  int event_count_ = 0;

  std::vector<Callback> turn_end_;
  std::vector<Callback> turn_end_running_;

  std::mutex mail_mutex_;
  std::vector<Callback> mail_;
  std::vector<Callback> mail_running_;
  std::atomic<bool> has_mail_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<int> waking_{0};  // Threads that are about to wake it, and will not touch it then.
  std::atomic<bool> stopping_{false};
};

// Runs `task` on a loop of its own until it is done. For the command line and tests.
template <class T>
T block_on(EventLoop& loop, Task<T> task) {
  auto finish = [](EventLoop& on, Task<T>& inner) -> Task<T> {
    struct Stop {
      EventLoop& loop;
      ~Stop() { loop.stop(); }
    } const stop{on};
    co_return co_await inner;
  };
  auto outer = finish(loop, task);
  loop.post([&] { outer.start(std::noop_coroutine()); });
  loop.run();
  return outer.take();
}

}  // namespace subforge
