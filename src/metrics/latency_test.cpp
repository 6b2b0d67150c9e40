// The buckets cover every duration once, and figures are as close as the header says.
#include "metrics/latency.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace subforge::metrics {
namespace {

namespace buckets = latency_buckets;

TEST(LatencyTest, BucketsFollowOnEachOtherAndHoldWhatTheySay) {
  for (std::size_t i = 0; i + 1 < buckets::kCount; ++i) {
    auto const lower = buckets::lower_us(i);
    auto const next = buckets::lower_us(i + 1);
    ASSERT_LT(lower, next);
    EXPECT_EQ(buckets::index_of(lower), i);
    EXPECT_EQ(buckets::index_of(next - 1), i);
  }
  EXPECT_EQ(buckets::index_of(-5), 0U);
  EXPECT_EQ(buckets::index_of(buckets::kLargestUs), buckets::kCount - 1);
  EXPECT_EQ(buckets::index_of(INT64_MAX), buckets::kCount - 1);
}

TEST(LatencyTest, QuantilesAreAtMostOneSixteenthOff) {
  std::mt19937_64 random(7);
  std::lognormal_distribution<double> durations(7, 2);
  std::vector<std::int64_t> all;
  Latencies counted;
  for (int i = 0; i < 20'000; ++i) {
    all.push_back(static_cast<std::int64_t>(durations(random)));
    counted.add(buckets::index_of(all.back()), 1);
  }
  std::ranges::sort(all);
  for (double const fraction : {0.01, 0.5, 0.9, 0.95, 0.99, 0.999}) {
    auto const rank = static_cast<std::size_t>(std::ceil(fraction * 20'000)) - 1;
    auto const exact = static_cast<double>(all[rank]) / 1000;
    EXPECT_NEAR(counted.quantile_ms(fraction).value(), exact, exact / 16 + 0.001) << fraction;
  }
}

TEST(LatencyTest, NothingHasNoFigures) {
  EXPECT_EQ(Latencies().quantile_ms(0.5), std::nullopt);
  EXPECT_EQ(Latencies().to_text(), "");
}

TEST(LatencyTest, TheTextReadsBack) {
  Latencies counted;
  counted.add(0, 1);
  counted.add(17, 1'000'000'007);
  counted.add(buckets::kCount - 1, 2);
  auto const read = Latencies::parse(counted.to_text());
  EXPECT_EQ(read.to_text(), counted.to_text());
  EXPECT_EQ(read.count(), 1'000'000'010U);
}

TEST(LatencyTest, ABrokenTextIsReadAsFarAsItGoes) {
  EXPECT_EQ(Latencies::parse("3:4 999:1").count(), 4U);
  EXPECT_EQ(Latencies::parse("3:4 x").count(), 4U);
  EXPECT_EQ(Latencies::parse("3").count(), 0U);
}

TEST(LatencyTest, ARecorderCountsWhatALoopTook) {
  LatencyRecorder recorder;
  recorder.record(5);
  recorder.record(5);
  recorder.record(1'000'000);
  EXPECT_EQ(recorder.at(5), 2U);
  EXPECT_EQ(recorder.at(buckets::index_of(1'000'000)), 1U);
}

}  // namespace
}  // namespace subforge::metrics
