// How the API is used: requests by route and by user, their errors and how long they took. Counted
// in memory by each event loop, added to the database once a minute in one write, and kept by
// minute, hour and day.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "describe/shape.hpp"
#include "metrics/metrics.hpp"
#include "store/store.hpp"

namespace subforge::domain {

enum class UsageRange : std::uint8_t { hour, day, week, month };
constexpr std::array<std::pair<UsageRange, std::string_view>, 4> names_of(UsageRange) {
  using enum UsageRange;
  return {{{hour, "1h"}, {day, "24h"}, {week, "7d"}, {month, "30d"}}};
}

struct UsageCounts {
  std::int64_t requests = 0;
  std::int64_t client_errors = 0;
  std::int64_t server_errors = 0;
  std::int64_t duration_us = 0;
  metrics::Latencies latencies;

  void add(UsageCounts const& other);
  // Percent of requests, of answers with 5xx.
  [[nodiscard]] double error_rate() const;
  [[nodiscard]] std::optional<double> mean_ms() const;
};

struct UsageReport {
  Timestamp start;  // The range is the named one, rounded to whole minutes, hours or days.
  Timestamp end;
  UsageCounts all;
  std::map<std::string, UsageCounts> routes;
  std::map<std::string, UsageCounts> users;
  UsageCounts first_half;
  UsageCounts second_half;
  std::array<std::int64_t, 24> by_hour{};       // Requests by hour of the day (UTC).
  std::map<std::int64_t, std::int64_t> by_day;  // Requests by day since 1970 (UTC).
  std::vector<std::string> active_agents;
  std::map<UsageRange, double> error_rates;
  // Means of the range's snapshots, in percent; absent without any.
  std::optional<double> cpu;
  std::optional<double> memory;
  std::optional<double> disk;
};

class ApiUsage {
 public:
  static constexpr std::int64_t kMinuteUs = 60'000'000;
  static constexpr std::int64_t kHourUs = 60 * kMinuteUs;
  static constexpr std::int64_t kDayUs = 24 * kHourUs;
  // How long rows are kept. The counts of all requests by hour are what the hours of a month are
  // told from; those of routes and users are many.
  static constexpr std::int64_t kMinutesKeptUs = 2 * kHourUs;
  static constexpr std::int64_t kHoursKeptUs = 8 * kDayUs;
  static constexpr std::int64_t kTotalHoursKeptUs = 32 * kDayUs;
  static constexpr std::int64_t kDaysKeptUs = 400 * kDayUs;
  static constexpr std::size_t kActiveAgentsMax = 5;

  explicit ApiUsage(store::Store& store) : store_(store) {}

  // Where the counts come from; once, before anything else.
  void watch(metrics::Metrics const& metrics) { metrics_ = &metrics; }

  // Adds what was counted since the last time; from any loop, and without effect while it is under
  // way. After an error the next call adds both.
  Task<Result<void>> fold(Timestamp now);
  // Removes rows that are too old, one minute, hour or day in a transaction, at most so many.
  Task<Result<std::int64_t>> thin(Timestamp now, int transactions_max = 20);
  Task<Result<UsageReport>> report(UsageRange range, Timestamp now);

 private:
  using Totals = std::map<std::string, metrics::UsageTotals>;
  store::Store& store_;
  Task<Result<void>> fold_alone(Timestamp now);

  metrics::Metrics const* metrics_ = nullptr;
  std::atomic<bool> folding_{false};  // Whoever sets it owns the two below.
  Totals last_routes_;
  Totals last_users_;
};

// The rules that recommendations follow from, in this one table; docs/api.md has the same.
struct UsageRule {
  std::string_view name;
  std::string_view condition;  // As the documentation says it.
  // The recommendation, or nothing if the rule does not apply.
  std::optional<std::string> (*advise)(UsageReport const& report);
};
[[nodiscard]] std::span<UsageRule const> usage_rules();

// A word for how the second half of a range differs from the first.
struct UsageTrends {
  std::string_view response_time;  // improving, stable, degrading
  std::string_view throughput;     // increasing, stable, decreasing
  std::string_view error_rate;     // increasing, stable, decreasing
};
// "insufficient_data" where one half has no requests.
[[nodiscard]] UsageTrends trends_of(UsageReport const& report);

[[nodiscard]] std::string to_json(UsageReport const& report, UsageRange range);
inline constexpr describe::Shape kUsageReportShape =
    "time_range=1h|24h|7d|30d start:time end:time"
    " performance_trends:{response_time_trend=improving|stable|degrading|insufficient_data"
    " throughput_trend=increasing|stable|decreasing|insufficient_data"
    " error_rate_trend=increasing|stable|decreasing|insufficient_data}"
    " usage_patterns:{peak_hours:[text] busiest_day:text|null most_active_agents:[text]}"
    " recommendations:[text]"
    " totals:{requests:integer client_errors:integer server_errors:integer error_rate:number"
    " response_time_ms:ResponseTimes}"
    " error_rates:{*:number}(Percent of answers with 5xx, by range.)"
    " routes:[{route:text requests:integer client_errors:integer server_errors:integer"
    " error_rate:number response_time_ms:ResponseTimes}]"
    " users:[{user:text requests:integer client_errors:integer server_errors:integer"
    " error_rate:number response_time_ms:ResponseTimes}]";
// Of what it calls ResponseTimes.
inline constexpr describe::Shape kResponseTimesShape =
    "mean:number|null min:number|null p50:number|null p95:number|null p99:number|null"
    " max:number|null";

}  // namespace subforge::domain
