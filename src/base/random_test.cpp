#include "base/random.hpp"

#include <array>
#include <bit>
#include <cmath>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/text.hpp"

namespace subforge {
namespace {

// Small requests come out of the buffer, large ones from the kernel; sizes around its edges.
TEST(SecureRandom, FillsEveryByteOfEverySize) {
  for (std::size_t const size : {1U, 15U, 16U, 255U, 256U, 257U, 1023U, 1024U, 1025U, 5000U}) {
    // A byte that is never written stays zero in every round: 2^-80 by chance.
    std::vector<std::uint8_t> ever(size, 0);
    for (int round = 0; round < 10; ++round) {
      std::vector<std::uint8_t> bytes(size, 0);
      secure_random(bytes);
      for (std::size_t i = 0; i < size; ++i) ever[i] |= bytes[i];
    }
    for (auto const byte : ever) EXPECT_NE(byte, 0) << size;
  }
}

TEST(SecureRandom, WritesNothingBeyondTheEnd) {
  std::array<std::uint8_t, 64> bytes{};
  for (int round = 0; round < 100; ++round) {
    secure_random(std::span(bytes).subspan(16, 32));
    for (std::size_t i = 0; i < 16; ++i) {
      ASSERT_EQ(bytes[i], 0);
      ASSERT_EQ(bytes[48 + i], 0);
    }
  }
}

TEST(SecureRandom, BitsAreEvenlySpread) {
  std::vector<std::uint8_t> bytes(16);
  std::int64_t ones = 0;
  constexpr int kRounds = 20'000;
  for (int i = 0; i < kRounds; ++i) {
    secure_random(bytes);
    for (auto const byte : bytes) ones += std::popcount(byte);
  }
  // Ten standard deviations of the binomial distribution: sqrt(n)/2 each.
  double const bits = 128.0 * kRounds;
  EXPECT_NEAR(static_cast<double>(ones), bits / 2, 10 * std::sqrt(bits) / 2);
}

TEST(FastRandom, ThreadsDoNotShareASequence) {
  std::set<std::uint64_t> seen;
  for (int t = 0; t < 8; ++t) {
    std::uint64_t first = 0;
    std::thread([&] { first = fast_random(); }).join();
    seen.insert(first);
  }
  EXPECT_EQ(seen.size(), 8U);
}

TEST(RandomToken, HasTheEntropyAskedForInUrlSafeText) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    auto const token = random_token(32);
    auto const raw = base64url_decode(token);
    ASSERT_TRUE(raw) << token;
    EXPECT_EQ(raw->size(), 32U);
    seen.insert(token);
  }
  EXPECT_EQ(seen.size(), 1000U);
}

}  // namespace
}  // namespace subforge
