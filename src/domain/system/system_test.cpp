// Snapshots and the counts of requests on a real store: sums, thinning, and what survives.
#include <gtest/gtest.h>

#include "describe/parse_json.hpp"
#include "domain/system/api_usage.hpp"
#include "domain/system/sampler.hpp"
#include "domain/system/snapshots.hpp"
#include "store/record_sql.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::domain {
namespace {

constexpr std::int64_t kSecond = 1'000'000;
constexpr std::int64_t kMinute = 60 * kSecond;
constexpr std::int64_t kHour = 60 * kMinute;
constexpr std::int64_t kDay = 24 * kHour;
// Some Wednesday at midnight.
constexpr std::int64_t kMidnight = 20'000 * kDay;

class SystemTest : public testing::Test {
 protected:
  template <class T>
  T good(Task<Result<T>> task) {
    auto outcome = store_.run(std::move(task));
    if (!outcome) throw std::runtime_error(outcome.error().message + outcome.error().context);
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
  }
  // A row as if it had been written then.
  void put(SnapshotOrigin origin, std::int64_t at, double cpu) {
    Snapshot row;
    row.id = Uuid::random();
    row.origin = origin;
    row.recorded_at = {at};
    row.cpu_usage = cpu;
    auto const bound = store::bind_record(row);
    auto insert = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
      co_return co_await transaction.execute(store::insert_sql<Snapshot>("system_metrics"),
                                             bound.values());
    };
    good(store_.store().write(insert));
  }
  std::vector<Snapshot> all() {
    return good(snapshots_.list({.start = {}, .end = {}, .limit = 1000})).rows;
  }
  std::int64_t count(std::string const& from) {
    std::int64_t found = 0;
    auto read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
      co_return co_await session.query("SELECT count(*) FROM " + from, {},
                                       [&](store::Row const& row) { found = row.integer(0); });
    };
    good(store_.store().read(store::ReadCost::scan, std::move(read)));
    return found;
  }

  store::TemporaryFolder folder_;
  store::TestStore store_{folder_.path()};
  Snapshots snapshots_{store_.store()};
};

TEST_F(SystemTest, TheTableHasTheColumnsOfTheDescription) {
  std::string columns;
  auto read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query(
        "SELECT name FROM pragma_table_info('system_metrics') ORDER BY cid", {},
        [&](store::Row const& row) {
          if (!columns.empty()) columns += ", ";
          columns += row.text(0);
        });
  };
  good(store_.store().read(store::ReadCost::scan, std::move(read)));
  EXPECT_EQ(columns, "seq, " + store::column_list<Snapshot>());
}

TEST_F(SystemTest, SamplesBecomeHoursAndHoursDays) {
  auto const now = kMidnight + 40 * kDay + 30 * kMinute;
  put(SnapshotOrigin::sample, now - kMinute, 5);
  for (int i = 0; i < 4; ++i)
    put(SnapshotOrigin::sample, now - 3 * kDay + i * 10 * kMinute, 10 * i);
  for (int i = 0; i < 3; ++i) put(SnapshotOrigin::hour, kMidnight + i * kHour, 30 + i);
  // 0:30 and 0:40, 0:50 are of one hour, 1:00 of the next.
  EXPECT_EQ(good(snapshots_.thin({now})), 7);
  auto const rows = all();
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[0].origin, SnapshotOrigin::sample);
  EXPECT_EQ(rows[1].origin, SnapshotOrigin::hour);
  EXPECT_EQ(rows[1].recorded_at.micros, kMidnight + 37 * kDay + kHour);
  EXPECT_EQ(rows[1].cpu_usage, 30.0);
  EXPECT_EQ(rows[2].recorded_at.micros, kMidnight + 37 * kDay);
  EXPECT_EQ(rows[2].cpu_usage, 10.0);
  EXPECT_EQ(rows[3].origin, SnapshotOrigin::day);
  EXPECT_EQ(rows[3].recorded_at.micros, kMidnight);
  EXPECT_EQ(rows[3].cpu_usage, 31.0);
  EXPECT_EQ(good(snapshots_.thin({now})), 0) << "an hour becomes one row, not one more each time";
}

TEST_F(SystemTest, WhatIsPostedIsKeptWholeAndDaysForAYear) {
  auto const now = kMidnight + 800 * kDay;
  put(SnapshotOrigin::posted, now - 300 * kDay, 1);
  put(SnapshotOrigin::posted, now - 366 * kDay, 2);
  put(SnapshotOrigin::day, now - 366 * kDay, 3);
  put(SnapshotOrigin::day, now - 364 * kDay, 4);
  EXPECT_EQ(good(snapshots_.thin({now})), 2);
  auto const rows = all();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].cpu_usage, 1.0);
  EXPECT_EQ(rows[1].cpu_usage, 4.0);
}

TEST_F(SystemTest, MeansGiveEachSpanItsWeight) {
  auto const now = Timestamp::now().micros;
  put(SnapshotOrigin::day, now - 3 * kDay, 5);
  for (int hour = 2; hour < 26; ++hour) put(SnapshotOrigin::hour, now - hour * kHour, 5);
  for (int i = 0; i < 60; ++i) put(SnapshotOrigin::sample, now - kHour / 2 + i * kHour / 120, 95);
  put(SnapshotOrigin::posted, now - 1, 99);
  auto const shown = good(snapshots_.current({}, Snapshots::Which::measured));
  EXPECT_EQ(shown.cpu_usage, 95.0);
  auto const week = describe::parse_json(shown.weekly_stats.text);
  EXPECT_EQ(week.at("snapshots").to_number<int>(), 85);
  EXPECT_NEAR(week.at("cpu_usage_percentage").to_number<double>(), (48 * 5 + 0.5 * 95) / 48.5, 0.3);
  EXPECT_TRUE(week.at("memory_usage_percentage").is_null());
  auto const hour = describe::parse_json(shown.hourly_stats.text);
  EXPECT_NEAR(hour.at("cpu_usage_percentage").to_number<double>(), 95, 0.01);
  EXPECT_EQ(good(snapshots_.current({})).cpu_usage, 99.0);
}

TEST_F(SystemTest, CleaningUpRemovesWhatIsOlderInAsManyBatchesAsItTakes) {
  put(SnapshotOrigin::sample, kMidnight, 1);
  put(SnapshotOrigin::posted, kMidnight + kHour, 2);
  auto columns = store::column_list<Snapshot>();
  auto values = columns;
  ASSERT_TRUE(values.starts_with("id, "));
  values.replace(0, 2, "randomblob(16)");
  auto const copies = 2 * Snapshots::kBatchMax + 1;
  auto multiply = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)"
        " INSERT INTO system_metrics (" +
            columns + ") SELECT " + values +
            " FROM n, (SELECT * FROM system_metrics WHERE origin = 'sample' LIMIT 1)",
        {copies});
  };
  good(store_.store().write(multiply));
  auto const cleaned = good(snapshots_.clean_up({kMidnight + kHour}, {"ann"}));
  EXPECT_EQ(cleaned.deleted, copies + 1);
  EXPECT_EQ(cleaned.remaining, 1);
  EXPECT_EQ(all().at(0).cpu_usage, 2.0);
}

TEST_F(SystemTest, UptimeIsTheShareOfTheLastDayInWhichAServerRan) {
  auto const now = Timestamp::now();
  ServerRun const earlier{Uuid::random(), {now.micros - 4 * kHour}};
  good(snapshots_.add_sample({}, earlier));
  // As if it had been seen last an hour ago, and the next one started half an hour later.
  auto change = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute("UPDATE server_runs SET last_seen_at = $1",
                                           {Timestamp{now.micros - kHour}});
  };
  good(store_.store().write(change));
  auto const later = good(snapshots_.add_sample({}, {Uuid::random(), {now.micros - kHour / 2}}));
  EXPECT_NEAR(later.uptime_percentage, 3.5 / 4 * 100, 0.1);
  EXPECT_FALSE(later.is_healthy);
  EXPECT_EQ(later.last_restart, Timestamp{now.micros - kHour / 2});
}

TEST(SnapshotTest, HealthAndRatesFollowFromTheRest) {
  Snapshot s;
  s.total_agents = 2;
  s.agent_success_rate = 50;
  s.completed_tasks = 3;
  s.failed_tasks = 1;
  s.completed_workflows = 1;
  s.paused_workflows = 1;
  derive(s);
  EXPECT_EQ(s.task_success_rate, 75);
  EXPECT_EQ(s.workflow_success_rate, 50);
  EXPECT_DOUBLE_EQ(s.overall_success_rate, 0.6 * 75 + 0.3 * 50 + 0.1 * 50);
  EXPECT_TRUE(s.is_healthy);
  s.error_rate = 5;
  derive(s);
  EXPECT_FALSE(s.is_healthy);
  EXPECT_NE(s.health_checks.text.find(R"("error_rate":false)"), std::string::npos);
  s.total_agents = 0;
  derive(s);
  EXPECT_EQ(s.overall_success_rate, 0);
}

TEST(SnapshotTest, AMeasurementIsTheDifferenceOfTwoReadings) {
  MachineReading before;
  before.cpu = CpuTimes{100, 1000};
  before.process_cpu_seconds = 1.0;
  auto after = before;
  after.cpu = CpuTimes{200, 1200};
  after.process_cpu_seconds = 1.5;
  RequestTotals first{{}, 0};
  RequestTotals second{{}, 10'000'000'000};
  second.counts.requests = 20;
  second.counts.server_errors = 1;
  second.counts.duration_us = 40'000;
  second.counts.latency[metrics::latency_buckets::index_of(2'000)] = 20;
  auto const measured = measure(before, after, first, second);
  EXPECT_EQ(measured.cpu_usage, 50.0);
  EXPECT_EQ(measured.process_cpu, 5.0);
  EXPECT_EQ(measured.api_requests_per_minute, 120);
  EXPECT_EQ(measured.error_rate, 5);
  EXPECT_EQ(measured.avg_response_time_ms, 2);
  EXPECT_NEAR(measured.p95_response_time_ms, 2, 2.0 / 16);
  EXPECT_EQ(measure(std::nullopt, after, first, second).cpu_usage, std::nullopt);
  EXPECT_EQ(measure(before, after, first, first).api_requests_per_minute, 0);
}

// --- Use of the API

class UsageTest : public SystemTest {
 protected:
  UsageTest() { usage_.watch(metrics_); }
  void ask(int times, int status = 200, std::int64_t us = 1000, std::string_view user = "alice") {
    for (int i = 0; i < times; ++i) {
      metrics_.of(0, 0).record(status, us, 10);
      metrics_.users(0).record(user, status, us);
    }
  }
  UsageReport report(UsageRange range, std::int64_t at) { return good(usage_.report(range, {at})); }

  metrics::Metrics metrics_{{"list", "get"}, 1};
  ApiUsage usage_{store_.store()};
};

TEST_F(UsageTest, CountsAreAddedUpByRouteAndUser) {
  ask(3);
  ask(1, 500, 3000, "bob");
  good(usage_.fold({kMidnight}));
  ask(2, 404);
  good(usage_.fold({kMidnight + 10 * kSecond}));
  good(usage_.fold({kMidnight + 20 * kSecond}));  // Nothing new.
  auto const found = report(UsageRange::hour, kMidnight + kMinute);
  EXPECT_EQ(found.all.requests, 6);
  EXPECT_EQ(found.routes.at("list").requests, 6);
  EXPECT_FALSE(found.routes.contains("get"));
  EXPECT_EQ(found.users.at("alice").client_errors, 2);
  EXPECT_EQ(found.users.at("bob").server_errors, 1);
  EXPECT_EQ(found.all.duration_us, 8000);
  EXPECT_EQ(found.all.latencies.count(), 6U);
  EXPECT_NEAR(found.all.error_rate(), 100.0 / 6, 1e-9);
  EXPECT_EQ(count("api_usage WHERE scope = 'all'"), 3) << "a minute, an hour and a day";
}

// As in a process of workers alone, which serves no requests.
TEST_F(UsageTest, WhoWatchesNothingAddsNothingAndReportsWhatOthersCounted) {
  ask(3);
  good(usage_.fold({kMidnight}));
  ApiUsage other{store_.store()};
  good(other.fold({kMidnight + kSecond}));
  EXPECT_EQ(good(other.report(UsageRange::hour, {kMidnight + kMinute})).all.requests, 3);
}

TEST_F(UsageTest, EachRangeSeesItsOwnTime) {
  auto const now = kMidnight + 12 * kHour;
  for (auto const ago : {30 * kMinute, 5 * kHour, 3 * kDay, 20 * kDay}) {
    ask(1);
    good(usage_.fold({now - ago}));
  }
  EXPECT_EQ(report(UsageRange::hour, now).all.requests, 1);
  EXPECT_EQ(report(UsageRange::day, now).all.requests, 2);
  EXPECT_EQ(report(UsageRange::week, now).all.requests, 3);
  auto const month = report(UsageRange::month, now);
  EXPECT_EQ(month.all.requests, 4);
  EXPECT_EQ(month.by_day.size(), 3U);
  EXPECT_EQ(month.by_hour[11], 1);
}

TEST_F(UsageTest, OldRowsGoAndTheRestStays) {
  auto const now = kMidnight + 500 * kDay;
  for (auto const ago : {kHour, 3 * kHour, 9 * kDay, 33 * kDay, 401 * kDay}) {
    ask(1);
    good(usage_.fold({now - ago}));
  }
  EXPECT_GT(good(usage_.thin({now})), 0);
  EXPECT_EQ(good(usage_.thin({now})), 0);
  EXPECT_EQ(count("api_usage WHERE span = 60 AND scope = 'all'"), 1);
  EXPECT_EQ(count("api_usage WHERE span = 3600 AND scope = 'route'"), 2);
  EXPECT_EQ(count("api_usage WHERE span = 3600 AND scope = 'all'"), 3);
  EXPECT_EQ(count("api_usage WHERE span = 86400 AND scope = 'all'"), 3);
}

TEST_F(UsageTest, TrendsCompareTheHalves) {
  auto const now = kMidnight + 59 * kMinute;
  ask(10, 200, 10'000);
  good(usage_.fold({now - 50 * kMinute}));
  ask(30, 200, 1'000);
  ask(1, 500, 1'000);
  good(usage_.fold({now - 10 * kMinute}));
  auto const trends = trends_of(report(UsageRange::hour, now));
  EXPECT_EQ(trends.response_time, "improving");
  EXPECT_EQ(trends.throughput, "increasing");
  EXPECT_EQ(trends.error_rate, "increasing");
  EXPECT_EQ(trends_of(report(UsageRange::hour, now + kHour)).throughput, "insufficient_data");
}

TEST_F(UsageTest, RulesAdviseOnlyWhereTheirConditionHolds) {
  auto const advised = [](UsageReport const& of) {
    std::vector<std::string_view> names;
    for (auto const& rule : usage_rules()) {
      if (rule.advise(of)) names.push_back(rule.name);
    }
    return names;
  };
  using Names = std::vector<std::string_view>;
  ask(19, 500, 2'000'000);
  good(usage_.fold({kMidnight}));
  EXPECT_EQ(advised(report(UsageRange::hour, kMidnight)), Names{}) << "too few to tell";
  ask(1, 404, 2'000'000);
  good(usage_.fold({kMidnight}));
  EXPECT_EQ(advised(report(UsageRange::hour, kMidnight)),
            (Names{"server_errors", "slow_answers", "slow_route"}));
  ask(10, 404);
  good(usage_.fold({kMidnight}));
  UsageReport machine;
  machine.cpu = 81;
  machine.memory = 86;
  machine.disk = 91;
  EXPECT_EQ(advised(machine), (Names{"busy_cpu", "full_memory", "full_disk"}));
  EXPECT_EQ(advised(report(UsageRange::hour, kMidnight)),
            (Names{"server_errors", "client_errors", "slow_answers", "slow_route"}));
}

}  // namespace
}  // namespace subforge::domain
