// Structured log lines, as JSON or text, written by one thread so that no event loop ever waits for
// a slow terminal or disk.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <variant>

#include "base/time.hpp"

namespace subforge {

enum class LogLevel : std::uint8_t {
  debug = 10,
  info = 20,
  warning = 30,
  error = 40,
  critical = 50,
};
enum class LogFormat : std::uint8_t { json, text };

[[nodiscard]] std::string_view log_level_name(LogLevel level);

struct LogField {
  std::string_view name;
  std::variant<std::string_view, std::int64_t, double> value;

  LogField(std::string_view n, std::string_view text) : name(n), value(text) {}
  LogField(std::string_view n, char const* text) : name(n), value(std::string_view(text)) {}
  LogField(std::string_view n, std::string const& text) : name(n), value(std::string_view(text)) {}
  template <class Integer>
    requires std::is_integral_v<Integer>
  LogField(std::string_view n, Integer number)
      : name(n), value(static_cast<std::int64_t>(number)) {}
  LogField(std::string_view n, double number) : name(n), value(number) {}
};

// Appends one line, ended by a newline. Text values lose no bytes, but control characters are
// escaped in both formats, so that a value can never forge a line, and what is not UTF-8 is written
// as if it were Latin-1.
void append_log_line(std::string& out, LogFormat format, LogLevel level, Timestamp at,
                     std::string_view message, std::initializer_list<LogField> fields);

// Owns the writing thread. Lines beyond the queue's bound are dropped and counted; the count is
// itself logged once there is room again.
class LogSink {
 public:
  static constexpr std::size_t kQueueBytesMax = 8U << 20;
  static constexpr std::int64_t kLastLinesMs = 2'000;

  explicit LogSink(int fd, std::size_t queue_bytes_max = kQueueBytesMax);
  // Writes what is queued, then returns; gives up on a reader who does not take it in time.
  ~LogSink();
  LogSink(LogSink const&) = delete;
  LogSink& operator=(LogSink const&) = delete;

  // `lines` are whole lines, each ended by a newline; all of them are taken or all dropped.
  void submit(std::string_view lines);
  [[nodiscard]] std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  void run();
  void write_all(std::string_view lines) const;
  [[nodiscard]] bool wait_for_reader() const;

  int const fd_;
  std::size_t const piece_bytes_;  // Of one write, so that it does not block behind poll().
  std::size_t const queue_bytes_max_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::string queue_;
  bool stopping_ = false;
  std::atomic<std::uint64_t> dropped_{0};
  std::atomic<std::int64_t> patience_ends_ns_{0};  // 0 while the server runs.
  std::thread thread_;
};

// What most code holds: where lines go, in which format, from which level on.
class Logger {
 public:
  Logger(LogSink& sink, LogFormat format, LogLevel least)
      : sink_(&sink), format_(format), least_(least) {}

  [[nodiscard]] bool enabled(LogLevel level) const { return level >= least_; }
  [[nodiscard]] LogFormat format() const { return format_; }
  [[nodiscard]] LogSink& sink() const { return *sink_; }

  void log(LogLevel level, std::string_view message,
           std::initializer_list<LogField> fields = {}) const;
  void debug(std::string_view message, std::initializer_list<LogField> fields = {}) const {
    log(LogLevel::debug, message, fields);
  }
  void info(std::string_view message, std::initializer_list<LogField> fields = {}) const {
    log(LogLevel::info, message, fields);
  }
  void warning(std::string_view message, std::initializer_list<LogField> fields = {}) const {
    log(LogLevel::warning, message, fields);
  }
  void error(std::string_view message, std::initializer_list<LogField> fields = {}) const {
    log(LogLevel::error, message, fields);
  }

 private:
  LogSink* sink_;
  LogFormat format_;
  LogLevel least_;
};

}  // namespace subforge
