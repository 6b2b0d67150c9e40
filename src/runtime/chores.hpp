// What is done again and again on an event loop, without anybody asking for it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "runtime/event_loop.hpp"
#include "runtime/task.hpp"
#include "runtime/timer_wheel.hpp"

namespace subforge {

class Chores {
 public:
  // True if there is more to do at once, that is with the next look.
  using Work = std::function<Task<bool>()>;

  // Every `period_ns` from `first_ns` on; not begun again while it is still being done.
  struct Chore {
    std::int64_t period_ns;
    std::int64_t first_ns;
    Work work;
  };

  // Both must outlive it; what is being done is among `tasks`.
  Chores(EventLoop& loop, TaskGroup& tasks) : loop_(loop), tasks_(tasks) {}
  Chores(Chores const&) = delete;
  Chores& operator=(Chores const&) = delete;

  void add(Chore chore);
  // From the loop's own thread, as are the looks.
  void start();
  // Begins nothing more.
  void cancel();

 private:
  static constexpr std::int64_t kAgainNs =
      1'000'000'000;  // Until what has more to do is looked at.

  struct Entry {
    Entry(Chores& chores, Chore what)
        : chore(std::move(what)), timer([this, &chores] { chores.look(*this); }) {}
    Chore chore;
    Timer timer;
    bool busy = false;
  };
  void look(Entry& entry);
  Task<void> carry_out(Entry& entry);

  EventLoop& loop_;
  TaskGroup& tasks_;
  bool cancelled_ = false;
  std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace subforge
