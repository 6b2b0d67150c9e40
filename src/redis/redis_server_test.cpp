// Client and subscriber against a real server.
#include <fcntl.h>

#include <functional>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "redis/client.hpp"
#include "redis/server_test.hpp"
#include "redis/subscriber.hpp"

namespace subforge::redis {
namespace {

using testing::ElementsAre;

RedisOptions options_of(std::string const& url) {
  RedisOptions options;
  options.url = parse_redis_url(url, "URL").value();
  options.command_timeout_ms = 300;
  options.connect_timeout_ms = 500;
  return options;
}

Task<bool> until(EventLoop& loop, std::function<bool()> holds) {
  for (int i = 0; i < 300 && !holds(); ++i) co_await loop.sleep_ms(20);
  co_return holds();
}

// Each test has a loop on this thread and databases of its own of one server.
class RedisServerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = std::make_unique<TestServer>(); }
  static void TearDownTestSuite() { server_.reset(); }

  std::unique_ptr<Client> client(std::string const& url = server_->url()) {
    return std::make_unique<Client>(loop_, pool_, options_of(url), logger_);
  }
  // Runs `body(client)` with one that is connected.
  template <class Body>
  void with_client(Body body) {
    auto const connected = client();
    connected->start();
    auto run = [&]() -> Task<void> {
      EXPECT_TRUE(co_await until(loop_, [&] { return connected->up(); }));
      co_await body(*connected);
      connected->stop();
    };
    block_on(loop_, run());
  }

  static inline std::unique_ptr<TestServer> server_;
  EventLoop loop_;
  BlockingPool pool_{1, 10};
  LogSink sink_{::open("/dev/null", O_WRONLY | O_CLOEXEC)};
  Logger logger_{sink_, LogFormat::json, LogLevel::critical};
};

TEST_F(RedisServerTest, AnswersCommands) {
  with_client([](Client& redis) -> Task<void> {
    auto const set = co_await redis.command({"SET", "answers", std::string_view("a\r\n\0b", 5)});
    EXPECT_EQ(set.value().text, "OK");
    EXPECT_EQ((co_await redis.command({"GET", "answers"})).value().text,
              std::string_view("a\r\n\0b", 5));
    EXPECT_TRUE((co_await redis.command({"GET", "nothing"})).value().is_null());
    auto const refused = co_await redis.command({"LPUSH", "answers", "x"});
    EXPECT_EQ(refused.error().code, ErrorCode::internal);
    EXPECT_TRUE(refused.error().context.starts_with("WRONGTYPE")) << refused.error().context;
    auto const health = redis.health();
    EXPECT_TRUE(health.up);
  });
}

TEST_F(RedisServerTest, RunsBatchesAndTransactions) {
  with_client([](Client& redis) -> Task<void> {
    Batch batch;
    batch.add({"MULTI"}).add({"RPUSH", "batch", "1", "2"}).add({"LRANGE", "batch", "0", "-1"});
    batch.add({"EXEC"}).add({"NOSUCH"});
    auto const replies = (co_await redis.run(batch)).value();
    EXPECT_EQ(replies.size(), 5U);
    EXPECT_EQ(replies[3].items[0].integer, 2);
    EXPECT_EQ(replies[3].items[1].items[1].text, "2");
    EXPECT_TRUE(replies[4].is_error());
  });
}

TEST_F(RedisServerTest, RunsScriptsThatTheServerDoesNotKnowYet) {
  with_client([](Client& redis) -> Task<void> {
    Script const script("return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}");
    for (int i = 1; i <= 2; ++i) {
      auto const reply = (co_await redis.run(script, {"script"}, {"x"})).value();
      EXPECT_EQ(reply.items[1].text, "x");
      EXPECT_EQ(reply.items[2].integer, i);
    }
  });
}

TEST_F(RedisServerTest, KeepsManyCommandsApart) {
  with_client([this](Client& redis) -> Task<void> {
    int done = 0;
    TaskGroup group;
    auto one = [&](int i) -> Task<void> {
      auto const text = std::to_string(i) + std::string(static_cast<std::size_t>(i % 700), 'x');
      // The last one waits for all of them.
      auto const reply = co_await redis.command({"ECHO", text}, 20'000);
      EXPECT_TRUE(reply && reply->text == text);
      ++done;
    };
    for (int i = 0; i < 5'000; ++i) group.spawn(one(i));
    EXPECT_TRUE(co_await until(loop_, [&] { return done == 5'000; }));
  });
}

TEST_F(RedisServerTest, RefusesMoreThanItsBound) {
  auto options = options_of(server_->url());
  options.commands_max = 2;
  Client redis(loop_, pool_, options, logger_);
  redis.start();
  auto run = [&]() -> Task<void> {
    EXPECT_TRUE(co_await until(loop_, [&] { return redis.up(); }));
    int refused = 0;
    int done = 0;
    TaskGroup group;
    auto one = [&]() -> Task<void> {
      auto const reply = co_await redis.command({"PING"});
      if (!reply && reply.error().code == ErrorCode::too_large) ++refused;
      ++done;
    };
    for (int i = 0; i < 5; ++i) group.spawn(one());
    EXPECT_TRUE(co_await until(loop_, [&] { return done == 5; }));
    EXPECT_EQ(refused, 3);
    redis.stop();
  };
  block_on(loop_, run());
}

TEST_F(RedisServerTest, WaitsInsideTheServer) {
  with_client([this](Client& popping) -> Task<void> {
    auto pushing = client();
    pushing->start();
    EXPECT_TRUE(co_await until(loop_, [&] { return pushing->up(); }));
    std::optional<Result<Reply>> popped;
    TaskGroup group;
    auto pop = [&]() -> Task<void> {
      popped = co_await popping.command({"BRPOP", "pop", "2"}, 4'000);
    };
    group.spawn(pop());
    co_await loop_.sleep_ms(400);  // Longer than other commands may take.
    EXPECT_FALSE(popped);
    co_await pushing->command({"LPUSH", "pop", "here"});
    EXPECT_TRUE(co_await until(loop_, [&] { return popped.has_value(); }));
    EXPECT_EQ(popped->value().items[1].text, "here");
    pushing->stop();
  });
}

TEST_F(RedisServerTest, LogsInAndChoosesADatabase) {
  TestServer locked({"--requirepass", "s3cret/"});
  auto const inside = client(locked.url("/5", ":s3cret%2F@"));
  auto const outside = client(locked.url());
  auto const wrong = client(locked.url("/0", ":no@"));
  auto const beyond = client(locked.url("/99", ":s3cret%2F@"));
  for (auto const* one : {&inside, &outside, &wrong, &beyond}) (*one)->start();
  auto run = [&]() -> Task<void> {
    EXPECT_TRUE(co_await until(loop_, [&] { return inside->up(); }));
    auto const list = (co_await inside->command({"CLIENT", "INFO"})).value().text;
    EXPECT_NE(list.find("name=subforge"), std::string::npos) << list;
    EXPECT_NE(list.find("db=5"), std::string::npos) << list;
    EXPECT_TRUE(co_await until(loop_,
                               [&] {
                                 return outside->health().cause.starts_with("NOAUTH") &&
                                        wrong->health().cause.starts_with("WRONGPASS") &&
                                        beyond->health().cause.starts_with(
                                            "ERR DB index is out of range");
                               }))
        << outside->health().cause << wrong->health().cause << beyond->health().cause;
    EXPECT_FALSE(outside->up() || wrong->up() || beyond->up());
    EXPECT_EQ((co_await outside->command({"PING"})).error().code, ErrorCode::unavailable);
    for (auto const* one : {&inside, &outside, &wrong, &beyond}) (*one)->stop();
  };
  block_on(loop_, run());
}

TEST_F(RedisServerTest, LooksUpNames) {
  auto const named = client("redis://localhost:" + std::to_string(server_->port()));
  auto const nobody = client("redis://no-such-host.invalid");
  named->start();
  nobody->start();
  auto run = [&]() -> Task<void> {
    EXPECT_TRUE(co_await until(loop_, [&] { return named->up(); }));
    EXPECT_TRUE(co_await until(loop_, [&] {
      return nobody->health().cause.starts_with("no-such-host.invalid: ");
    })) << nobody->health().cause;
    named->stop();
    nobody->stop();
  };
  block_on(loop_, run());
}

TEST_F(RedisServerTest, ComesBackByItself) {
  TestServer mortal;
  auto const redis = client(mortal.url());
  redis->start();
  auto run = [&]() -> Task<void> {
    EXPECT_TRUE(co_await until(loop_, [&] { return redis->up(); }));
    co_await redis->command({"SET", "kept", "1"});
    std::optional<Result<Reply>> waiting;
    TaskGroup group;
    auto wait = [&]() -> Task<void> {
      waiting = co_await redis->command({"BRPOP", "never", "0"}, 60'000);
    };
    group.spawn(wait());
    co_await loop_.sleep_ms(50);
    mortal.kill();
    EXPECT_TRUE(co_await until(loop_, [&] { return waiting.has_value(); }));
    EXPECT_EQ(waiting->error().code, ErrorCode::unavailable);
    EXPECT_FALSE(redis->health().up);
    EXPECT_FALSE(redis->health().cause.empty());
    EXPECT_EQ((co_await redis->command({"PING"})).error().code, ErrorCode::unavailable);
    mortal.start();
    EXPECT_TRUE(co_await until(loop_, [&] { return redis->up(); }));
    EXPECT_EQ((co_await redis->command({"GET", "kept"})).value().text, "1");
    redis->stop();
  };
  block_on(loop_, run());
}

TEST_F(RedisServerTest, GivesUpAServerThatIsSilent) {
  TestServer silent;
  auto const redis = client(silent.url());
  redis->start();
  auto run = [&]() -> Task<void> {
    EXPECT_TRUE(co_await until(loop_, [&] { return redis->up(); }));
    silent.freeze();
    auto const reply = co_await redis->command({"PING"});
    EXPECT_EQ(reply.error().code, ErrorCode::unavailable);
    EXPECT_EQ(redis->health().cause, "it does not answer");
    silent.thaw();
    EXPECT_TRUE(co_await until(loop_, [&] { return redis->up(); }));
    redis->stop();
  };
  block_on(loop_, run());
}

TEST_F(RedisServerTest, HearsWhatIsPublishedOverRestarts) {
  TestServer mortal;
  std::vector<std::string> heard;
  int ready = 0;
  Subscriber subscriber(loop_, pool_, options_of(mortal.url()), logger_,
                        {[&](Message const& message) {
                           heard.push_back(std::string(message.pattern) + "|" +
                                           std::string(message.channel) + "|" +
                                           std::string(message.payload));
                         },
                         [&] { ++ready; }});
  subscriber.subscribe("one");
  subscriber.subscribe_pattern("/0.celeryev/*");
  subscriber.start();
  auto const redis = client(mortal.url());
  redis->start();
  auto run = [&]() -> Task<void> {
    EXPECT_TRUE(co_await until(loop_, [&] { return redis->up() && ready == 1; }));
    co_await redis->command({"PUBLISH", "one", "a"});
    co_await redis->command({"PUBLISH", "/0.celeryev/task.multi", "b"});
    co_await redis->command({"PUBLISH", "two", "unheard"});
    EXPECT_TRUE(co_await until(loop_, [&] { return heard.size() == 2; }));
    subscriber.subscribe("two");
    subscriber.unsubscribe("one");
    mortal.kill();
    mortal.start();
    EXPECT_TRUE(co_await until(loop_, [&] { return redis->up() && ready == 2; }));
    co_await redis->command({"PUBLISH", "one", "unheard"});
    co_await redis->command({"PUBLISH", "two", "c"});
    EXPECT_TRUE(co_await until(loop_, [&] { return heard.size() == 3; }));
    EXPECT_THAT(heard, ElementsAre("|one|a", "/0.celeryev/*|/0.celeryev/task.multi|b", "|two|c"));
    // Nothing is said for longer than a server may be silent.
    co_await loop_.sleep_ms(800);
    EXPECT_TRUE(subscriber.up());
    mortal.freeze();
    EXPECT_TRUE(co_await until(loop_, [&] { return !subscriber.up(); }));
    mortal.thaw();
    EXPECT_TRUE(co_await until(loop_, [&] { return ready == 3; }));
    subscriber.stop();
    redis->stop();
  };
  block_on(loop_, run());
}

}  // namespace
}  // namespace subforge::redis
