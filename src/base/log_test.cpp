#include "base/log.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/text.hpp"
#include "base/utf8.hpp"

namespace subforge {
namespace {

std::string line_of(LogFormat format, std::string_view message,
                    std::initializer_list<LogField> fields = {}) {
  std::string out;
  append_log_line(out, format, LogLevel::warning, Timestamp{0}, message, fields);
  return out;
}

// Both ends of a pipe; what the sink writes is read back here.
class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe2(fds_, O_CLOEXEC), 0); }
  ~Pipe() {
    close_reader();
    close_writer();
  }
  Pipe(Pipe const&) = delete;
  Pipe& operator=(Pipe const&) = delete;

  [[nodiscard]] int writer() const { return fds_[1]; }
  [[nodiscard]] int reader() const { return fds_[0]; }
  void close_writer() { close(fds_[1]); }
  void close_reader() { close(fds_[0]); }
  // Reads until the writing end is closed.
  [[nodiscard]] std::string read_all() const {
    std::string all;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(fds_[0], buffer, sizeof buffer)) > 0;) {
      all.append(buffer, static_cast<std::size_t>(got));
    }
    return all;
  }

 private:
  static void close(int& fd) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  int fds_[2] = {-1, -1};
};

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  for (auto const line : split_list(text, '\n')) lines.emplace_back(line);
  return lines;
}

TEST(LogLine, JsonHasTimeLevelMessageAndTypedFields) {
  EXPECT_EQ(line_of(LogFormat::json, "ready", {{"port", 8000}, {"ms", 1.5}, {"host", "::1"}}),
            R"({"timestamp":"1970-01-01T00:00:00.000000Z","level":"WARNING","message":"ready",)"
            R"("port":8000,"ms":1.5,"host":"::1"})"
            "\n");
}

TEST(LogLine, TextIsAlignedAndQuotesWhatNeedsIt) {
  EXPECT_EQ(line_of(LogFormat::text, "ready to serve",
                    {{"a", "plain"}, {"b", "two words"}, {"c", ""}, {"d", "x=y"}, {"n", -1}}),
            "1970-01-01T00:00:00.000000Z WARNING ready to serve  a=plain  b=\"two words\"  c=\"\""
            "  d=\"x=y\"  n=-1\n");
}

TEST(LogLine, NoValueCanForgeALine) {
  for (auto const format : {LogFormat::json, LogFormat::text}) {
    auto const line = line_of(format, "a\nb", {{"x", "c\r\nd"}, {"y", "\x1b[2J"}, {"z", "\n"}});
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    EXPECT_EQ(line.find('\r'), std::string::npos);
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
  }
}

TEST(LogLine, BytesThatAreNotUtf8BecomeText) {
  for (auto const format : {LogFormat::json, LogFormat::text}) {
    auto const line = line_of(format, "bad \xff", {{"path", "/\xe4\x80"}, {"good", "\xc3\xa4"}});
    EXPECT_TRUE(is_valid_utf8(line)) << line;
    EXPECT_NE(line.find("bad \xc3\xbf"), std::string::npos);       // U+00FF
    EXPECT_NE(line.find("/\xc3\xa4\xc2\x80"), std::string::npos);  // U+00E4 U+0080
  }
}

TEST(Logger, LeavesOutWhatIsBelowItsLevel) {
  Pipe pipe;
  {
    LogSink sink(pipe.writer());
    Logger const logger(sink, LogFormat::text, LogLevel::warning);
    EXPECT_FALSE(logger.enabled(LogLevel::info));
    logger.debug("one");
    logger.info("two");
    logger.warning("three");
    logger.error("four");
  }
  pipe.close_writer();
  auto const lines = lines_of(pipe.read_all());
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_NE(lines[0].find("three"), std::string::npos);
  EXPECT_NE(lines[1].find("four"), std::string::npos);
}

TEST(LogSink, KeepsTheOrderOfEachThreadAndWritesAllBeforeItEnds) {
  constexpr int kThreads = 4;
  constexpr int kEach = 2'000;
  Pipe pipe;
  std::string all;
  std::thread reader([&] { all = pipe.read_all(); });
  {
    LogSink sink(pipe.writer());
    std::vector<std::thread> writers;
    for (int t = 0; t < kThreads; ++t) {
      writers.emplace_back([&sink, t] {
        for (int i = 0; i < kEach; ++i) {
          sink.submit(std::to_string(t) + " " + std::to_string(i) + "\n");
        }
      });
    }
    for (auto& writer : writers) writer.join();
    EXPECT_EQ(sink.dropped(), 0U);
  }
  pipe.close_writer();
  reader.join();
  std::vector<int> next(kThreads, 0);
  auto const lines = lines_of(all);
  ASSERT_EQ(lines.size(), static_cast<std::size_t>(kThreads * kEach));
  for (auto const& line : lines) {
    auto const space = line.find(' ');
    auto& expected = next[*parse_number<std::size_t>(line.substr(0, space))];
    ASSERT_EQ(line.substr(space + 1), std::to_string(expected));
    ++expected;
  }
}

// Nobody reads: the pipe fills, the writing thread stands still, and the queue reaches its bound.
TEST(LogSink, DropsWhatItCannotHoldAndSaysSoOnceThereIsRoom) {
  for (int const flags : {0, O_NONBLOCK}) {
    Pipe pipe;
    ASSERT_EQ(::fcntl(pipe.writer(), F_SETFL, flags), 0);
    std::string const line = std::string(1023, 'x') + "\n";
    std::string all;
    std::uint64_t dropped = 0;
    std::thread reader;
    {
      LogSink sink(pipe.writer(), 64U << 10);
      for (int i = 0; i < 1000; ++i) sink.submit(line + line);
      dropped = sink.dropped();
      EXPECT_GT(dropped, 1000U);  // The pipe holds 64 KiB, the sink about twice as much.
      EXPECT_EQ(dropped % 2, 0U);
      reader = std::thread([&] { all = pipe.read_all(); });
    }
    pipe.close_writer();
    reader.join();
    std::uint64_t whole = 0;
    std::uint64_t reported = 0;
    constexpr std::string_view kMark = "\"dropped\":";
    for (auto const& each : lines_of(all)) {
      if (each + "\n" == line) ++whole;
      if (auto const at = each.find(kMark); at != std::string::npos) {
        reported +=
            parse_number<std::uint64_t>(std::string_view(each).substr(
                                            at + kMark.size(), each.size() - at - kMark.size() - 1))
                .value_or(0);
      }
    }
    EXPECT_EQ(whole, 2000 - dropped);
    EXPECT_EQ(reported, dropped);
  }
}

// Who holds the other end of the pipe and does not read keeps the process from ending for a while
// only.
TEST(LogSink, GivesUpAtTheEndWhereNobodyReads) {
  Pipe pipe;
  auto const begin = monotonic_ns();
  {
    LogSink sink(pipe.writer());
    std::string const line = std::string(1023, 'x') + "\n";
    for (int i = 0; i < 1000; ++i) sink.submit(line);
  }
  auto const milliseconds = (monotonic_ns() - begin) / 1'000'000;
  EXPECT_GE(milliseconds, LogSink::kLastLinesMs);
  EXPECT_LT(milliseconds, LogSink::kLastLinesMs + 5'000);
}

TEST(LogSink, ALogThatNobodyCanReadStopsNobody) {
  auto* const before = std::signal(SIGPIPE, SIG_IGN);
  Pipe pipe;
  pipe.close_reader();
  {
    LogSink sink(pipe.writer());
    for (int i = 0; i < 1000; ++i) sink.submit("lost\n");
  }
  std::signal(SIGPIPE, before);
}

}  // namespace
}  // namespace subforge
