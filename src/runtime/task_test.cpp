#include "runtime/task.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace subforge {
namespace {

// Holds whoever awaits it until it is opened.
struct Gate {
  std::coroutine_handle<> waiting;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> handle) noexcept { waiting = handle; }
  void await_resume() const noexcept {}
};

// Counts the copies of it that are alive.
struct Counted {
  explicit Counted(int& count) : live(&count) { ++*live; }
  Counted(Counted const& other) : live(other.live) { ++*live; }
  Counted& operator=(Counted const&) = delete;
  ~Counted() { --*live; }
  int* live;
};

Task<int> number(int value) { co_return value; }
Task<int> thrower() {
  throw std::runtime_error("thrown inside");
  co_return 0;
}

TEST(Task, IsLazy) {
  bool started = false;
  auto body = [&]() -> Task<void> {
    started = true;
    co_return;
  };
  {
    auto task = body();
    EXPECT_FALSE(started);
  }
  EXPECT_FALSE(started);  // Destroyed without ever having run.
  body().run_inline();
  EXPECT_TRUE(started);
}

TEST(Task, HandsOverValuesThatCannotBeCopied) {
  auto make = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
  auto use = [&]() -> Task<int> {
    auto owned = co_await make();
    co_return *owned;
  };
  EXPECT_EQ(use().run_inline(), 7);
}

TEST(Task, AnExceptionReachesTheOneThatAwaits) {
  auto outer = []() -> Task<std::string> {
    try {
      (void)co_await thrower();
    } catch (std::runtime_error const& error) {
      co_return error.what();
    }
    co_return "nothing was thrown";
  };
  EXPECT_EQ(outer().run_inline(), "thrown inside");
}

TEST(Task, AnExceptionPassesThroughThoseThatDoNotCatchIt) {
  auto middle = []() -> Task<int> { co_return co_await thrower() + 1; };
  auto outer = [&]() -> Task<int> { co_return co_await middle() + 1; };
  EXPECT_THROW((void)outer().run_inline(), std::runtime_error);
}

TEST(Task, AnExceptionAfterASuspensionReachesTheOneThatAwaits) {
  Gate gate;
  bool caught = false;
  auto inner = [&]() -> Task<void> {
    co_await gate;
    throw std::logic_error("late");
  };
  auto outer = [&]() -> Task<void> {
    try {
      co_await inner();
    } catch (std::logic_error const&) {
      caught = true;
    }
  };
  auto task = outer();
  task.start(std::noop_coroutine());
  EXPECT_FALSE(task.done());
  gate.waiting.resume();
  EXPECT_TRUE(task.done());
  EXPECT_TRUE(caught);
}

TEST(Task, DestroyingASuspendedTaskDestroysItsFrameAndThoseItAwaits) {
  int live = 0;
  Gate gate;
  auto inner = [&](Counted) -> Task<void> { co_await gate; };
  auto outer = [&](Counted mine) -> Task<void> {
    Counted const local(mine);
    EXPECT_EQ(local.live, &live);
    co_await inner(mine);
  };
  {
    auto task = outer(Counted(live));
    task.start(std::noop_coroutine());
    EXPECT_GE(live, 3);  // In both frames; whether arguments live on too is up to the ABI.
  }
  EXPECT_EQ(live, 0);
}

TEST(Task, MoveAssignmentFreesWhatWasThere) {
  int live = 0;
  auto hold = [](Counted) -> Task<void> { co_return; };
  auto task = hold(Counted(live));
  EXPECT_EQ(live, 1);
  task = hold(Counted(live));
  EXPECT_EQ(live, 1);
  task.run_inline();
  auto other = std::move(task);
  EXPECT_TRUE(other.done());
}

// Temporaries in an expression with co_await are destroyed once: g++ 12.2 gets this wrong.
TEST(Task, TemporariesInAnAwaitExpressionAreDestroyedOnce) {
  struct Aggregate {
    Counted first;
    int second;
  };
  int live = 0;
  auto take = [](Aggregate given) -> Task<int> { co_return given.second; };
  auto body = [&]() -> Task<int> { co_return co_await take(Aggregate{Counted(live), 2}); };
  EXPECT_EQ(body().run_inline(), 2);
  EXPECT_EQ(live, 0);
}

// Tasks that finish at once hand over without growing the stack.
TEST(Task, AMillionAwaitsInALoopNeedNoStack) {
  auto sum = []() -> Task<std::int64_t> {
    std::int64_t total = 0;
    for (int i = 0; i < 1'000'000; ++i) total += co_await number(1);
    co_return total;
  };
  EXPECT_EQ(sum().run_inline(), 1'000'000);
}

TEST(TaskDeathTest, ATaskRunInlineThatWaitsEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Gate gate;
  auto waits = [&]() -> Task<int> {
    co_await gate;
    co_return 1;
  };
  EXPECT_DEATH((void)waits().run_inline(), "");
}

TEST(TaskGroup, CountsWhatStillRuns) {
  TaskGroup group;
  Gate first;
  Gate second;
  auto wait_for = [](Gate& gate) -> Task<void> { co_await gate; };
  group.spawn(wait_for(first));
  group.spawn(wait_for(second));
  EXPECT_EQ(group.running(), 2U);
  second.waiting.resume();
  EXPECT_EQ(group.running(), 1U);
  first.waiting.resume();
  EXPECT_EQ(group.running(), 0U);
}

}  // namespace
}  // namespace subforge
