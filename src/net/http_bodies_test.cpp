// Bodies that are not held in memory: requests' that are streamed, and answers' that lie in files.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "net/http_connection.hpp"
#include "runtime/blocking_pool.hpp"

namespace subforge::net {
namespace {

// Reads streamed bodies as the path says, and answers with what came.
class StreamService final : public HttpService {
 public:
  BodyPlan plan_body(HttpConnection&, RequestHead const& head) override {
    bool const gathered = head.path == "/gathered" || head.path == "/unwanted";
    return {.bytes_max = 10'000'000, .streamed = !gathered, .wanted = head.path != "/unwanted"};
  }
  void serve(HttpConnection& connection, RequestHead const& head, std::string_view body) override {
    if (head.path == "/file") return connection.answer({200, "", ""}, open_file());
    connection.answer({200, "", "whole " + std::to_string(body.size())});
  }
  void serve_stream(HttpConnection& connection, RequestHead const& head,
                    std::shared_ptr<BodyStream> body) override {
    ++streams;
    if (head.path == "/refuse") return connection.answer({403, "", "no"});
    read(connection.defer(), std::string(head.path), std::move(body));
  }
  void refuse(HttpConnection& connection, RequestHead const*, int status,
              std::string_view reason) override {
    connection.answer({status, "", reason});
  }

  Detached read(PendingAnswer answer, std::string path, std::shared_ptr<BodyStream> body) {
    std::string block;
    std::string all;
    for (;;) {
      if (path == "/slowly") co_await EventLoop::current()->sleep_ms(5);
      auto const more = co_await body->next(block, path == "/whole" ? BodyStream::kBlockBytes : 1);
      if (!more) {
        failed = more.error().status;
        co_return later(answer, more.error().status, std::string(more.error().reason));
      }
      if (!*more) break;
      largest = std::max(largest, block.size());
      if (path == "/toil") toil(block);
      all += block;
      if (path == "/early" && all.size() >= 3) {
        co_return later(answer, 400, "enough");
      }
    }
    later(answer, 200, "got " + std::to_string(all.size()) + " " + all.substr(0, 20));
  }
  // Takes more of the loop's time than all bodies may have in a turn.
  void toil(std::string const& block) {
    toiled.push_back(block);
    for (auto const begun_ns = monotonic_ns(); monotonic_ns() - begun_ns < 2'000'000;) {
    }
  }
  // Not while the request is still being handed over.
  static void later(PendingAnswer answer, int status, std::string text) {
    EventLoop::current()->post([answer, status, text] { answer.complete({status, "", text}); });
  }

  std::unique_ptr<FileBody> open_file() {
    char name[] = "/tmp/subforge-file-body-XXXXXX";
    int const fd = ::mkstemp(name);
    ::unlink(name);
    std::string const text(3'000'000, 'f');
    EXPECT_EQ(static_cast<ssize_t>(text.size()), ::write(fd, text.data(), text.size()));
    return std::make_unique<FileBody>(
        fd, std::vector<FileBody::Piece>{{"<", 0, 2'500'000}, {"|", 5, 3}, {">", 0, 0}}, pool);
  }

  BlockingPool pool{1, 10};
  int streams = 0;
  int failed = 0;
  std::vector<std::string> toiled;
  std::size_t largest = 0;
};

class HttpBodiesTest : public testing::Test {
 protected:
  HttpBodiesTest() { open(); }
  ~HttpBodiesTest() override {
    ::close(client_);
    turn();
  }

  void open(HttpServerLimits limits = {}) {
    int fds[2];
    ASSERT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    if (client_ >= 0) ::close(client_);
    client_ = fds[0];
    server_ = std::make_unique<HttpServer>(loop_, service_, limits, WebSocketLimits{});
    server_->adopt(fds[1], Peer{});
  }
  // Lets the loop work off what is there.
  void turn() {
    turns_left_ = 10;
    next_turn();
    loop_.run();
  }
  void next_turn() {
    loop_.post([this] { --turns_left_ == 0 ? loop_.stop() : next_turn(); });
  }
  void turn_for(std::int64_t wait_ms) {
    Timer stop([this] { loop_.stop(); });
    stop.arm(loop_.timers(), monotonic_ns() + wait_ms * 1'000'000);
    loop_.run();
  }
  void send(std::string_view text) {
    while (!text.empty()) {
      ssize_t const sent = ::send(client_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno != EAGAIN) return;
      text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
      turn();
    }
  }
  // Whether `text` comes within ten seconds; what came with it is kept for the next one.
  bool answered(std::string_view text) {
    for (auto const begun_ns = monotonic_ns(); monotonic_ns() - begun_ns < 10'000'000'000;) {
      answers_ += received();
      if (answers_.contains(text)) {
        answers_.erase(0, answers_.find(text) + text.size());
        return true;
      }
      turn_for(5);
    }
    return false;
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

  EventLoop loop_;
  std::string answers_;
  StreamService service_;
  std::unique_ptr<HttpServer> server_;
  int client_ = -1;
  bool closed_ = false;
  int turns_left_ = 0;
};

std::string post(std::string_view path, std::string_view fields, std::string_view body = "") {
  std::string text("POST ");
  text.append(path).append(" HTTP/1.1\r\nHost: a\r\n").append(fields).append("\r\n").append(body);
  return text;
}

TEST_F(HttpBodiesTest, TheSplitOfBytesMakesNoDifference) {
  auto const all =
      post("/a", "Content-Length: 5\r\n", "hello") +
      post("/b", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n") +
      post("/gathered", "Content-Length: 2\r\n", "hi") + post("/c", "Content-Length: 1\r\n", "x");
  for (std::size_t cut = 1; cut < all.size(); ++cut) {
    open();
    send(std::string_view(all).substr(0, cut));
    send(std::string_view(all).substr(cut));
    auto const answers = received();
    for (auto const* wanted : {"got 5 hello", "got 7 abcdefg", "whole 2", "got 1 x"}) {
      EXPECT_NE(answers.find(wanted), std::string::npos) << cut << " " << wanted << answers;
    }
    EXPECT_FALSE(closed_);
  }
}

TEST_F(HttpBodiesTest, HoldsNoMoreThanABlockHoweverSlowlyItIsRead) {
  std::string const body(5'000'000, 'b');
  for (auto const* path : {"/slowly", "/whole", "/a"}) {
    send(post(path, "Content-Length: 5000000\r\n", body));
    EXPECT_TRUE(answered("got 5000000 bbbb")) << path;
    EXPECT_LE(service_.largest, BodyStream::kBlockBytes);
  }
  std::string chunked;
  for (int i = 0; i < 50; ++i) append_chunk(chunked, std::string_view(body).substr(0, 100'000));
  chunked.append(kLastChunk);
  send(post("/slowly", "Transfer-Encoding: chunked\r\n", chunked) +
       post("/a", "Content-Length: 3\r\n", "end"));
  EXPECT_TRUE(answered("got 5000000 bbbb"));
  EXPECT_TRUE(answered("got 3 end"));
}

TEST_F(HttpBodiesTest, WhatIsAnsweredBeforeTheEndClosesTheConnection) {
  for (auto const* path : {"/refuse", "/early"}) {
    open();
    send(post(path, "Content-Length: 1000\r\n", "abcd"));
    auto const answer = received();
    EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos) << path;
    auto const served = service_.streams;
    send(post("/a", "Content-Length: 0\r\n"));
    EXPECT_EQ(served, service_.streams) << path;
  }
  open();
  send(post("/refuse", "Content-Length: 4\r\n", "abcd"));  // All of it is here.
  EXPECT_EQ(received().find("Connection: close\r\n"), std::string::npos);
}

TEST_F(HttpBodiesTest, ContinueIsSentOnceTheBodyIsWanted) {
  send(post("/refuse", "Content-Length: 4\r\nExpect: 100-continue\r\n"));
  EXPECT_TRUE(received().starts_with("HTTP/1.1 403"));
  open();
  send(post("/a", "Content-Length: 4\r\nExpect: 100-continue\r\n"));
  EXPECT_EQ("HTTP/1.1 100 Continue\r\n\r\n", received());
  send("abcd");
  EXPECT_NE(received().find("got 4 abcd"), std::string::npos);
}

TEST_F(HttpBodiesTest, WhoWaitsWithABodyThatIsNotWantedIsAnsweredAtOnce) {
  send(post("/gathered", "Content-Length: 4\r\nExpect: 100-continue\r\n"));
  EXPECT_EQ("HTTP/1.1 100 Continue\r\n\r\n", received());
  open();
  send(post("/unwanted", "Content-Length: 4\r\nExpect: 100-continue\r\n"));
  auto const answer = received();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_NE(answer.find("Connection: close\r\n"), std::string::npos);
  send("abcdGET / HTTP/1.1\r\nHost: a\r\n\r\n");  // Sent all the same, it is no request.
  EXPECT_EQ(received(), "");
  open();
  send(post("/unwanted", "Content-Length: 4\r\nExpect: 100-continue\r\n", "abcd"));
  EXPECT_EQ(received().find("Connection: close\r\n"), std::string::npos) << "it has come";
}

TEST_F(HttpBodiesTest, TellsTheHandlerOfBadFramingAndOfClientsThatAreSlowOrGone) {
  send(post("/a", "Transfer-Encoding: chunked\r\n", "3\r\nabcX"));
  EXPECT_TRUE(received().starts_with("HTTP/1.1 400"));
  open();
  send(post("/a", "Transfer-Encoding: chunked\r\n", "ffffff\r\n"));
  EXPECT_TRUE(received().starts_with("HTTP/1.1 413"));
  HttpServerLimits limits;
  limits.body_timeout_ms = 30;
  open(limits);
  send(post("/a", "Content-Length: 9\r\n", "ab"));
  turn_for(100);
  EXPECT_TRUE(received().starts_with("HTTP/1.1 408"));
  open();
  service_.failed = 0;
  send(post("/a", "Content-Length: 9\r\n", "ab"));
  ::shutdown(client_, SHUT_RDWR);
  turn_for(10);
  EXPECT_EQ(service_.failed, 400);
}

TEST_F(HttpBodiesTest, SendsFilesWithTextAroundTheirParts) {
  send("GET /file HTTP/1.1\r\nHost: a\r\n\r\n" + post("/a", "Content-Length: 1\r\n", "x"));
  std::string all;
  for (int i = 0; i < 2000 && !all.ends_with("got 1 x"); ++i) {
    all += received();
    turn();
  }
  EXPECT_NE(all.find("Content-Length: 2500006\r\n"), std::string::npos);
  auto const body = all.substr(all.find("\r\n\r\n") + 4, 2'500'006);
  EXPECT_EQ(body, "<" + std::string(2'500'000, 'f') + "|fff>");
  EXPECT_TRUE(all.ends_with("got 1 x"));
  send("HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(received().ends_with("Content-Length: 2500006\r\n\r\n"));
}

TEST_F(HttpBodiesTest, OthersRequestsComeBeforeBodiesWhichTakeTurns) {
  constexpr int kUploads = 8;
  std::vector<int> uploads;
  for (int i = 0; i < kUploads; ++i) {
    int fds[2];
    ASSERT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    server_->adopt(fds[1], Peer{});
    uploads.push_back(fds[0]);
    std::string const head = "POST /toil HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    ASSERT_EQ(static_cast<ssize_t>(head.size()), ::send(fds[0], head.data(), head.size(), 0));
  }
  turn();
  auto const one_turn = [&] {
    loop_.post([this] { loop_.stop(); });
    loop_.run();
  };
  for (int const upload : uploads) ASSERT_EQ(1, ::send(upload, "a", 1, 0));
  std::string const wrong = "GET\r\n\r\n";
  ASSERT_EQ(static_cast<ssize_t>(wrong.size()), ::send(client_, wrong.data(), wrong.size(), 0));
  one_turn();
  EXPECT_NE(received(), "") << "answered in the same turn";
  EXPECT_EQ(service_.toiled.size(), 1U) << "as bodies have a millisecond of a turn";
  // Those that have come to their turn do not come again before the others.
  ASSERT_EQ(1, ::send(uploads[0], "b", 1, 0));
  for (int i = 1; i < kUploads; ++i) one_turn();
  EXPECT_EQ(service_.toiled.size(), uploads.size());
  for (auto const& toiled : service_.toiled) EXPECT_EQ(toiled, "a");
  one_turn();
  ASSERT_EQ(service_.toiled.size(), uploads.size() + 1);
  EXPECT_EQ(service_.toiled.back(), "b");
  for (int const upload : uploads) ::close(upload);
  turn();
}

}  // namespace
}  // namespace subforge::net
