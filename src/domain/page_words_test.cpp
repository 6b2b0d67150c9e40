#include "domain/page_words.hpp"

#include <gtest/gtest.h>

namespace subforge::domain {
namespace {

TEST(PageWords, TellHowLongAgoATimeIs) {
  auto const now = Timestamp{1'800'000'000'000'000};
  auto const before = [&](std::int64_t seconds) {
    return ago_text(Timestamp{now.micros - seconds * 1'000'000}, now);
  };
  EXPECT_EQ(ago_text(std::nullopt, now), "never");
  EXPECT_EQ(before(-5), "just now") << "another machine's clock";
  EXPECT_EQ(before(59), "just now");
  EXPECT_EQ(before(60), "1 minute ago");
  EXPECT_EQ(before(3'599), "59 minutes ago");
  EXPECT_EQ(before(7'200), "2 hours ago");
  EXPECT_EQ(before(86'400), "1 day ago");
}

TEST(PageWords, AModelIsABadge) {
  EXPECT_EQ(model_badge("claude-3-sonnet"), "Claude 3 Sonnet");
  EXPECT_EQ(model_badge("gpt_4"), "Gpt 4");
  EXPECT_EQ(model_badge("\xc3\xa9t\xc3\xa9-1"), "\xc3\xa9t\xc3\xa9 1");
}

}  // namespace
}  // namespace subforge::domain
