#include "pipeline/access_log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <memory>

#include <boost/json/parse.hpp>
#include <gtest/gtest.h>

namespace subforge::pipeline {
namespace {

// A log that ends in a pipe.
class AccessLogTest : public testing::Test {
 protected:
  AccessLogTest() {
    int fds[2] = {-1, -1};
    EXPECT_EQ(0, ::pipe2(fds, O_NONBLOCK));
    read_fd_ = fds[0];
    write_fd_ = fds[1];
    sink_ = std::make_unique<LogSink>(write_fd_);
  }
  ~AccessLogTest() override {
    sink_.reset();
    ::close(read_fd_);
    ::close(write_fd_);
  }

  AccessLog& log(LogFormat format = LogFormat::json, LogLevel least = LogLevel::info) {
    log_.emplace(Logger(*sink_, format, least), loop_);
    return *log_;
  }
  // All that was written, once the sink has ended.
  std::string written() {
    log_.reset();
    sink_.reset();
    return arrived();
  }
  std::string arrived() {
    std::string all;
    for (char buffer[4096];;) {
      ssize_t const got = ::read(read_fd_, buffer, sizeof buffer);
      if (got <= 0) return all;
      all.append(buffer, static_cast<std::size_t>(got));
    }
  }
  void turn(std::int64_t wait_ms) {
    Timer stop([this] { loop_.stop(); });
    stop.arm(loop_.timers(), monotonic_ns() + wait_ms * 1'000'000);
    loop_.run();
  }

  EventLoop loop_;
  std::unique_ptr<LogSink> sink_;
  std::optional<AccessLog> log_;
  int read_fd_ = -1;
  int write_fd_ = -1;
};

AccessLine line(int status = 200) {
  AccessLine made;
  made.request_id = "r-1";
  made.method = "GET";
  made.route = "agents.get";
  made.path = "/api/v1/agents/\"x\"\n";
  made.status = status;
  made.duration_us = 1234;
  made.bytes = 56;
  made.user = "alice";
  made.peer = "127.0.0.1";
  return made;
}

TEST_F(AccessLogTest, ARequestIsOneLineOfJson) {
  auto const before = Timestamp::now();
  log().write(line());
  auto const text = written();
  ASSERT_EQ(std::ranges::count(text, '\n'), 1);
  auto const object = boost::json::parse(text).get_object();
  auto const at = Timestamp::parse(std::string_view(object.at("timestamp").as_string()));
  ASSERT_TRUE(at);
  EXPECT_GE(at->micros, before.micros - 1'000'000);
  EXPECT_EQ(object.at("level"), "INFO");
  EXPECT_EQ(object.at("message"), "request");
  EXPECT_EQ(object.at("request_id"), "r-1");
  EXPECT_EQ(object.at("method"), "GET");
  EXPECT_EQ(object.at("route"), "agents.get");
  EXPECT_EQ(object.at("path"), "/api/v1/agents/\"x\"\n");
  EXPECT_EQ(object.at("status"), 200);
  EXPECT_EQ(object.at("duration_ms"), 1.234);
  EXPECT_EQ(object.at("bytes"), 56);
  EXPECT_EQ(object.at("user"), "alice");
  EXPECT_EQ(object.at("peer"), "127.0.0.1");
  EXPECT_FALSE(object.contains("trace_id"));
}

TEST_F(AccessLogTest, ATraceIsNamedWhereThereIsOne) {
  auto traced = line();
  traced.trace_id = "0af7651916cd43dd8448eb211c80319c";
  log().write(traced);
  EXPECT_EQ(boost::json::parse(written()).at("trace_id"), "0af7651916cd43dd8448eb211c80319c");
}

TEST_F(AccessLogTest, TextKeepsARequestOnOneLineToo) {
  log(LogFormat::text).write(line());
  auto const text = written();
  EXPECT_EQ(std::ranges::count(text, '\n'), 1) << text;
  for (auto const* part : {"INFO", "request", "method=GET", "status=200", "user=alice"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  }
}

TEST_F(AccessLogTest, TheServersOwnFailuresAreErrors) {
  auto& to = log(LogFormat::json, LogLevel::warning);
  to.write(line(200));
  to.write(line(404));
  to.write(line(501));
  to.write(line(505));
  to.write(line(503));
  auto const text = written();
  ASSERT_EQ(std::ranges::count(text, '\n'), 1) << "only errors at this level";
  auto const object = boost::json::parse(text).get_object();
  EXPECT_EQ(object.at("level"), "ERROR");
  EXPECT_EQ(object.at("status"), 503);
}

TEST_F(AccessLogTest, LinesOfATurnLeaveTogetherWithinAShortTime) {
  log().write(line());
  log_->write(line());
  turn(1);
  EXPECT_EQ(arrived(), "") << "gathered, not written one by one";
  std::string text;
  auto const deadline_ns = monotonic_ns() + 10'000'000'000;
  while (text.empty() && monotonic_ns() < deadline_ns) {
    turn(10);
    text = arrived();
  }
  EXPECT_EQ(std::ranges::count(text, '\n'), 2);
  log_->write(line());
  EXPECT_EQ(std::ranges::count(written(), '\n'), 1) << "what is left is written at the end";
}

TEST_F(AccessLogTest, ManyLinesDoNotWait) {
  auto& to = log();
  // More than a batch, and no more than a pipe holds that nobody reads from at the end.
  for (int i = 0; i < 200; ++i) to.write(line());
  std::string text;
  auto const deadline_ns = monotonic_ns() + 10'000'000'000;
  while (text.empty() && monotonic_ns() < deadline_ns) text = arrived();
  EXPECT_FALSE(text.empty()) << "a full batch leaves without a turn of the loop";
  text += written();
  EXPECT_EQ(std::ranges::count(text, '\n'), 200);
}

}  // namespace
}  // namespace subforge::pipeline
