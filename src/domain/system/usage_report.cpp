// What a report says: trends, patterns and recommendations, each from a stated rule.
#include <algorithm>

#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "describe/codec.hpp"
#include "domain/system/api_usage.hpp"

namespace subforge::domain {
namespace {

constexpr std::size_t kPeakHoursMax = 3;
// A change by less than this share is called stable.
constexpr double kStableShare = 0.1;

std::string_view direction(double before, double after, std::string_view up,
                           std::string_view down) {
  auto const margin = before * kStableShare;
  if (after > before + margin) return up;
  if (after < before - margin) return down;
  return "stable";
}

// --- Rules

constexpr double kServerErrorsMost = 1;   // Percent of 5xx.
constexpr double kClientErrorShare = 20;  // Percent of 4xx.
constexpr double kSlowP95Ms = 1000;
constexpr double kSlowRouteP95Ms = 500;
constexpr std::int64_t kRequestsLeast = 20;  // Fewer say nothing.
constexpr double kCpuUsedMost = 80;
constexpr double kMemoryUsedMost = 85;
constexpr double kDiskUsedMost = 90;

bool tells(UsageCounts const& counts) { return counts.requests >= kRequestsLeast; }

std::optional<std::string> server_errors(UsageReport const& report) {
  if (!tells(report.all) || report.all.error_rate() <= kServerErrorsMost) return std::nullopt;
  auto const worst = std::ranges::max_element(
      report.routes, {}, [](auto const& route) { return route.second.server_errors; });
  return fmt::format(
      "{:.1f} % of requests failed with a server error, most of them of {}: look for"
      " their request ids in the log",
      report.all.error_rate(), worst->first);
}

std::optional<std::string> client_errors(UsageReport const& report) {
  if (!tells(report.all)) return std::nullopt;
  auto const share = static_cast<double>(report.all.client_errors) /
                     static_cast<double>(report.all.requests) * 100;
  if (share <= kClientErrorShare) return std::nullopt;
  return fmt::format("{:.1f} % of requests were refused as wrong (4xx): check what clients send",
                     share);
}

std::optional<std::string> slow_answers(UsageReport const& report) {
  auto const p95 = report.all.latencies.quantile_ms(0.95);
  if (!tells(report.all) || !p95 || *p95 <= kSlowP95Ms) return std::nullopt;
  return fmt::format("One request in twenty took {:.0f} ms or longer", *p95);
}

std::optional<std::string> slow_route(UsageReport const& report) {
  std::string_view name;
  double slowest = kSlowRouteP95Ms;
  for (auto const& [route, counts] : report.routes) {
    auto const p95 = counts.latencies.quantile_ms(0.95);
    if (!tells(counts) || !p95 || *p95 <= slowest) continue;
    slowest = *p95;
    name = route;
  }
  if (name.empty()) return std::nullopt;
  return fmt::format("The slowest endpoint is {}: one request in twenty took {:.0f} ms or longer",
                     name, slowest);
}

std::optional<std::string> busy_cpu(UsageReport const& report) {
  if (report.cpu.value_or(0) <= kCpuUsedMost) return std::nullopt;
  return fmt::format(
      "The CPU was {:.0f} % busy on average: give the machine more cores or less"
      " to do",
      *report.cpu);
}

std::optional<std::string> full_memory(UsageReport const& report) {
  if (report.memory.value_or(0) <= kMemoryUsedMost) return std::nullopt;
  return fmt::format("{:.0f} % of the memory was taken on average: add memory", *report.memory);
}

std::optional<std::string> full_disk(UsageReport const& report) {
  if (report.disk.value_or(0) <= kDiskUsedMost) return std::nullopt;
  return fmt::format("The disk is {:.0f} % full: make room before writes fail", *report.disk);
}

constexpr UsageRule kRules[] = {
    {"server_errors", "more than 1 % of at least 20 requests were answered by 5xx", &server_errors},
    {"client_errors", "more than 20 % of at least 20 requests were answered by 4xx",
     &client_errors},
    {"slow_answers", "the 95th percentile of at least 20 requests is over 1000 ms", &slow_answers},
    {"slow_route", "the 95th percentile of an endpoint's at least 20 requests is over 500 ms",
     &slow_route},
    {"busy_cpu", "the machine's CPU was over 80 % busy on average", &busy_cpu},
    {"full_memory", "over 85 % of the memory was taken on average", &full_memory},
    {"full_disk", "the disk was over 90 % full", &full_disk},
};

// --- JSON

void write_quantiles(JsonWriter& json, UsageCounts const& counts) {
  auto const optional = [&](char const* name, std::optional<double> value) {
    json.key(name);
    value ? json.number(*value) : json.null();
  };
  json.key("response_time_ms");
  json.begin_object();
  optional("mean", counts.mean_ms());
  optional("min", counts.latencies.min_ms());
  optional("p50", counts.latencies.quantile_ms(0.5));
  optional("p95", counts.latencies.quantile_ms(0.95));
  optional("p99", counts.latencies.quantile_ms(0.99));
  optional("max", counts.latencies.max_ms());
  json.end_object();
}

void write_counts(JsonWriter& json, UsageCounts const& counts) {
  json.member("requests", counts.requests);
  json.member("client_errors", counts.client_errors);
  json.member("server_errors", counts.server_errors);
  json.member("error_rate", counts.error_rate());
  write_quantiles(json, counts);
}

// Most requests first.
void write_table(JsonWriter& json, char const* key, char const* name_key,
                 std::map<std::string, UsageCounts> const& table) {
  std::vector<std::pair<std::string_view, UsageCounts const*>> rows;
  for (auto const& [name, counts] : table) rows.emplace_back(name, &counts);
  std::ranges::sort(rows, {},
                    [](auto const& row) { return std::pair(-row.second->requests, row.first); });
  json.key(key);
  json.begin_array();
  for (auto const& [name, counts] : rows) {
    json.begin_object();
    json.member(name_key, name);
    write_counts(json, *counts);
    json.end_object();
  }
  json.end_array();
}

std::vector<std::string> peak_hours(UsageReport const& report) {
  std::vector<std::size_t> hours;
  for (std::size_t hour = 0; hour < report.by_hour.size(); ++hour) {
    if (report.by_hour[hour] > 0) hours.push_back(hour);
  }
  std::ranges::sort(hours, {},
                    [&](std::size_t hour) { return std::pair(-report.by_hour[hour], hour); });
  hours.resize(std::min(hours.size(), kPeakHoursMax));
  std::vector<std::string> names;
  for (auto const hour : hours) names.push_back(fmt::format("{:02}:00", hour));
  return names;
}

std::string_view weekday_of(std::int64_t day) {
  // The first day of 1970 was a Thursday.
  static constexpr std::array<std::string_view, 7> kNames = {
      "Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"};
  return kNames[static_cast<std::size_t>(day % 7)];
}

void write_texts(JsonWriter& json, char const* key, std::vector<std::string> const& texts) {
  json.key(key);
  json.begin_array();
  for (auto const& text : texts) json.string(text);
  json.end_array();
}

void write_patterns(JsonWriter& json, UsageReport const& report) {
  json.key("usage_patterns");
  json.begin_object();
  write_texts(json, "peak_hours", peak_hours(report));
  json.key("busiest_day");
  if (report.by_day.empty()) {
    json.null();
  } else {
    auto const busiest =
        std::ranges::max_element(report.by_day, {}, [](auto const& day) { return day.second; });
    json.string(weekday_of(busiest->first));
  }
  write_texts(json, "most_active_agents", report.active_agents);
  json.end_object();
}

}  // namespace

std::span<UsageRule const> usage_rules() { return kRules; }

UsageTrends trends_of(UsageReport const& report) {
  constexpr std::string_view kUnknown = "insufficient_data";
  auto const& first = report.first_half;
  auto const& second = report.second_half;
  if (first.requests == 0 || second.requests == 0) return {kUnknown, kUnknown, kUnknown};
  return {direction(*first.mean_ms(), *second.mean_ms(), "degrading", "improving"),
          direction(static_cast<double>(first.requests), static_cast<double>(second.requests),
                    "increasing", "decreasing"),
          direction(first.error_rate(), second.error_rate(), "increasing", "decreasing")};
}

std::string to_json(UsageReport const& report, UsageRange range) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("time_range", describe::to_text(range));
  json.member("start", report.start);
  json.member("end", report.end);
  auto const trends = trends_of(report);
  json.key("performance_trends");
  json.begin_object();
  json.member("response_time_trend", trends.response_time);
  json.member("throughput_trend", trends.throughput);
  json.member("error_rate_trend", trends.error_rate);
  json.end_object();
  write_patterns(json, report);
  std::vector<std::string> advice;
  for (auto const& rule : kRules) {
    if (auto one = rule.advise(report)) advice.push_back(std::move(*one));
  }
  write_texts(json, "recommendations", advice);
  json.key("totals");
  json.begin_object();
  write_counts(json, report.all);
  json.end_object();
  json.key("error_rates");
  json.begin_object();
  for (auto const& [one, rate] : report.error_rates) json.member(describe::to_text(one), rate);
  json.end_object();
  write_table(json, "routes", "route", report.routes);
  write_table(json, "users", "user", report.users);
  json.end_object();
  return text;
}

}  // namespace subforge::domain
