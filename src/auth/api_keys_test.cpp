// API keys in a real store.
#include "auth/api_keys.hpp"

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

#include "base/text.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::auth {
namespace {

NewKey ci() { return {"ci", Role::viewer, "", {}}; }

class ApiKeys : public testing::Test {
 protected:
  std::string make(NewKey wanted) {
    auto const token = store_.run(create_key(store_.store(), std::move(wanted)));
    if (!token) throw std::runtime_error(token.error().message);
    return *token;
  }
  std::vector<ApiKey> list() {
    auto const keys = store_.run(list_keys(store_.store()));
    if (!keys) throw std::runtime_error(keys.error().message);
    return *keys;
  }
  Result<void> revoke(std::string name) {
    return store_.run(revoke_key(store_.store(), std::move(name)));
  }

  store::TemporaryFolder folder_;
  store::EventRecorder recorder_;
  store::TestStore store_{folder_.path(), {&recorder_}};
};

TEST_F(ApiKeys, OnlyTheHashIsKept) {
  auto const token = make({"ci", Role::operator_role, "build", {}});
  EXPECT_TRUE(token.starts_with("sf_"));
  EXPECT_GE(token.size(), 3U + 43U) << "32 random bytes";
  auto const keys = list();
  ASSERT_EQ(keys.size(), 1U);
  EXPECT_EQ(keys[0].name, "ci");
  EXPECT_EQ(keys[0].role, Role::operator_role);
  EXPECT_EQ(keys[0].user, "build");
  EXPECT_EQ(keys[0].secret_hash, sha256(token));
  EXPECT_EQ(keys[0].expires_at, std::nullopt);
  EXPECT_EQ(keys[0].revoked_at, std::nullopt);
  for (auto const& event : recorder_.take()) {
    EXPECT_EQ(event->payload.find(token), std::string::npos);
  }
}

TEST_F(ApiKeys, MakingAndRevokingAreTold) {
  make(ci());
  auto const key = list().at(0);
  EXPECT_EQ(key.user, "ci") << "the name, where no user is given";
  auto const made = recorder_.take();
  ASSERT_EQ(made.size(), 1U);
  EXPECT_EQ(made[0]->kind, kKeyCreated);
  EXPECT_EQ(made[0]->subject, "key:" + key.id.to_string());
  EXPECT_EQ(made[0]->audience, store::Audience::nobody());
  auto const told = key_from_payload(boost::json::parse(made[0]->payload).get_object());
  ASSERT_TRUE(told);
  EXPECT_EQ(told->id, key.id);
  EXPECT_EQ(told->secret_hash, key.secret_hash);

  ASSERT_TRUE(revoke("ci"));
  EXPECT_TRUE(list().at(0).revoked_at);
  auto const revoked = recorder_.take();
  ASSERT_EQ(revoked.size(), 1U);
  EXPECT_EQ(revoked[0]->kind, kKeyRevoked);
  EXPECT_EQ(revoked[0]->subject, "key:" + key.id.to_string());
}

TEST_F(ApiKeys, ANameIsGivenOnceForEver) {
  make(ci());
  auto const conflict = [&] { return store_.run(create_key(store_.store(), ci())); };
  ASSERT_FALSE(conflict());
  EXPECT_EQ(conflict().error().code, ErrorCode::conflict);
  ASSERT_TRUE(revoke("ci"));
  ASSERT_FALSE(conflict());
  EXPECT_EQ(list().size(), 1U);
}

TEST_F(ApiKeys, OnlyLiveKeysCanBeRevoked) {
  EXPECT_EQ(revoke("nobody").error().code, ErrorCode::not_found);
  make(ci());
  ASSERT_TRUE(revoke("ci"));
  auto const again = revoke("ci");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().message, "There is no live key named 'ci'");
}

TEST_F(ApiKeys, ExpiryIsInDays) {
  make({"brief", Role::viewer, "", 2});
  auto const key = list().at(0);
  ASSERT_TRUE(key.expires_at);
  EXPECT_EQ(key.expires_at->micros - key.created_at.micros, std::int64_t{2} * 86'400'000'000);
}

TEST(KeyPayload, GoesRound) {
  ApiKey key;
  key.id = Uuid::random();
  key.name = "a \"name\"";
  key.secret_hash = sha256("x");
  key.role = Role::admin;
  key.user = "u";
  key.expires_at = Timestamp{1'767'323'045'000'001};
  auto const back = key_from_payload(boost::json::parse(key_payload(key)).get_object());
  ASSERT_TRUE(back);
  EXPECT_EQ(back->id, key.id);
  EXPECT_EQ(back->name, key.name);
  EXPECT_EQ(back->secret_hash, key.secret_hash);
  EXPECT_EQ(back->role, key.role);
  EXPECT_EQ(back->user, key.user);
  EXPECT_EQ(back->expires_at, key.expires_at);
}

TEST(KeyPayload, WhatIsNoKeyIsRefused) {
  std::string const id = R"("id":"8a6e0804-2bd0-4672-b79d-d97027f9071a")";
  std::string const hash = R"("secret_hash":")" + base64url_encode(sha256("x")) + "\"";
  auto const read = [](std::string const& text) {
    return key_from_payload(boost::json::parse(text).get_object()).has_value();
  };
  EXPECT_TRUE(read("{" + id + "," + hash + R"(,"role":"viewer"})"));
  EXPECT_FALSE(read("{" + id + "," + hash + R"(,"role":"king"})"));
  EXPECT_FALSE(read("{" + id + "," + hash + "}"));
  EXPECT_FALSE(read("{" + id + R"(,"secret_hash":"eHg","role":"viewer"})")) << "not 32 bytes";
  EXPECT_FALSE(read("{" + hash + R"(,"role":"viewer"})"));
  EXPECT_FALSE(read("{}"));
}

TEST_F(ApiKeys, ThePlaceholderOfASecretIsNotUsed) {
  auto const secret = [&](std::string configured) {
    return store_.run(signing_secret(store_.store(), std::move(configured))).value();
  };
  EXPECT_EQ(secret("my own"), "my own");
  auto const kept = secret("");
  EXPECT_GE(kept.size(), 43U);
  EXPECT_EQ(secret("your-secret-key-here"), kept) << "made once, kept with the data";
  EXPECT_EQ(secret("x-change-in-production"), kept);
  EXPECT_EQ(secret("change-me"), kept);
}

}  // namespace
}  // namespace subforge::auth
