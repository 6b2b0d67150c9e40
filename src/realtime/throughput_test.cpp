#include "realtime/throughput.hpp"

#include <gtest/gtest.h>

namespace subforge::realtime {
namespace {

Timestamp minute(std::int64_t number) { return {(30'000'000 + number) * 60'000'000 + 1}; }

TEST(Throughput, IsOfTheNewestMinutes) {
  Throughput sent;
  auto const add = [&](int messages, std::int64_t at) {
    for (int i = 0; i < messages; ++i) sent.count();
    sent.settle(minute(at));
  };
  add(5, 0);
  add(2, 0);
  EXPECT_EQ(sent.in_minutes(1), 7);
  add(3, 1);
  EXPECT_EQ(sent.in_minutes(1), 3);
  EXPECT_EQ(sent.in_minutes(60), 10);
  add(0, 60);
  EXPECT_EQ(sent.in_minutes(1), 0);
  EXPECT_EQ(sent.in_minutes(60), 3);
  EXPECT_EQ(sent.in_minutes(Throughput::kMinutesMax), 10);
  // The clock was set back: nothing is lost.
  add(1, 50);
  EXPECT_EQ(sent.in_minutes(60), 4);
  add(4, 60 + Throughput::kMinutesMax);
  EXPECT_EQ(sent.in_minutes(Throughput::kMinutesMax), 4);
}

}  // namespace
}  // namespace subforge::realtime
