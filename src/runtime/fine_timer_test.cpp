#include "runtime/fine_timer.hpp"

#include <gtest/gtest.h>

namespace subforge {
namespace {

constexpr std::int64_t kMs = 1'000'000;

TEST(FineTimer, FiresOnceAfterItsTimeAndBeforeATickOfTheWheel) {
  EventLoop loop;
  int fired = 0;
  FineTimer timer(loop, [&] { ++fired; });
  FineTimer end(loop, [&] { loop.stop(); });
  auto const begin_ns = monotonic_ns();
  std::int64_t fired_ns = 0;
  FineTimer other(loop, [&] { fired_ns = monotonic_ns(); });
  other.arm(2 * kMs);
  timer.arm(1 * kMs);
  end.arm(40 * kMs);
  loop.run();
  EXPECT_EQ(fired, 1);
  EXPECT_GE(fired_ns - begin_ns, 2 * kMs);
}

TEST(FineTimer, ArmingAnewReplacesWhatWasArmed) {
  EventLoop loop;
  std::string order;
  FineTimer first(loop, [&] { order += 'a'; });
  FineTimer second(loop, [&] {
    order += 'b';
    loop.stop();
  });
  first.arm(3600 * 1000 * kMs);
  second.arm(5 * kMs);
  first.arm(1 * kMs);
  loop.run();
  EXPECT_EQ(order, "ab");
}

TEST(FineTimer, OneThatIsGoneDoesNotFire) {
  EventLoop loop;
  bool fired = false;
  FineTimer end(loop, [&] { loop.stop(); });
  {
    FineTimer timer(loop, [&] { fired = true; });
    timer.arm(1 * kMs);
  }
  end.arm(5 * kMs);
  loop.run();
  EXPECT_FALSE(fired);
}

}  // namespace
}  // namespace subforge
