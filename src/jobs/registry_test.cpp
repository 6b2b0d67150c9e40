#include "jobs/registry.hpp"

#include "jobs/job_rows.hpp"

namespace subforge::jobs {
namespace {

TEST(Backoff, DoublesUpToItsBoundAndLeavesHalfToChance) {
  Definition const definition{.name = "x", .backoff_ms = 1'000, .backoff_max_ms = 10'000};
  EXPECT_EQ(backoff_ms(definition, 1, 0), 500);
  EXPECT_EQ(backoff_ms(definition, 1, 500), 1'000);
  EXPECT_EQ(backoff_ms(definition, 2, 0), 1'000);
  EXPECT_EQ(backoff_ms(definition, 4, 0), 4'000);
  EXPECT_EQ(backoff_ms(definition, 9, 5'000), 10'000);
  EXPECT_EQ(backoff_ms(definition, 1'000'000, 0), 5'000);
  EXPECT_EQ(backoff_ms({.name = "x", .backoff_ms = 0}, 3, 7), 0);
}

TEST(RegistryTest, ChangesLimitsAndKeepsWhatWasFoundBefore) {
  Registry registry;
  registry.add({.name = "b"});
  registry.add({.name = "a", .concurrency = 3});
  auto const* const before = registry.find("a");
  EXPECT_TRUE(registry.change("a", [](Definition& a) { a.rate = {.count = 5}; }));
  EXPECT_FALSE(registry.change("c", [](Definition&) {}));
  EXPECT_EQ(before->rate.count, 0);
  EXPECT_EQ(registry.find("a")->rate.count, 5);
  EXPECT_EQ(registry.find("a")->concurrency, 3);
  ASSERT_EQ(registry.all().size(), 2U);
  EXPECT_EQ(registry.all().front()->name, "a");
  for (std::size_t i = 1; i < Registry::kChangesMax; ++i) registry.change("b", [](Definition&) {});
  EXPECT_FALSE(registry.change("b", [](Definition&) {}));
}

TEST(StartRate, IsReadAsCeleryWritesIt) {
  EXPECT_EQ(parse_rate("10/m")->count, 10);
  EXPECT_EQ(parse_rate("10/m")->per_seconds, 60);
  EXPECT_EQ(parse_rate("3")->per_seconds, 1);
  EXPECT_EQ(parse_rate("100/h")->per_seconds, 3'600);
  EXPECT_EQ(parse_rate("0.5/s")->count, 1);
  EXPECT_EQ(parse_rate("0.5/s")->per_seconds, 2);
  EXPECT_EQ(parse_rate("2.5/m")->count, 1);
  EXPECT_EQ(parse_rate("2.5/m")->per_seconds, 24);
  EXPECT_EQ(parse_rate("0.0")->count, 0);
  for (auto const* const wrong :
       {"", "m", "10/d", "-1/s", "1.2.3/s", ".", "inf", "1e3/s", "0.0000001/h", "10/m "}) {
    EXPECT_FALSE(parse_rate(wrong)) << wrong;
  }
}

TEST(Priority, IsAHeadStartSoThatNothingWaitsForEver) {
  Timestamp const now{1'000'000'000'000};
  auto const minutes_later = [&](std::int64_t n) { return Timestamp{now.micros + n * 60'000'000}; };
  EXPECT_LT(rank_of(now, priority::kCritical), rank_of(now, priority::kHigh));
  EXPECT_LT(rank_of(now, priority::kHigh), rank_of(now, priority::kNormal));
  EXPECT_LT(rank_of(now, priority::kNormal), rank_of(now, priority::kLow));
  // A critical one overtakes what waits, for half an hour at most.
  EXPECT_LT(rank_of(minutes_later(29), priority::kCritical), rank_of(now, priority::kLow));
  EXPECT_GT(rank_of(minutes_later(31), priority::kCritical), rank_of(now, priority::kLow));
}

TEST(Priority, HasNumbersAndNames) {
  EXPECT_EQ(priority_of("critical"), 10);
  EXPECT_EQ(priority_of("8"), 8);
  EXPECT_EQ(priority_of("7"), std::nullopt);
  EXPECT_EQ(priority_name(1), "low");
  EXPECT_EQ(priority_name(2), "");
}

}  // namespace
}  // namespace subforge::jobs
