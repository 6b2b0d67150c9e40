#include "redis/url.hpp"

#include <gtest/gtest.h>

namespace subforge::redis {
namespace {

RedisUrl read(std::string_view text) {
  auto url = parse_redis_url(text, "URL");
  EXPECT_TRUE(url) << text;
  return url.value_or(RedisUrl{});
}

TEST(RedisUrlTest, ReadsAllParts) {
  auto const url = read("redis://me:p%40ss%2Fword@example.org:7000/3");
  EXPECT_EQ(url.host, "example.org");
  EXPECT_EQ(url.port, 7000);
  EXPECT_EQ(url.user, "me");
  EXPECT_EQ(url.password, "p@ss/word");
  EXPECT_EQ(url.database, 3);
  EXPECT_EQ(url.address(), "example.org:7000/3");
}

TEST(RedisUrlTest, LeavesOutWhatHasADefault) {
  auto const plain = read("redis://");
  EXPECT_EQ(plain.host, "localhost");
  EXPECT_EQ(plain.port, 6379);
  EXPECT_EQ(plain.database, 0);
  EXPECT_EQ(read("redis://localhost/").database, 0);
  EXPECT_EQ(read("redis://:secret@h").password, "secret");
  EXPECT_EQ(read("redis://:secret@h").user, "");
  EXPECT_EQ(read("redis://[::1]:7001/2").host, "::1");
  EXPECT_EQ(read("redis://[::1]:7001/2").address(), "[::1]:7001/2");
  EXPECT_EQ(read("redis://[::1]").port, 6379);
}

TEST(RedisUrlTest, RefusesWhatItWouldHaveToGuess) {
  for (auto const* text :
       {"", "localhost:6379", "rediss://localhost", "amqp://localhost", "redis://h:", "redis://h:0",
        "redis://h:70000", "redis://h:x", "redis://h/x", "redis://h/-1", "redis://h/0?ssl=true",
        "redis://[::1", "redis://[]", "redis://[::1]x", "redis://:%zz@h", "redis://h/1/2"}) {
    auto const url = parse_redis_url(text, "CELERY_BROKER_URL");
    ASSERT_FALSE(url) << text;
    EXPECT_TRUE(url.error().message.starts_with("CELERY_BROKER_URL must be redis://")) << text;
  }
}

}  // namespace
}  // namespace subforge::redis
