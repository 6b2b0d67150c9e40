#include <unistd.h>

#include "api/handler_parts.hpp"
#include "api/health_parts.hpp"
#include "api/system.hpp"
#include "base/json_writer.hpp"
#include "domain/system/census.hpp"

namespace subforge::api {
namespace {

using http::Request;
using http::Response;
using net::Method;

constexpr char const* kTag = "system v2";

// The newest that was measured, with the records counted anew.
Task<Response> metrics(SystemParts const& parts, Request const&) {
  auto const reading = co_await parts.read_machine();
  if (!reading) co_return Response::from(reading.error());
  auto snapshot = co_await parts.snapshots.current(*reading, domain::Snapshots::Which::measured);
  if (!snapshot) co_return Response::from(snapshot.error());
  auto count = [&snapshot](store::Session& session) {
    return domain::take_census(session, *snapshot);
  };
  if (auto const done = co_await parts.store.read(store::ReadCost::scan, count); !done) {
    co_return Response::from(done.error());
  }
  domain::derive(*snapshot);
  co_return Response::json(domain::metrics_json_v2(*snapshot));
}

Task<Response> health(SystemParts const& parts, Request const&) {
  auto const database = co_await probe_read(parts.store);
  auto look = [&parts]() -> Result<std::string> {
    if (::access(parts.folder.c_str(), W_OK) != 0) {
      return "the folder of the database cannot be written to";
    }
    return parts.blobs.is_usable() ? "" : "the folder of uploads cannot be written to";
  };
  auto const fault = co_await parts.pool.run(look);
  bool const files = fault && fault->empty();
  std::string background;
  JsonWriter background_json(background);
  bool const working = co_await write_background_health(*parts.jobs, background_json);
  auto const redis = redis_health(*parts.jobs);
  bool const healthy = database && files && working && redis.good;
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("status", healthy ? "healthy" : "unhealthy");
  json.member("timestamp", Timestamp::now());
  json.key("checks");
  json.begin_object();
  json.member("database", database.has_value());
  json.member("redis", redis.good);
  json.member("websocket_manager", true);  // Served by the loop that answers this.
  json.member("file_system", files);
  json.member("background_tasks", working);
  json.end_object();
  json.key("details");
  json.begin_object();
  json.key("database");
  write_database_health(parts.store, database, json);
  if (!files) json.member("file_system", fault ? *fault : fault.error().message);
  json.member_raw("redis", redis.details);
  json.member_raw("background_tasks", background);
  json.end_object();
  json.member("version", parts.version);
  json.member("environment", parts.environment);
  json.end_object();
  co_return response;
}

Task<Response> analytics(SystemParts const& parts, Request const& request) {
  auto const range =
      describe::from_text<domain::UsageRange>(request.text("time_range").value_or("24h"))
          .value_or(domain::UsageRange::day);
  // What was counted up to now belongs to it.
  if (auto const folded = co_await parts.usage.fold(Timestamp::now()); !folded) {
    co_return Response::from(folded.error());
  }
  auto const report = co_await parts.usage.report(range, Timestamp::now());
  if (!report) co_return Response::from(report.error());
  co_return Response::json(domain::to_json(*report, range));
}

constexpr describe::Shape kHealth =
    "status=healthy|unhealthy timestamp:time"
    " checks:{database:boolean redis:boolean websocket_manager:boolean file_system:boolean"
    " background_tasks:boolean}"
    " details:{database:DatabaseHealth file_system?:text(What is wrong with it.) redis:RedisHealth"
    " background_tasks:BackgroundHealth} version:text environment:text";

}  // namespace

http::Routes system_v2(SystemParts parts) {
  using enum http::Access;
  auto const shared = std::make_shared<SystemParts const>(std::move(parts));
  auto const with = [shared](auto handler) -> http::AsyncHandler {
    return [shared, handler](Request const& request) { return handler(*shared, request); };
  };
  http::Routes routes("/api/v2/system");
  routes
      .add({.method = Method::get,
            .path = "/metrics",
            .name = "v2_system_metrics",
            .summary = "Figures about records, machine and requests",
            .tag = kTag,
            .handler = with(&metrics),
            .access = read,
            .limit = {.per_minute = 120},
            .cache = {30, "system"},
            .answers = {{200, "The figures.", {"SystemMetrics", domain::kMetricsShapeV2}}}})
      .add({.method = Method::get,
            .path = "/health",
            .name = "v2_system_health",
            .summary = "Whether the parts of the system work",
            .tag = kTag,
            .handler = with(&health),
            .access = read,
            .limit = {.per_minute = 200},
            .answers = {{200,
                         "What was found; 200 in bad health too.",
                         {"SystemHealth", kHealth, health_schemas()}}}})
      .add({.method = Method::get,
            .path = "/analytics",
            .name = "v2_system_analytics",
            .summary = "How the API was used, and what follows from it",
            .tag = kTag,
            .handler = with(&analytics),
            .access = read,
            .limit = {.per_minute = 60},
            .cache = {300, "usage"},
            .query = {choice_parameter("time_range", {"1h", "24h", "7d", "30d"},
                                       "How far back; absent: 24h.")},
            .answers = {{200,
                         "The report.",
                         {"ApiUsage",
                          domain::kUsageReportShape,
                          {{"ResponseTimes", domain::kResponseTimesShape}}}}}});
  return routes;
}

}  // namespace subforge::api
