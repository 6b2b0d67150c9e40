// Event loops on threads of their own, for tests that need several.
#pragma once

#include <atomic>
#include <cstddef>
#include <deque>
#include <thread>
#include <vector>

#include "runtime/event_loop.hpp"

namespace subforge {

class LoopThreads {
 public:
  explicit LoopThreads(std::size_t count) : loops_(count) {
    for (auto& loop : loops_) threads_.emplace_back([&loop] { loop.run(); });
  }
  ~LoopThreads() { stop(); }
  LoopThreads(LoopThreads const&) = delete;
  LoopThreads& operator=(LoopThreads const&) = delete;

  [[nodiscard]] std::size_t size() const { return loops_.size(); }
  [[nodiscard]] EventLoop& operator[](std::size_t i) { return loops_[i]; }

  // Starts `task` on loop `i`; wait() returns once all that were started are done.
  void start(std::size_t i, Task<void> task) {
    started_.fetch_add(1);
    loops_[i].post([this, moved = std::move(task)]() mutable { run(std::move(moved)); });
  }
  void wait() {
    for (auto left = started_.load(); left != 0; left = started_.load()) started_.wait(left);
  }
  void stop() {
    for (auto& loop : loops_) loop.stop();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  Detached run(Task<void> task) {
    co_await task;
    if (started_.fetch_sub(1) == 1) started_.notify_all();
  }

  std::deque<EventLoop> loops_;
  std::vector<std::thread> threads_;
  std::atomic<std::size_t> started_{0};
};

}  // namespace subforge
