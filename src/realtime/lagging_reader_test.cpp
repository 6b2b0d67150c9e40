// Readers that lag: waited for, told only the last word of what may be conflated, or gone.
#include "realtime/catch_up_fixture_test.hpp"

namespace subforge::realtime {
namespace {

class LaggingReaderTest : public CatchUpTest {};

TEST_F(LaggingReaderTest, ASlowReaderIsWaitedFor) {
  net::WebSocketLimits socket_limits;
  socket_limits.queue_bytes_max = 300'000;
  auto limits = small_pages();
  limits.page_events = 4;
  start(limits, socket_limits);
  auto const then = newest();
  for (int i = 0; i < 100; ++i) publish(i, Audience::everybody({}), 20'000);
  auto& slow = back("a", {.last_event_id = then});
  deaf_ = &slow;
  for (int i = 0; i < 50; ++i) turn();
  EXPECT_EQ(hub_->connections(), 1U) << "what it missed does not overflow its queue";
  deaf_ = nullptr;
  auto const end = end_of(slow);
  ASSERT_TRUE(end);
  EXPECT_EQ(slow.heard(), numbers(0, 100));
}

TEST_F(LaggingReaderTest, WhatIsLongerThanTheQueueComesOnce) {
  net::WebSocketLimits socket_limits;
  socket_limits.queue_bytes_max = 64U << 10;
  start(small_pages(), socket_limits);
  auto const then = newest();
  auto& there = v2("there");
  auto& old = connect(Protocol::v1, identity("old"));
  ASSERT_TRUE(eventually([&] { return !there.all.empty() && !old.all.empty(); }));
  for (int i = 0; i < 10; ++i) {
    publish(i, Audience::everybody({}), i % 3 == 2 ? 300'000 : 10);
    auto const all = numbers(0, i + 1);
    ASSERT_TRUE(eventually([&] { return there.heard() == all && old.heard() == all; }));
  }
  auto& client = back("a", {.last_event_id = then});
  ASSERT_TRUE(end_of(client));
  EXPECT_EQ(client.heard(), numbers(0, 10));
  publish(10, Audience::everybody({}), 300'000);
  auto& last = back("a", {.last_event_id = then});
  ASSERT_TRUE(end_of(last)) << "what ends it comes behind the long one";
  EXPECT_EQ(last.heard(), numbers(0, 11));
  for (auto const* one : {&there, &old, &client, &last}) EXPECT_EQ(one->close_code, std::nullopt);
}

TEST_F(LaggingReaderTest, WhoLeavesOnTheWayLeavesNothingBehind) {
  net::WebSocketLimits socket_limits;
  socket_limits.queue_bytes_max = 300'000;
  start(no_memory(), socket_limits);
  auto const then = newest();
  for (int i = 0; i < 60; ++i) publish(i, Audience::everybody({}), 20'000);
  for (std::size_t i = 0; i < 6; ++i) {
    auto& gone = back("a", {.last_event_id = then}, i % 2);
    deaf_ = &gone;
    for (std::size_t k = 0; k < i; ++k) turn();
    deaf_ = nullptr;
    clients_.clear();
  }
  EXPECT_TRUE(eventually([&] {
    return hub_->connections() == 0 && loop_hubs_[0]->tasks().running() == 0 &&
           loop_hubs_[1]->tasks().running() == 0;
  }));
}

// Of each user who came or went meanwhile the last word, whether the viewer reads slowly or comes
// back.
TEST_F(LaggingReaderTest, ComingsAndGoingsAreAddedUpForWhoLags) {
  net::WebSocketLimits socket_limits;
  socket_limits.queue_bytes_max = 4'000'000;
  HubLimits limits;
  limits.presence_tick_ms = 1;
  limits.presence_entries_max = 3;
  start(limits, socket_limits);
  auto const then = newest();
  auto& slow = v2("slow");
  auto& quick = v2("quick");
  for (auto* const client : {&slow, &quick}) join(*client, "r");
  auto const of_presence = [](Client const& client) {
    std::vector<json::object> found;
    for (auto const& message : client.of("room_message")) {
      found.push_back(message.at("data").as_object());
    }
    return found;
  };
  ASSERT_TRUE(eventually([&] { return of_presence(slow).size() == 1; }));
  deaf_ = &slow;
  for (int i = 0; i < 100; ++i) publish(i, Audience::everybody({}), 20'000);
  ASSERT_TRUE(eventually([&] { return quick.of("test").size() == 100; }));
  auto const users = [](json::object const& told, std::string_view list) {
    std::string names;
    for (auto const& entry : told.at(list).as_array()) names += entry.at("user_id").as_string();
    return names;
  };
  auto const move = [&](Client& client, std::string_view type) {
    auto const before = of_presence(quick).size();
    client.send({{"type", type}, {"room", "r"}});
    ASSERT_TRUE(eventually([&] { return of_presence(quick).size() > before; }));
  };
  auto& b = v2("b");
  auto& c = v2("c");
  move(b, "join_room");
  move(c, "join_room");
  move(b, "leave_room");
  auto& late = v2("late");
  late.send({{"type", "recover"}, {"last_event_id", then}, {"rooms", {"r"}}});
  deaf_ = nullptr;
  ASSERT_TRUE(end_of(late));
  ASSERT_TRUE(eventually([&] { return of_presence(slow).size() >= 2; }));
  auto const told = of_presence(slow)[1];
  ASSERT_EQ(told.at("event"), "presence_diff");
  EXPECT_EQ(users(told, "left"), "b");
  EXPECT_TRUE(users(told, "joined").starts_with("c"));
  EXPECT_EQ(told.at("left_count"), 1);

  // More than can be told is counted.
  deaf_ = &slow;
  auto const before = of_presence(slow).size();
  for (int i = 0; i < 100; ++i) publish(i, Audience::everybody({}), 20'000);
  for (auto const* const user : {"d", "e", "f", "g"}) move(v2(user), "join_room");
  move(c, "leave_room");
  deaf_ = nullptr;
  ASSERT_TRUE(eventually([&] {
    return of_presence(slow).size() > before && of_presence(slow).back().at("members_count") ==
                                                    of_presence(quick).back().at("members_count");
  }));
  auto const counted = of_presence(slow).back();
  EXPECT_EQ(users(counted, "joined") + users(counted, "left"), "");
  EXPECT_EQ(counted.at("joined_count"), 4);
  EXPECT_EQ(counted.at("left_count"), 1);
}

TEST_F(LaggingReaderTest, NewsAreConflatedForWhoLags) {
  net::WebSocketLimits socket_limits;
  socket_limits.queue_bytes_max = 4'000'000;
  start({}, socket_limits);
  auto& slow = v2("slow");
  auto& quick = v2("quick");
  turn();
  deaf_ = &slow;
  for (int i = 0; i < 100; ++i) publish(i, Audience::everybody({}), 20'000);
  ASSERT_TRUE(eventually([&] { return quick.of("test").size() == 100; }));
  for (int i = 1000; i < 1050; ++i) {
    store::Event news;
    news.kind = "test";
    news.audience = Audience::everybody({"metrics"});
    news.payload = "{\"n\":" + std::to_string(i) + "}";
    hub_->tell_news(std::move(news));
  }
  ASSERT_TRUE(eventually([&] { return quick.of("test").size() == 150; }));
  EXPECT_FALSE(quick.of("test").back().contains("event_id")) << "it is not in the log";
  deaf_ = nullptr;
  ASSERT_TRUE(eventually([&] { return slow.heard().ends_with("1049"); }));
  EXPECT_EQ(slow.heard(), numbers(0, 100) + " 1049");
}

}  // namespace
}  // namespace subforge::realtime
