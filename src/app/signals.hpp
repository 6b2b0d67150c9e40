// SIGTERM and SIGINT as events of a loop.
#pragma once

#include <functional>

#include "runtime/event_loop.hpp"

namespace subforge::app {

// Call this before any thread is made, so that none of them is ended by the signal instead.
void block_stop_signals();

class Signals final : private IoHandler {
 public:
  Signals(EventLoop& loop, std::function<void()> on_stop);
  ~Signals();
  Signals(Signals const&) = delete;
  Signals& operator=(Signals const&) = delete;

 private:
  void on_ready(std::uint32_t events) override;
  EventLoop& loop_;
  std::function<void()> on_stop_;
  int fd_;
};

}  // namespace subforge::app
