#include "jobs/celery/events.hpp"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "jobs/celery/json_members.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::jobs::celery {
namespace {

void time_or_null(JsonWriter& json, std::string_view name, std::optional<Timestamp> at) {
  at ? json.member(name, time_text(*at)) : json.member_null(name);
}

}  // namespace

std::string event_channel(std::int64_t database, std::string_view routing_key) {
  auto channel = "/" + std::to_string(database) + ".";
  return channel.append(kEventExchange).append("/").append(routing_key);
}

void EventWriter::begin(JsonWriter& json, std::string_view type) {
  json.begin_object();
  json.member("hostname", node_);
  json.member("utcoffset", 0);
  json.member("pid", static_cast<std::int64_t>(::getpid()));
  json.member("clock", clock_.forward());
  json.member("timestamp", static_cast<double>(Timestamp::now().micros) / 1e6);
  json.member("type", type);
}

void EventWriter::publish(std::string_view routing_key, std::string_view body) {
  std::string headers;
  JsonWriter json(headers);
  json.begin_object();
  json.member("hostname", node_);
  json.end_object();
  publish_(routing_key, write_letter({.body = body,
                                      .headers = headers,
                                      .exchange = kEventExchange,
                                      .routing_key = routing_key}));
}

void EventWriter::worker(std::string_view type, WorkerFigures const& figures) {
  std::string body;
  JsonWriter json(body);
  begin(json, type);
  json.member("freq", kHeartbeatSeconds);
  json.member("active", figures.active);
  json.member("processed", figures.processed);
  std::array<double, 3> load{};
  ::getloadavg(load.data(), load.size());
  json.key("loadavg");
  json.begin_array();
  for (double const average : load) json.number(average);
  json.end_array();
  json.member("sw_ident", "subforge");
  json.member("sw_ver", version_);
  json.member("sw_sys", "Linux");
  json.end_object();
  std::string routing_key(type);
  std::ranges::replace(routing_key, '-', '.');
  publish(routing_key, body);
}

template <class Fields>
void EventWriter::task(std::string_view type, std::string_view id, Fields write_fields) {
  if (buffered_ > 0) buffer_.push_back(',');
  JsonWriter json(buffer_);
  begin(json, type);
  json.member("uuid", id);
  write_fields(json);
  json.end_object();
  if (++buffered_ >= kBufferedMax) flush();
}

void EventWriter::flush() {
  if (buffered_ == 0) return;
  publish("task.multi", "[" + buffer_ + "]");
  buffer_.clear();
  buffered_ = 0;
}

void EventWriter::received(ObservedTask const& observed) {
  task("task-received", observed.id, [&](JsonWriter& json) {
    json.member("name", observed.name);
    json.member("args", observed.args_repr);
    json.member("kwargs", observed.kwargs_repr);
    text_or_null(json, "root_id", observed.root_id);
    text_or_null(json, "parent_id", observed.parent_id);
    json.member("retries", observed.retries);
    time_or_null(json, "eta", observed.eta);
    time_or_null(json, "expires", observed.expires);
  });
}

void EventWriter::started(ObservedTask const& observed) {
  task("task-started", observed.id, [](JsonWriter&) {});
}

void EventWriter::succeeded(ObservedTask const& observed, std::string_view result_repr,
                            double runtime_seconds) {
  task("task-succeeded", observed.id, [&](JsonWriter& json) {
    json.member("result", result_repr);
    json.member("runtime", runtime_seconds);
  });
}

void EventWriter::failure(std::string_view type, ObservedTask const& observed,
                          ObservedFailure const& failure) {
  task(type, observed.id, [&](JsonWriter& json) {
    json.member("exception", failure.exception);
    if (!failure.traceback.empty()) json.member("traceback", failure.traceback);
  });
}

void EventWriter::failed(ObservedTask const& observed, ObservedFailure const& told) {
  failure("task-failed", observed, told);
}

void EventWriter::retried(ObservedTask const& observed, ObservedFailure const& told) {
  failure("task-retried", observed, told);
}

void EventWriter::revoked(ObservedTask const& observed, ObservedRevocation const& revocation) {
  task("task-revoked", observed.id, [&](JsonWriter& json) {
    json.member("terminated", revocation.terminated);
    json.key("signum");
    revocation.signal ? json.integer(*revocation.signal) : json.null();
    json.member("expired", revocation.expired);
  });
}

void EventWriter::rejected(ObservedTask const& observed, bool requeued) {
  task("task-rejected", observed.id, [&](JsonWriter& json) { json.member("requeue", requeued); });
}

}  // namespace subforge::jobs::celery
