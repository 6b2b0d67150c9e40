#include "base/log.hpp"

#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/json_writer.hpp"
#include "base/utf8.hpp"

namespace subforge {
namespace {

// What clients send may be any bytes, but a line must be UTF-8 for its readers. Text that is not is
// taken for Latin-1, where every byte is a character; `copy` then holds what the view shows.
std::string_view as_utf8(std::string_view text, std::string& copy) {
  if (is_valid_utf8(text)) return text;
  for (char const c : text) {
    auto const byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      copy.push_back(c);
    } else {
      copy.push_back(static_cast<char>(0xc0 | (byte >> 6)));
      copy.push_back(static_cast<char>(0x80 | (byte & 0x3f)));
    }
  }
  return copy;
}

void append_json_value(JsonWriter& json, LogField const& field) {
  json.key(field.name);
  if (auto const* text = std::get_if<std::string_view>(&field.value)) {
    std::string copy;
    json.string(as_utf8(*text, copy));
  } else if (auto const* integer = std::get_if<std::int64_t>(&field.value)) {
    json.integer(*integer);
  } else {
    json.number(std::get<double>(field.value));
  }
}

// As in a JSON string, without its quotes.
void append_escaped(std::string& out, std::string_view text) {
  std::string quoted;
  append_json_string(quoted, text);
  out.append(quoted, 1, quoted.size() - 2);
}

void append_text_value(std::string& out, LogField const& field) {
  out.append("  ").append(field.name).push_back('=');
  if (auto const* bytes = std::get_if<std::string_view>(&field.value)) {
    std::string copy;
    auto const text = as_utf8(*bytes, copy);
    bool const plain =
        !text.empty() && text.find_first_of(" \"\\=\n\r\t") == std::string_view::npos;
    if (plain) {
      append_escaped(out, text);
    } else {
      append_json_string(out, text);
    }
  } else if (auto const* integer = std::get_if<std::int64_t>(&field.value)) {
    append_decimal(out, *integer);
  } else {
    append_json_double(out, std::get<double>(field.value));
  }
}

// What poll() promises of a pipe or a terminal is room for this many bytes; files always have it.
std::size_t piece_bytes_of(int fd) {
  struct stat status{};
  bool const file = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  return file ? std::size_t{1} << 20 : std::size_t{PIPE_BUF};
}

}  // namespace

std::string_view log_level_name(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return "DEBUG";
    case LogLevel::info: return "INFO";
    case LogLevel::warning: return "WARNING";
    case LogLevel::error: return "ERROR";
    case LogLevel::critical: return "CRITICAL";
  }
  return "INFO";
}

void append_log_line(std::string& out, LogFormat format, LogLevel level, Timestamp at,
                     std::string_view text, std::initializer_list<LogField> fields) {
  std::string copy;
  auto const message = as_utf8(text, copy);
  if (format == LogFormat::json) {
    JsonWriter json(out);
    json.begin_object();
    json.member("timestamp", at);
    json.member("level", log_level_name(level));
    json.member("message", message);
    for (auto const& field : fields) append_json_value(json, field);
    json.end_object();
  } else {
    at.append_to(out);
    out.push_back(' ');
    auto const name = log_level_name(level);
    out.append(name).append(name.size() < 8 ? 8 - name.size() : 1, ' ');
    append_escaped(out, message);
    for (auto const& field : fields) append_text_value(out, field);
  }
  out.push_back('\n');
}

LogSink::LogSink(int fd, std::size_t queue_bytes_max)
    : fd_(fd),
      piece_bytes_(piece_bytes_of(fd)),
      queue_bytes_max_(queue_bytes_max),
      thread_([this] { run(); }) {}

LogSink::~LogSink() {
  {
    std::lock_guard const lock(mutex_);
    stopping_ = true;
  }
  patience_ends_ns_ = monotonic_ns() + kLastLinesMs * 1'000'000;
  wake_.notify_one();
  thread_.join();
}

void LogSink::submit(std::string_view lines) {
  bool was_empty = false;
  {
    std::lock_guard const lock(mutex_);
    if (queue_.size() + lines.size() > queue_bytes_max_) {
      auto const count = std::count(lines.begin(), lines.end(), '\n');
      dropped_.fetch_add(static_cast<std::uint64_t>(count), std::memory_order_relaxed);
      return;
    }
    was_empty = queue_.empty();
    queue_.append(lines);
  }
  if (was_empty) wake_.notify_one();
}

void LogSink::run() {
  std::string batch;
  std::uint64_t reported = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    batch.clear();
    batch.swap(queue_);
    lock.unlock();
    write_all(batch);
    if (auto const now = dropped(); now != reported) {
      std::string line;
      append_log_line(line, LogFormat::json, LogLevel::warning, Timestamp::now(),
                      "log lines dropped: the reader of the log is too slow",
                      {{"dropped", now - reported}});
      write_all(line);
      reported = now;
    }
    if (batch.capacity() > (1U << 20)) batch.shrink_to_fit();
    lock.lock();
  }
}

void LogSink::write_all(std::string_view lines) const {
  while (!lines.empty() && wait_for_reader()) {
    ssize_t const written = ::write(fd_, lines.data(), std::min(lines.size(), piece_bytes_));
    if (written >= 0) {
      lines.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR && errno != EAGAIN) {
      return;  // A log nobody can read any more must not stop the server.
    }
  }
}

bool LogSink::wait_for_reader() const {
  constexpr int kLookMs = 100;
  for (;;) {
    auto const end = patience_ends_ns_.load();
    if (end != 0 && monotonic_ns() > end) return false;
    pollfd ready{fd_, POLLOUT, 0};
    if (::poll(&ready, 1, kLookMs) > 0) return true;
  }
}

void Logger::log(LogLevel level, std::string_view message,
                 std::initializer_list<LogField> fields) const {
  if (!enabled(level)) return;
  std::string line;
  append_log_line(line, format_, level, Timestamp::now(), message, fields);
  sink_->submit(line);
}

}  // namespace subforge
