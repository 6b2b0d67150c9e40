#include "base/time.hpp"

#include <cstdio>
#include <ctime>
#include <limits>
#include <string>

#include <gtest/gtest.h>

namespace subforge {
namespace {

std::string reread(std::string_view text) {
  auto const at = Timestamp::parse(text);
  return at ? at->to_string() : "refused";
}

TEST(Timestamp, WritesSixDigitsAndZ) {
  EXPECT_EQ(Timestamp{0}.to_string(), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(Timestamp{1}.to_string(), "1970-01-01T00:00:00.000001Z");
  EXPECT_EQ(Timestamp{-1}.to_string(), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(Timestamp{1'767'323'045'000'000}.to_string(), "2026-01-02T03:04:05.000000Z");
}

TEST(Timestamp, AcceptsTheFormsOfRfc3339AndIso8601) {
  EXPECT_EQ(reread("2026-01-02T03:04:05.000000Z"), "2026-01-02T03:04:05.000000Z");
  EXPECT_EQ(reread("2026-01-02t03:04:05z"), "2026-01-02T03:04:05.000000Z");
  EXPECT_EQ(reread("2026-01-02 03:04:05"), "2026-01-02T03:04:05.000000Z");
  EXPECT_EQ(reread("2026-01-02T03:04"), "2026-01-02T03:04:00.000000Z");
  EXPECT_EQ(reread("2026-01-02"), "2026-01-02T00:00:00.000000Z");
  EXPECT_EQ(reread("2026-01-02T03:04:05.5Z"), "2026-01-02T03:04:05.500000Z");
  EXPECT_EQ(reread("2026-01-02T03:04:05,25Z"), "2026-01-02T03:04:05.250000Z");
  EXPECT_EQ(reread("2026-01-02T03:04:05.123456789Z"), "2026-01-02T03:04:05.123456Z");
  EXPECT_EQ(reread("2026-01-02T03:04:05+02:00"), "2026-01-02T01:04:05.000000Z");
  EXPECT_EQ(reread("2026-01-02T03:04:05-0330"), "2026-01-02T06:34:05.000000Z");
  EXPECT_EQ(reread("2026-01-02T03:04:05+05"), "2026-01-01T22:04:05.000000Z");
  EXPECT_EQ(reread("2026-01-01T00:30:00+01:00"), "2025-12-31T23:30:00.000000Z");
  EXPECT_EQ(reread("2016-12-31T23:59:60Z"), "2016-12-31T23:59:59.000000Z");
}

TEST(Timestamp, RefusesWhatIsNoTime) {
  for (std::string_view const text :
       {"", "now", "2026", "2026-01", "2026-1-02", "2026-13-01", "2026-00-01", "2026-02-29",
        "2026-04-31", "2026-01-00", "0000-01-01", "2026-01-02T", "2026-01-02T3:04:05",
        "2026-01-02T24:00:00", "2026-01-02T23:60:00", "2026-01-02T23:00:61", "2026-01-02T03:04:05.",
        "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05Zulu", "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+02:60", "2026-01-02T03:04:05+02:", "2026-01-02T03:04:05+2",
        "2026-01-02T03:04:05 02:00", "2026-01-02x03:04:05", " 2026-01-02", "2026-01-02 ",
        "+026-01-02", "2026-01-02T03:04:05Z\n",
        // Within four digits as written, outside of them in UTC.
        "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"}) {
    EXPECT_EQ(Timestamp::parse(text), std::nullopt) << text;
  }
}

TEST(Timestamp, KnowsLeapYears) {
  EXPECT_TRUE(Timestamp::parse("2024-02-29"));
  EXPECT_TRUE(Timestamp::parse("2000-02-29"));
  EXPECT_FALSE(Timestamp::parse("1900-02-29"));
}

TEST(Timestamp, ReachesFromTheYear1To9999AndShowsWhatLiesBeyondAsTheNearest) {
  EXPECT_EQ(reread("0001-01-01T00:00:00Z"), "0001-01-01T00:00:00.000000Z");
  EXPECT_EQ(reread("9999-12-31T23:59:59.999999Z"), "9999-12-31T23:59:59.999999Z");
  EXPECT_EQ(Timestamp{std::numeric_limits<std::int64_t>::min()}.to_string(),
            "0001-01-01T00:00:00.000000Z");
  EXPECT_EQ(Timestamp{std::numeric_limits<std::int64_t>::max()}.to_string(),
            "9999-12-31T23:59:59.999999Z");
}

// Against the C library, over four centuries in steps that meet every month and hour.
TEST(Timestamp, AgreesWithTheCLibrary) {
  for (std::int64_t seconds = -6'000'000'000; seconds < 7'000'000'000; seconds += 1'234'567) {
    std::time_t const at = seconds;
    std::tm parts{};
    ASSERT_NE(::gmtime_r(&at, &parts), nullptr);
    char expected[64];
    std::snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.000042Z",
                  parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour,
                  parts.tm_min, parts.tm_sec);
    Timestamp const mine{seconds * 1'000'000 + 42};
    ASSERT_EQ(mine.to_string(), expected);
    ASSERT_EQ(Timestamp::parse(expected), mine);
  }
}

TEST(Timestamp, NowIsTheSystemClock) {
  auto const before = std::time(nullptr);
  auto const now = Timestamp::now();
  auto const after = std::time(nullptr);
  // time() reads a coarser clock, which may be some milliseconds behind.
  EXPECT_GE(now.micros / 1'000'000, before - 1);
  EXPECT_LE(now.micros / 1'000'000, after + 1);
}

TEST(MonotonicNs, NeverGoesBack) {
  auto last = monotonic_ns();
  for (int i = 0; i < 10'000; ++i) {
    auto const now = monotonic_ns();
    ASSERT_GE(now, last);
    last = now;
  }
}

}  // namespace
}  // namespace subforge
