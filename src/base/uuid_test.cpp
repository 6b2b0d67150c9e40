#include "base/uuid.hpp"

#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include <gtest/gtest.h>

namespace subforge {
namespace {

TEST(Uuid, WritesAndReadsTheExampleOfTheStandard) {
  // RFC 9562 appendix A.3, a version 4 UUID.
  auto const id = Uuid::parse("919108f7-52d1-4320-9bac-f847db4148a8");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->bytes[0], 0x91);
  EXPECT_EQ(id->bytes[15], 0xa8);
  EXPECT_EQ(id->to_string(), "919108f7-52d1-4320-9bac-f847db4148a8");
}

TEST(Uuid, ReadsEitherCaseAndPlainDigits) {
  auto const id = Uuid::parse("919108f7-52d1-4320-9bac-f847db4148a8");
  EXPECT_EQ(Uuid::parse("919108F7-52D1-4320-9BAC-F847DB4148A8"), id);
  EXPECT_EQ(Uuid::parse("919108f752d143209bacf847db4148a8"), id);
}

TEST(Uuid, RefusesAnythingElse) {
  for (std::string_view const text :
       {"", "919108f7-52d1-4320-9bac-f847db4148a", "919108f7-52d1-4320-9bac-f847db4148a8 ",
        "919108f7-52d1-4320-9bac-f847db4148ag", "919108f752d1-4320-9bac-f847db4148a8-",
        "919108f7052d1-4320-9bac-f847db4148a8", "{919108f7-52d1-4320-9bac-f847db4148a}",
        "919108f752d143209bacf847db4148a", "919108f752d143209bacf847db4148a8a",
        "9-19108f752d143209bacf847db4148a", "--------------------------------"}) {
    EXPECT_EQ(Uuid::parse(text), std::nullopt) << text;
  }
}

TEST(Uuid, EveryByteGoesThroughTextAndBlobUnchanged) {
  for (int value = 0; value < 256; ++value) {
    Uuid id;
    for (std::size_t i = 0; i < id.bytes.size(); ++i) {
      id.bytes[i] = static_cast<std::uint8_t>(static_cast<std::size_t>(value) + i * 17);
    }
    EXPECT_EQ(Uuid::parse(id.to_string()), id);
    EXPECT_EQ(Uuid::from_blob(id.as_blob()), id);
  }
}

TEST(Uuid, ABlobOfAnotherSizeIsTheNilId) {
  EXPECT_EQ(Uuid::from_blob(""), Uuid{});
  EXPECT_EQ(Uuid::from_blob("fifteen bytes.."), Uuid{});
  EXPECT_EQ(Uuid::from_blob("seventeen bytes.."), Uuid{});
}

TEST(Uuid, RandomOnesAreVersion4AndNeverRepeatAcrossThreads) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kEach = 20'000;
  std::vector<std::vector<Uuid>> made(kThreads);
  std::vector<std::thread> threads;
  for (auto& mine : made) {
    threads.emplace_back([&mine] {
      for (std::size_t i = 0; i < kEach; ++i) mine.push_back(Uuid::random());
    });
  }
  for (auto& thread : threads) thread.join();
  std::unordered_set<Uuid> distinct;
  for (auto const& mine : made) {
    for (auto const& id : mine) {
      EXPECT_EQ(id.bytes[6] >> 4, 4);
      EXPECT_EQ(id.bytes[8] >> 6, 2);
      distinct.insert(id);
    }
  }
  EXPECT_EQ(distinct.size(), kThreads * kEach);
}

TEST(Uuid, DerivedOnesDependOnBothNumbersAlone) {
  EXPECT_EQ(Uuid::derived(1, 2), Uuid::derived(1, 2));
  EXPECT_EQ(Uuid::derived(1, 2).bytes[6] >> 4, 4);
  EXPECT_EQ(Uuid::derived(1, 2).bytes[8] >> 6, 2);
  std::unordered_set<Uuid> distinct;
  for (std::uint64_t high = 0; high < 100; ++high) {
    for (std::uint64_t low = 0; low < 100; ++low) distinct.insert(Uuid::derived(high, low));
  }
  EXPECT_EQ(distinct.size(), 10'000U);
}

TEST(Uuid, OrderIsTheOrderOfTheText) {
  auto const a = Uuid::derived(1, 1);
  auto const b = Uuid::derived(2, 2);
  EXPECT_EQ(a < b, a.to_string() < b.to_string());
}

TEST(Uuid, OrderedOnesFollowTheTime) {
  Timestamp const now{1'700'000'000'123'456};
  auto const first = Uuid::ordered(now);
  auto const later = Uuid::ordered({now.micros + 1});
  EXPECT_LT(first, later);
  EXPECT_LT(later, Uuid::ordered({now.micros + 1'000'000}));
  EXPECT_NE(first, Uuid::ordered(now));
  auto const text = first.to_string();
  EXPECT_EQ(text.substr(0, 13), "018bcfe5-687b");
  EXPECT_EQ(text[14], '7');
  EXPECT_NE(std::string("89ab").find(text[19]), std::string::npos) << text;
}

}  // namespace
}  // namespace subforge
