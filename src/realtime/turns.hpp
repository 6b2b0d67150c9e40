// So many at once of what is dear; whoever comes then waits for one of them to be done.
#pragma once

#include <coroutine>
#include <cstddef>
#include <deque>

#include "runtime/event_loop.hpp"

namespace subforge::realtime {

// Of one event loop.
class Turns {
 public:
  Turns(EventLoop& loop, std::size_t at_once) : loop_(loop), free_(at_once) {}
  Turns(Turns const&) = delete;
  Turns& operator=(Turns const&) = delete;

  // As long as it is held it is somebody's turn.
  class Turn {
   public:
    explicit Turn(Turns& turns) : turns_(turns) {}
    ~Turn() { turns_.give_back(); }
    Turn(Turn const&) = delete;
    Turn& operator=(Turn const&) = delete;

   private:
    Turns& turns_;
  };

  // auto const turn = co_await turns.next(); in the order in which they came.
  auto next() {
    struct Awaiter {
      Turns& turns;
      [[nodiscard]] bool await_ready() const {
        if (turns.free_ == 0) return false;
        --turns.free_;
        return true;
      }
      void await_suspend(std::coroutine_handle<> waiting) const {
        turns.waiting_.push_back(waiting);
      }
      [[nodiscard]] Turn await_resume() const { return Turn(turns); }
    };
    return Awaiter{*this};
  }

 private:
  void give_back() {
    if (waiting_.empty()) {
      ++free_;
      return;
    }
    loop_.post([waiting = waiting_.front()] { waiting.resume(); });
    waiting_.pop_front();
  }

  EventLoop& loop_;
  std::size_t free_;
  std::deque<std::coroutine_handle<>> waiting_;
};

}  // namespace subforge::realtime
