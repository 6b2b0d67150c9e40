#include "redis/reply_parser.hpp"

#include <gtest/gtest.h>

namespace subforge::redis {
namespace {

using Kind = Reply::Kind;

std::vector<Reply> all(ReplyParser& parser) {
  std::vector<Reply> replies;
  while (true) {
    auto reply = parser.next();
    if (!reply || !*reply) return replies;
    replies.push_back(*std::move(*reply));
  }
}

constexpr std::string_view kOfEveryKind =
    "+OK\r\n-ERR no\r\n:-42\r\n$5\r\nhe\r\no\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n"
    "*3\r\n:1\r\n*2\r\n$1\r\na\r\n$-1\r\n+x\r\n";

std::vector<Reply> expected() {
  Reply const one{Kind::integer, {}, 1, {}};
  Reply const inner{Kind::list, {}, 0, {{Kind::text, "a", 0, {}}, {}}};
  return {{Kind::status, "OK", 0, {}},
          {Kind::error, "ERR no", 0, {}},
          {Kind::integer, {}, -42, {}},
          {Kind::text, "he\r\no", 0, {}},
          {Kind::text, {}, 0, {}},
          {},
          {},
          {Kind::list, {}, 0, {}},
          {Kind::list, {}, 0, {one, inner, {Kind::status, "x", 0, {}}}}};
}

TEST(ReplyParserTest, ReadsEveryKind) {
  ReplyParser parser;
  parser.feed(kOfEveryKind);
  EXPECT_EQ(all(parser), expected());
  EXPECT_EQ(expected()[1].error_word(), "ERR");
}

TEST(ReplyParserTest, ReadsTheSameWhereverItIsCut) {
  for (std::size_t cut = 0; cut <= kOfEveryKind.size(); ++cut) {
    ReplyParser parser;
    parser.feed(kOfEveryKind.substr(0, cut));
    auto replies = all(parser);
    parser.feed(kOfEveryKind.substr(cut));
    for (auto& reply : all(parser)) replies.push_back(std::move(reply));
    EXPECT_EQ(replies, expected()) << cut;
  }
}

TEST(ReplyParserTest, RefusesWhatIsNotRedis) {
  for (auto const* text : {"HTTP/1.1 200 OK\r\n", "\r\n", ":x\r\n", "$x\r\n", "$-2\r\n", "*-2\r\n",
                           "$1\r\nabc", "*1\r\n?\r\n", ":\r\n"}) {
    ReplyParser parser;
    parser.feed(text);
    auto const reply = parser.next();
    ASSERT_FALSE(reply) << text;
    EXPECT_EQ(reply.error().code, ErrorCode::invalid) << text;
    parser.feed("+OK\r\n");
    EXPECT_FALSE(parser.next()) << "it stays broken";
    parser.reset();
    parser.feed("+OK\r\n");
    EXPECT_TRUE(parser.next());
  }
}

TEST(ReplyParserTest, KeepsItsLimits) {
  ReplyLimits limits;
  limits.line_bytes_max = 10;
  limits.text_bytes_max = 10;
  limits.reply_bytes_max = 15;
  limits.reply_items_max = 5;
  limits.depth_max = 2;
  for (auto const* text :
       {"+12345678901\r\n", "+12345678901", "$11\r\n", "*6\r\n", "*1\r\n*1\r\n*1\r\n:1\r\n",
        "*2\r\n$8\r\n12345678\r\n$8\r\n12345678\r\n", "*3\r\n*2\r\n:1\r\n:1\r\n:1\r\n:1\r\n"}) {
    ReplyParser parser(limits);
    parser.feed(text);
    auto const reply = parser.next();
    ASSERT_FALSE(reply) << text;
    EXPECT_EQ(reply.error().code, ErrorCode::too_large) << text;
  }
  ReplyParser parser(limits);
  parser.feed("*2\r\n$5\r\n12345\r\n*2\r\n:1\r\n:2\r\n");
  EXPECT_TRUE(parser.next()) << "what is just within";
  // A line that is just within, and cut in the middle of its end.
  parser.feed("+123456789\r");
  auto const cut = parser.next();
  ASSERT_TRUE(cut);
  EXPECT_FALSE(*cut);
  parser.feed("\n");
  EXPECT_TRUE(parser.next());
}

TEST(ReplyParserTest, GivesItsMemoryBack) {
  ReplyParser parser;
  for (int i = 0; i < 100'000; ++i) {
    parser.feed("$10\r\n0123456789\r\n");
    auto const reply = parser.next();
    ASSERT_TRUE(reply && *reply);
  }
  EXPECT_EQ(all(parser).size(), 0U);
}

}  // namespace
}  // namespace subforge::redis
