// One structured line per request, gathered per loop and handed over in batches.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/log.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::pipeline {

struct AccessLine {
  std::string_view request_id;
  std::string_view method;
  std::string_view route;  // The route's name.
  std::string_view path;
  int status = 0;
  std::int64_t duration_us = 0;
  std::size_t bytes = 0;
  std::string_view user;
  std::string_view peer;
  std::string_view trace_id;  // From traceparent; may be empty.
};

class AccessLog {
 public:
  AccessLog(Logger logger, EventLoop& loop);
  ~AccessLog() { flush(); }
  AccessLog(AccessLog const&) = delete;
  AccessLog& operator=(AccessLog const&) = delete;

  void write(AccessLine const& line);
  void flush();

 private:
  [[nodiscard]] std::string_view stamp();
  static constexpr std::size_t kBatchBytes = 32U << 10;
  static constexpr std::int64_t kDelayNs = 100'000'000;

  Logger logger_;
  EventLoop& loop_;
  Timer timer_;
  std::string batch_;
  Timestamp stamped_;  // What `stamp_` says.
  std::string stamp_;  // Many lines of a turn have the same time.
};

}  // namespace subforge::pipeline
