// A timer for waits much shorter than a tick of the loop's wheel. It costs a descriptor, and a
// system call each time it is armed.
#pragma once

#include <cstdint>
#include <functional>

#include "runtime/event_loop.hpp"

namespace subforge {

// Belongs to its loop, which must outlive it.
class FineTimer final : private IoHandler {
 public:
  FineTimer(EventLoop& loop, std::move_only_function<void()> on_fire);
  ~FineTimer();
  FineTimer(FineTimer const&) = delete;
  FineTimer& operator=(FineTimer const&) = delete;

  // Fires once, after that time, which is more than 0; replaces what was armed before.
  void arm(std::int64_t duration_ns);

 private:
  void on_ready(std::uint32_t events) override;

  EventLoop& loop_;
  int fd_;
  std::move_only_function<void()> on_fire_;
};

}  // namespace subforge
