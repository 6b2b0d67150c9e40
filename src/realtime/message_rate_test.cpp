#include "realtime/message_rate.hpp"

#include <gtest/gtest.h>

namespace subforge::realtime {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

int admitted(MessageRate& rate, std::int64_t now_ns, int tries) {
  int count = 0;
  for (int i = 0; i < tries; ++i) count += rate.admit(now_ns) ? 1 : 0;
  return count;
}

TEST(MessageRate, TwiceAsManyAtOnceThenTheSteadyRate) {
  MessageRate rate(100);
  EXPECT_EQ(admitted(rate, 5 * kSecond, 1000), 200);
  EXPECT_EQ(admitted(rate, 5 * kSecond + kSecond / 2, 1000), 50);
  EXPECT_EQ(admitted(rate, 6 * kSecond, 1000), 50);
  EXPECT_EQ(admitted(rate, 60 * kSecond, 1000), 200);
}

TEST(MessageRate, ZeroIsNoBound) {
  MessageRate rate(0);
  EXPECT_EQ(admitted(rate, 0, 100'000), 100'000);
}

}  // namespace
}  // namespace subforge::realtime
