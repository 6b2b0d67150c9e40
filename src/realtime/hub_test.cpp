// From the event log to the sockets of both protocols, on two event loops with a real store.
#include "realtime/hub.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <gtest/gtest.h>

#include "realtime/connections.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::realtime {
namespace {

namespace json = boost::json;
using store::Audience;

Identity identity(std::string user, bool can_write = true) {
  Identity made;
  made.user = std::move(user);
  made.permissions = {"read"};
  made.can_read = true;
  made.can_write = can_write;
  return made;
}

class TestGate final : public Gate {
 public:
  Result<Identity> identify(std::string_view token) override {
    if (token.starts_with("good:")) return identity(std::string(token.substr(5)));
    return fail(ErrorCode::unauthorized, "unknown token");
  }
  bool still_valid(Identity const& who) override { return who.user != revoked; }

  std::string revoked;
};

// Events come to the hub once there is one.
class Relay final : public store::LogFollower {
 public:
  void on_events(std::span<store::EventPtr const> events) override {
    if (hub != nullptr) hub->on_events(events);
  }
  Hub* hub = nullptr;
};

std::optional<Message> as_it_is(store::Event const&, json::object const& payload) {
  return Message{"test", json::serialize(payload)};
}
constexpr Projection kTestRows[] = {{"test", &as_it_is, &as_it_is}};

// A program at the other end of a socket.
class Client {
 public:
  explicit Client(int fd) : fd_(fd) {}
  ~Client() { ::close(fd_); }
  Client(Client const&) = delete;
  Client& operator=(Client const&) = delete;

  void send(json::value const& message) {
    std::string bytes;
    net::append_client_frame(bytes, {net::WsOpcode::text, json::serialize(message), {1, 2, 3, 4}});
    ASSERT_EQ(::send(fd_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  }
  void read() {
    for (char buffer[65536];;) {
      ssize_t const got = ::recv(fd_, buffer, sizeof buffer, 0);
      if (got <= 0) return;
      std::span<char> bytes(buffer, static_cast<std::size_t>(got));
      for (auto event = decoder_.next(bytes); event.kind != net::WsEvent::Kind::need_more;
           event = decoder_.next(bytes)) {
        if (event.kind == net::WsEvent::Kind::close) close_code = event.close_code;
        if (event.kind == net::WsEvent::Kind::text) {
          all.push_back(json::parse({event.payload.data(), event.payload.size()}).get_object());
        }
      }
    }
  }
  // The messages of one type, in the order they came.
  [[nodiscard]] std::vector<json::object> of(std::string_view type) const {
    std::vector<json::object> found;
    for (auto const& message : all) {
      if (std::string_view(message.at("type").as_string()) == type) found.push_back(message);
    }
    return found;
  }
  // The numbers of the test events heard, as "0 1 2".
  [[nodiscard]] std::string heard() const {
    std::string numbers;
    for (auto const& message : of("test")) {
      if (!numbers.empty()) numbers += " ";
      numbers += std::to_string(message.at("data").at("n").as_int64());
    }
    return numbers;
  }

  std::vector<json::object> all;
  std::optional<std::uint16_t> close_code;

 private:
  int fd_;
  net::WsDecoder decoder_{net::WsLimits{}, net::WsRole::client};
};

class HubTest : public testing::Test {
 protected:
  HubTest() {
    projections_.add(kTestRows);
    projections_.add(room_projections());
  }
  void start(HubLimits const& limits = {}, net::WebSocketLimits const& socket_limits = {}) {
    hub_ = std::make_unique<Hub>(store_.store(), gate_, projections_, limits,
                                 store::TestStore::logger());
    for (std::size_t i = 0; i < 2; ++i) {
      sockets_[i] = std::make_unique<net::WebSocketServer>(loops_[i], socket_limits);
      loop_hubs_[i] = &hub_->attach(loops_[i], *sockets_[i]);
    }
    relay_.hub = hub_.get();
  }
  ~HubTest() override {
    store_.store().close();  // No events any more.
    for (auto& sockets : sockets_) sockets.reset();
  }

  Client& connect(Protocol protocol, std::optional<Identity> who, std::size_t loop = 0,
                  bool rooms_only = false) {
    if (hub_ == nullptr) start();
    int fds[2];
    EXPECT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    Opening opening{std::move(who), rooms_only};
    std::unique_ptr<net::WebSocketHandler> handler;
    if (protocol == Protocol::v1) {
      handler = std::make_unique<ConnectionV1>(*loop_hubs_[loop], std::move(opening));
    } else {
      handler = std::make_unique<ConnectionV2>(*loop_hubs_[loop], std::move(opening));
    }
    sockets_[loop]->adopt(fds[1], net::Peer{}, std::move(handler), {});
    return *clients_.emplace_back(std::make_unique<Client>(fds[0]));
  }
  Client& v2(std::string user, std::size_t loop = 0) {
    return connect(Protocol::v2, identity(std::move(user)), loop);
  }
  void join(Client& client, std::string_view room) {
    auto const before = client.of("join_room").size();
    client.send({{"type", "join_room"}, {"room", room}});
    ASSERT_TRUE(eventually([&] { return client.of("join_room").size() > before; }));
  }

  void turn() {
    for (auto& loop : loops_) {
      Timer stop([&loop] { loop.stop(); });
      stop.arm(loop.timers(), monotonic_ns() + 1'000'000);
      loop.run();
    }
    for (auto const& client : clients_) {
      if (client.get() != deaf_) client->read();
    }
  }
  bool eventually(std::function<bool()> const& condition) {
    auto const deadline_ns = monotonic_ns() + 10'000'000'000;
    while (!condition() && monotonic_ns() < deadline_ns) turn();
    return condition();
  }

  // Publishes a test event with this number.
  void publish(int number, Audience audience, std::size_t padding_bytes = 0) {
    auto append = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
      store::Event event;
      event.kind = "test";
      event.audience = audience;
      event.payload = "{\"n\":" + std::to_string(number) + ",\"pad\":\"" +
                      std::string(padding_bytes, 'x') + "\"}";
      co_return co_await transaction.publish(std::move(event));
    };
    ASSERT_TRUE(store_.run(store_.store().write(append)));
  }
  // Once everybody has heard a last event, what they did not hear will not come any more.
  void settle() {
    static int number = 1'000'000;
    auto& witness = v2("witness", 0);
    auto& other = v2("witness", 1);
    publish(++number, Audience{Audience::To::user, {}, "witness"});
    ASSERT_TRUE(eventually([&] { return !witness.heard().empty() && !other.heard().empty(); }));
    turn();
  }

  store::TemporaryFolder folder_;
  Relay relay_;
  store::TestStore store_{folder_.path(), {&relay_}};
  TestGate gate_;
  Projections projections_;
  std::array<EventLoop, 2> loops_;
  std::array<std::unique_ptr<net::WebSocketServer>, 2> sockets_;
  std::unique_ptr<Hub> hub_;
  std::array<LoopHub*, 2> loop_hubs_{};
  std::vector<std::unique_ptr<Client>> clients_;
  Client const* deaf_ = nullptr;  // Reads nothing.
};

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
  limits.heartbeat_ms = limits.v1_ping_ms = 20;
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

}  // namespace
}  // namespace subforge::realtime
