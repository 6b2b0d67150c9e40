#include "base/precondition.hpp"

#include <gtest/gtest.h>

namespace subforge {
namespace {

bool met(std::string_view field, std::int64_t version = 7) {
  return Precondition::if_match(field).check(version).has_value();
}

TEST(Precondition, NoneIsAlwaysMet) {
  EXPECT_TRUE(Precondition{}.check(1));
  EXPECT_TRUE(met(""));
}

TEST(Precondition, AStarIsMetByAnyRecordThatExists) { EXPECT_TRUE(met("*")); }

TEST(Precondition, AListIsMetByEachOfItsVersions) {
  EXPECT_TRUE(met("\"7\""));
  EXPECT_TRUE(met("\"6\", \"7\""));
  EXPECT_TRUE(met("\"7\",\"8\""));
  EXPECT_FALSE(met("\"6\", \"8\""));
  EXPECT_FALSE(met("\"77\""));
  EXPECT_FALSE(met("\"07\""));
}

TEST(Precondition, ACompressedAnswersTagNamesTheSameVersion) {
  EXPECT_TRUE(met("\"7-gzip\""));
  EXPECT_TRUE(met("\"7-br\""));
  EXPECT_FALSE(met("\"7-gzip-gzip\""));
  EXPECT_FALSE(met("\"-gzip\""));
  EXPECT_FALSE(met("\"7-zstd\""));
}

TEST(Precondition, AnAnswerThatShowsMoreThanItsVersionNamesThatVersion) {
  EXPECT_TRUE(met("\"7-5f2e\""));
  EXPECT_TRUE(met("\"7-5f2e-gzip\""));
  EXPECT_FALSE(met("\"8-5f2e\""));
  EXPECT_FALSE(met("\"7-\""));
  EXPECT_FALSE(met("\"7-5f-2e\""));
  EXPECT_FALSE(met("\"-5f2e\""));
}

TEST(Precondition, WeakTagsAndOtherTextsMatchNothing) {
  for (auto const* field : {"W/\"7\"", "7", "\"7", "7\"", "\"", "\"\"", ",", "W/*", "\"*\""}) {
    EXPECT_FALSE(met(field)) << field;
  }
}

TEST(Precondition, SaysWhichVersionItIs) {
  auto const outcome = Precondition::if_match("\"6\"").check(7);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().code, ErrorCode::stale);
  EXPECT_NE(outcome.error().message.find("\"7\""), std::string::npos);
}

}  // namespace
}  // namespace subforge
