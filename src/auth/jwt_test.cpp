#include "auth/jwt.hpp"

#include <array>
#include <random>

#include <gtest/gtest.h>

#include "auth/digest.hpp"
#include "base/text.hpp"

namespace subforge::auth {
namespace {

constexpr std::string_view kServerSecret = "a secret of the server";
Timestamp const kNow{1'767'323'045'000'000};
Timestamp const kLater{kNow.micros + 60'000'000};

Principal alice() {
  return {"alice", "Alice's key", Role::operator_role,
          Uuid::parse("8a6e0804-2bd0-4672-b79d-d97027f9071a"), kLater};
}

std::string encode(std::string_view text) {
  return base64url_encode({reinterpret_cast<std::uint8_t const*>(text.data()), text.size()});
}

// A token of any header and claims, signed as it should be.
std::string token(std::string_view header, std::string_view claims,
                  std::string_view secret = kServerSecret) {
  auto const head = encode(header) + "." + encode(claims);
  return head + "." + base64url_encode(hmac_sha256(secret, head));
}

constexpr std::string_view kHeader = R"({"alg":"HS256","typ":"JWT"})";
constexpr std::string_view kClaims =
    R"({"sub":"alice","role":"admin","key":"8a6e0804-2bd0-4672-b79d-d97027f9071a",)"
    R"("exp":1767323105})";

std::string problem(std::string_view text, std::string_view secret = kServerSecret) {
  auto const principal = verify_jwt(text, kNow, secret);
  if (principal) return "";
  EXPECT_EQ(principal.error().code, ErrorCode::unauthorized);
  return principal.error().message;
}

constexpr std::string_view kInvalid = "The token is not valid";

TEST(Jwt, GoesRound) {
  auto const text = sign_jwt(alice(), kNow, kServerSecret);
  auto const back = verify_jwt(text, kNow, kServerSecret);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->id, "alice");
  EXPECT_EQ(back->username, "Alice's key");
  EXPECT_EQ(back->role, Role::operator_role);
  EXPECT_EQ(back->key_id, alice().key_id);
  EXPECT_EQ(back->expires_at, kLater);
}

TEST(Jwt, IsWhatTheStandardSays) {
  // The parts of RFC 7515 put together by hand, against what we sign and verify.
  auto const text = sign_jwt(alice(), kNow, kServerSecret);
  EXPECT_TRUE(text.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."));
  EXPECT_EQ(problem(token(kHeader, kClaims)), "");
  EXPECT_EQ(verify_jwt(token(kHeader, kClaims), kNow, kServerSecret)->username, "alice")
      << "the user's id where there is no name";
}

TEST(Jwt, Expires) {
  auto const text = sign_jwt(alice(), kNow, kServerSecret);
  EXPECT_TRUE(verify_jwt(text, {kLater.micros - 1}, kServerSecret));
  auto const expired = verify_jwt(text, kLater, kServerSecret);
  ASSERT_FALSE(expired);
  EXPECT_EQ(expired.error().message, "The token has expired");
}

TEST(Jwt, EveryChangedCharacterIsNoticed) {
  auto const text = sign_jwt(alice(), kNow, kServerSecret);
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto changed = text;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_EQ(problem(changed), kInvalid) << i;
    EXPECT_EQ(problem(text.substr(0, i)), kInvalid) << i;
  }
  EXPECT_EQ(problem(text + "A"), kInvalid);
  EXPECT_EQ(problem(text + ".A"), kInvalid);
  EXPECT_EQ(problem(text, "another secret"), kInvalid);
  EXPECT_EQ(problem(text, ""), kInvalid);
}

TEST(Jwt, OtherAlgorithmsAreRefused) {
  for (std::string_view const header :
       {R"({"alg":"none"})", R"({"alg":"None"})", R"({"alg":"HS512"})", R"({"alg":"RS256"})",
        R"({"alg":"hs256"})", R"({"alg":1})", "{}", R"({"alg":"HS256","crit":["exp"]})", "[]"}) {
    EXPECT_EQ(problem(token(header, kClaims)), kInvalid) << header;
    EXPECT_EQ(problem(encode(header) + "." + encode(kClaims) + "."), kInvalid) << header;
  }
}

TEST(Jwt, ClaimsMustBeThereAndMakeSense) {
  constexpr std::string_view kKey = R"("key":"8a6e0804-2bd0-4672-b79d-d97027f9071a")";
  auto const with = [&](std::string_view rest) {
    return token(kHeader, "{" + std::string(kKey) + "," + std::string(rest) + "}");
  };
  EXPECT_EQ(problem(with(R"("sub":"a","role":"admin","exp":1767323105)")), "");
  for (auto const* rest : {
           R"("role":"admin","exp":1767323105)",
           R"("sub":1,"role":"admin","exp":1767323105)",
           R"("sub":"a","exp":1767323105)",
           R"("sub":"a","role":"king","exp":1767323105)",
           R"("sub":"a","role":"admin")",
           R"("sub":"a","role":"admin","exp":"1767323105")",
           R"("sub":"a","role":"admin","exp":1767323105.5)",
           R"("sub":"a","role":"admin","exp":-1)",
           R"("sub":"a","role":"admin","exp":9223372036854775807)",
           R"("sub":"a","role":"admin","exp":99999999999999999999)",
       }) {
    EXPECT_EQ(problem(with(rest)), kInvalid) << rest;
  }
  EXPECT_EQ(problem(token(kHeader, R"({"sub":"a","role":"admin","key":"x","exp":1767323105})")),
            kInvalid);
  EXPECT_EQ(problem(token(kHeader, "[]")), kInvalid);
}

TEST(Jwt, TooLongIsNotEvenLookedAt) {
  auto claims = std::string(kClaims);
  claims.pop_back();
  auto const padded = [&](std::size_t bytes) {
    return token(kHeader, claims + R"(,"pad":")" + std::string(bytes, 'x') + "\"}");
  };
  EXPECT_EQ(problem(padded(2000)), "");
  ASSERT_GT(padded(4000).size(), kJwtBytesMax);
  EXPECT_EQ(problem(padded(4000)), kInvalid);
}

TEST(Jwt, JunkIsRefused) {
  for (std::string_view const text :
       {std::string_view(""), std::string_view("."), std::string_view(".."),
        std::string_view("..."), std::string_view("a.b"), std::string_view("a.b.c"),
        std::string_view("\0\0.\0", 4), std::string_view("e30.e30.e30")}) {
    EXPECT_EQ(problem(text), kInvalid) << text;
  }
  std::minstd_rand random(1);
  constexpr std::string_view kLetters = "eyJhbGci.._-=\xff {}\"";
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (auto count = random() % 60; count > 0; --count) {
      text += kLetters[random() % kLetters.size()];
    }
    EXPECT_EQ(problem(text), kInvalid);
  }
}

}  // namespace
}  // namespace subforge::auth
