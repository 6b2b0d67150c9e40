// Sends a viewer much, as fast as it reads.
#pragma once

#include <coroutine>
#include <cstddef>
#include <memory>
#include <utility>

#include "realtime/viewer.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::realtime {

// Shared by a viewer and the coroutine that sends to it, which may outlive the viewer.
struct Pace {
  Viewer* viewer = nullptr;           // Null once it is gone.
  std::coroutine_handle<> waiting{};  // For what was pushed to leave.

  // co_await pace.drained(bytes): until less than that waits to be read, or the viewer is gone.
  auto drained(std::size_t bytes_max) {
    struct Awaiter {
      Pace& pace;
      std::size_t bytes_max;
      [[nodiscard]] bool await_ready() const {
        return pace.viewer == nullptr || pace.viewer->queued_bytes() < bytes_max;
      }
      void await_suspend(std::coroutine_handle<> handle) const {
        pace.waiting = handle;
        pace.viewer->tell_when_drained();
      }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this, bytes_max};
  }
};

// In a later turn, and once however often it is asked: what the pace waited for has come.
inline void go_on(std::shared_ptr<Pace> const& pace, EventLoop& loop) {
  if (pace == nullptr || !pace->waiting) return;
  loop.post([pace] {
    if (auto const waiting = std::exchange(pace->waiting, {})) waiting.resume();
  });
}

// The same for a viewer that leaves.
inline void let_go(std::shared_ptr<Pace> const& pace, EventLoop& loop) {
  if (pace == nullptr) return;
  pace->viewer = nullptr;
  go_on(pace, loop);
}

}  // namespace subforge::realtime
