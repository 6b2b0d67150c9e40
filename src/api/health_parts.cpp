#include "api/health_parts.hpp"

namespace subforge::api {
namespace {

void write_broker(jobs::BrokerHealth const& broker, JsonWriter& json) {
  json.begin_object();
  json.member("status", broker.up ? "up" : "down");
  json.member("server", broker.server);
  if (!broker.up) {
    json.member("down_since", broker.since);
    json.member("error", broker.cause);
  }
  json.end_object();
}

}  // namespace

Task<Result<void>> probe_read(store::Store& store) {
  auto read = [](store::Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.execute("SELECT 1");
  };
  auto const found = co_await store.read(store::ReadCost::point, std::move(read));
  if (!found) co_return std::unexpected(found.error());
  co_return {};
}

void write_database_health(store::Store& store, Result<void> const& probed, JsonWriter& json) {
  auto const known = store.database().health();
  json.begin_object();
  json.member("adapter", store.database().name());
  json.member("status", probed ? "up" : "down");
  if (!probed) {
    json.member("error", probed.error().message);
    json.member("down_since", known.up ? Timestamp::now() : known.since);
  }
  json.end_object();
}

RedisHealth redis_health(jobs::Jobs& jobs) {
  auto const broker = jobs.queue().broker_health();
  if (!broker) return {true, R"({"status":"not_configured"})"};
  RedisHealth health{broker->up, {}};
  JsonWriter json(health.details);
  write_broker(*broker, json);
  return health;
}

Task<bool> write_background_health(jobs::Jobs& jobs, JsonWriter& json) {
  auto const status = co_await jobs.queue_status();
  auto const broker = jobs.queue().broker_health();
  bool const reached = !broker || broker->up;
  bool const manned = status && !status->workers.empty();
  bool const working = manned && reached;
  json.begin_object();
  json.member("status", !status    ? "unknown"
                        : !reached ? "broker_down"
                        : manned   ? "up"
                                   : "no_worker");
  if (broker) {
    json.key("broker");
    write_broker(*broker, json);
  }
  if (status) {
    jobs::QueueFigures all;
    for (auto const& [name, figures] : status->queues) {
      all.pending += figures.pending;
      all.active += figures.active;
      all.failed += figures.failed;
    }
    json.member("workers", std::ssize(status->workers));
    json.member("pending", all.pending);
    json.member("active", all.active);
    json.member("failed", all.failed);
  }
  json.end_object();
  co_return working;
}

std::vector<http::Schema> health_schemas() {
  return {
      {"DatabaseHealth", "adapter:text status=up|down error?:text down_since?:time"},
      {"BackgroundHealth",
       "status=up|no_worker|broker_down|unknown"
       " broker?:{status=up|down server:text down_since?:time error?:text}"
       " workers?:integer pending?:integer active?:integer failed?:integer"},
      {"RedisHealth", "status=up|down|not_configured server?:text down_since?:time error?:text"}};
}

}  // namespace subforge::api
