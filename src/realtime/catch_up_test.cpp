// Coming back: what was missed, once and in order, then what happens.
#include "realtime/catch_up.hpp"

#include <random>

#include "realtime/catch_up_fixture_test.hpp"

namespace subforge::realtime {
namespace {

TEST_F(CatchUpTest, TheGreetingTellsWhereTheLogStands) {
  publish(1, Audience::everybody({}));
  auto& client = v2("a");
  auto& old = connect(Protocol::v1, identity("b"));
  ASSERT_TRUE(eventually([&] { return !client.all.empty() && !old.all.empty(); }));
  EXPECT_EQ(client.all[0].at("data").at("last_event_id"), newest_value());
  EXPECT_EQ(old.all[0].at("data").at("last_event_id"), newest_value());
}

// A crowd that comes back after a restart finds the newest events in memory.
TEST_F(CatchUpTest, TheNewestEventsAreRememberedAfterARestart) {
  for (int i = 0; i < 20; ++i) publish(i, i == 3 ? Audience::nobody() : Audience::everybody({}));
  start(small_pages());
  EXPECT_FALSE(hub_->recent().after(10, 1));
  publish(20, Audience::everybody({}));
  store_.run(hub_->remember_past(0, {}));
  publish(21, Audience::everybody({}));
  auto const all = hub_->recent().after(0, 100);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->last, 22);
  std::vector<std::int64_t> ids;
  for (auto const& event : all->events) ids.push_back(event->event().id);
  std::vector<std::int64_t> expected;
  for (std::int64_t id = 1; id <= 22; ++id) {
    if (id != 4) expected.push_back(id);
  }
  EXPECT_EQ(ids, expected);
}

// What the log is about to forget nobody needs to remember.
TEST_F(CatchUpTest, WhatIsTooOldIsNotRemembered) {
  for (int i = 0; i < 20; ++i) publish(i, Audience::everybody({}));
  auto age = [](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute("UPDATE events SET at = 1000 WHERE id <= 9");
  };
  ASSERT_TRUE(store_.run(store_.store().write(age)));
  start(small_pages());
  store_.run(hub_->remember_past(0, {2000}));
  EXPECT_FALSE(hub_->recent().after(8, 1));
  ASSERT_TRUE(hub_->recent().after(9, 1));
  EXPECT_EQ(hub_->recent().after(9, 1)->events.front()->event().id, 10);
}

TEST_F(CatchUpTest, WhatIsTooMuchForTheLogIsNotRemembered) {
  for (int i = 0; i < 20; ++i) publish(i, Audience::everybody({}));
  start(small_pages());
  store_.run(hub_->remember_past(12, {}));
  EXPECT_FALSE(hub_->recent().after(11, 1));
  EXPECT_TRUE(hub_->recent().after(12, 1));
}

// No more than may be, the newest ones.
TEST_F(CatchUpTest, WhatIsRememberedHasABound) {
  for (int i = 0; i < 20; ++i) publish(i, Audience::everybody({}));
  auto limits = small_pages();
  limits.recent_events = 10;
  start(limits);
  store_.run(hub_->remember_past(0, {}));
  EXPECT_FALSE(hub_->recent().after(12, 1));
  EXPECT_TRUE(hub_->recent().after(13, 1));
}

// Only some read from disk at once; all come back, also those whose turn comes when others have
// gone.
TEST_F(CatchUpTest, ThoseThatComeBackTakeTurns) {
  auto limits = no_memory();
  limits.pages_at_once = 2;
  start(limits);
  auto const then = newest();
  for (int i = 0; i < 20; ++i) publish(i, Audience::everybody({}));
  std::vector<Client*> staying;
  for (std::size_t i = 0; i < 20; ++i) {
    auto& client = back("a", {.last_event_id = i % 5 == 0 ? "0-0" : then}, i % 2);
    staying.push_back(&client);
  }
  for (std::size_t i = 0; i < 10; ++i) back("b", {.last_event_id = then}, i % 2);
  clients_.resize(20);
  for (std::size_t i = 0; i < 20; ++i) {
    auto const end = end_of(*staying[i]);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->at("recovered"), i % 5 != 0);
    if (i % 5 != 0) EXPECT_EQ(staying[i]->heard(), numbers(0, 20));
  }
  EXPECT_TRUE(eventually([&] {
    return loop_hubs_[0]->tasks().running() == 0 && loop_hubs_[1]->tasks().running() == 0;
  }));
}

// Whether what was missed is in memory still.
class CatchUpFromTest : public CatchUpTest, public testing::WithParamInterface<bool> {
 protected:
  void begin() { start(GetParam() ? small_pages() : no_memory()); }
};
INSTANTIATE_TEST_SUITE_P(MemoryAndDisk, CatchUpFromTest, testing::Bool());

TEST_P(CatchUpFromTest, WhatWasMissedComesOnceAndInOrder) {
  begin();
  auto const then = newest();
  for (int i = 0; i < 40; ++i) publish(i, Audience::everybody({}));
  auto& client = back("a", {.last_event_id = then});
  auto const end = end_of(client);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->at("recovered"), true);
  EXPECT_EQ(end->at("missed_events"), 40);
  EXPECT_EQ(end->at("last_event_id"), newest_value());
  EXPECT_FALSE(end->contains("snapshot"));
  for (int i = 40; i < 50; ++i) publish(i, Audience::everybody({}));
  settle();
  EXPECT_EQ(client.heard(), numbers(0, 50));
}

TEST_F(CatchUpTest, WhoMissedNothingIsToldSo) {
  start();
  publish(1, Audience::everybody({}));
  auto& client = back("a", {.last_event_id = newest()});
  auto const end = end_of(client);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->at("recovered"), true);
  EXPECT_EQ(end->at("missed_events"), 0);
  EXPECT_EQ(client.heard(), "");
}

TEST_F(CatchUpTest, VersionOneComesBackToo) {
  start();
  auto const then = newest();
  publish(1, Audience::everybody({}));
  publish(2, Audience::room("r"));
  publish(3, Audience::everybody({}));
  auto& client = connect(Protocol::v1, identity("a"), 1, false, {.last_event_id = then});
  ASSERT_TRUE(eventually([&] { return !client.of("connection_recovered").empty(); }));
  EXPECT_EQ(client.heard(), "1 3");
  auto const end = client.of("connection_recovered")[0].at("data").get_object();
  EXPECT_EQ(end.at("recovered"), true);
  EXPECT_EQ(end.at("missed_events"), 2);
}

TEST_P(CatchUpFromTest, RightsAndRoomsDecideAgain) {
  begin();
  auto const then = newest();
  publish(1, Audience::room("one"));
  publish(2, Audience::room("other"));
  publish(3, Audience::room("admin"));
  publish(4, Audience{Audience::To::user, {}, "a"});
  publish(5, Audience{Audience::To::user, {}, "b"});
  publish(6, Audience::everybody({"topic", "two"}));
  publish(7, Audience::nobody());
  auto& client = back("a", {.last_event_id = then, .rooms = {"one", "admin", "two"}});
  auto& picky = back("p", {.last_event_id = then, .rooms = {"two"}}, 1, true);
  auto const end = end_of(client);
  ASSERT_TRUE(end && end_of(picky));
  EXPECT_EQ(client.heard(), "1 4 6");
  EXPECT_EQ(end->at("rooms"), (json::array{"one", "two"}));
  EXPECT_EQ(client.of("error")[0].at("data").at("code"), "forbidden");
  EXPECT_EQ(picky.heard(), "6");
  EXPECT_EQ(picky.of("test")[0].at("room"), "two");
}

TEST_F(CatchUpTest, OnesOwnMessagesWereNotMissed) {
  start();
  auto& first = v2("a");
  auto& other = v2("b");
  ASSERT_TRUE(eventually([&] { return !first.all.empty(); }));
  join(first, "r");
  join(other, "r");
  auto const then = newest();
  auto const connection =
      std::string(std::string_view(first.all[0].at("data").at("connection_id").as_string()));
  for (auto* const client : {&first, &other}) {
    client->send({{"type", "room_message"}, {"room", "r"}, {"correlation_id", "c"}});
    ASSERT_TRUE(eventually([&] { return !client->of("ack").empty(); }));
  }
  auto& again = back("a", {.last_event_id = then, .rooms = {"r"}, .connection_id = connection});
  auto const end = end_of(again);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->at("missed_events"), 1);
}

TEST_F(CatchUpTest, WhereTheLogDoesNotReachTheStateIsShown) {
  start();
  for (auto const* id : {"", "00000000-5", "nonsense"}) {
    publish(1, Audience::everybody({}));
    auto const beyond = this->id(store_.store().last_event_id() + 5);
    auto& client = back("a", {.last_event_id = *id == 0 ? beyond : std::string(id)});
    auto const end = end_of(client);
    ASSERT_TRUE(end) << id;
    EXPECT_EQ(end->at("recovered"), false) << id;
    EXPECT_EQ(end->at("snapshot"), (json::object{{"all", "well"}})) << id;
    EXPECT_EQ(end->at("last_event_id"), newest_value());
    publish(2, Audience::everybody({}));
    settle();
    EXPECT_EQ(client.heard(), "2") << id;
  }
}

TEST_F(CatchUpTest, WhereTheLogWasThinnedOutTheStateIsShown) {
  start(no_memory());
  auto const then = newest();
  for (int i = 0; i < 20; ++i) publish(i, Audience::everybody({}));
  auto thin = [](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute("DELETE FROM events WHERE id <= 10");
  };
  ASSERT_TRUE(store_.run(store_.store().write(thin)));
  auto& late = back("a", {.last_event_id = then});
  auto& in_time = back("b", {.last_event_id = id(10)});
  ASSERT_TRUE(end_of(late) && end_of(in_time));
  EXPECT_EQ(end_of(late)->at("recovered"), false);
  EXPECT_EQ(end_of(in_time)->at("recovered"), true);
  EXPECT_EQ(in_time.heard(), numbers(10, 20));
  publish(20, Audience::everybody({}));
  settle();
  EXPECT_EQ(late.heard(), "20");
}

TEST_F(CatchUpTest, AuthenticationMayBringItToo) {
  start();
  auto const then = newest();
  publish(1, Audience::everybody({}));
  auto& message = connect(Protocol::v2, std::nullopt);
  auto& query = connect(Protocol::v2, std::nullopt, 1, false, {.last_event_id = then});
  publish(2, Audience::everybody({}));
  settle();
  message.send({{"type", "auth_request"},
                {"data", {{"token", "good:a"}, {"last_event_id", then}, {"rooms", {"r"}}}}});
  query.send({{"type", "auth_request"}, {"data", {{"token", "good:b"}}}});
  ASSERT_TRUE(end_of(message) && end_of(query));
  for (auto* const client : {&message, &query}) EXPECT_EQ(client->heard(), "1 2");
  EXPECT_EQ(end_of(message)->at("rooms"), json::array{"r"});
}

TEST_F(CatchUpTest, AuthenticationMayBringItAlsoToWhoIsKnown) {
  start();
  auto const then = newest();
  publish(1, Audience::everybody({}));
  auto const ask = [&](std::string_view user) {
    return json::value{
        {"type", "auth_request"},
        {"data",
         {{"token", "good:" + std::string(user)}, {"last_event_id", then}, {"rooms", {"r"}}}}};
  };
  auto& same = v2("a");
  auto& another = v2("a");
  auto& old = connect(Protocol::v1, identity("a"));
  turn();
  same.send(ask("a"));
  another.send(ask("b"));
  old.send(ask("a"));
  for (auto* const client : {&same, &another}) {
    auto const end = end_of(*client);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->at("recovered"), true);
    EXPECT_EQ(end->at("rooms"), json::array{"r"});
    EXPECT_EQ(client->heard(), "1");
  }
  ASSERT_TRUE(eventually([&] { return !old.of("connection_recovered").empty(); }));
  EXPECT_EQ(old.heard(), "1");
  // Now it is too late, which is told.
  same.send(ask("a"));
  old.send(ask("a"));
  ASSERT_TRUE(eventually([&] { return !same.of("error").empty(); }));
  EXPECT_EQ(same.of("error")[0].at("data").at("code"), "too_late");
  ASSERT_TRUE(eventually([&] { return old.of("connection_recovered").size() == 2; }));
  EXPECT_EQ(old.of("connection_recovered")[1].at("data").at("recovered"), false);
}

TEST_F(CatchUpTest, HandshakeAndAuthenticationMayEachSayAPart) {
  start();
  auto const then = newest();
  publish(1, Audience::room("r"));
  auto& one = connect(Protocol::v2, std::nullopt, 0, false, {.last_event_id = then});
  auto& other = connect(Protocol::v2, std::nullopt, 0, false, {.rooms = {"r"}});
  one.send({{"type", "auth_request"}, {"data", {{"token", "good:a"}, {"rooms", {"r"}}}}});
  other.send({{"type", "auth_request"}, {"data", {{"token", "good:b"}, {"last_event_id", then}}}});
  for (auto* const client : {&one, &other}) {
    auto const end = end_of(*client);
    ASSERT_TRUE(end);
    EXPECT_EQ(end->at("rooms"), json::array{"r"});
    EXPECT_EQ(client->heard(), "1");
  }
}

// It would take its own message for the last that it has seen.
TEST_F(CatchUpTest, WhatItSaysMeanwhileIsNotWhereItStands) {
  start(no_memory());
  auto const then = newest();
  for (int i = 0; i < 100; ++i) publish(i, Audience::everybody({}));
  auto& client = back("a", {.last_event_id = then, .rooms = {"r"}});
  client.send({{"type", "room_message"}, {"room", "r"}, {"correlation_id", "early"}});
  ASSERT_TRUE(eventually([&] { return client.of("ack").size() == 1; }));
  ASSERT_TRUE(end_of(client));
  client.send({{"type", "room_message"}, {"room", "r"}, {"correlation_id", "late"}});
  ASSERT_TRUE(eventually([&] { return client.of("ack").size() == 2; }));
  EXPECT_TRUE(client.of("ack")[1].contains("event_id"));
  int number = 0;
  for (auto const& message : client.all) {
    if (message.at("type") == "test") ++number;
    if (number < 100) EXPECT_TRUE(message.at("type") == "test" || !message.contains("event_id"));
  }
  EXPECT_EQ(client.heard(), numbers(0, 100));
}

// It would come back with that after a break before the first event that it missed.
TEST_F(CatchUpTest, WhoComesBackIsToldNoPlaceAheadOfWhatItHasSeen) {
  start();
  auto const then = newest();
  publish(1, Audience::everybody({}));
  auto& query = back("a", {.last_event_id = then});
  auto& message = connect(Protocol::v2, std::nullopt);
  auto& old = connect(Protocol::v1, identity("a"), 0, false, {.last_event_id = then});
  message.send(
      {{"type", "auth_request"}, {"data", {{"token", "good:a"}, {"last_event_id", then}}}});
  ASSERT_TRUE(end_of(query) && end_of(message));
  ASSERT_TRUE(eventually([&] { return !old.of("connection_recovered").empty(); }));
  for (auto const* const client : {&query, &message, &old}) {
    bool told = false;
    for (auto const& sent : client->all) {
      if (sent.at("type") == "test") break;
      told |= sent.at("data").as_object().contains("last_event_id");
    }
    EXPECT_FALSE(told) << json::serialize(client->all.front());
    EXPECT_EQ(client->heard(), "1");
  }
}

TEST_F(CatchUpTest, WhatIsWrongInAnAuthRequestIsNotPassedOver) {
  start();
  auto const ask = [](json::value const& last_event_id, json::value const& rooms) {
    return json::value{
        {"type", "auth_request"},
        {"data", {{"token", "good:a"}, {"last_event_id", last_event_id}, {"rooms", rooms}}}};
  };
  auto& client = connect(Protocol::v2, std::nullopt);
  client.send(ask("0-0", "r"));
  client.send(ask(5, json::array{"r"}));
  ASSERT_TRUE(eventually([&] { return client.of("error").size() == 2; }));
  for (auto const& error : client.of("error")) EXPECT_EQ(error.at("data").at("code"), "invalid");
  EXPECT_EQ(client.of("error")[0].at("data").at("message"),
            "data.rooms must be a list, each of it text or null");
  EXPECT_TRUE(client.of("auth_success").empty());
  // What is wrong with the token has an answer of its own.
  client.send({{"type", "auth_request"}, {"data", {{"token", 5}, {"rooms", "r"}}}});
  client.send({{"type", "auth_request"}});
  ASSERT_TRUE(eventually([&] { return client.of("auth_error").size() == 2; }));
  client.send(ask(nullptr, nullptr));
  ASSERT_TRUE(eventually([&] { return !client.of("auth_success").empty(); }));

  auto& old = connect(Protocol::v1, std::nullopt);
  old.send(ask(5, nullptr));
  ASSERT_TRUE(eventually([&] { return !old.of("auth_error").empty(); }));
  EXPECT_EQ(old.of("auth_error")[0].at("data").at("error"),
            "data.last_event_id must be text or null");
}

TEST_F(CatchUpTest, TheFirstMessageMayAskUnlessEventsHaveCome) {
  start();
  auto const then = newest();
  publish(1, Audience::everybody({}));
  turn();
  auto& early = v2("a");
  early.send({{"type", "connection_state"}, {"data", {{"last_event_id", then}}}});
  ASSERT_TRUE(end_of(early));
  EXPECT_EQ(early.heard(), "1");
  publish(2, Audience::everybody({}));
  settle();
  early.send({{"type", "connection_state"}, {"data", {{"last_event_id", then}}}});
  ASSERT_TRUE(eventually([&] { return !early.of("error").empty(); }));
  EXPECT_EQ(early.of("error")[0].at("data").at("code"), "too_late");
  settle();
  EXPECT_EQ(early.heard(), "1 2");
}

TEST_F(CatchUpTest, WhatOthersWereShownMakesNobodyTooLate) {
  start();
  auto const then = newest();
  auto& other = v2("b");
  join(other, "hot");
  auto& early = v2("a");
  auto& old = connect(Protocol::v1, identity("c"));
  ASSERT_TRUE(eventually([&] { return !early.all.empty() && !old.all.empty(); }));
  publish(1, Audience::room("hot"));
  publish(2, Audience{Audience::To::user, {}, "b"});
  ASSERT_TRUE(eventually([&] { return other.heard() == "1 2"; }));
  early.send({{"type", "recover"}, {"last_event_id", then}, {"rooms", {"hot"}}});
  old.send({{"type", "recover"}, {"last_event_id", then}});
  auto const end = end_of(early);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->at("recovered"), true);
  EXPECT_EQ(early.heard(), "1");
  ASSERT_TRUE(eventually([&] { return !old.of("connection_recovered").empty(); }));
  EXPECT_EQ(old.of("connection_recovered")[0].at("data").at("recovered"), true);
}

TEST_F(CatchUpTest, VersionOneIsToldThatItIsTooLate) {
  start();
  auto const then = newest();
  auto& old = connect(Protocol::v1, identity("a"));
  ASSERT_TRUE(eventually([&] { return !old.all.empty(); }));
  publish(1, Audience::everybody({}));
  ASSERT_TRUE(eventually([&] { return old.heard() == "1"; }));
  old.send({{"type", "recover"}, {"last_event_id", then}});
  ASSERT_TRUE(eventually([&] { return !old.of("connection_recovered").empty(); }));
  auto const data = old.of("connection_recovered")[0].at("data");
  EXPECT_EQ(data.at("recovered"), false);
  EXPECT_EQ(data.at("last_event_id"), newest_value());
  EXPECT_EQ(data.at("snapshot"), (json::object{{"all", "well"}}));
  publish(2, Audience::everybody({}));
  settle();
  EXPECT_EQ(old.heard(), "1 2");
}

// Events come while the viewers catch up, and the seam is where it can hurt.
TEST_P(CatchUpFromTest, NoGapAndNoRepeatAtTheSeam) {
  auto const seed = std::random_device{}();
  std::mt19937 random(seed);
  begin();
  auto const then = newest();
  struct Coming {
    Client* client;
    int from;
  };
  std::vector<Coming> all;
  std::vector<std::string> ids{then};
  int number = 0;
  for (int round = 0; round < 60; ++round) {
    for (int i = 0, count = static_cast<int>(random() % 12); i < count; ++i) {
      publish(number++, random() % 4 == 0 ? Audience::nobody() : Audience::everybody({"t"}));
      ids.push_back(newest());
    }
    auto const from = random() % ids.size();
    bool const picky = random() % 3 == 0;
    Resume resume{.last_event_id = ids[from]};
    if (picky) resume.rooms = {"t", "u"};
    all.push_back({&back("a", resume, random() % 2, picky), static_cast<int>(from)});
    if (random() % 2 == 0) turn();
  }
  settle();
  for (auto const& [client, from] : all) ASSERT_TRUE(end_of(*client));
  auto const& witness = *all.front().client;
  ASSERT_FALSE(witness.heard().empty());
  std::vector<int> told;
  std::map<int, bool> expected;
  for (auto const& [client, from] : all) {
    int last = -1;
    for (auto const& message : client->of("test")) {
      auto const n = static_cast<int>(message.at("data").at("n").as_int64());
      ASSERT_GT(n, last) << "seed " << seed;
      ASSERT_GE(n, from) << "seed " << seed;
      last = n;
      expected[n] = true;
    }
  }
  for (auto const& [client, from] : all) {
    std::string sequence;
    for (auto const& [n, heard] : expected) {
      if (n >= from && n < 1'000'000) {
        sequence += (sequence.empty() ? "" : " ") + std::to_string(n);
      }
    }
    EXPECT_EQ(client->heard(), sequence) << "seed " << seed << " from " << from;
  }
}

}  // namespace
}  // namespace subforge::realtime
