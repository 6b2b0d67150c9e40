#include "api/access_log.hpp"

#include "base/json_writer.hpp"

namespace subforge::api {

AccessLog::AccessLog(Logger logger, EventLoop& loop)
    : logger_(logger), loop_(loop), timer_([this] { flush(); }) {}

void AccessLog::write(AccessLine const& line) {
  auto const level = line.status >= 500 ? LogLevel::error : LogLevel::info;
  if (!logger_.enabled(level)) return;
  auto const duration_ms = static_cast<double>(line.duration_us) / 1000;
  if (logger_.format() == LogFormat::json) {
    JsonWriter json(batch_);
    json.begin_object();
    json.member("timestamp", loop_.wall_now());
    json.member("level", log_level_name(level));
    json.member("message", "request");
    json.member("request_id", line.request_id);
    json.member("method", line.method);
    json.member("route", line.route);
    json.member("path", line.path);
    json.member("status", line.status);
    json.member("duration_ms", duration_ms);
    json.member("bytes", line.bytes);
    json.member("user", line.user);
    json.member("peer", line.peer);
    if (!line.trace_id.empty()) json.member("trace_id", line.trace_id);
    json.end_object();
    batch_.push_back('\n');
  } else {
    append_log_line(batch_, LogFormat::text, level, loop_.wall_now(), "request",
                    {{"request_id", line.request_id},
                     {"method", line.method},
                     {"route", line.route},
                     {"path", line.path},
                     {"status", line.status},
                     {"duration_ms", duration_ms},
                     {"bytes", line.bytes},
                     {"user", line.user},
                     {"peer", line.peer},
                     {"trace_id", line.trace_id}});
  }
  if (batch_.size() >= kBatchBytes) {
    flush();
  } else if (!timer_.armed()) {
    timer_.arm(loop_.timers(), loop_.now_ns() + kDelayNs);
  }
}

void AccessLog::flush() {
  if (batch_.empty()) return;
  logger_.sink().submit(batch_);
  batch_.clear();
}

}  // namespace subforge::api
