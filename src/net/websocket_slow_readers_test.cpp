// Who reads too slowly, or not at all: what is held for it, and what it is told.
#include <algorithm>
#include <string>

#include "net/websocket_fixture_test.hpp"

namespace subforge::net {
namespace {

class SlowReaders : public WebSocketFixture {};

TEST_F(SlowReaders, ASlowReaderIsClosedAtTheEndOfTheTurn) {
  serve({.queue_bytes_max = 64U << 10});
  Seen seen;
  auto const client = connect(seen);
  std::string const text(10'000, 'x');
  std::size_t most_queued = 0;
  for (int i = 0; i < 200; ++i) {  // Beyond what the kernel takes and the queue.
    seen.connection->send_text(text);
    EXPECT_EQ(seen.closed, 0) << "who sends may be walking a list of connections";
    most_queued = std::max(most_queued, seen.connection->queued_bytes());
  }
  EXPECT_GE(most_queued, 64U << 10);
  EXPECT_LT(most_queued, (64U << 10) + 10'004) << "as much as the queue holds, and one message";
  turn();
  EXPECT_EQ(seen.closed, 1);
  ASSERT_TRUE(eventually(*client, [&] { return client->close_code.has_value(); }));
  EXPECT_EQ(client->close_code, kWsSlowReader);
  EXPECT_NE(client->close_reason.find("reading too slowly"), std::string::npos);
  EXPECT_GT(client->texts.size(), 6U);
  EXPECT_LT(client->texts.size(), 200U);
  EXPECT_FALSE(client->broken);
}

TEST_F(SlowReaders, AMessageLongerThanTheQueueComesToWhoReads) {
  serve({.queue_bytes_max = 64U << 10});
  Seen seen;
  auto const client = connect(seen);
  std::string const text(300'000, 'x');
  for (std::size_t i = 0; i < 3; ++i) {
    seen.connection->send_text("before");
    seen.connection->send_text(text);
    ASSERT_TRUE(eventually(*client, [&] { return client->texts.size() == 2 * (i + 1); }));
    EXPECT_EQ(client->texts.back(), text);
  }
  for (int i = 0; i < 10; ++i) seen.connection->send_text(text.substr(0, 10'000));
  ASSERT_TRUE(eventually(*client, [&] { return client->texts.size() == 16; }))
      << "what one turn had was more than the queue, but not more than the kernel took";
  EXPECT_EQ(seen.closed, 0);
  // It is one that may be too much, not another behind it.
  seen.connection->send_text(text);
  seen.connection->send_text("behind");
  turn();
  EXPECT_EQ(seen.closed, 1);
}

TEST_F(SlowReaders, WhatASlowReaderStillGetsIsWholeFramesAndTheReason) {
  serve({.queue_bytes_max = 300'000, .close_timeout_ms = 60'000});
  Seen slow_seen;
  Seen fast_seen;
  auto const slow = connect(slow_seen);
  auto const fast = connect(fast_seen);
  int sent = 0;
  // Beyond what the kernel takes and several shared chunks; the fast one reads all the time.
  while (slow_seen.closed == 0 && sent < 1000) {
    auto const frame = server_->frame(std::to_string(sent++) + std::string(20'000, 'x'));
    slow_seen.connection->enqueue(frame);
    fast_seen.connection->enqueue(frame);
    turn();
    fast->read();
  }
  ASSERT_EQ(slow_seen.closed, 1);
  ASSERT_TRUE(eventually(*slow, [&] { return slow->close_code.has_value(); }));
  EXPECT_EQ(slow->close_code, kWsSlowReader);
  EXPECT_FALSE(slow->broken);
  EXPECT_LT(slow->texts.size(), static_cast<std::size_t>(sent));
  for (std::size_t i = 0; i < slow->texts.size(); ++i) {
    EXPECT_TRUE(slow->texts[i].starts_with(std::to_string(i) + "x")) << i;
  }
  EXPECT_EQ(fast->texts.size(), static_cast<std::size_t>(sent));
  EXPECT_EQ(fast_seen.closed, 0);
}

// Also if it reads again only after the time in which others have to answer a close frame.
TEST_F(SlowReaders, ASlowReaderHearsTheReasonWhenItReadsAgain) {
  serve({.queue_bytes_max = 300'000, .ping_timeout_ms = 5'000, .close_timeout_ms = 100});
  Seen slow_seen;
  Seen gone_seen;
  auto const slow = connect(slow_seen);
  auto const gone = connect(gone_seen);
  for (int sent = 0; slow_seen.closed + gone_seen.closed < 2 && sent < 1000; ++sent) {
    auto const frame = server_->frame(std::string(20'000, 'x'));
    for (auto* const seen : {&slow_seen, &gone_seen}) {
      if (seen->closed == 0) seen->connection->enqueue(frame);
    }
    turn();
  }
  ASSERT_EQ(slow_seen.closed + gone_seen.closed, 2);
  auto const begin_ns = monotonic_ns();
  while (monotonic_ns() < begin_ns + 400'000'000) turn();
  EXPECT_EQ(server_->count(), 2U);
  ASSERT_TRUE(eventually(*slow, [&] { return slow->close_code.has_value(); }));
  EXPECT_EQ(slow->close_code, kWsSlowReader);
  EXPECT_FALSE(slow->broken);
  // It does not answer; and at the end nobody waits for one that does not read.
  while (server_->count() > 1 && monotonic_ns() < begin_ns + 4'000'000'000) turn();
  EXPECT_EQ(server_->count(), 1U);
  server_->begin_shutdown();
  while (server_->count() > 0 && monotonic_ns() < begin_ns + 4'000'000'000) turn();
  EXPECT_EQ(server_->count(), 0U);
}

// What others are sent in the same turns is not held for it.
TEST_F(SlowReaders, ASlowReaderHoldsNoMoreThanItsQueue) {
  Seen slow_seen;
  Seen fast_seen;
  auto const slow = connect(slow_seen);
  auto const fast = connect(fast_seen);
  std::size_t sent = 0;
  auto const tell_slow = [&](std::size_t bytes) {
    slow_seen.connection->send_text(std::to_string(sent++) + std::string(bytes, 'x'));
  };
  while (slow_seen.connection->queued_bytes() == 0) {
    tell_slow(20'000);
    turn(0);
  }
  constexpr std::size_t kTurns = 40;
  for (std::size_t i = 0; i < kTurns; ++i) {
    tell_slow(100);
    fast_seen.connection->send_text(std::string(100'000, 'y'));
    tell_slow(1'000);
    turn(0);
    fast->read();
  }
  EXPECT_EQ(fast->texts.size(), kTurns);
  EXPECT_LT(slow_seen.connection->queued_bytes(), 100'000U);
  EXPECT_LT(server_->chunks(), 10U);
  ASSERT_TRUE(eventually(*slow, [&] { return slow->texts.size() == sent; }));
  for (std::size_t i = 0; i < sent; ++i) {
    EXPECT_TRUE(slow->texts[i].starts_with(std::to_string(i) + "x")) << i;
  }
  EXPECT_EQ(slow_seen.closed, 0);
  EXPECT_LE(server_->chunks(), 1U);
}

TEST_F(SlowReaders, AFloodOfPingsDoesNotFillTheQueue) {
  serve({.queue_bytes_max = 64U << 10});
  Seen seen;
  auto const client = connect(seen);
  std::string ping;
  append_client_frame(ping, {WsOpcode::ping, std::string(125, 'p'), {1, 2, 3, 4}});
  std::string burst;
  for (int i = 0; i < 400; ++i) burst += ping;
  for (int i = 0; i < 20; ++i) {
    client->send_bytes(burst);
    turn();
    EXPECT_LE(seen.connection->queued_bytes(), 64U << 10);
  }
  EXPECT_EQ(seen.closed, 0);
}

}  // namespace
}  // namespace subforge::net
