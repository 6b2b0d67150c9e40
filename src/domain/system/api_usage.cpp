#include "domain/system/api_usage.hpp"

#include <algorithm>

#include "domain/system/span_means.hpp"

namespace subforge::domain {
namespace {

using metrics::Latencies;
using metrics::UsageTotals;
using store::Row;
using store::Session;
using store::Transaction;

constexpr std::string_view kAll = "all";
constexpr std::string_view kRoute = "route";
constexpr std::string_view kUser = "user";

// One of the three lengths of time that are counted side by side.
struct Span {
  std::int64_t us;
  [[nodiscard]] std::int64_t seconds() const { return us / 1'000'000; }
  [[nodiscard]] Timestamp start_of(Timestamp at) const { return {at.micros - at.micros % us}; }
};
constexpr Span kMinute{ApiUsage::kMinuteUs};
constexpr Span kHour{ApiUsage::kHourUs};
constexpr Span kDay{ApiUsage::kDayUs};

struct Window {
  Span span;
  std::int64_t length;  // In spans; the last is the one that is still going on.
};
constexpr Window window_of(UsageRange range) {
  switch (range) {
    case UsageRange::hour: return {kMinute, 60};
    case UsageRange::day: return {kHour, 24};
    case UsageRange::week: return {kHour, 7 * 24};
    case UsageRange::month: return {kDay, 30};
  }
  return {kHour, 24};
}
Timestamp start_of(Window const& window, Timestamp now) {
  return {window.span.start_of(now).micros - (window.length - 1) * window.span.us};
}

struct Addition {
  std::string_view scope;
  std::string name;
  UsageCounts counts;
};

UsageCounts plain(UsageTotals const& totals) {
  return {static_cast<std::int64_t>(totals.requests),
          static_cast<std::int64_t>(totals.client_errors),
          static_cast<std::int64_t>(totals.server_errors),
          static_cast<std::int64_t>(totals.duration_us), totals.latencies()};
}

void collect(std::map<std::string, UsageTotals> const& now,
             std::map<std::string, UsageTotals> const& before, std::string_view scope,
             std::vector<Addition>& additions) {
  for (auto const& [name, totals] : now) {
    auto const last = before.find(name);
    auto const since = last == before.end() ? totals : totals.since(last->second);
    if (since.requests > 0) additions.push_back({scope, name, plain(since)});
  }
}

Task<Result<void>> add(Transaction& transaction, Span span, Timestamp now,
                       Addition const& addition) {
  auto counts = addition.counts;
  auto const start = span.start_of(now);
  auto const found = co_await transaction.query(
      "SELECT latencies FROM api_usage WHERE span = $1 AND started_at = $2 AND scope = $3"
      " AND name = $4",
      {span.seconds(), start, addition.scope, addition.name},
      [&](Row const& row) { counts.latencies.merge(Latencies::parse(row.text(0))); });
  if (!found) co_return std::unexpected(found.error());
  auto const latencies = counts.latencies.to_text();
  auto const done = co_await transaction.execute(
      "INSERT INTO api_usage (span, started_at, scope, name, requests, client_errors,"
      " server_errors, duration_us, latencies) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
      " ON CONFLICT (span, started_at, scope, name) DO UPDATE SET"
      " requests = api_usage.requests + excluded.requests,"
      " client_errors = api_usage.client_errors + excluded.client_errors,"
      " server_errors = api_usage.server_errors + excluded.server_errors,"
      " duration_us = api_usage.duration_us + excluded.duration_us,"
      " latencies = excluded.latencies",
      {span.seconds(), start, addition.scope, addition.name, counts.requests, counts.client_errors,
       counts.server_errors, counts.duration_us, latencies});
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Task<Result<void>> read_counts(Session& session, UsageReport& report, Window window) {
  auto const middle = report.start.micros + window.length * window.span.us / 2;
  auto const done = co_await session.query(
      "SELECT started_at, scope, name, requests, client_errors, server_errors, duration_us,"
      " latencies FROM api_usage WHERE span = $1 AND started_at >= $2 AND started_at <= $3",
      {window.span.seconds(), report.start, report.end}, [&](Row const& row) {
        UsageCounts const counts{row.integer(3), row.integer(4), row.integer(5), row.integer(6),
                                 Latencies::parse(row.text(7))};
        auto const scope = row.text(1);
        if (scope == kRoute) report.routes[std::string(row.text(2))].add(counts);
        if (scope == kUser) report.users[std::string(row.text(2))].add(counts);
        if (scope != kAll) return;
        report.all.add(counts);
        (row.integer(0) < middle ? report.first_half : report.second_half).add(counts);
      });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

// Hours and days of the range, which come from rows by minute for an hour and by hour beyond.
Task<Result<void>> read_pattern(Session& session, UsageReport& report, UsageRange range) {
  auto const span = range == UsageRange::hour ? kMinute : kHour;
  auto const done = co_await session.query(
      "SELECT started_at, requests FROM api_usage WHERE span = $1 AND started_at >= $2"
      " AND started_at <= $3 AND scope = $4",
      {span.seconds(), report.start, report.end, kAll}, [&](Row const& row) {
        auto const hour = row.integer(0) / ApiUsage::kHourUs % 24;
        report.by_hour[static_cast<std::size_t>(hour)] += row.integer(1);
        report.by_day[row.integer(0) / ApiUsage::kDayUs] += row.integer(1);
      });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

Task<Result<void>> read_error_rates(Session& session, UsageReport& report, Timestamp now) {
  for (auto const& [range, name] : names_of(UsageRange{})) {
    auto const window = window_of(range);
    UsageCounts counts;
    auto const done = co_await session.query(
        "SELECT sum(requests), sum(server_errors) FROM api_usage WHERE span = $1"
        " AND started_at >= $2 AND scope = $3",
        {window.span.seconds(), start_of(window, now), kAll}, [&](Row const& row) {
          if (row.is_null(0)) return;
          counts.requests = row.integer(0);
          counts.server_errors = row.integer(1);
        });
    if (!done) co_return std::unexpected(done.error());
    report.error_rates[range] = counts.error_rate();
  }
  co_return {};
}

// What the machine did in the range, and which agents were active in it: those with the most tasks
// done first.
Task<Result<void>> read_surroundings(Session& session, UsageReport& report) {
  static constexpr char const* kMeans[] = {"cpu_usage", "memory_usage"};
  auto const machine = co_await session.query(span_means_sql(kMeans, "disk_usage"), {report.start},
                                              [&](Row const& row) {
                                                if (!row.is_null(1)) report.cpu = row.real(1);
                                                if (!row.is_null(2)) report.memory = row.real(2);
                                                if (!row.is_null(3)) report.disk = row.real(3);
                                              });
  if (!machine) co_return std::unexpected(machine.error());
  auto const agents = co_await session.query(
      "SELECT id FROM agents WHERE updated_at >= $1 AND last_activity >= $1"
      " ORDER BY tasks_completed DESC, last_activity DESC LIMIT $2",
      {report.start, static_cast<std::int64_t>(ApiUsage::kActiveAgentsMax)},
      [&](Row const& row) { report.active_agents.push_back(row.uuid(0).to_string()); });
  if (!agents) co_return std::unexpected(agents.error());
  co_return {};
}

}  // namespace

void UsageCounts::add(UsageCounts const& other) {
  requests += other.requests;
  client_errors += other.client_errors;
  server_errors += other.server_errors;
  duration_us += other.duration_us;
  latencies.merge(other.latencies);
}

double UsageCounts::error_rate() const {
  if (requests == 0) return 0;
  return static_cast<double>(server_errors) / static_cast<double>(requests) * 100;
}

std::optional<double> UsageCounts::mean_ms() const {
  if (requests == 0) return std::nullopt;
  return static_cast<double>(duration_us) / static_cast<double>(requests) / 1000;
}

Task<Result<void>> ApiUsage::fold(Timestamp now) {
  if (folding_.exchange(true, std::memory_order_acquire)) co_return {};
  auto done = co_await fold_alone(now);
  folding_.store(false, std::memory_order_release);
  co_return done;
}

Task<Result<void>> ApiUsage::fold_alone(Timestamp now) {
  if (metrics_ == nullptr) co_return {};  // A worker alone serves no requests.
  auto routes = metrics_->route_totals();
  auto users = metrics_->user_totals();
  std::vector<Addition> additions;
  collect(routes, last_routes_, kRoute, additions);
  Addition all{kAll, "", {}};
  for (auto const& addition : additions) all.counts.add(addition.counts);
  collect(users, last_users_, kUser, additions);
  if (all.counts.requests == 0) co_return {};
  additions.push_back(std::move(all));
  auto write = [&](Transaction& transaction) -> Task<Result<void>> {
    for (auto const span : {kMinute, kHour, kDay}) {
      for (auto const& addition : additions) {
        auto const added = co_await add(transaction, span, now, addition);
        if (!added) co_return added;
      }
    }
    co_return {};
  };
  auto const written = co_await store_.write(write);
  if (!written) co_return written;
  last_routes_ = std::move(routes);
  last_users_ = std::move(users);
  co_return {};
}

Task<Result<std::int64_t>> ApiUsage::thin(Timestamp now, int transactions_max) {
  struct Rule {
    Span span;
    std::int64_t kept_us;
    std::string_view condition;
  };
  static constexpr Rule kRules[] = {
      {kMinute, kMinutesKeptUs, ""},
      {kHour, kHoursKeptUs, " AND scope <> 'all'"},
      {kHour, kTotalHoursKeptUs, ""},
      {kDay, kDaysKeptUs, ""},
  };
  std::int64_t total = 0;
  for (auto const& rule : kRules) {
    auto const condition = std::string(rule.condition);
    auto const sql = "DELETE FROM api_usage WHERE span = $1" + condition +
                     " AND started_at = (SELECT min(started_at) FROM api_usage WHERE span = $1 AND"
                     " started_at < $2" +
                     condition + ")";
    while (transactions_max-- > 0) {
      auto remove = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
        co_return co_await transaction.execute(
            sql, {rule.span.seconds(), Timestamp{now.micros - rule.kept_us}});
      };
      auto const removed = co_await store_.write(remove);
      if (!removed) co_return removed;
      if (*removed == 0) break;
      total += *removed;
    }
  }
  co_return total;
}

Task<Result<UsageReport>> ApiUsage::report(UsageRange range, Timestamp now) {
  auto read = [range, now](Session& session) -> Task<Result<UsageReport>> {
    auto const window = window_of(range);
    UsageReport report;
    report.start = start_of(window, now);
    report.end = now;
    if (auto const done = co_await read_counts(session, report, window); !done) {
      co_return std::unexpected(done.error());
    }
    if (auto const done = co_await read_pattern(session, report, range); !done) {
      co_return std::unexpected(done.error());
    }
    if (auto const done = co_await read_error_rates(session, report, now); !done) {
      co_return std::unexpected(done.error());
    }
    if (auto const done = co_await read_surroundings(session, report); !done) {
      co_return std::unexpected(done.error());
    }
    co_return report;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

}  // namespace subforge::domain
