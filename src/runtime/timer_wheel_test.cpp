#include "runtime/timer_wheel.hpp"

#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace subforge {
namespace {

constexpr auto kTick = TimerWheel::kTickNs;
constexpr auto kTurn = kTick * static_cast<std::int64_t>(TimerWheel::kSlots);

TEST(TimerWheel, FiresAtTheDeadlineOrWithinATickAfterButNeverBefore) {
  TimerWheel wheel(0);
  std::int64_t now = 0;
  std::vector<std::int64_t> fired_at;
  for (std::int64_t const deadline :
       {std::int64_t{1}, kTick, kTick + 1, 5 * kTick / 2, 7 * kTick}) {
    fired_at.clear();
    Timer timer([&] { fired_at.push_back(now); });
    auto const start = now;
    timer.arm(wheel, start + deadline);
    for (std::int64_t const until = start + 10 * kTick; now < until; now += kTick / 8) {
      wheel.advance(now);
    }
    ASSERT_EQ(fired_at.size(), 1U) << deadline;
    EXPECT_GE(fired_at[0], start + deadline);
    EXPECT_LT(fired_at[0], start + deadline + kTick + kTick / 8);
    EXPECT_FALSE(timer.armed());
  }
}

TEST(TimerWheel, FiresInOrderOfDeadlinesAndOfArmingWithinATick) {
  TimerWheel wheel(0);
  std::string order;
  Timer c([&] { order += 'c'; });
  Timer a([&] { order += 'a'; });
  Timer b([&] { order += 'b'; });
  Timer d([&] { order += 'd'; });
  d.arm(wheel, 9 * kTick);
  a.arm(wheel, 2 * kTick);
  b.arm(wheel, 2 * kTick);
  c.arm(wheel, 5 * kTick);
  wheel.advance(20 * kTick);
  EXPECT_EQ(order, "abcd");
}

TEST(TimerWheel, KeepsTimersOfLaterTurnsThatShareASlot) {
  TimerWheel wheel(0);
  std::string order;
  Timer later([&] { order += 'L'; });
  Timer soon([&] { order += 's'; });
  later.arm(wheel, 3 * kTick + 2 * kTurn);
  soon.arm(wheel, 3 * kTick);
  wheel.advance(3 * kTick);
  EXPECT_EQ(order, "s");
  wheel.advance(3 * kTick + kTurn);
  EXPECT_EQ(order, "s");
  wheel.advance(3 * kTick + 2 * kTurn - 1);
  EXPECT_EQ(order, "s");
  wheel.advance(3 * kTick + 2 * kTurn);
  EXPECT_EQ(order, "sL");
}

TEST(TimerWheel, ALongPauseFiresEverythingDueOnce) {
  TimerWheel wheel(0);
  std::vector<std::unique_ptr<Timer>> timers;
  int fired = 0;
  for (int i = 1; i <= 5000; ++i) {
    timers.push_back(std::make_unique<Timer>([&] { ++fired; }));
    timers.back()->arm(wheel, i * kTick);
  }
  wheel.advance(4000 * kTick);
  EXPECT_EQ(fired, 4000);
  wheel.advance(4000 * kTick + 10 * kTurn);
  EXPECT_EQ(fired, 5000);
  EXPECT_EQ(wheel.next_ns(), std::nullopt);
}

TEST(TimerWheel, APastDeadlineFiresAtTheNextTick) {
  TimerWheel wheel(100 * kTick);
  int fired = 0;
  Timer timer([&] { ++fired; });
  timer.arm(wheel, 1);
  EXPECT_EQ(wheel.next_ns(), 101 * kTick);
  wheel.advance(101 * kTick);
  EXPECT_EQ(fired, 1);
}

TEST(TimerWheel, AFarDeadlineDoesNotOverflow) {
  TimerWheel wheel(0);
  int fired = 0;
  Timer timer([&] { ++fired; });
  timer.arm(wheel, std::numeric_limits<std::int64_t>::max());
  wheel.advance(5 * kTurn);
  EXPECT_EQ(fired, 0);
  EXPECT_TRUE(timer.armed());
}

TEST(TimerWheel, RearmReplacesAndCancelRemoves) {
  TimerWheel wheel(0);
  int fired = 0;
  Timer timer([&] { ++fired; });
  timer.arm(wheel, 2 * kTick);
  timer.arm(wheel, 6 * kTick);
  wheel.advance(4 * kTick);
  EXPECT_EQ(fired, 0);
  wheel.advance(6 * kTick);
  EXPECT_EQ(fired, 1);
  timer.arm(wheel, 8 * kTick);
  timer.cancel();
  timer.cancel();
  EXPECT_FALSE(timer.armed());
  wheel.advance(10 * kTick);
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(wheel.next_ns(), std::nullopt);
}

TEST(TimerWheel, ACallbackMayRearmItsTimer) {
  TimerWheel wheel(0);
  std::int64_t now = 0;
  int fired = 0;
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>([&] {
    ++fired;
    timer->arm(wheel, now);  // Already past: the next tick, never this one again.
  });
  timer->arm(wheel, kTick);
  for (now = 0; now <= 10 * kTick; now += kTick) wheel.advance(now);
  EXPECT_EQ(fired, 10);
}

TEST(TimerWheel, ACallbackMayCancelAndDestroyTheOthersOfItsTick) {
  TimerWheel wheel(0);
  std::string order;
  std::unique_ptr<Timer> doomed;
  Timer cancelled([&] { order += 'x'; });
  Timer first([&] {
    order += '1';
    cancelled.cancel();
    doomed.reset();
  });
  Timer last([&] { order += '2'; });
  doomed = std::make_unique<Timer>([&] { order += 'y'; });
  first.arm(wheel, kTick);
  doomed->arm(wheel, kTick);
  cancelled.arm(wheel, kTick);
  last.arm(wheel, kTick);
  wheel.advance(2 * kTick);
  EXPECT_EQ(order, "12");
}

TEST(TimerWheel, ACallbackMayDestroyItsOwnTimer) {
  TimerWheel wheel(0);
  std::unique_ptr<Timer> timer;
  int fired = 0;
  timer = std::make_unique<Timer>([&] {
    ++fired;
    timer.reset();
  });
  timer->arm(wheel, kTick);
  wheel.advance(kTick);
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(timer, nullptr);
}

TEST(TimerWheel, ACallbackMayPutOffATimerThatIsDueToo) {
  TimerWheel wheel(0);
  std::string order;
  Timer late([&] { order += 'l'; });
  Timer early([&] {
    order += 'e';
    late.arm(wheel, 5 * kTick);
  });
  early.arm(wheel, kTick);
  late.arm(wheel, kTick);
  wheel.advance(2 * kTick);
  EXPECT_EQ(order, "e");
  wheel.advance(5 * kTick);
  EXPECT_EQ(order, "el");
}

TEST(TimerWheel, NextIsExactWithinATurnAndEarlyAtMostBeyond) {
  TimerWheel wheel(0);
  Timer timer([] {});
  // Every slot, from a starting point in the middle of a word.
  wheel.advance(777 * kTick);
  for (std::int64_t ticks = 1; ticks <= static_cast<std::int64_t>(TimerWheel::kSlots); ++ticks) {
    timer.arm(wheel, (777 + ticks) * kTick);
    ASSERT_EQ(wheel.next_ns(), (777 + ticks) * kTick);
  }
  timer.arm(wheel, 777 * kTick + kTurn + 5 * kTick);
  ASSERT_TRUE(wheel.next_ns());
  EXPECT_LE(*wheel.next_ns(), 777 * kTick + kTurn + 5 * kTick);
  EXPECT_GT(*wheel.next_ns(), 777 * kTick);
}

TEST(TimerWheel, ADestroyedWheelLeavesItsTimersUnarmed) {
  Timer timer([] { FAIL(); });
  {
    TimerWheel wheel(0);
    timer.arm(wheel, kTick);
  }
  EXPECT_FALSE(timer.armed());
  timer.cancel();
}

// Against a plain list of deadlines: arms, cancels and steps at random.
TEST(TimerWheel, AgreesWithAPlainListOfDeadlines) {
  struct Watched {
    explicit Watched(std::function<void()> fire) : timer(std::move(fire)) {}
    Timer timer;
    std::int64_t deadline = 0;
    bool armed = false;
  };
  std::mt19937_64 random(20260102);  // NOLINT: the same run every time.
  TimerWheel wheel(0);
  std::int64_t now = 0;
  int wrong = 0;
  std::vector<std::unique_ptr<Watched>> all(200);
  for (auto& slot : all) {
    slot = std::make_unique<Watched>([&wrong, &now, &slot] {
      wrong += slot->armed && slot->deadline <= now ? 0 : 1;
      slot->armed = false;
    });
  }
  for (int step = 0; step < 20'000; ++step) {
    auto& one = *all[random() % all.size()];
    switch (random() % 4) {
      case 0:
      case 1:
        one.deadline = now + static_cast<std::int64_t>(random() % (3 * kTurn));
        one.armed = true;
        one.timer.arm(wheel, one.deadline);
        break;
      case 2:
        one.armed = false;
        one.timer.cancel();
        break;
      default:
        now += static_cast<std::int64_t>(random() % (random() % 50 == 0 ? 2 * kTurn : 5 * kTick));
        wheel.advance(now);
        for (auto const& each : all) {
          // What is armed still has not reached the tick of its deadline.
          wrong += each->armed && each->deadline <= now / kTick * kTick - kTick ? 1 : 0;
          wrong += each->armed != each->timer.armed() ? 1 : 0;
        }
    }
  }
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace subforge
