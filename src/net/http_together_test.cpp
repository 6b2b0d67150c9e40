// Connections that are read from and answered together, in one turn of the loop: each gets what it
// would have got alone.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include "net/http_connection.hpp"

namespace subforge::net {
namespace {

constexpr std::size_t kClients = SocketBatch::kOpsMax + 10;

// Answers with the length of the body and the path; those of "/long" are 20,000 bytes long.
class LengthService final : public HttpService {
 public:
  BodyPlan plan_body(HttpConnection&, RequestHead const&) override { return {1U << 20}; }
  void serve(HttpConnection& connection, RequestHead const& head, std::string_view body) override {
    auto text = std::string(head.path) + " " + std::to_string(body.size());
    if (head.path == "/long") text.resize(20'000, '.');
    if (head.path == "/close") connection.close_after_answer();
    connection.answer({200, "", text});
  }
  void refuse(HttpConnection& connection, RequestHead const*, int status,
              std::string_view reason) override {
    connection.answer({status, "", reason});
  }
};

class HttpTogether : public testing::TestWithParam<bool> {
 protected:
  HttpTogether() {
    HttpServerLimits limits;
    limits.io_uring = GetParam();
    server_ = std::make_unique<HttpServer>(loop_, service_, limits, WebSocketLimits{});
    for (auto& client : clients_) client = connect();
  }
  ~HttpTogether() override {
    for (int const client : clients_) {
      if (client >= 0) ::close(client);
    }
  }

  int connect(int send_buffer = 0) {
    int fds[2];
    EXPECT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    if (send_buffer > 0) {
      ::setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    }
    server_->adopt(fds[1], Peer{});
    return fds[0];
  }
  static void send(int client, std::string_view text) {
    ASSERT_EQ(static_cast<ssize_t>(text.size()), ::send(client, text.data(), text.size(), 0));
  }
  static std::string get(std::string_view path) {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n\r\n";
  }
  void turn(std::int64_t wait_ms = 1) {
    Timer stop([this] { loop_.stop(); });
    stop.arm(loop_.timers(), monotonic_ns() + wait_ms * 1'000'000);
    loop_.run();
  }
  // The bodies of what came; "#" is the end of the connection.
  static std::string received(int client) {
    std::string all;
    ssize_t got = 0;
    for (char buffer[65536]; (got = ::recv(client, buffer, sizeof buffer, 0)) > 0;) {
      all.append(buffer, static_cast<std::size_t>(got));
    }
    std::string bodies;
    for (std::size_t at = 0; (at = all.find("\r\n\r\n", at)) != std::string::npos;) {
      at += 4;
      auto const end = std::min(all.find("HTTP/1.1", at), all.size());
      bodies += all.substr(at, end - at) + "|";
    }
    return bodies + (got == 0 ? "#" : "");
  }

  EventLoop loop_;
  LengthService service_;
  std::unique_ptr<HttpServer> server_;
  std::array<int, kClients> clients_{};
};

TEST_P(HttpTogether, EachIsAnsweredWhatItAsked) {
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < kClients; ++i) send(clients_[i], get("/" + std::to_string(i)));
    turn();
    for (std::size_t i = 0; i < kClients; ++i) {
      EXPECT_EQ(received(clients_[i]), "/" + std::to_string(i) + " 0|");
    }
  }
}

TEST_P(HttpTogether, WhatOneDoesIsNothingToTheOthers) {
  auto& gone = clients_[0];
  int const half = clients_[1], closing = clients_[2], pipelining = clients_[3],
            wordy = clients_[4], bad = clients_[5], slow = clients_[6], cut = clients_[7],
            plain = clients_[8];
  send(gone, get("/gone"));
  ::close(std::exchange(gone, -1));
  send(half, get("/half"));
  ::shutdown(half, SHUT_WR);
  send(closing, get("/close") + get("/unheard"));
  send(pipelining, get("/a") + get("/b") + "GET /c HT");
  std::string const body(100'000, 'b');
  std::string const post = "POST /wordy HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
  send(wordy, post + body + get("/then"));
  send(bad, "GET\r\n\r\n");
  send(slow, "GET /slow HTTP/1.1\r\nHost:");
  send(cut, "POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1234");
  send(plain, get("/plain"));
  turn(20);
  EXPECT_EQ(received(half), "/half 0|#");
  EXPECT_EQ(received(closing), "/close 0|#");
  EXPECT_EQ(received(pipelining), "/a 0|/b 0|");
  EXPECT_EQ(received(wordy), "/wordy 100000|/then 0|");
  EXPECT_NE(received(bad), "");
  EXPECT_EQ(received(slow), "");
  EXPECT_EQ(received(cut), "");
  EXPECT_EQ(received(plain), "/plain 0|");

  send(pipelining, "TP/1.1\r\nHost: x\r\n\r\n");
  send(slow, " x\r\n\r\n");
  send(cut, "56789");
  send(plain, get("/plain"));
  turn(20);
  EXPECT_EQ(received(pipelining), "/c 0|");
  EXPECT_EQ(received(slow), "/slow 0|");
  EXPECT_EQ(received(cut), "/cut 9|");
  EXPECT_EQ(received(plain), "/plain 0|");
}

TEST_P(HttpTogether, WhoReadsSlowlyGetsTheRestLater) {
  int const slow = connect(4096);
  for (int i = 0; i < 3; ++i) send(slow, get("/long"));
  send(slow, get("/end"));
  for (int const client : clients_) send(client, get("/quick"));
  turn();
  for (int const client : clients_) EXPECT_EQ(received(client), "/quick 0|");
  std::string all;
  for (int i = 0; i < 200 && all.find("/end") == std::string::npos; ++i) {
    all += received(slow);
    turn();
  }
  EXPECT_NE(all.find("/end 0|"), std::string::npos) << all.size();
  ::close(slow);
}

INSTANTIATE_TEST_SUITE_P(Ways, HttpTogether, testing::Bool(),
                         [](auto const& way) { return way.param ? "ring" : "one_by_one"; });

}  // namespace
}  // namespace subforge::net
