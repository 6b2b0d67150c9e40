#include "pipeline/access_log.hpp"

#include "base/json_writer.hpp"

namespace subforge::pipeline {
namespace {

// A coding or a version of HTTP that is not spoken here (501, 505) is what the client chose.
bool is_servers_fault(int status) { return status >= 500 && status != 501 && status != 505; }

}  // namespace

AccessLog::AccessLog(Logger logger, EventLoop& loop)
    : logger_(logger), loop_(loop), timer_([this] { flush(); }) {}

void AccessLog::write(AccessLine const& line) {
  auto const level = is_servers_fault(line.status) ? LogLevel::error : LogLevel::info;
  if (!logger_.enabled(level)) return;
  auto const duration_ms = static_cast<double>(line.duration_us) / 1000;
  if (logger_.format() == LogFormat::json) {
    JsonWriter json(batch_);
    json.begin_object();
    json.plain_key("timestamp");
    json.raw(stamp());
    json.raw(level == LogLevel::info ? R"("level":"INFO","message":"request")"
                                     : R"("level":"ERROR","message":"request")");
    json.plain_key("request_id");
    json.string(line.request_id);
    json.plain_key("method");
    json.string(line.method);
    json.plain_key("route");
    json.string(line.route);
    json.plain_key("path");
    json.string(line.path);
    json.member("status", line.status);
    json.member("duration_ms", duration_ms);
    json.member("bytes", line.bytes);
    json.plain_key("user");
    json.string(line.user);
    json.plain_key("peer");
    json.string(line.peer);
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

std::string_view AccessLog::stamp() {
  auto const now = loop_.wall_now();
  if (now != stamped_ || stamp_.empty()) {
    stamped_ = now;
    stamp_.assign(1, '"');
    now.append_to(stamp_);
    stamp_.push_back('"');
  }
  return stamp_;
}

void AccessLog::flush() {
  if (batch_.empty()) return;
  logger_.sink().submit(batch_);
  batch_.clear();
}

}  // namespace subforge::pipeline
