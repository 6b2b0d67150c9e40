// From the event log to the sockets of both protocols.
#include "realtime/hub.hpp"

#include <chrono>
#include <thread>

#include "realtime/hub_fixture_test.hpp"

namespace subforge::realtime {
namespace {

TEST_F(HubTest, EverybodyHearsEveryEventInOrder) {
  auto& first = connect(Protocol::v1, identity("a"), 0);
  auto& second = connect(Protocol::v2, identity("b"), 0);
  auto& third = connect(Protocol::v2, identity("c"), 1);
  std::string expected;
  for (int i = 0; i < 40; ++i) {
    publish(i, Audience::everybody({"topic"}));
    expected += (i == 0 ? "" : " ") + std::to_string(i);
    if (i % 7 == 0) turn();
  }
  ASSERT_TRUE(eventually([&] {
    return first.of("test").size() == 40 && second.of("test").size() == 40 &&
           third.of("test").size() == 40;
  }));
  for (auto const* client : {&first, &second, &third}) EXPECT_EQ(client->heard(), expected);
  auto const id = second.of("test").back().at("event_id");
  EXPECT_EQ(id.as_string(), store_.store().event_id_text(store_.store().last_event_id()));
  EXPECT_EQ(first.of("test").back().at("event_id"), id);
  EXPECT_EQ(first.of("test").back().at("broadcast_id").as_int64(), store_.store().last_event_id());
  EXPECT_TRUE(third.of("test").back().at("room").is_null());
  EXPECT_EQ(second.of("test").back().at("message_id"), third.of("test").back().at("message_id"));
}

TEST_F(HubTest, RoomsReachTheirMembersOnce) {
  auto& member = v2("member", 0);
  auto& both = v2("both", 1);
  auto& outside = v2("outside", 0);
  auto& old = connect(Protocol::v1, identity("old"));
  join(member, "one");
  join(both, "one");
  join(both, "two");
  publish(1, Audience{Audience::To::rooms, {"one", "two", "empty"}, {}});
  publish(2, Audience::room("two"));
  settle();
  EXPECT_EQ(member.heard(), "1");
  EXPECT_EQ(both.heard(), "1 2") << "in two of its rooms, told once";
  EXPECT_EQ(both.of("test")[0].at("room"), "one");
  EXPECT_EQ(both.of("test")[1].at("room"), "two");
  EXPECT_EQ(outside.heard(), "");
  EXPECT_EQ(old.heard(), "");
}

TEST_F(HubTest, WhatIsToldTogetherComesInTheLogsOrder) {
  auto& first = v2("first", 0);
  auto& second = v2("second", 0);
  auto& both = v2("both", 0);
  auto& elsewhere = v2("both", 1);
  auto& all = v2("all", 0);
  join(first, "one");
  join(second, "two");
  for (auto* const client : {&both, &elsewhere, &all}) {
    join(*client, "two");
    join(*client, "one");
  }
  join(all, "three");
  // Of one commit: more of a room than fits into one piece of memory, rooms that take turns, news
  // for others between them, and an event of several rooms.
  std::vector<std::pair<int, Audience>> events;
  for (int i = 0; i < 30; ++i) events.emplace_back(i, Audience::room(i % 2 == 0 ? "one" : "two"));
  events.emplace_back(30, Audience::everybody({}));
  events.emplace_back(31, Audience::room("three"));
  events.emplace_back(32, Audience::room("two"));
  events.emplace_back(33, Audience{Audience::To::rooms, {"one", "two", "three"}, {}});
  for (int i = 34; i < 40; ++i) events.emplace_back(i, Audience::room("one"));
  events.emplace_back(40, Audience::room("nobody's"));
  publish_all(events, 20'000);
  settle();
  auto const numbers = [&](auto const& is_heard) {
    std::string text;
    for (auto const& [number, audience] : events) {
      auto const& rooms = audience.rooms;
      bool heard = audience.to == Audience::To::all;
      for (auto const& room : rooms) heard = heard || is_heard(room);
      if (heard) text += (text.empty() ? "" : " ") + std::to_string(number);
    }
    return text;
  };
  auto const hears = [&](Client const& client, auto const& is_heard) {
    auto const expected = numbers(is_heard);
    EXPECT_TRUE(eventually([&] { return client.heard().size() >= expected.size(); }));
    EXPECT_EQ(client.heard(), expected);
  };
  hears(first, [](auto& room) { return room == "one"; });
  hears(second, [](auto& room) { return room == "two"; });
  for (auto const* client : {&both, &elsewhere}) {
    hears(*client, [](auto& room) { return room == "one" || room == "two"; });
  }
  hears(all, [](auto& room) { return room != "nobody's"; });
  for (auto const& message : both.of("test")) {
    auto const number = message.at("data").at("n").as_int64();
    if (number < 30) EXPECT_EQ(message.at("room"), number % 2 == 0 ? "one" : "two");
  }
  // Each message counts, however it came.
  std::vector<ConnectionInfo> connections;
  loop_hubs_[0]->list_connections(connections);
  ASSERT_EQ(connections.front().user, "first");
  EXPECT_GE(connections.front().shown, static_cast<std::int64_t>(first.all.size()));
}

TEST_F(HubTest, WhoHeardAnEventThroughARoomIsTooLateToComeBack) {
  auto& member = v2("member");
  join(member, "one");
  join(member, "two");
  publish(1, Audience{Audience::To::rooms, {"one", "two"}, {}});
  ASSERT_TRUE(eventually([&] { return member.heard() == "1"; }));
  member.send({{"type", "recover"}, {"last_event_id", store_.store().event_id_text(0)}});
  ASSERT_TRUE(eventually([&] { return !member.of("error").empty(); }));
  EXPECT_EQ(member.of("error")[0].at("data").at("code"), "too_late");
  EXPECT_EQ(member.heard(), "1");
}

TEST_F(HubTest, MessagesSentInOnePieceComeBackToTheirSenderOnlyIfItAsked) {
  auto& alice = v2("alice");
  auto& bob = v2("bob");
  for (auto* const client : {&alice, &bob}) join(*client, "one");
  auto const numbers = [](Client const& client) {
    std::string text;
    for (auto const& message : client.of("room_message")) {
      auto const* number = message.at("data").get_object().if_contains("n");
      if (number != nullptr) text += std::to_string(number->as_int64()) + " ";
    }
    return text;
  };
  for (int i = 0; i < 6; ++i) {
    (i % 3 == 2 ? bob : alice)
        .send({{"type", "room_message"}, {"room", "one"}, {"data", {{"n", i}}}, {"echo", i == 4}});
  }
  ASSERT_TRUE(eventually([&] { return numbers(bob).size() == 8 && numbers(alice).size() == 6; }));
  settle();
  EXPECT_EQ(numbers(bob), "0 1 3 4 ");
  EXPECT_NE(numbers(alice).find('4'), std::string::npos);
  EXPECT_LT(numbers(alice).find('2'), numbers(alice).find('5'));
}

TEST_F(HubTest, InARoomThatWasToldMuchJustNowAMessageMayWaitForMore) {
  start({}, {.window_ms = 3'600'000});
  auto& member = v2("member");
  join(member, "one");
  join(member, "two");
  publish(1, Audience::room("one"));
  ASSERT_TRUE(eventually([&] { return member.heard() == "1"; })) << "it was silent before";
  publish(2, Audience::room("one"));
  ASSERT_TRUE(eventually([&] { return member.heard() == "1 2"; })) << "one is not many";
  publish(3, Audience::room("one"));
  settle();
  EXPECT_EQ(member.heard(), "1 2");
  publish(4, Audience::room("two"));
  ASSERT_TRUE(eventually([&] { return member.heard() == "1 2 3 4"; }))
      << "nothing overtakes what waits";
  publish(5, Audience::everybody({}));
  ASSERT_TRUE(eventually([&] { return member.heard() == "1 2 3 4 5"; }));
}

TEST_F(HubTest, WhoLeftARoomHearsNoMore) {
  auto& member = v2("member");
  join(member, "one");
  member.send({{"type", "leave_room"}, {"room", "one"}});
  ASSERT_TRUE(eventually([&] { return !member.of("leave_room").empty(); }));
  publish(1, Audience::room("one"));
  settle();
  EXPECT_EQ(member.heard(), "");
  EXPECT_EQ(hub_->rooms().room_count(), 0U);
}

TEST_F(HubTest, ChangesOfFilesComeToEverybodyOrThroughTheirRoom) {
  auto& all = v2("all");
  auto& member = connect(Protocol::v2, identity("member"), 0, true);
  auto& outside = connect(Protocol::v2, identity("outside"), 0, true);
  auto& first_version = connect(Protocol::v1, identity("v1"));
  join(member, kFilesRoom);
  constexpr std::string_view kPayload =
      R"({"event":"file_modified","file_path":"a/b.md","absolute_path":"/w/a/b.md",)"
      R"("file_name":"b.md","file_category":"agent","file_size":12})";
  auto append = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    store::Event event;
    event.kind = kFileChanged;
    event.audience = Audience::everybody({std::string(kFilesRoom)});
    event.payload = kPayload;
    co_return co_await transaction.publish(std::move(event));
  };
  ASSERT_TRUE(store_.run(store_.store().write(append)));
  settle();
  ASSERT_EQ(all.of("file_change").size(), 1U);
  EXPECT_EQ(all.of("file_change")[0].at("data"),
            json::parse(R"({"event":"file_modified","file_path":"a/b.md","file_name":"b.md",)"
                        R"("file_category":"agent","file_size":12})"));
  ASSERT_EQ(first_version.of("file_system_event").size(), 1U);
  auto const shown = first_version.of("file_system_event")[0];
  EXPECT_EQ(shown.at("event_type"), "file_modified");
  EXPECT_EQ(shown.at("data"),
            json::parse(R"({"file_path":"a/b.md","absolute_path":"/w/a/b.md",)"
                        R"("file_name":"b.md","file_category":"agent","file_size":12})"));
  ASSERT_EQ(member.of("file_change").size(), 1U);
  EXPECT_EQ(member.of("file_change")[0].at("room"), "files");
  EXPECT_TRUE(outside.of("file_change").empty());
}

TEST_F(HubTest, AUsersEventsReachAllConnectionsOfTheirs) {
  auto& here = v2("alice", 0);
  auto& there = v2("alice", 1);
  auto& other = v2("bob", 0);
  publish(1, Audience{Audience::To::user, {}, "alice"});
  publish(2, Audience::nobody());
  settle();
  EXPECT_EQ(here.heard(), "1");
  EXPECT_EQ(there.heard(), "1");
  EXPECT_EQ(other.heard(), "");
}

TEST_F(HubTest, WhoAskedForRoomsOnlyHearsTopicsThroughThem) {
  auto& picky = connect(Protocol::v2, identity("picky"), 0, true);
  auto& usual = v2("usual", 0);
  publish(1, Audience::everybody({"agents", "agent:1"}));
  settle();
  EXPECT_EQ(picky.heard(), "");
  join(picky, "agent:1");
  join(usual, "agent:1");
  publish(2, Audience::everybody({"agents", "agent:1"}));
  publish(3, Audience::everybody({"agents", "agent:2"}));
  settle();
  EXPECT_EQ(picky.heard(), "2");
  EXPECT_EQ(picky.of("test")[0].at("room"), "agent:1");
  EXPECT_EQ(usual.heard(), "1 2 3") << "not twice for being in the room as well";
  EXPECT_TRUE(usual.of("test")[1].at("room").is_null());
}

TEST_F(HubTest, NothingIsSeenBeforeAuthentication) {
  auto& first = connect(Protocol::v1, std::nullopt);
  auto& second = connect(Protocol::v2, std::nullopt, 1);
  publish(1, Audience::everybody({}));
  settle();
  for (auto* const client : {&first, &second}) {
    EXPECT_EQ(client->heard(), "");
    client->send({{"type", "auth_request"}, {"data", {{"token", "bad"}}}});
    ASSERT_TRUE(eventually([&] { return !client->of("auth_error").empty(); }));
    client->send({{"type", "auth_request"}, {"data", {{"token", "good:alice"}}}});
    ASSERT_TRUE(eventually([&] { return !client->of("auth_success").empty(); }));
    EXPECT_EQ(client->of("auth_success")[0].at("data").at("user_id"), "alice");
  }
  publish(2, Audience::everybody({}));
  settle();
  EXPECT_EQ(first.heard(), "2");
  EXPECT_EQ(second.heard(), "2");
}

TEST_F(HubTest, WhoNeverAuthenticatesIsClosed) {
  HubLimits limits;
  limits.auth_timeout_ms = 20;
  start(limits);
  auto& stranger = connect(Protocol::v2, std::nullopt);
  auto& known = v2("known");
  ASSERT_TRUE(eventually([&] { return stranger.close_code.has_value(); }));
  EXPECT_EQ(stranger.close_code, 4401);
  EXPECT_EQ(known.close_code, std::nullopt);
}

TEST_F(HubTest, AMessageToARoomComesBackOnlyAsAnAcknowledgement) {
  auto& sender = v2("alice", 0);
  auto& other = v2("bob", 1);
  join(sender, "chat");
  join(other, "chat");
  auto const chat = [](Client const& client) {
    std::vector<std::string> texts;
    for (auto const& message : client.of("room_message")) {
      if (auto const* text = message.at("data").get_object().if_contains("text")) {
        texts.emplace_back(std::string_view(text->as_string()));
      }
    }
    return texts;
  };
  sender.send({{"type", "room_message"},
               {"room", "chat"},
               {"data", {{"text", "hello"}}},
               {"correlation_id", "c-1"}});
  ASSERT_TRUE(eventually([&] { return !sender.of("ack").empty() && !chat(other).empty(); }));
  auto const ack = sender.of("ack")[0];
  EXPECT_EQ(ack.at("correlation_id"), "c-1");
  EXPECT_EQ(ack.at("room"), "chat");
  sender.send(
      {{"type", "room_message"}, {"room", "chat"}, {"data", {{"text", "echo"}}}, {"echo", true}});
  ASSERT_TRUE(eventually([&] { return chat(other).size() == 2 && !chat(sender).empty(); }));
  settle();
  EXPECT_EQ(chat(sender), std::vector<std::string>{"echo"});
  EXPECT_EQ(chat(other), (std::vector<std::string>{"hello", "echo"}));
  for (auto const& message : other.of("room_message")) {
    if (!message.at("data").get_object().contains("text")) continue;
    EXPECT_EQ(message.at("data").at("sent_by"), "alice");
    EXPECT_EQ(message.at("room"), "chat");
    if (message.at("data").at("text") == "hello") {
      EXPECT_EQ(message.at("event_id"), ack.at("event_id"));
    }
  }
}

// What comes in one turn is stored together, and told each on its own.
TEST_F(HubTest, EachMessageOfABurstIsAcknowledgedOrRefused) {
  auto& sender = v2("alice", 0);
  auto& other = v2("bob", 1);
  for (auto const* const room : {"one", "two"}) {
    join(sender, room);
    join(other, room);
  }
  auto const burst = [&](int from, int to) {
    for (int i = from; i < to; ++i) {
      sender.send({{"type", "room_message"},
                   {"room", i % 2 == 0 ? "one" : "two"},
                   {"data", {{"number", i}}},
                   {"correlation_id", std::to_string(i)}});
    }
  };
  auto const heard = [&] {
    auto messages = other.of("room_message");
    std::erase_if(messages, [](json::object const& message) {
      return !message.at("data").get_object().contains("number");
    });
    return messages;
  };
  constexpr int kMessages = 50;
  burst(0, kMessages);
  ASSERT_TRUE(eventually([&] { return heard().size() >= kMessages; }));
  ASSERT_TRUE(eventually([&] { return sender.of("ack").size() >= kMessages; }));
  auto const acks = sender.of("ack");
  auto const messages = heard();
  ASSERT_EQ(acks.size(), std::size_t{kMessages});
  ASSERT_EQ(messages.size(), std::size_t{kMessages});
  for (int i = 0; i < kMessages; ++i) {
    auto const at = static_cast<std::size_t>(i);
    EXPECT_EQ(messages[at].at("data").at("number").as_int64(), i);
    EXPECT_EQ(messages[at].at("room").as_string(), i % 2 == 0 ? "one" : "two");
    EXPECT_EQ(acks[at].at("correlation_id").as_string(), std::to_string(i));
    EXPECT_EQ(acks[at].at("room"), messages[at].at("room"));
    EXPECT_EQ(acks[at].at("event_id"), messages[at].at("event_id"));
  }
  store_.store().close();
  burst(kMessages, kMessages + 3);
  ASSERT_TRUE(eventually([&] { return sender.of("error").size() >= 3; }));
  for (int i = 0; i < 3; ++i) {
    auto const refused = sender.of("error")[static_cast<std::size_t>(i)];
    EXPECT_EQ(refused.at("correlation_id").as_string(), std::to_string(kMessages + i));
    EXPECT_EQ(refused.at("data").at("code"), "unavailable");
  }
}

TEST_F(HubTest, WhatIsNotAllowedIsRefusedWithAReason) {
  HubLimits limits;
  limits.rooms_per_connection_max = 2;
  limits.room_name_bytes_max = 10;
  limits.rooms_max = 2;
  start(limits);
  auto& reader = connect(Protocol::v2, identity("reader", false));
  auto& writer = v2("writer");
  auto& stranger = connect(Protocol::v2, std::nullopt);
  auto const refused = [&](Client& client, json::value const& message) {
    auto const before = client.of("error").size();
    client.send(message);
    EXPECT_TRUE(eventually([&] { return client.of("error").size() > before; }));
    auto const errors = client.of("error");
    return errors.empty() ? "" : std::string(errors.back().at("data").at("code").as_string());
  };
  auto const joining = [](char const* room) {
    return json::value{{"type", "join_room"}, {"room", room}};
  };
  auto const talking = [](char const* room) {
    return json::value{{"type", "room_message"}, {"room", room}};
  };
  EXPECT_EQ(refused(stranger, joining("one")), "unauthorized");
  EXPECT_EQ(refused(writer, joining("admin-room")), "forbidden");
  EXPECT_EQ(refused(writer, talking("one")), "not_a_member");
  EXPECT_EQ(refused(writer, joining("eleven chars")), "limit");
  join(reader, "one");
  EXPECT_EQ(refused(reader, talking("one")), "forbidden");
  join(reader, "two");
  EXPECT_EQ(refused(reader, joining("three")), "limit");
  EXPECT_EQ(refused(writer, joining("three")), "limit") << "too many rooms in all";
  EXPECT_EQ(hub_->rooms().room_count(), 2U);
}

TEST_F(HubTest, ASlowReaderIsClosedWhileOthersGoOn) {
  net::WebSocketLimits socket_limits;
  socket_limits.queue_bytes_max = 200'000;
  start({}, socket_limits);
  auto& first = v2("first");
  auto& slow = v2("slow");
  auto& last = v2("last");
  deaf_ = &slow;
  std::string expected;
  int sent = 0;
  for (; hub_->connections(Protocol::v2) == 3 && sent < 500; ++sent) {
    publish(sent, Audience::everybody({}), 20'000);
    expected += (sent == 0 ? "" : " ") + std::to_string(sent);
    turn();
  }
  EXPECT_EQ(hub_->connections(Protocol::v2), 2U);
  ASSERT_TRUE(eventually([&] { return last.of("test").size() == static_cast<std::size_t>(sent); }));
  EXPECT_EQ(first.heard(), expected);
  EXPECT_EQ(last.heard(), expected);
  deaf_ = nullptr;
  ASSERT_TRUE(eventually([&] { return slow.close_code.has_value(); }));
  EXPECT_EQ(slow.close_code, net::kWsSlowReader);
  EXPECT_TRUE(expected.starts_with(slow.heard())) << "what it got has no hole";
}

TEST_F(HubTest, WhoSendsTooManyMessagesIsClosed) {
  HubLimits limits;
  limits.messages_per_second = 10;
  start(limits);
  auto& calm = v2("calm");
  auto& flood = v2("flood");
  for (int i = 0; i < 15; ++i) calm.send({{"type", "ping"}});
  for (int i = 0; i < 50; ++i) flood.send({{"type", "ping"}});
  ASSERT_TRUE(eventually([&] { return flood.close_code.has_value(); }));
  EXPECT_EQ(flood.close_code, 4429);
  ASSERT_TRUE(eventually([&] { return calm.of("pong").size() == 15; }));
  EXPECT_EQ(calm.close_code, std::nullopt);
}

TEST_F(HubTest, WhatIsPassedOverCountsToo) {
  HubLimits limits;
  limits.messages_per_second = 10;
  start(limits);
  for (auto const opcode : {net::WsOpcode::binary, net::WsOpcode::ping, net::WsOpcode::pong}) {
    auto& flood = v2("flood");
    for (int i = 0; i < 15; ++i) flood.send_frame(opcode, "x");
    turn();
    EXPECT_EQ(flood.close_code, std::nullopt);
    for (int i = 0; i < 50; ++i) flood.send_frame(opcode, "x");
    ASSERT_TRUE(eventually([&] { return flood.close_code.has_value(); }));
    EXPECT_EQ(flood.close_code, 4429);
  }
}

TEST_F(HubTest, PartsOfAMessageCountToo) {
  HubLimits limits;
  limits.messages_per_second = 10;
  start(limits);
  auto& flood = v2("flood");
  flood.send_frame(net::WsOpcode::text, "", false);
  for (int i = 0; i < 14; ++i) flood.send_frame(net::WsOpcode::continuation, "", false);
  turn();
  EXPECT_EQ(flood.close_code, std::nullopt);
  for (int i = 0; i < 50; ++i) flood.send_frame(net::WsOpcode::continuation, "", false);
  ASSERT_TRUE(eventually([&] { return flood.close_code.has_value(); }));
  EXPECT_EQ(flood.close_code, 4429);
}

TEST_F(HubTest, ComingsAndGoingsWithinATickAreOneMessage) {
  HubLimits limits;
  limits.presence_tick_ms = 300;  // Long enough for all that is to be one tick.
  start(limits);
  auto& alice = v2("alice", 0);
  auto& bob = v2("bob", 1);
  auto& carol = v2("carol", 0);
  auto const news = [](Client const& client) { return client.of("room_message"); };
  join(alice, "r");
  std::this_thread::sleep_for(std::chrono::milliseconds(350));
  turn();
  settle();
  ASSERT_TRUE(news(alice).empty()) << "one's own coming is no news";

  bob.send({{"type", "join_room"}, {"room", "r"}});
  carol.send({{"type", "join_room"}, {"room", "r"}});
  ASSERT_TRUE(eventually([&] { return !news(alice).empty(); }));
  auto const both = news(alice)[0].at("data").get_object();
  EXPECT_EQ(both.at("event"), "presence_diff");
  EXPECT_EQ(both.at("joined_count"), 2);
  EXPECT_EQ(both.at("left_count"), 0);
  EXPECT_EQ(both.at("members_count"), 3);
  EXPECT_EQ(both.at("joined").get_array().size(), 2U);

  bob.send({{"type", "leave_room"}, {"room", "r"}});
  ASSERT_TRUE(eventually([&] { return news(alice).size() == 2; }));
  auto const gone = news(alice)[1].at("data").get_object();
  EXPECT_EQ(gone.at("event"), "user_left");
  EXPECT_EQ(gone.at("user_id"), "bob");
  EXPECT_EQ(gone.at("members_count"), 2);
}

TEST_F(HubTest, LostRightsCloseTheSocket) {
  auto& alice = v2("alice", 0);
  auto& again = connect(Protocol::v1, identity("alice"), 1);
  auto& bob = v2("bob", 1);
  turn();
  gate_.revoked = "alice";
  hub_->check_rights();
  ASSERT_TRUE(eventually([&] { return alice.close_code && again.close_code; }));
  EXPECT_EQ(alice.close_code, 4401);
  EXPECT_EQ(again.close_code, 4401);
  EXPECT_EQ(bob.close_code, std::nullopt);
}

TEST_F(HubTest, HeartsBeat) {
  HubLimits limits;
  limits.beat_ms = {20, 20, 20, 20};
  start(limits);
  auto& first = connect(Protocol::v1, identity("a"));
  auto& second = connect(Protocol::v2, identity("b"), 1);
  EXPECT_TRUE(eventually(
      [&] { return first.of("ping").size() >= 2 && second.of("heartbeat").size() >= 2; }));
}

TEST_F(HubTest, GreetingsAndPings) {
  auto& first = connect(Protocol::v1, identity("a"));
  auto& second = connect(Protocol::v2, identity("b"));
  auto& stranger = connect(Protocol::v2, std::nullopt);
  first.send({{"type", "ping"}});
  second.send({{"type", "ping"}, {"correlation_id", "p-1"}});
  stranger.send({{"type", "nonsense"}});
  first.send("no object");
  ASSERT_TRUE(eventually([&] {
    return !first.of("pong").empty() && !second.of("pong").empty() && !stranger.all.empty();
  }));
  EXPECT_EQ(first.all[0].at("type"), "connection_established");
  EXPECT_EQ(second.all[0].at("data").at("state"), "authenticated");
  EXPECT_EQ(stranger.all[0].at("data").at("state"), "connecting");
  EXPECT_EQ(second.of("pong")[0].at("correlation_id"), "p-1");
  EXPECT_EQ(stranger.all.size(), 1U) << "what nobody knows is passed over in silence";
}

// A quick way and a slow one lead to the same data.
TEST(RoomMessage, ItsDataIsMadeWithoutReadingIt) {
  auto const both = [](std::string payload) {
    store::Event event;
    event.kind = "room.message";
    event.at = Timestamp{1'700'000'000'123'456};
    event.actor = "a \"b\"";
    event.payload = std::move(payload);
    auto const read = json::parse(event.payload);
    return std::pair{quick_room_message(event), sent_message(event, read.as_object())};
  };
  for (auto const* payload :
       {R"({"connection_id":"c-1","echo":false,"data":{}})",
        R"({"connection_id":"c-1","echo":true,"data":{"text":"x}}","n":[1,{"a":null}]}})",
        R"({"connection_id":"","echo":false,"data":{"a":{}}})"}) {
    auto const [quick, slow] = both(payload);
    ASSERT_TRUE(quick) << payload;
    EXPECT_EQ(json::parse(quick->data), json::parse(slow.data)) << payload;
    EXPECT_EQ(quick->origin, slow.origin) << payload;
  }
  for (auto const* payload :
       {R"({"connection_id":"c-1","echo":false,"data":{"sent_by":"somebody else"}})",
        R"({"connection_id":"c\"1","echo":false,"data":{}})", R"({"data":{}})",
        R"({"connection_id": "c", "echo": false, "data": {}})", R"({})"}) {
    EXPECT_FALSE(both(payload).first) << payload;
  }
  EXPECT_EQ(
      json::parse(both(R"({"connection_id":"c","echo":false,"data":{"sent_by":"x"}})").second.data)
          .at("sent_by"),
      "a \"b\"");
}

TEST_F(HubTest, WhoIsLessThanBeforeLeavesRoomsAndIsTold) {
  auto& client = connect(Protocol::v2, std::nullopt);
  auto const become = [&](std::string_view token) {
    auto const before = client.of("auth_success").size();
    client.send({{"type", "auth_request"}, {"data", {{"token", token}}}});
    ASSERT_TRUE(eventually([&] { return client.of("auth_success").size() > before; }));
  };
  become("admin:a");
  for (auto const* const room : {"admin-x", "lab"}) join(client, room);
  become("admin:a");
  EXPECT_TRUE(client.of("leave_room").empty());
  become("good:a");
  ASSERT_EQ(client.of("leave_room").size(), 1U);
  EXPECT_EQ(client.of("leave_room")[0].at("room"), "admin-x");
  become("good:b");
  ASSERT_EQ(client.of("leave_room").size(), 2U);
  EXPECT_EQ(client.of("leave_room")[1].at("room"), "lab");
  publish(1, Audience::room("admin-x"));
  publish(2, Audience::room("lab"));
  settle();
  EXPECT_EQ(client.heard(), "");
}

// Servers of several versions may share a database for a while.
TEST_F(HubTest, WhatAnotherVersionsServerTellsOtherwiseIsPassedOver) {
  auto& member = v2("member", 0);
  join(member, "one");
  for (auto const* const text :
       {R"({"kind":"rooms.told","server":"x"})", R"({"kind":"rooms.told","all":true,"rooms":{}})",
        R"({"kind":"rooms.told","server":"x","all":true,"rooms":[{"room":"one"}]})",
        R"({"kind":"rooms.told","server":"x","all":1,"rooms":[]})", R"({"kind":"later.kind"})",
        "[]"}) {
    hub_->on_announced(text);
  }
  settle();
  EXPECT_EQ(hub_->rooms().members_of("one"), 1U);
}

}  // namespace
}  // namespace subforge::realtime
