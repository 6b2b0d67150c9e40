#include "store/event.hpp"

#include <gtest/gtest.h>

#include "store/migrations.hpp"

namespace subforge::store {
namespace {

TEST(Audience, HasAStoredForm) {
  EXPECT_EQ(Audience::nobody().to_text(), R"(["none"])");
  EXPECT_EQ(Audience::everybody({"agents", "agent:1"}).to_text(), R"(["all","agents","agent:1"])");
  EXPECT_EQ(Audience::room("a\"b").to_text(), R"(["rooms","a\"b"])");
  EXPECT_EQ((Audience{Audience::To::user, {}, "ann"}).to_text(), R"(["user","ann"])");
}

TEST(Audience, ComesBackFromItsStoredForm) {
  for (auto const& audience :
       {Audience::nobody(), Audience::everybody({}), Audience::everybody({"a", "b"}),
        Audience::room("\xc3\xa4 \\ \"\n"), Audience{Audience::To::rooms, {"a", "b"}, {}},
        Audience{Audience::To::user, {}, "ann"}, Audience{Audience::To::user, {}, ""},
        Audience{Audience::To::others, {"a", "b"}, "ann"}}) {
    EXPECT_EQ(Audience::parse(audience.to_text()), audience) << audience.to_text();
  }
}

TEST(Audience, RefusesWhatIsNotOne) {
  for (std::string_view const text : {"", "[]", "[\"user\"]", "{}", "null", "\"all\"", "[1]",
                                      "[\"all\",1]", "[\"everyone\"]", "[\"all\""}) {
    EXPECT_EQ(Audience::parse(text), std::nullopt) << text;
  }
}

TEST(Migrations, AreNumberedFromOneWithoutGaps) {
  int expected = 1;
  for (auto const& migration : migrations()) {
    EXPECT_EQ(migration.version, expected++);
    EXPECT_FALSE(migration.name.empty());
  }
}

}  // namespace
}  // namespace subforge::store
