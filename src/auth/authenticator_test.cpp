// Who is let in, and how soon a change of keys is noticed, with a real store.
#include "auth/authenticator.hpp"

#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "auth/jwt.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::auth {
namespace {

constexpr std::string_view kSecret = "the signing secret";

// A server as far as authentication goes.
struct Server {
  Server(store::TemporaryFolder const& folder, Mode mode, std::int64_t token_minutes = 30)
      : authenticator(mode, token_minutes), store(folder.path(), {&authenticator}) {
    auto const loaded = store.run(authenticator.load(store.store(), std::string(kSecret)));
    EXPECT_TRUE(loaded);
  }

  std::string make_key(std::string name, Role role = Role::viewer,
                       std::optional<std::int64_t> days = {}) {
    return store.run(create_key(store.store(), {std::move(name), role, "", days})).value();
  }
  void revoke(std::string name) {
    EXPECT_TRUE(store.run(revoke_key(store.store(), std::move(name))));
  }
  // The name of who is let in, or why nobody is.
  [[nodiscard]] std::string who(std::string const& token) const {
    auto const principal = authenticator.authenticate(token.empty() ? "" : "Bearer " + token);
    if (principal) return (*principal)->id;
    EXPECT_EQ(principal.error().code, ErrorCode::unauthorized);
    return principal.error().message;
  }
  [[nodiscard]] std::string jwt_for(std::string const& key) const {
    return authenticator.issue("Bearer " + key).value().token;
  }

  Authenticator authenticator;
  store::TestStore store;
};

class AuthenticatorTest : public testing::Test {
 protected:
  store::TemporaryFolder folder_;
};

constexpr std::string_view kNobody = "Authentication required";
constexpr std::string_view kUnknown = "The API key is unknown or was revoked";

TEST_F(AuthenticatorTest, LocalModeEndsWithTheFirstKeyForGood) {
  Server server(folder_, Mode::automatic);
  EXPECT_EQ(server.who(""), "local");
  EXPECT_FALSE(server.authenticator.credentials_required());
  auto const local = server.authenticator.authenticate("").value();
  EXPECT_TRUE(local->may_administrate());
  EXPECT_TRUE(server.authenticator.still_valid(*local));

  server.make_key("first");
  EXPECT_EQ(server.who(""), kNobody);
  EXPECT_FALSE(server.authenticator.still_valid(*local)) << "sockets opened before are closed";
  server.revoke("first");
  EXPECT_EQ(server.who(""), kNobody) << "revoking the last key opens no doors";
}

TEST_F(AuthenticatorTest, LocalModeStaysEndedAfterARestart) {
  {
    Server server(folder_, Mode::automatic);
    server.make_key("first");
    server.revoke("first");
  }
  Server const again(folder_, Mode::automatic);
  EXPECT_EQ(again.who(""), kNobody);
  EXPECT_TRUE(again.authenticator.any_key());
}

TEST_F(AuthenticatorTest, OffLetsEverybodyInAndRequiredNobody) {
  {
    Server off(folder_, Mode::off);
    auto const key = off.make_key("named", Role::viewer);
    EXPECT_EQ(off.who(""), "local");
    EXPECT_EQ(off.who(key), "named") << "who shows a key is its owner";
    EXPECT_EQ(off.who("sf_wrong"), kUnknown) << "a wrong one is not overlooked";
  }
  store::TemporaryFolder const empty;
  Server const required(empty, Mode::required);
  EXPECT_EQ(required.who(""), kNobody);
}

TEST_F(AuthenticatorTest, AKeyLetsItsOwnerIn) {
  Server server(folder_, Mode::required);
  auto const key = server.make_key("ci", Role::operator_role);
  auto const principal = server.authenticator.authenticate("bEaReR   " + key).value();
  EXPECT_EQ(principal->id, "ci");
  EXPECT_TRUE(principal->may_write());
  EXPECT_FALSE(principal->may_administrate());
  EXPECT_EQ(server.who(key.substr(0, key.size() - 1)), kUnknown);
  EXPECT_EQ(server.who(key + "x"), kUnknown);
  EXPECT_FALSE(server.authenticator.authenticate("Basic " + key)) << "another scheme is none";
  EXPECT_FALSE(server.authenticator.authenticate(key));
  EXPECT_FALSE(server.authenticator.authenticate("Bearer "));
}

TEST_F(AuthenticatorTest, RevokingEndsAKeyAndItsTokens) {
  Server server(folder_, Mode::required);
  auto const key = server.make_key("ci");
  auto const other = server.make_key("other");
  auto const jwt = server.jwt_for(key);
  auto const principal = server.authenticator.authenticate_token(jwt).value();
  EXPECT_EQ(principal->id, "ci");
  auto const version = server.authenticator.version();
  server.revoke("ci");
  EXPECT_GT(server.authenticator.version(), version);
  EXPECT_EQ(server.who(key), kUnknown);
  EXPECT_EQ(server.who(jwt), "The API key of this token was revoked");
  EXPECT_FALSE(server.authenticator.still_valid(*principal));
  EXPECT_EQ(server.who(other), "other");
}

TEST_F(AuthenticatorTest, ATokenIsMadeFromAKeyAlone) {
  Server server(folder_, Mode::required, 5);
  auto const key = server.make_key("ci", Role::admin);
  auto const issued = server.authenticator.issue("Bearer " + key).value();
  EXPECT_LE(issued.expires_in_seconds, 300);
  EXPECT_GE(issued.expires_in_seconds, 299);
  EXPECT_EQ(server.who(issued.token), "ci");
  for (auto const& refused :
       {"Bearer " + issued.token, std::string(), std::string("Bearer sf_x")}) {
    auto const again = server.authenticator.issue(refused);
    ASSERT_FALSE(again) << refused;
    EXPECT_EQ(again.error().code, ErrorCode::unauthorized);
  }
}

TEST_F(AuthenticatorTest, ATokenNeverOutlivesItsKey) {
  Server server(folder_, Mode::required, 3 * 24 * 60);
  auto const key = server.make_key("brief", Role::viewer, 1);
  auto const issued = server.authenticator.issue("Bearer " + key).value();
  EXPECT_LE(issued.expires_in_seconds, 86'400);
}

TEST_F(AuthenticatorTest, ExpiredKeysAreRefused) {
  Server server(folder_, Mode::required);
  auto const key = server.make_key("late", Role::viewer, -1);
  EXPECT_EQ(server.who(key), "The API key has expired");
  EXPECT_FALSE(server.authenticator.issue("Bearer " + key));
}

TEST_F(AuthenticatorTest, TokensOfAnotherSecretAreRefused) {
  Server server(folder_, Mode::required);
  auto const key = server.make_key("ci");
  auto principal = *server.authenticator.authenticate_token(key).value();
  principal.expires_at = Timestamp{Timestamp::now().micros + 60'000'000};
  principal.role = Role::admin;
  EXPECT_EQ(server.who(sign_jwt(principal, Timestamp::now(), kSecret)), "ci");
  EXPECT_EQ(server.who(sign_jwt(principal, Timestamp::now(), "guessed")), "The token is not valid");
}

TEST_F(AuthenticatorTest, KeysOfAnotherProcessAreNoticedThroughTheLog) {
  Server server(folder_, Mode::automatic);
  store::TestStore command_line(folder_.path());
  auto const key =
      command_line.run(create_key(command_line.store(), {"remote", Role::viewer, "", {}})).value();
  auto const eventually = [](auto const& condition) {
    auto const deadline_ns = monotonic_ns() + 10'000'000'000;
    while (!condition() && monotonic_ns() < deadline_ns) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return condition();
  };
  EXPECT_TRUE(eventually([&] { return server.who(key) == "remote"; }));
  EXPECT_EQ(server.who(""), kNobody);
  EXPECT_TRUE(command_line.run(revoke_key(command_line.store(), "remote")));
  EXPECT_TRUE(eventually([&] { return server.who(key) == kUnknown; }));
}

TEST_F(AuthenticatorTest, KeysAreReadWhenTheServerStarts) {
  std::string live;
  std::string revoked;
  {
    Server server(folder_, Mode::required);
    live = server.make_key("live", Role::admin);
    revoked = server.make_key("revoked");
    server.revoke("revoked");
  }
  Server const again(folder_, Mode::required);
  EXPECT_EQ(again.who(live), "live");
  EXPECT_EQ(again.who(revoked), kUnknown);
}

TEST(Exposure, OthersMustNotBecomeAdministratorByAccident) {
  struct Row {
    char const* host;
    Mode mode;
    bool any_key;
    bool fine;
  };
  Row const rows[] = {
      {"127.0.0.1", Mode::automatic, false, true}, {"127.8.9.1", Mode::automatic, false, true},
      {"localhost", Mode::automatic, false, true}, {"::1", Mode::automatic, false, true},
      {"0.0.0.0", Mode::automatic, false, false},  {"::", Mode::automatic, false, false},
      {"10.0.0.1", Mode::automatic, false, false}, {"", Mode::automatic, false, false},
      {"0.0.0.0", Mode::automatic, true, true},    {"0.0.0.0", Mode::required, false, true},
      {"0.0.0.0", Mode::off, false, true},
  };
  for (auto const& row : rows) {
    EXPECT_EQ(check_exposure(row.host, row.mode, row.any_key).has_value(), row.fine) << row.host;
  }
  auto const why = check_exposure("0.0.0.0", Mode::automatic, false).error().message;
  EXPECT_TRUE(why.starts_with("HOST=0.0.0.0 can be reached from other machines")) << why;
  EXPECT_NE(why.find("subforge token create"), std::string::npos) << why;
}

TEST(Roles, EachHasTheRightsOfThoseBefore) {
  using Names = std::vector<std::string>;
  auto const rights = [](Role role) { return Principal{"u", "u", role, {}, {}}.permissions(); };
  EXPECT_EQ(rights(Role::viewer), Names{"read"});
  EXPECT_EQ(rights(Role::operator_role), (Names{"read", "write"}));
  EXPECT_EQ(rights(Role::admin), (Names{"read", "write", "admin"}));
  for (auto const role : {Role::viewer, Role::operator_role, Role::admin}) {
    EXPECT_EQ(parse_role(role_name(role)), role);
  }
  EXPECT_EQ(parse_role("Admin"), std::nullopt);
}

}  // namespace
}  // namespace subforge::auth
