// A hub with sockets of both protocols, on two event loops with a real store.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <gtest/gtest.h>

#include "realtime/connections.hpp"
#include "realtime/hub.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::realtime {

namespace json = boost::json;
using store::Audience;

inline Identity identity(std::string user, bool can_write = true) {
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
    if (token.starts_with("admin:")) {
      auto admin = identity(std::string(token.substr(6)));
      admin.is_admin = true;
      return admin;
    }
    return fail(ErrorCode::unauthorized, "unknown token");
  }
  bool still_valid(Identity const& who) override { return who.user != revoked; }

  std::string revoked;
};

class TestState final : public PresentState {
 public:
  Task<Result<std::string>> read(store::Session&) override { co_return R"({"all":"well"})"; }
};

// Events come to the hub once there is one.
class Relay final : public store::LogFollower {
 public:
  void on_events(std::span<store::EventPtr const> events) override {
    if (hub != nullptr) hub->on_events(events);
  }
  Hub* hub = nullptr;
};

inline std::optional<Message> as_it_is(store::Event const&, json::object const& payload) {
  return Message{json::serialize(payload)};
}
inline constexpr Projection kTestRows[] = {
    {"test", {"test", &as_it_is}, {"test", &as_it_is}, {}, /*is_news=*/true}};

// A program at the other end of a socket.
class Client {
 public:
  explicit Client(int fd) : fd_(fd) {}
  ~Client() { ::close(fd_); }
  Client(Client const&) = delete;
  Client& operator=(Client const&) = delete;

  void send(json::value const& message) {
    send_frame(net::WsOpcode::text, json::serialize(message));
  }
  void send_frame(net::WsOpcode opcode, std::string_view payload, bool final = true) {
    std::string bytes;
    net::append_client_frame(bytes, {opcode, payload, {1, 2, 3, 4}, final});
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
    hub_ = std::make_unique<Hub>(store_.store(), gate_, present_, projections_, limits,
                                 store::TestStore::logger());
    for (std::size_t i = 0; i < 2; ++i) {
      sockets_[i] = std::make_unique<net::WebSocketServer>(loops_[i], socket_limits);
      loop_hubs_[i] = &hub_->attach(loops_[i], *sockets_[i]);
    }
    relay_.hub = hub_.get();
  }
  ~HubTest() override {
    store_.store().close();  // No events any more.
    // Ways back that are not over see that nobody is there.
    clients_.clear();
    for (int i = 0; hub_ != nullptr && i < 2; ++i) turn();
    for (auto& sockets : sockets_) sockets.reset();
  }

  Client& connect(Protocol protocol, std::optional<Identity> who, std::size_t loop = 0,
                  bool rooms_only = false, Resume resume = {}) {
    if (hub_ == nullptr) start();
    int fds[2];
    EXPECT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    Opening opening{std::move(who), rooms_only, std::move(resume)};
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
    publish_all({{number, std::move(audience)}}, padding_bytes);
  }
  // Several of one commit.
  void publish_all(std::vector<std::pair<int, Audience>> const& events,
                   std::size_t padding_bytes = 0) {
    auto append = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
      Result<std::int64_t> last = 0;
      for (auto const& [number, audience] : events) {
        store::Event event;
        event.kind = "test";
        event.audience = audience;
        event.payload = "{\"n\":" + std::to_string(number) + ",\"pad\":\"" +
                        std::string(padding_bytes, 'x') + "\"}";
        last = co_await transaction.publish(std::move(event));
        if (!last) break;
      }
      co_return last;
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
  TestState present_;
  Projections projections_;
  std::array<EventLoop, 2> loops_;
  std::array<std::unique_ptr<net::WebSocketServer>, 2> sockets_;
  std::unique_ptr<Hub> hub_;
  std::array<LoopHub*, 2> loop_hubs_{};
  std::vector<std::unique_ptr<Client>> clients_;
  Client const* deaf_ = nullptr;  // Reads nothing.
};

}  // namespace subforge::realtime
