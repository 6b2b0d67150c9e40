#include "auth/commands.hpp"

#include <sstream>

#include <boost/json/parse.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::auth {
namespace {

using testing::MatchesRegex;

class TokenCommands : public testing::Test {
 protected:
  Result<void> create(std::string role, NewKey wanted) {
    out_.str("");
    return create_command(store_.store(), role, std::move(wanted), out_);
  }
  Result<void> revoke(std::string name) {
    out_.str("");
    return revoke_command(store_.store(), std::move(name), out_);
  }
  std::string list(ListForm form) {
    std::ostringstream out;
    EXPECT_TRUE(list_command(store_.store(), form, out));
    return out.str();
  }
  // One sentence, and nothing printed.
  std::string refusal(Result<void> const& outcome) const {
    EXPECT_EQ(out_.str(), "");
    return outcome ? "accepted" : outcome.error().message;
  }

  store::TemporaryFolder folder_;
  store::TestStore store_{folder_.path()};
  std::ostringstream out_;
};

constexpr auto kTime = "[0-9-]{10}T[0-9:]{8}\\.[0-9]{6}Z";

TEST_F(TokenCommands, CreatePrintsTheTokenAloneAndItIsNeverShownAgain) {
  ASSERT_TRUE(create("operator", {.name = "ci", .user = "robot", .expires_days = 7}));
  auto const token = out_.str();
  EXPECT_THAT(token, MatchesRegex("sf_[A-Za-z0-9_-]{43}\n"));
  auto const secret = token.substr(3, 43);
  EXPECT_EQ(list(ListForm::text).find(secret), std::string::npos);
  EXPECT_EQ(list(ListForm::json).find(secret), std::string::npos);
}

TEST_F(TokenCommands, ListShowsWhoseAKeyIsAndHowLongItLives) {
  EXPECT_EQ(list(ListForm::text),
            "There are no keys. Make one with: subforge token create --name me --role admin\n");
  EXPECT_EQ(list(ListForm::json), "[]\n");
  ASSERT_TRUE(create("operator", {.name = "ci", .user = "robot", .expires_days = 7}));
  ASSERT_TRUE(create("viewer", {.name = "plain"}));
  ASSERT_TRUE(create("admin", {.name = "gone", .expires_days = 1}));
  ASSERT_TRUE(revoke("gone"));
  EXPECT_EQ(out_.str(), "Revoked.\n");
  NewKey const late{.name = "late", .role = Role::viewer, .user = "", .expires_days = -1};
  ASSERT_TRUE(store_.run(create_key(store_.store(), late)));

  std::string const time = kTime;
  EXPECT_THAT(
      list(ListForm::text),
      MatchesRegex("ci  operator  user robot  created " + time + "  expires " + time +
                   "\nplain  viewer  user plain  created " + time +
                   "\ngone  admin  user gone  created " + time + "  revoked " + time +
                   "\nlate  viewer  user late  created " + time + "  expired " + time + "\n"));

  auto const rows = boost::json::parse(list(ListForm::json)).as_array();
  ASSERT_EQ(rows.size(), 4U);
  auto const& ci = rows[0].as_object();
  EXPECT_EQ(ci.at("name"), "ci");
  EXPECT_EQ(ci.at("role"), "operator");
  EXPECT_EQ(ci.at("user"), "robot");
  EXPECT_TRUE(ci.at("expires_at").is_string());
  EXPECT_TRUE(ci.at("revoked_at").is_null());
  EXPECT_TRUE(rows[1].as_object().at("expires_at").is_null());
  EXPECT_TRUE(rows[2].as_object().at("revoked_at").is_string());
  EXPECT_EQ(ci.size(), 6U) << "nothing that could help to guess a token";
}

TEST_F(TokenCommands, ErrorsAreOneSentence) {
  EXPECT_EQ(refusal(create("king", {.name = "x"})),
            "The role king is none of viewer, operator and admin");
  EXPECT_EQ(refusal(create("viewer", {.name = "x", .expires_days = 0})),
            "A key must live for one day at least");
  EXPECT_EQ(refusal(create("viewer", {.name = "x", .expires_days = 36'501})),
            "A key can live for 36500 days at most");
  EXPECT_EQ(refusal(revoke("nobody")), "There is no live key named 'nobody'");
  ASSERT_TRUE(create("viewer", {.name = "taken"}));
  EXPECT_EQ(refusal(create("viewer", {.name = "taken"})),
            "A key named 'taken' exists, or did before it was revoked; choose another name");
}

TEST_F(TokenCommands, NamesAreOneLineOfText) {
  for (auto const& bad : {std::string(), std::string("a\nb"), std::string("a\x1b[2J"),
                          std::string("\xff"), std::string(201, 'x')}) {
    EXPECT_EQ(refusal(create("viewer", {.name = bad})),
              "The name of a key must be one line of text of 1 to 200 bytes");
  }
  EXPECT_EQ(refusal(create("viewer", {.name = "x", .user = "a\tb"})),
            "The user of a key must be one line of text of 1 to 200 bytes");
  EXPECT_TRUE(create("viewer", {.name = std::string(200, 'x'), .user = "Zoë \"Z\" 'z'"}));
  EXPECT_EQ(boost::json::parse(list(ListForm::json)).as_array()[0].at("user"), "Zoë \"Z\" 'z'");
}

// Many keys at once, as making each by itself would take long.
TEST_F(TokenCommands, ThereIsRoomForOnlySoManyKeys) {
  auto fill = [](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)"
        " INSERT INTO api_keys (id, name, secret_hash, role, user, created_at)"
        " SELECT randomblob(16), 'key ' || i, randomblob(32), 'viewer', 'u', 0 FROM n",
        {kKeysMax});
  };
  ASSERT_TRUE(store_.run(store_.store().write(fill)));
  EXPECT_EQ(refusal(create("viewer", {.name = "one more"})),
            "There are 10000 keys, and there can be no more; revoke some");
  ASSERT_TRUE(revoke("key 7"));
  EXPECT_TRUE(create("viewer", {.name = "one more"}));
}

}  // namespace
}  // namespace subforge::auth
