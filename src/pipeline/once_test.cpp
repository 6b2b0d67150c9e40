// The keys of requests that may be repeated, and what such a request does on a real store.
#include "pipeline/once.hpp"

#include <gtest/gtest.h>

#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::pipeline {
namespace {

TEST(IdempotencyKey, IsTextWithOrWithoutQuotes) {
  EXPECT_EQ(parse_idempotency_key("abc"), "abc");
  EXPECT_EQ(parse_idempotency_key("  abc "), "abc");
  EXPECT_EQ(parse_idempotency_key("\"abc\""), "abc");
  EXPECT_EQ(parse_idempotency_key(R"("a\"b\\c")"), R"(a"b\c)");
  EXPECT_EQ(parse_idempotency_key(R"(a"b\c)"), R"(a"b\c)");
  EXPECT_EQ(parse_idempotency_key(std::string(255, 'k')), std::string(255, 'k'));
}

TEST(IdempotencyKey, IsNotEmptyNorLongNorStrange) {
  for (auto const* field :
       {"", " ", "\"\"", "a\tb", "a\x7f", "k\xc3\xa9y", R"("a"b")", R"("a\b")", R"("a\")"}) {
    EXPECT_FALSE(parse_idempotency_key(field)) << field;
  }
  EXPECT_FALSE(parse_idempotency_key(std::string(256, 'k')));
}

class OnceTest : public testing::Test {
 protected:
  OnceTest() {
    route_.method = net::Method::post;
    route_.path = "/things";
    route_.name = "things";
  }

  // A handler that counts its effects in a row, and tells the count.
  Task<http::Response> count_up(http::Request const& request, bool good, bool tells_first) {
    auto write = [good](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
      auto const done = co_await transaction.execute(
          "INSERT INTO meta (key, value) VALUES ('count', '1')"
          " ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1");
      if (!done) co_return std::unexpected(done.error());
      if (!good) co_return fail(ErrorCode::conflict, "not now");
      std::int64_t count = 0;
      auto const read =
          co_await transaction.query("SELECT value FROM meta WHERE key = 'count'", {},
                                     [&](store::Row const& row) { count = row.integer(0); });
      if (!read) co_return std::unexpected(read.error());
      co_return count;
    };
    auto const tell = [](Result<std::int64_t> const& count) {
      if (!count) return http::Response::from(count.error());
      auto response = http::Response::json(std::to_string(*count), 201);
      response.etag = "\"7\"";
      return std::move(response).with("Location", "/things/7");
    };
    auto task = store_.store().write(write);
    if (tells_first) co_return co_await answer_with(request, std::move(task), tell);
    co_return tell(co_await task);
  }

  http::Response send(std::string key, std::string body, bool good = true, bool tells_first = true,
                      std::string client = "user:a") {
    http::Request request;
    request.method = net::Method::post;
    request.route = &route_;
    request.path = "/things";
    request.content_type = content_type_;
    request.body = std::move(body);
    Once once({store_.store(), answers_, claims_}, std::move(client), std::move(key), request);
    request.once = &once;
    // What a streamed body was is known to the handler alone.
    auto const streamed = route_.streamed_body ? std::exchange(request.body, {}) : std::string();
    http::AsyncHandler const handler = [=, this](http::Request const& asked) {
      if (!streamed.empty()) asked.once->content(streamed);
      return count_up(asked, good, tells_first);
    };
    return store_.run(once.answer(handler));
  }
  static bool replayed(http::Response const& response) {
    return std::ranges::any_of(response.fields, [](auto const& field) {
      return field.first == "Idempotency-Replayed" && field.second == "true";
    });
  }

  std::string content_type_ = "application/json";
  store::TemporaryFolder folder_;
  store::TestStore store_{folder_.path()};
  store::KeptAnswers answers_{store_.store(), 24};
  limits::Claims claims_;
  http::Route route_;
};

TEST_F(OnceTest, TheSecondTimeGetsTheAnswerOfTheFirst) {
  for (bool const tells_first : {true, false}) {
    std::string const key = tells_first ? "one" : "two";
    auto const first = send(key, "body", true, tells_first);
    auto const again = send(key, "body", true, tells_first);
    EXPECT_FALSE(replayed(first));
    EXPECT_TRUE(replayed(again));
    EXPECT_EQ(again.status, 201);
    EXPECT_EQ(again.body, first.body);
    EXPECT_EQ(again.etag, "\"7\"");
    EXPECT_EQ(again.content_type, "application/json");
    EXPECT_EQ(again.fields.front(), first.fields.front());
  }
  EXPECT_EQ(send("three", "body").body, "3");
}

TEST_F(OnceTest, AnotherBodyIsRefusedAndAnotherClientIsNot) {
  EXPECT_EQ(send("key", "body").body, "1");
  EXPECT_EQ(send("key", "other").status, 422);
  EXPECT_EQ(send("key", "body", true, true, "user:b").body, "2");
}

TEST_F(OnceTest, OfABodyThatIsStreamedTheWriteTells) {
  route_.streamed_body = true;
  EXPECT_EQ(send("key", "body").body, "1");
  auto const again = send("key", "body");
  EXPECT_TRUE(replayed(again)) << "as if another process had been faster";
  EXPECT_EQ(again.body, "1");
  EXPECT_EQ(send("key", "other").status, 422);
  EXPECT_EQ(send("new", "body").body, "2") << "what was repeated left nothing";
}

TEST_F(OnceTest, WhatPartsAFormTellsNothing) {
  auto const form = [this](std::string const& boundary, std::string const& content) {
    content_type_ = "multipart/form-data; boundary=" + boundary;
    return "--" + boundary + "\r\n\r\n" + content + "\r\n--" + boundary + "--\r\n";
  };
  EXPECT_EQ(send("key", form("one", "text")).body, "1");
  EXPECT_TRUE(replayed(send("key", form("another", "text"))));
  EXPECT_EQ(send("key", form("another", "texts")).status, 422);
}

TEST_F(OnceTest, WhatFailedIsNotKept) {
  EXPECT_EQ(send("key", "body", false).status, 409);
  EXPECT_EQ(send("key", "body").body, "1");
}

TEST_F(OnceTest, WhileOneIsUnderWayTheNextIsTurnedAway) {
  auto const claim = claims_.take(std::string("user:a") + '\0' + "things" + '\0' + "key");
  auto const refused = send("key", "body");
  EXPECT_EQ(refused.status, 409);
  EXPECT_EQ(refused.fields.front(), (std::pair<std::string, std::string>("Retry-After", "1")));
  EXPECT_EQ(send("other", "body").body, "1");
}

}  // namespace
}  // namespace subforge::pipeline
