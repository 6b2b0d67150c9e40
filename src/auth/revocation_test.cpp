// What must hold for keys that were revoked or ran out, in whatever order one hears of it.
#include <gtest/gtest.h>

#include "auth/authenticator.hpp"
#include "auth/jwt.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::auth {
namespace {

constexpr std::string_view kLongSecret = "0123456789abcdef0123456789abcdef";

class Revocation : public testing::Test {
 protected:
  std::string make_key(std::string name, std::optional<std::int64_t> days = {}) {
    NewKey const wanted{std::move(name), Role::operator_role, "", days};
    return store_.run(create_key(store_.store(), wanted)).value();
  }
  void load(Authenticator& authenticator) {
    EXPECT_TRUE(store_.run(authenticator.load(store_.store(), std::string(kLongSecret))));
  }
  ApiKey only_key() { return store_.run(list_keys(store_.store())).value().at(0); }

  // A token of anybody who knows the secret, for an hour from now.
  static std::string forge(ApiKey const& key) {
    Principal const principal{key.user, key.name, key.role, key.id,
                              Timestamp{Timestamp::now().micros + std::int64_t{3'600'000'000}}};
    return sign_jwt(principal, Timestamp::now(), kLongSecret);
  }
  static std::string refusal(Authenticator const& authenticator, std::string_view token) {
    auto const principal = authenticator.authenticate_token(token);
    return principal ? "accepted" : principal.error().message;
  }

  store::TemporaryFolder folder_;
  store::EventRecorder recorder_;
  store::TestStore store_{folder_.path(), {&recorder_}};
};

TEST_F(Revocation, IsFinalThoughWhatWasReadIsOlder) {
  auto const token = make_key("ci");
  auto const key = only_key();
  store::Event revoked;
  revoked.kind = kKeyRevoked;
  revoked.subject = "key:" + key.id.to_string();
  auto const event = std::make_shared<store::Event const>(revoked);

  Authenticator authenticator(Mode::automatic, 30);
  authenticator.on_events(std::array{store::EventPtr(event)});
  load(
      authenticator);  // Where the key still lives, as if read before the revocation was committed.
  EXPECT_EQ(refusal(authenticator, token), "The API key is unknown or was revoked");
  EXPECT_EQ(refusal(authenticator, forge(key)), "The API key of this token was revoked");
  EXPECT_TRUE(authenticator.credentials_required());
}

TEST_F(Revocation, IsFinalThoughTheKeyIsToldOnceMore) {
  auto const token = make_key("ci");
  auto const created = recorder_.take();
  Authenticator authenticator(Mode::automatic, 30);
  load(authenticator);
  ASSERT_EQ(refusal(authenticator, token), "accepted");
  ASSERT_TRUE(store_.run(revoke_key(store_.store(), "ci")));
  authenticator.on_events(recorder_.take());
  authenticator.on_events(created);
  EXPECT_EQ(refusal(authenticator, token), "The API key is unknown or was revoked");
}

TEST_F(Revocation, ATokenDiesWithItsKeyWhoeverMadeIt) {
  make_key("late", -1);
  Authenticator authenticator(Mode::required, 30);
  load(authenticator);
  auto const token = forge(only_key());
  ASSERT_TRUE(verify_jwt(token, Timestamp::now(), kLongSecret));
  EXPECT_EQ(refusal(authenticator, token), "The API key of this token has expired");
}

TEST_F(Revocation, OpenSocketsEndWithTheKey) {
  auto const late = make_key("late", -1);
  Authenticator authenticator(Mode::required, 30);
  load(authenticator);
  auto const key = only_key();
  Principal const by_token{key.user, key.name, key.role, key.id,
                           Timestamp{Timestamp::now().micros + std::int64_t{3'600'000'000}}};
  EXPECT_FALSE(authenticator.still_valid(by_token)) << "the key has run out";
  Principal const by_unknown_key{"u", "n", Role::viewer, Uuid::random(), std::nullopt};
  EXPECT_FALSE(authenticator.still_valid(by_unknown_key));
}

TEST_F(Revocation, NewsThatMakeNoSenseChangeNothing) {
  auto const token = make_key("ci");
  Authenticator authenticator(Mode::automatic, 30);
  load(authenticator);
  auto const version = authenticator.version();
  std::vector<store::EventPtr> events;
  for (auto const& [kind, subject, payload] :
       {std::array{"agent.deleted", "key:x", "{}"}, std::array{"auth.key_created", "key:x", "{}"},
        std::array{"auth.key_created", "key:x", "nonsense"},
        std::array{"auth.key_revoked", "key:x", "{}"}, std::array{"auth.key_revoked", "", "{}"}}) {
    store::Event event;
    event.kind = kind;
    event.subject = subject;
    event.payload = payload;
    events.push_back(std::make_shared<store::Event const>(event));
  }
  authenticator.on_events(events);
  EXPECT_EQ(authenticator.version(), version);
  EXPECT_EQ(refusal(authenticator, token), "accepted");
}

TEST(Loopback, IsAnAddressOrLocalhostAndNothingThatLooksLikeIt) {
  auto const fine = [](std::string const& host) {
    return check_exposure(host, Mode::automatic, false).has_value();
  };
  for (auto const* host :
       {"127.0.0.1", "127.255.0.9", "::1", "0:0:0:0:0:0:0:1", "localhost", "LocalHost"}) {
    EXPECT_TRUE(fine(host)) << host;
  }
  for (auto const* host : {"127.0.0.1.example.org", "127.example.org", "127.1", "localhost.evil",
                           "", "::", "::2", "0.0.0.0", "128.0.0.1", "[::1]"}) {
    EXPECT_FALSE(fine(host)) << host;
  }
}

}  // namespace
}  // namespace subforge::auth
