#include "limits/rate_limiter.hpp"

#include <gtest/gtest.h>

namespace subforge::limits {
namespace {

Timestamp at(std::int64_t second) { return {second * 1'000'000}; }

int allowed_of(RateLimiter& limiter, int tries, http::RateLimit limit, Timestamp now,
               std::uint64_t client = 1, std::size_t route = 0) {
  int allowed = 0;
  for (int i = 0; i < tries; ++i) allowed += limiter.check(route, client, limit, now).allowed;
  return allowed;
}

TEST(RateLimiter, CountsCalendarMinutes) {
  RateLimiter limiter(1000, 1);
  http::RateLimit const limit{5, http::ClientKey::address, 1000};
  EXPECT_EQ(5, allowed_of(limiter, 9, limit, at(3599)));
  EXPECT_EQ(5, allowed_of(limiter, 9, limit, at(3600)));
  EXPECT_EQ(5, allowed_of(limiter, 9, limit, at(3600), 2)) << "clients are apart";
  EXPECT_EQ(5, allowed_of(limiter, 9, limit, at(3600), 1, 1)) << "routes are apart";
  EXPECT_EQ(0, allowed_of(limiter, 9, limit, at(3659)));
  EXPECT_EQ(5, allowed_of(limiter, 9, limit, at(3660)));
}

TEST(RateLimiter, RefusedRequestsAreNotCountedAndTheHourComesSecond) {
  RateLimiter limiter(1000, 1);
  http::RateLimit const limit{5, http::ClientKey::address, 12};
  EXPECT_EQ(5, allowed_of(limiter, 50, limit, at(0)));
  EXPECT_EQ(5, allowed_of(limiter, 50, limit, at(60)));
  EXPECT_EQ(2, allowed_of(limiter, 50, limit, at(120)));
  auto const verdict = limiter.check(0, 1, limit, at(125));
  EXPECT_TRUE(verdict.by_hour);
  EXPECT_EQ(0, verdict.hour_left);
  EXPECT_EQ(3475, verdict.hour_reset_seconds);
  EXPECT_EQ(55, verdict.minute_reset_seconds);
  EXPECT_EQ(5, allowed_of(limiter, 50, limit, at(3600)));
}

TEST(RateLimiter, TheMultiplierRaisesEveryLimit) {
  RateLimiter limiter(1000, 100);
  EXPECT_EQ(500, allowed_of(limiter, 1000, {5, http::ClientKey::address, 1000}, at(0)));
  EXPECT_EQ(500, limiter.scaled({5, http::ClientKey::address, 1000}).per_minute);
}

TEST(RateLimiter, RemembersABoundedNumberOfClients) {
  RateLimiter limiter(160, 1);
  http::RateLimit const limit{1, http::ClientKey::address, 1000};
  for (std::uint64_t client = 0; client < 100'000; ++client) {
    (void)limiter.check(0, client, limit, at(0));
  }
  // Most clients were forgotten; forgetting lets a client through, it never refuses one.
  int allowed = 0;
  for (std::uint64_t client = 0; client < 1000; ++client) {
    allowed += limiter.check(0, client, limit, at(1)).allowed;
  }
  EXPECT_GE(allowed, 1000 - 160);
}

}  // namespace
}  // namespace subforge::limits
