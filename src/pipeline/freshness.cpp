#include "pipeline/freshness.hpp"

#include <utility>

namespace subforge::pipeline {

Task<bool> Freshness::confirm() {
  struct Join {
    Round& round;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) { round.waiting.push_back(handle); }
    void await_resume() const noexcept {}
  };
  if (!next_) next_ = std::make_shared<Round>();
  auto const round = next_;
  if (!std::exchange(asking_, true)) {
    loop_.at_turn_end([this] { tasks_.spawn(ask()); });
  }
  co_await Join{*round};
  co_return round->good;
}

Task<void> Freshness::ask() {
  while (next_) {
    auto const round = std::exchange(next_, nullptr);
    auto const known = co_await store_.is_up_to_date();
    round->good = known && *known;
    for (auto const handle : round->waiting) handle.resume();
  }
  asking_ = false;
}

}  // namespace subforge::pipeline
