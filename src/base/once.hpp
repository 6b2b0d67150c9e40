// Makes something once, whichever thread comes first; the others wait for it. Unlike std::call_once
// it makes no system call unless somebody waits.
#pragma once

#include <atomic>
#include <cstdint>

namespace subforge {

class Once {
 public:
  // If `make` throws, the next caller tries again.
  template <class Make>
  void call(Make&& make) {
    for (auto state = state_.load(std::memory_order_acquire); state != State::made;
         state = state_.load(std::memory_order_acquire)) {
      if (state == State::making) {
        state_.wait(State::making, std::memory_order_acquire);
      } else if (state_.compare_exchange_strong(state, State::making, std::memory_order_acquire)) {
        Maker maker{state_};
        make();
        maker.end = State::made;
      }
    }
  }

 private:
  enum class State : std::uint32_t { none, making, made };
  struct Maker {
    std::atomic<State>& state;
    State end = State::none;
    ~Maker() {
      // In one order with whoever says that it waits and looks again: only then none is overlooked.
      state.store(end, std::memory_order_seq_cst);
      state.notify_all();
    }
  };

  std::atomic<State> state_{State::none};
};

}  // namespace subforge
