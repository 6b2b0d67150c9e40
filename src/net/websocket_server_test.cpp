// WebSocket connections end to end over socket pairs: the life of a connection, from adopting it
// to the last byte.
#include "net/websocket_server.hpp"

#include <optional>
#include <string>

#include "net/websocket_fixture_test.hpp"

namespace subforge::net {
namespace {

class WebSocketServerTest : public WebSocketFixture {};

TEST_F(WebSocketServerTest, CarriesMessagesBothWays) {
  Seen seen;
  auto const client = connect(seen);
  client->send(WsOpcode::text, "hello");
  client->send(WsOpcode::binary, "\x01\x02");
  turn();
  EXPECT_EQ(seen.texts, std::vector<std::string>{"hello"});
  EXPECT_EQ(seen.binaries, std::vector<std::string>{"\x01\x02"});
  seen.connection->send_text("one");
  seen.connection->send_text("");
  seen.connection->send_text("three");
  turn();
  client->read();
  EXPECT_EQ(client->texts, (std::vector<std::string>{"one", "", "three"}));
  EXPECT_EQ(server_->count(), 1U);
}

TEST_F(WebSocketServerTest, WhatCameWithTheHandshakeIsNotLost) {
  Seen seen;
  std::string early;
  append_client_frame(early, {WsOpcode::text, "early", {9, 8, 7, 6}});
  append_client_frame(early, {WsOpcode::text, "bird", {9, 8, 7, 6}});
  auto const rest = early.substr(early.size() - 3);
  early.resize(early.size() - 3);
  auto const client = connect(seen, early);
  EXPECT_EQ(seen.texts, std::vector<std::string>{"early"});
  client->send_bytes(rest);
  turn();
  EXPECT_EQ(seen.texts, (std::vector<std::string>{"early", "bird"}));
}

TEST_F(WebSocketServerTest, FragmentsMayComeByteByByteWithAPingBetween) {
  Seen seen;
  auto const client = connect(seen);
  std::string bytes;
  append_client_frame(bytes, {WsOpcode::text, "Gr\xc3", {1, 2, 3, 4}, false});
  append_client_frame(bytes, {WsOpcode::ping, "still there?", {5, 6, 7, 8}});
  append_client_frame(bytes, {WsOpcode::continuation, "\xbc\xc3\x9f", {4, 3, 2, 1}, false});
  append_client_frame(bytes, {WsOpcode::continuation, "e", {0, 0, 0, 0}});
  for (char const byte : bytes) {
    EXPECT_TRUE(seen.texts.empty());
    client->send_bytes({&byte, 1});
    turn(0);
  }
  ASSERT_TRUE(eventually(*client, [&] { return !seen.texts.empty() && !client->pongs.empty(); }));
  EXPECT_EQ(seen.texts, std::vector<std::string>{"Gr\u00fc\u00dfe"});
  EXPECT_EQ(client->pongs, std::vector<std::string>{"still there?"});
}

TEST_F(WebSocketServerTest, FramesThatEndNoMessageAreTold) {
  Seen seen;
  auto const client = connect(seen);
  client->send(WsOpcode::ping, "");
  client->send(WsOpcode::pong, "");
  client->send(WsOpcode::pong, "unasked");
  client->send(WsOpcode::text, "a", false);
  for (int i = 0; i < 5; ++i) client->send(WsOpcode::continuation, "", false);
  turn();
  EXPECT_EQ(seen.other_frames, 9U);
  client->send(WsOpcode::continuation, "b");
  client->send(WsOpcode::text, "whole");
  turn();
  EXPECT_EQ(seen.texts, (std::vector<std::string>{"ab", "whole"}));
  EXPECT_EQ(seen.other_frames, 9U);
}

TEST_F(WebSocketServerTest, AClientsCloseIsAnsweredAndTheSocketEnds) {
  Seen seen;
  auto const client = connect(seen);
  client->send_close(1001);
  client->send(WsOpcode::text, "after the end");
  ASSERT_TRUE(eventually(*client, [&] { return client->ended; }));
  EXPECT_EQ(client->close_code, 1001);
  EXPECT_EQ(seen.closed, 1);
  EXPECT_TRUE(seen.texts.empty());
  EXPECT_EQ(server_->count(), 0U);
}

TEST_F(WebSocketServerTest, AServersCloseWaitsForTheAnswer) {
  Seen seen;
  auto const client = connect(seen);
  seen.connection->send_text("last words");
  seen.connection->close(4000, "enough");
  EXPECT_EQ(seen.closed, 1);
  EXPECT_FALSE(seen.connection->open());
  seen.connection->send_text("after the end");
  seen.connection->close(4001, "again");
  turn();
  client->read();
  EXPECT_EQ(client->texts, std::vector<std::string>{"last words"});
  EXPECT_EQ(client->close_code, 4000);
  EXPECT_EQ(client->close_reason, "enough");
  EXPECT_FALSE(client->ended);
  client->send(WsOpcode::text, "too late");
  client->send_close(4000);
  ASSERT_TRUE(eventually(*client, [&] { return client->ended; }));
  EXPECT_TRUE(seen.texts.empty());
  EXPECT_EQ(seen.closed, 1);
  EXPECT_EQ(server_->count(), 0U);
}

TEST_F(WebSocketServerTest, AClientThatNeverAnswersACloseIsLeft) {
  serve({.close_timeout_ms = 200});
  Seen seen;
  auto const client = connect(seen);
  seen.connection->close(4000, "enough");
  ASSERT_TRUE(eventually(*client, [&] { return client->ended; }));
  EXPECT_EQ(client->close_code, 4000);
  EXPECT_EQ(seen.closed, 1);
}

TEST_F(WebSocketServerTest, AVanishedClientIsNoticed) {
  Seen seen;
  auto client = connect(seen);
  client.reset();
  turn();
  EXPECT_EQ(seen.closed, 1);
  EXPECT_EQ(server_->count(), 0U);
}

TEST_F(WebSocketServerTest, BrokenInputIsToldAndEnds) {
  struct Row {
    std::string bytes;
    std::uint16_t code;
  };
  std::string invalid_text;
  append_client_frame(invalid_text, {WsOpcode::text, "\xff", {1, 2, 3, 4}});
  std::string too_big;
  append_client_frame(too_big, {WsOpcode::text, std::string(1001, 'x'), {1, 2, 3, 4}});
  serve({.message_bytes_max = 1000});
  for (auto const& row : {Row{std::string("\x81\x01x", 3), kWsProtocolError},  // Not masked.
                          Row{std::string("\xf1\x80", 2), kWsProtocolError},   // Reserved bits.
                          Row{invalid_text, kWsInvalidText}, Row{too_big, kWsTooBig}}) {
    Seen seen;
    auto const client = connect(seen);
    client->send_bytes(row.bytes);
    ASSERT_TRUE(eventually(*client, [&] { return client->ended; }));
    EXPECT_EQ(client->close_code, row.code);
    EXPECT_FALSE(client->close_reason.empty());
    EXPECT_EQ(seen.closed, 1);
    EXPECT_TRUE(seen.texts.empty());
  }
}

TEST_F(WebSocketServerTest, ASilentClientIsAskedAndThenLeft) {
  serve({.ping_interval_ms = 20, .ping_timeout_ms = 20});
  Seen seen;
  auto const client = connect(seen);
  ASSERT_TRUE(eventually(*client, [&] { return client->ended; }));
  EXPECT_EQ(client->pings, 1);
  EXPECT_EQ(client->close_code, std::nullopt);
  EXPECT_EQ(seen.closed, 1);
}

TEST_F(WebSocketServerTest, AnAnsweringClientIsKept) {
  serve({.ping_interval_ms = 10, .ping_timeout_ms = 60'000});
  Seen seen;
  auto const client = connect(seen);
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(eventually(*client, [&] { return client->pings == i; }));
    client->send(WsOpcode::pong, "");
  }
  EXPECT_FALSE(client->ended);
  EXPECT_EQ(seen.closed, 0);
}

TEST_F(WebSocketServerTest, OneFrameServesMany) {
  std::vector<Seen> seen(3);
  std::vector<std::unique_ptr<Client>> clients;
  for (auto& one : seen) clients.push_back(connect(one));
  for (auto const* text : {"first", "second"}) {
    auto const frame = server_->frame(text);
    for (auto const& one : seen) one.connection->enqueue(frame);
  }
  seen[1].connection->send_text("between");
  auto const frame = server_->frame("third");
  for (auto const& one : seen) one.connection->enqueue(frame);
  turn();
  for (auto const& client : clients) client->read();
  EXPECT_EQ(clients[0]->texts, (std::vector<std::string>{"first", "second", "third"}));
  EXPECT_EQ(clients[1]->texts, (std::vector<std::string>{"first", "second", "between", "third"}));
  EXPECT_EQ(clients[2]->texts, clients[0]->texts);
  EXPECT_EQ(seen[1].connection->queued_bytes(), 0U);
}

TEST_F(WebSocketServerTest, WhatMayWaitLeavesWhenTheWindowCloses) {
  serve({.window_ms = 60});
  std::vector<Seen> seen(2);
  std::vector<std::unique_ptr<Client>> clients;
  for (auto& one : seen) clients.push_back(connect(one));
  auto const begin_ns = monotonic_ns();
  for (auto const* text : {"first", "second"}) {
    auto const frame = server_->frame(text);
    for (auto const& one : seen) one.connection->enqueue(frame, Send::within_window);
    one_turn();
  }
  for (auto const& client : clients) client->read();
  if (monotonic_ns() - begin_ns < 60'000'000) EXPECT_TRUE(clients[0]->texts.empty());
  EXPECT_EQ(server_->chunks(), 1U) << "one chunk as long as the window is open";
  std::vector<std::string> const both{"first", "second"};
  for (auto const& client : clients) {
    EXPECT_TRUE(eventually(*client, [&] { return client->texts == both; }));
  }
  EXPECT_GE(monotonic_ns() - begin_ns, 60'000'000);
  EXPECT_EQ(seen[0].connection->queued_bytes(), 0U);
}

TEST_F(WebSocketServerTest, WhatMayNotWaitTakesAlongWhatMay) {
  serve({.window_ms = 3'600'000});
  Seen seen;
  auto const client = connect(seen);
  seen.connection->enqueue(server_->frame("first"), Send::within_window);
  one_turn();
  seen.connection->send_text("second");
  seen.connection->enqueue(server_->frame("third"), Send::within_window);
  one_turn();
  client->read();
  EXPECT_EQ(client->texts, (std::vector<std::string>{"first", "second", "third"}));
}

TEST_F(WebSocketServerTest, WhoLeavesWhileTheWindowIsOpenIsNotWrittenTo) {
  serve({.window_ms = 20});
  Seen leaving;
  Seen staying;
  auto gone = connect(leaving);
  auto const client = connect(staying);
  auto const frame = server_->frame("text");
  leaving.connection->enqueue(frame, Send::within_window);
  staying.connection->enqueue(frame, Send::within_window);
  gone.reset();
  EXPECT_TRUE(eventually(*client, [&] { return !client->texts.empty(); }));
  EXPECT_EQ(leaving.closed, 1);
  EXPECT_EQ(server_->count(), 1U);
}

TEST_F(WebSocketServerTest, WithoutAWindowNothingWaits) {
  serve({.window_ms = 0});
  Seen seen;
  auto const client = connect(seen);
  seen.connection->enqueue(server_->frame("text"), Send::within_window);
  one_turn();
  client->read();
  EXPECT_EQ(client->texts.size(), 1U);
}

TEST_F(WebSocketServerTest, ALongBurstIsReadInOneTurn) {
  Seen seen;
  auto const client = connect(seen);
  std::string const text(1000, 'x');
  for (int i = 0; i < 80; ++i) client->send(WsOpcode::text, text);
  one_turn();
  EXPECT_EQ(seen.texts.size(), 80U);
}

TEST_F(WebSocketServerTest, PartsOfAQueueLeaveInOrderWhateverTheirSizes) {
  std::vector<Seen> seen(2);
  std::vector<std::unique_ptr<Client>> clients;
  for (auto& one : seen) clients.push_back(connect(one));
  std::vector<std::string> expected;
  for (std::size_t i = 0; i < 120; ++i) {
    // Between any two of the first one's lies one of the second one's.
    expected.emplace_back(i % 7 == 0 ? 6'000 : 10 * i, static_cast<char>('a' + i % 26));
    seen[0].connection->send_text(expected.back());
    seen[1].connection->send_text("other");
  }
  turn();
  EXPECT_TRUE(eventually(*clients[0], [&] { return clients[0]->texts.size() == 120; }));
  EXPECT_EQ(clients[0]->texts, expected);
  EXPECT_TRUE(eventually(*clients[1], [&] { return clients[1]->texts.size() == 120; }));
}

TEST_F(WebSocketServerTest, WhoAgreedToCompressedMessagesGetsThem) {
  Seen plain_seen;
  Seen packed_seen;
  Seen narrow_seen;
  auto const plain = connect(plain_seen);
  auto const packed = connect(packed_seen, {}, WsDeflateTerms{});
  auto const narrow = connect(narrow_seen, {}, WsDeflateTerms{.server_window_bits = 10});
  std::string const at_threshold(kWsDeflateFromBytes, 'x');
  std::string const below = at_threshold.substr(1);
  std::string const window(1024, 'y');
  std::string const beyond(1025, 'z');
  struct Row {
    std::string text;
    bool packed;
    bool narrow;
  };
  for (auto const& row : {Row{below, false, false}, Row{at_threshold, true, true},
                          Row{window, true, true}, Row{beyond, true, false}}) {
    auto const received = [](Client& client) {
      auto const before = client.received_bytes;
      client.read();
      return client.received_bytes - before;
    };
    auto const frame = server_->frame(row.text);
    for (auto* const seen : {&plain_seen, &packed_seen, &narrow_seen}) {
      seen->connection->enqueue(frame);
    }
    turn();
    auto const whole = 4 + row.text.size();
    EXPECT_EQ(received(*plain), whole);
    EXPECT_EQ(received(*packed) < whole / 2, row.packed) << row.text;
    EXPECT_EQ(received(*narrow) < whole / 2, row.narrow) << row.text;
    for (auto const* client : {plain.get(), packed.get(), narrow.get()}) {
      EXPECT_FALSE(client->broken);
      EXPECT_EQ(client->texts.back(), row.text);
    }
  }
}

TEST_F(WebSocketServerTest, SeveralFramesServeManyWhetherTheyLieSideBySideOrNot) {
  Seen plain_seen;
  Seen packed_seen;
  auto const plain = connect(plain_seen);
  auto const packed = connect(packed_seen, {}, WsDeflateTerms{});
  std::vector<std::string> const texts{"first", std::string(2000, 'x'), "third",
                                       std::string(300'000, 'y'), "fifth"};
  WebSocketFrames frames;
  EXPECT_TRUE(frames.empty());
  for (auto const& text : texts) {
    frames.add(server_->frame(text));
    if (text == "third") (void)server_->frame("another's, between them");
  }
  EXPECT_EQ(frames.size(), 5U);
  for (auto const* seen : {&plain_seen, &packed_seen}) seen->connection->enqueue(frames);
  plain_seen.connection->enqueue(frames[0]);
  ASSERT_TRUE(eventually(*plain, [&] { return plain->texts.size() == 6; }));
  ASSERT_TRUE(eventually(*packed, [&] { return packed->texts.size() == 5; }));
  EXPECT_EQ(packed->texts, texts);
  EXPECT_LT(packed->received_bytes, 5000U);
  EXPECT_EQ(plain->texts.back(), "first");
  plain->texts.pop_back();
  EXPECT_EQ(plain->texts, texts);
}

TEST_F(WebSocketServerTest, AnAnswerToOneIsDeflatedWhenItIsLong) {
  Seen seen;
  auto const client = connect(seen, {}, WsDeflateTerms{});
  std::string const text(kWsDeflateForOneFromBytes, 'x');
  seen.connection->send_text(text.substr(1));
  turn();
  client->read();
  EXPECT_EQ(client->received_bytes, 4 + text.size() - 1);
  seen.connection->send_text(text);
  turn();
  client->read();
  EXPECT_LT(client->received_bytes, 4 + text.size() + 100);
  EXPECT_EQ(client->texts, (std::vector<std::string>{text.substr(1), text}));
}

TEST_F(WebSocketServerTest, CompressedMessagesAreUnderstood) {
  serve({.message_bytes_max = 2000});
  Seen seen;
  auto const client = connect(seen, {}, WsDeflateTerms{});
  WsDeflater deflater;
  auto const send = [&](std::string const& text) {
    std::string bytes;
    append_client_frame(bytes, {.opcode = WsOpcode::text,
                                .payload = deflater.deflate(text).value(),
                                .mask_key = {1, 2, 3, 4},
                                .coding = WsCoding::deflated});
    client->send_bytes(bytes);
  };
  send(std::string(2000, 'x'));
  ASSERT_TRUE(eventually(*client, [&] { return !seen.texts.empty(); }));
  EXPECT_EQ(seen.texts.front(), std::string(2000, 'x'));
  send(std::string(10'000'000, 'x'));
  ASSERT_TRUE(eventually(*client, [&] { return client->ended; }));
  EXPECT_EQ(client->close_code, kWsTooBig);
}

TEST_F(WebSocketServerTest, AFrameOutlivesItsChunkWithinTheTurn) {
  Seen seen;
  auto const client = connect(seen, {}, WsDeflateTerms{});
  auto const first = server_->frame("first" + std::string(1000, 'x'));
  // Fills chunks before the first frame is queued anywhere.
  for (int i = 0; i < 100; ++i) (void)server_->frame(std::string(10'000, 'y'));
  seen.connection->enqueue(first);
  seen.connection->send_text("last");
  turn();
  client->read();
  EXPECT_EQ(client->texts, (std::vector<std::string>{"first" + std::string(1000, 'x'), "last"}));
}

TEST_F(WebSocketServerTest, ShutdownSaysGoodbyeToAll) {
  std::vector<Seen> seen(3);
  std::vector<std::unique_ptr<Client>> clients;
  for (auto& one : seen) clients.push_back(connect(one));
  clients[0]->send_close(1000);
  turn();
  server_->begin_shutdown();
  turn();
  for (auto const i : {1U, 2U}) {
    clients[i]->read();
    EXPECT_EQ(clients[i]->close_code, kWsServiceRestart);
    EXPECT_EQ(clients[i]->close_reason, "server is restarting");
    clients[i]->send_close(kWsServiceRestart);
  }
  turn();
  for (auto const& one : seen) EXPECT_EQ(one.closed, 1);
  EXPECT_EQ(server_->count(), 0U);
}

TEST_F(WebSocketServerTest, ItsEndIsToldToWhoIsStillConnected) {
  Seen seen;
  auto const client = connect(seen);
  server_.reset();
  EXPECT_EQ(seen.closed, 1);
  client->read();
  EXPECT_TRUE(client->ended);
}

// More than leave in one system call, and some that cannot take what they are sent.
class ManyAtOnce : public WebSocketServerTest, public testing::WithParamInterface<bool> {};

TEST_P(ManyAtOnce, AreSentToWhateverBecomesOfOthers) {
  serve({.io_uring = GetParam()});
  constexpr std::size_t kMany = 2 * SocketBatch::kOpsMax + 5;
  std::vector<Seen> seen(kMany);
  std::vector<std::unique_ptr<Client>> clients;
  clients.reserve(kMany);
  for (auto& each : seen) clients.push_back(connect(each));
  std::size_t const stuck = 3, gone = 7, told_more = 11, closed = 13;
  std::string const block(300'000, 'x');
  for (int i = 0; i < 3; ++i) seen[stuck].connection->send_text(block);
  turn();
  EXPECT_GT(seen[stuck].connection->queued_bytes(), 0U);
  clients[gone] = nullptr;
  seen[closed].connection->close(4000, "enough");

  auto const first = server_->frame("first");
  for (auto& each : seen) {
    if (each.closed == 0) each.connection->enqueue(first);
  }
  // What lies between their two messages makes the others' queues two parts.
  seen[told_more].connection->send_text("for one");
  auto const second = server_->frame("second");
  for (auto& each : seen) {
    if (each.closed == 0) each.connection->enqueue(second);
  }
  turn();
  for (std::size_t i = 0; i < kMany; ++i) {
    if (clients[i] == nullptr) continue;
    clients[i]->read();
    if (i == closed) {
      EXPECT_EQ(clients[i]->close_code, 4000);
      EXPECT_TRUE(clients[i]->texts.empty());
    } else if (i == told_more) {
      EXPECT_EQ(clients[i]->texts, (std::vector<std::string>{"first", "for one", "second"}));
    } else if (i != stuck) {
      EXPECT_EQ(clients[i]->texts, (std::vector<std::string>{"first", "second"})) << i;
    }
  }
  EXPECT_EQ(seen[gone].closed, 1);
  EXPECT_TRUE(eventually(*clients[stuck], [&] { return clients[stuck]->texts.size() == 5; }));
  EXPECT_EQ(clients[stuck]->texts.back(), "second");
  EXPECT_FALSE(clients[stuck]->broken);
}

INSTANTIATE_TEST_SUITE_P(Ways, ManyAtOnce, testing::Bool(),
                         [](auto const& way) { return way.param ? "ring" : "one_by_one"; });

}  // namespace
}  // namespace subforge::net
