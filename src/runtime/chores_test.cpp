#include "runtime/chores.hpp"

#include <gtest/gtest.h>

namespace subforge {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;

class ChoresTest : public testing::Test {
 protected:
  // Lets the loop run for so long.
  void run_for(std::int64_t ms) {
    auto const wait = [&]() -> Task<int> {
      co_await loop_.sleep_ms(ms);
      co_return 0;
    };
    (void)block_on(loop_, wait());
  }

  EventLoop loop_;
  TaskGroup tasks_;
  Chores chores_{loop_, tasks_};
};

TEST_F(ChoresTest, EachIsDoneInItsPeriod) {
  int often = 0;
  int once = 0;
  int later = 0;
  auto const count = [](int& n) {
    return [&n]() -> Task<bool> {
      ++n;
      co_return false;
    };
  };
  chores_.add({5 * kMillisecond, 5 * kMillisecond, count(often)});
  chores_.add({3'600'000 * kMillisecond, kMillisecond, count(once)});
  chores_.add({kMillisecond, 3'600'000 * kMillisecond, count(later)});
  run_for(30);
  EXPECT_EQ(often + once, 0) << "not started yet";
  chores_.start();
  while (often < 5) run_for(5);
  EXPECT_EQ(once, 1);
  EXPECT_EQ(later, 0);
}

TEST_F(ChoresTest, WhatIsBeingDoneIsNotBegunAgain) {
  int begun = 0;
  int under_way = 0;
  bool hold = true;
  chores_.add({kMillisecond, kMillisecond, [&]() -> Task<bool> {
                 ++begun;
                 EXPECT_EQ(++under_way, 1);
                 while (hold) co_await loop_.sleep_ms(1);
                 --under_way;
                 co_return false;
               }});
  chores_.start();
  run_for(30);
  EXPECT_EQ(begun, 1);
  EXPECT_EQ(tasks_.running(), 1U);
  hold = false;
  while (begun < 3) run_for(10);
}

TEST_F(ChoresTest, WhatHasMoreToDoIsLookedAtSooner) {
  int left = 3;
  chores_.add(
      {3'600'000 * kMillisecond, kMillisecond, [&]() -> Task<bool> { co_return --left > 0; }});
  chores_.start();
  auto const begin_ns = monotonic_ns();
  while (left > 0) run_for(100);
  EXPECT_LT(monotonic_ns() - begin_ns, 60'000 * kMillisecond);
}

TEST_F(ChoresTest, NothingBeginsOnceCancelled) {
  int begun = 0;
  int done = 0;
  chores_.add({kMillisecond, kMillisecond, [&]() -> Task<bool> {
                 ++begun;
                 co_await loop_.sleep_ms(20);
                 ++done;
                 co_return true;
               }});
  chores_.start();
  while (begun == 0) run_for(1);
  chores_.cancel();
  while (tasks_.running() > 0) run_for(5);
  run_for(20);
  EXPECT_EQ(begun, done);
  EXPECT_EQ(begun, 1);
}

}  // namespace
}  // namespace subforge
