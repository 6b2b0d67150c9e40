// An HTTP connection end to end over a socket pair: framing, pipelining, limits, timeouts,
// shutdown.
#include "net/http_connection.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

namespace subforge::net {
namespace {

// Answers with what it was asked; paths choose how.
class EchoService final : public HttpService {
 public:
  BodyPlan plan_body(HttpConnection&, RequestHead const&) override { return {1000}; }

  void serve(HttpConnection& connection, RequestHead const& head, std::string_view body) override {
    ++served;
    std::string const text =
        std::string(head.method_text) + " " + std::string(head.path) + " " + std::string(body);
    if (head.path == "/later") {
      pending.push_back({connection.defer(), text});
    } else if (head.path == "/stream") {
      connection.answer({200, "", ""}, std::make_unique<Pieces>());
    } else if (head.path == "/broken-stream") {
      connection.answer({200, "", ""}, std::make_unique<Pieces>(true));
    } else if (head.path == "/empty") {
      connection.answer({204, "", ""});
    } else if (head.path == "/big") {
      connection.answer({200, "", std::string(3'000'000, 'x')});
    } else {
      connection.answer({200, "X-Echo: yes\r\n", text});
    }
  }
  void refuse(HttpConnection& connection, RequestHead const*, int status,
              std::string_view reason) override {
    connection.answer({status, "", reason});
  }

  class Pieces final : public BodySource {
   public:
    explicit Pieces(bool broken = false) : broken_(broken) {}
    Task<Result<bool>> next(std::string& out) override {
      if (broken_ && count_ == 1) co_return fail(ErrorCode::unavailable, "gone");
      out = "piece" + std::to_string(count_);
      co_return ++count_ < 3;
    }

   private:
    bool broken_;
    int count_ = 0;
  };

  struct Waiting {
    PendingAnswer answer;
    std::string text;
  };
  std::vector<Waiting> pending;
  int served = 0;
};

class HttpConnectionTest : public testing::Test {
 protected:
  HttpConnectionTest() { open(); }
  ~HttpConnectionTest() override { ::close(client_); }

  void open(HttpServerLimits limits = {}) {
    int fds[2];
    ASSERT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    if (client_ >= 0) ::close(client_);
    client_ = fds[0];
    server_ = std::make_unique<HttpServer>(loop_, service_, limits, WebSocketLimits{});
    server_->adopt(fds[1], Peer{});
  }

  void send(std::string_view text) {
    ASSERT_EQ(static_cast<ssize_t>(text.size()), ::send(client_, text.data(), text.size(), 0));
    turn();
  }
  // Lets the loop work off what is there, and `wait_ms` more.
  void turn(std::int64_t wait_ms = 1) {
    Timer stop([this] { loop_.stop(); });
    stop.arm(loop_.timers(), monotonic_ns() + wait_ms * 1'000'000);
    loop_.run();
  }
  std::string received() {
    std::string all;
    for (char buffer[65536];;) {
      ssize_t const got = ::recv(client_, buffer, sizeof buffer, 0);
      if (got <= 0) {
        closed_ = got == 0;
        return all;
      }
      all.append(buffer, static_cast<std::size_t>(got));
    }
  }
  static std::string bodies(std::string const& answers) {
    std::string all;
    for (std::size_t at = 0; (at = answers.find("\r\n\r\n", at)) != std::string::npos;) {
      at += 4;
      auto const end = answers.find("HTTP/1.1", at);
      all += answers.substr(at, end == std::string::npos ? end : end - at) + "|";
    }
    return all;
  }

  EventLoop loop_;
  EchoService service_;
  std::unique_ptr<HttpServer> server_;
  int client_ = -1;
  bool closed_ = false;
};

constexpr std::string_view kHost = "Host: a\r\n";

std::string request(std::string_view line, std::string_view fields = "",
                    std::string_view body = "") {
  std::string text(line);
  text.append(" HTTP/1.1\r\n").append(kHost).append(fields).append("\r\n").append(body);
  return text;
}

TEST_F(HttpConnectionTest, AnswersAndStaysOpen) {
  send(request("GET /one"));
  auto const answer = received();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\nDate: ")) << answer;
  EXPECT_NE(std::string::npos,
            answer.find("\r\nX-Echo: yes\r\nContent-Length: 9\r\n\r\nGET /one "));
  send(request("GET /two"));
  EXPECT_EQ("GET /two |", bodies(received()));
  EXPECT_FALSE(closed_);
}

TEST_F(HttpConnectionTest, TheSplitOfBytesMakesNoDifference) {
  auto const all = request("POST /a", "Content-Length: 5\r\n", "hello") +
                   request("POST /b", "Transfer-Encoding: chunked\r\n",
                           "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: v\r\n\r\n") +
                   request("GET /c");
  for (std::size_t cut = 1; cut < all.size(); ++cut) {
    open();
    send(std::string_view(all).substr(0, cut));
    send(std::string_view(all).substr(cut));
    EXPECT_EQ("POST /a hello|POST /b abcdefg|GET /c |", bodies(received())) << cut;
  }
}

TEST_F(HttpConnectionTest, PipelinedRequestsAreAnsweredInOrderAcrossASlowOne) {
  send(request("GET /one") + request("GET /later") + request("GET /three"));
  EXPECT_EQ("GET /one |", bodies(received()));
  EXPECT_EQ(2, service_.served);
  send(request("GET /four"));  // Arrives while another is being served.
  EXPECT_EQ(2, service_.served);
  loop_.post([this] {
    auto const waiting = service_.pending.front();
    waiting.answer.complete({200, "", waiting.text});
  });
  turn();
  EXPECT_EQ("GET /later |GET /three |GET /four |", bodies(received()));
}

// Where the kernel takes every answer at once, nothing but the connection itself goes on with what
// is still to be served.
TEST_F(HttpConnectionTest, PipelinedRequestsThatWaitedForRoomAreServed) {
  HttpServerLimits limits;
  limits.output_bytes_max = 300;
  open(limits);
  std::string all;
  for (int i = 0; i < 40; ++i) all += request("GET /a");
  send(all);
  EXPECT_EQ(40, service_.served);
  auto const answers = received();
  EXPECT_EQ(40, std::ranges::count(bodies(answers), '|'));
  // The same behind one that is answered later.
  send(request("GET /later") + all);
  EXPECT_EQ(41, service_.served);
  ASSERT_EQ(1U, service_.pending.size());
  loop_.post([this] { service_.pending.front().answer.complete({200, "", "late"}); });
  turn();
  EXPECT_EQ(81, service_.served);
  EXPECT_EQ(41, std::ranges::count(bodies(received()), '|'));
}

TEST_F(HttpConnectionTest, HeadAnd204HaveNoBody) {
  send(request("HEAD /x") + request("GET /empty") + request("GET /y"));
  auto const answers = received();
  EXPECT_NE(std::string::npos, answers.find("Content-Length: 8\r\n\r\nHTTP/1.1 204 No Content"));
  EXPECT_TRUE(answers.ends_with("GET /y "));
}

TEST_F(HttpConnectionTest, StreamsInChunks) {
  send(request("GET /stream"));
  auto const answer = received();
  EXPECT_NE(std::string::npos, answer.find("Transfer-Encoding: chunked\r\n\r\n"));
  EXPECT_TRUE(answer.ends_with("6\r\npiece0\r\n6\r\npiece1\r\n6\r\npiece2\r\n0\r\n\r\n")) << answer;
  send(request("GET /after"));
  EXPECT_EQ("GET /after |", bodies(received()));
}

TEST_F(HttpConnectionTest, AStreamToHttp10EndsWithTheConnection) {
  send("GET /stream HTTP/1.0\r\n\r\n");
  auto const answer = received();
  EXPECT_EQ(std::string::npos, answer.find("chunked"));
  EXPECT_TRUE(answer.ends_with("piece0piece1piece2"));
  EXPECT_TRUE(closed_);
}

TEST_F(HttpConnectionTest, ABrokenStreamNeverLooksComplete) {
  send(request("GET /broken-stream"));
  auto const answer = received();
  EXPECT_EQ(std::string::npos, answer.find("0\r\n\r\n"));
  EXPECT_TRUE(closed_);
}

TEST_F(HttpConnectionTest, LimitsAndBadFramingAreRefusedAndClosed) {
  struct Case {
    std::string input;
    int status;
  };
  Case const cases[] = {
      {request("GET /" + std::string(9000, 'a')), 414},
      {request("GET /", "X: " + std::string(40000, 'a') + "\r\n"), 431},
      {request("POST /", "Content-Length: 1001\r\n"), 413},
      {request("POST /", "Transfer-Encoding: chunked\r\n", "3e9\r\n"), 413},
      {request("POST /", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400},
      {request("POST /", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400},
      {request("POST /", "Content-Length: 1, 1\r\n"), 400},
      {request("POST /", "Transfer-Encoding: gzip\r\n"), 501},
      {request("POST /", "Transfer-Encoding: chunked\r\n", "zz\r\n"), 400},
      {request("GET /", "A: b\r\n c: folded\r\n"), 400},
      {request("GET /", "A : b\r\n"), 400},
      {"GET / HTTP/1.1\nHost: a\n\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\n\r\n", 505},
      {"\x16\x03\x01 not http at all\r\n\r\n", 400},
  };
  for (auto const& [input, status] : cases) {
    open();
    send(input);
    auto const answer = received();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 " + std::to_string(status)))
        << input.substr(0, 60) << " -> " << answer.substr(0, 60);
    EXPECT_NE(std::string::npos, answer.find("Connection: close")) << input.substr(0, 60);
    // What follows a broken request is never taken for another one.
    auto const served = service_.served;
    [[maybe_unused]] auto const sent = ::send(client_, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
    turn();
    EXPECT_EQ(served, service_.served);
  }
}

TEST_F(HttpConnectionTest, ExpectContinueIsAnsweredBeforeTheBody) {
  send(request("POST /a", "Content-Length: 2\r\nExpect: 100-continue\r\n"));
  EXPECT_EQ("HTTP/1.1 100 Continue\r\n\r\n", received());
  send("hi");
  EXPECT_EQ("POST /a hi|", bodies(received()));
  open();
  send(request("POST /a", "Content-Length: 5000\r\nExpect: 100-continue\r\n"));
  EXPECT_TRUE(received().starts_with("HTTP/1.1 413"));
}

HttpServerLimits timeouts(std::int64_t header_ms, std::int64_t body_ms, std::int64_t idle_ms) {
  HttpServerLimits limits;
  limits.header_timeout_ms = header_ms;
  limits.body_timeout_ms = body_ms;
  limits.idle_timeout_ms = idle_ms;
  return limits;
}

TEST_F(HttpConnectionTest, SlowSendersAreRefusedAndIdleOnesClosed) {
  open(timeouts(40, 40, 80));
  send("GET / HT");
  turn(90);
  EXPECT_TRUE(received().starts_with("HTTP/1.1 408"));
  open(timeouts(1000, 40, 1000));
  send(request("POST /", "Content-Length: 5\r\n", "ab"));
  turn(90);
  EXPECT_TRUE(received().starts_with("HTTP/1.1 408"));
  open(timeouts(1000, 1000, 40));
  send(request("GET /x"));
  EXPECT_EQ("GET /x |", bodies(received()));
  turn(120);
  EXPECT_EQ("", received());
  EXPECT_TRUE(closed_);
}

TEST_F(HttpConnectionTest, ALargeAnswerWaitsForItsReader) {
  send(request("GET /big") + request("GET /after"));
  std::string all;
  for (int i = 0; i < 2000 && !all.ends_with("GET /after "); ++i) {
    all += received();
    turn(0);
  }
  EXPECT_TRUE(all.ends_with("GET /after "));
  EXPECT_GT(all.size(), 3'000'000U);
}

TEST_F(HttpConnectionTest, ShutdownEndsIdleConnectionsAndFinishesOthers) {
  send(request("GET /one"));
  received();
  loop_.post([this] { server_->begin_shutdown(); });
  turn();
  received();
  EXPECT_TRUE(closed_);
  EXPECT_TRUE(server_->idle());

  open();
  send(request("GET /later"));
  loop_.post([this] { server_->begin_shutdown(); });
  turn();
  EXPECT_FALSE(server_->idle());
  loop_.post([this] { service_.pending.back().answer.complete({200, "", "done"}); });
  turn();
  auto const answer = received();
  EXPECT_NE(std::string::npos, answer.find("Connection: close"));
  EXPECT_TRUE(answer.ends_with("done"));
  EXPECT_TRUE(closed_);
}

TEST_F(HttpConnectionTest, AnAnswerToAClientThatLeftIsDropped) {
  send(request("GET /later"));
  ::close(client_);
  client_ = -1;
  turn();
  loop_.post([this] { service_.pending.back().answer.complete({200, "", "nobody"}); });
  turn();
  EXPECT_EQ(0U, server_->connection_count());
  open();
}

}  // namespace
}  // namespace subforge::net
