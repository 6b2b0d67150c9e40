#include "limits/claims.hpp"

#include <optional>

#include <gtest/gtest.h>

namespace subforge::limits {
namespace {

TEST(Claims, ANameIsHeldByOneAtATime) {
  Claims claims;
  std::optional<Claims::Claim> first(claims.take("a"));
  EXPECT_TRUE(*first);
  EXPECT_FALSE(claims.take("a"));
  EXPECT_FALSE(claims.take("a")) << "who was turned away gave nothing back";
  EXPECT_TRUE(claims.take("b"));
  first.reset();
  EXPECT_TRUE(claims.take("a"));
}

TEST(Claims, AMovedClaimIsGivenBackOnce) {
  Claims claims;
  auto first = claims.take("a");
  {
    auto const second = std::move(first);
    EXPECT_TRUE(second);
    EXPECT_FALSE(claims.take("a"));
  }
  EXPECT_TRUE(claims.take("a"));
}

}  // namespace
}  // namespace subforge::limits
