#include "config/dot_env.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace subforge::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

struct Case {
  std::string line;
  std::string value;
};

TEST(DotEnv, ReadsTheValueOfALine) {
  Case const cases[] = {
      {"A=b", "b"},
      {"A=", ""},
      {"A=b=c", "b=c"},
      {"  A  =  b c  ", "b c"},
      {"A=b\r", "b"},
      {"export A=b", "b"},
      {"export\tA=b", "b"},
      {"A=b # comment", "b"},
      {"A=b\t# comment", "b"},
      {"A= # comment", ""},
      {"A=#b", "#b"},
      {"A=b#c", "b#c"},
      {"A=52428800  # 50MB", "52428800"},
      {"A='b # c' # d", "b # c"},
      {R"(A='\n $x "')", R"(\n $x ")"},
      {R"(A="b # c")", "b # c"},
      {R"(A="\n\r\t\"\\\$x")", "\n\r\t\"\\$x"},
      {R"(A="\d\'")", R"(\d\')"},
      {R"(A="")", ""},
      {R"(A=b"c")", R"(b"c")"},
      {R"(A=["x","y"])", R"(["x","y"])"},
  };
  for (auto const& [line, value] : cases) {
    auto const found = parse_dot_env(line + "\n");
    EXPECT_THAT(found.values, ElementsAre(Pair("A", value))) << line;
    EXPECT_THAT(found.warnings, IsEmpty()) << line;
  }
}

TEST(DotEnv, ReadsManyLinesOfWhichTheLastOfANameCounts) {
  auto const found = parse_dot_env("\xef\xbb\xbf# first\n\nA=1\n   # second\nB_2=2\nA=3");
  EXPECT_THAT(found.values, ElementsAre(Pair("A", "3"), Pair("B_2", "2")));
  EXPECT_THAT(found.warnings, IsEmpty());
}

TEST(DotEnv, LeavesOutWhatItCannotReadAndSaysWhichLineWithoutShowingIt) {
  for (auto const* line : {"SECRET hidden", "=hidden", "A B=hidden", "A-B=hidden", "A='hidden",
                           "A=\"hidden", "A=\"hidden\\\"", "A='hidden' more", "-"}) {
    auto const found = parse_dot_env("\n" + std::string(line) + "\nB=2\n");
    EXPECT_THAT(found.values, ElementsAre(Pair("B", "2"))) << line;
    EXPECT_THAT(found.warnings,
                ElementsAre("Line 2 of .env is left out: it is not NAME=value with quotes that"
                            " end"))
        << line;
  }
}

}  // namespace
}  // namespace subforge::config
