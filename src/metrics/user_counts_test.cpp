// Users are told apart up to a number; beyond it their requests are counted together.
#include "metrics/user_counts.hpp"

#include <memory>

#include <gtest/gtest.h>

namespace subforge::metrics {
namespace {

using Totals = std::map<std::string, UsageTotals>;

TEST(UserCountsTest, RequestsAreCountedByUserAndKindOfAnswer) {
  auto const counts = std::make_unique<UserCounts>();
  counts->record("alice", 200, 100);
  counts->record("alice", 404, 300);
  counts->record("", 503, 50);
  Totals totals;
  counts->add_to(totals);
  EXPECT_EQ(totals["alice"].requests, 2U);
  EXPECT_EQ(totals["alice"].client_errors, 1U);
  EXPECT_EQ(totals["alice"].server_errors, 0U);
  EXPECT_EQ(totals["alice"].duration_us, 400U);
  EXPECT_EQ(totals["alice"].latencies().count(), 2U);
  EXPECT_EQ(totals["(anonymous)"].server_errors, 1U);
  EXPECT_EQ(totals["(others)"].requests, 0U);
}

TEST(UserCountsTest, BeyondTheLimitUsersAreOthers) {
  auto const counts = std::make_unique<UserCounts>();
  for (std::size_t i = 0; i < UserCounts::kUsersMax + 7; ++i) {
    counts->record("user-" + std::to_string(i), 200, 1);
  }
  counts->record("user-0", 200, 1);
  Totals totals;
  counts->add_to(totals);
  EXPECT_EQ(totals.size(), UserCounts::kUsersMax + 1);
  EXPECT_EQ(totals["user-0"].requests, 2U);
  EXPECT_EQ(totals["(others)"].requests, 7U);
}

TEST(UserCountsTest, ALongNameIsCut) {
  auto const counts = std::make_unique<UserCounts>();
  std::string const name(UserCounts::kNameBytesMax, 'x');
  counts->record(name + "tail", 200, 1);
  counts->record(name + "other tail", 200, 1);
  Totals totals;
  counts->add_to(totals);
  EXPECT_EQ(totals[name].requests, 2U);
}

TEST(UserCountsTest, DifferencesSurviveTheWrapAround) {
  UsageTotals before;
  before.latency[3] = 0xffffffff;
  auto after = before;
  after.latency[3] += 2;
  after.requests += 2;
  auto const between = after.since(before);
  EXPECT_EQ(between.requests, 2U);
  EXPECT_EQ(between.latencies().count(), 2U);
}

}  // namespace
}  // namespace subforge::metrics
