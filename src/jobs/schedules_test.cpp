#include "jobs/schedules.hpp"

#include <gmock/gmock.h>

#include "jobs/queue_contract_test.hpp"

namespace subforge::jobs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Timestamp at(std::string_view text) { return Timestamp::parse(text).value(); }

std::string next_of(std::string_view line, std::string_view from) {
  auto const parsed = CronLine::parse(line);
  if (!parsed) return parsed.error().message;
  auto const next = parsed->next(at(from));
  return next ? next->to_string().substr(0, 16) : "never";
}

TEST(CronLine, FindsTheNextTime) {
  struct Case {
    char const* line;
    char const* from;
    char const* next;
  };
  constexpr Case kCases[] = {
      {"* * * * *", "2026-01-02T03:04:05Z", "2026-01-02T03:05"},
      {"*/15 * * * *", "2026-01-02T03:45:00Z", "2026-01-02T04:00"},
      {"30 2 * * *", "2026-01-02T02:30:00Z", "2026-01-03T02:30"},
      {"0 0 1 * *", "2026-12-15T00:00:00Z", "2027-01-01T00:00"},
      {"0 12 * * mon-fri", "2026-01-02T13:00:00Z", "2026-01-05T12:00"},
      {"0 12 * * 7", "2026-01-02T13:00:00Z", "2026-01-04T12:00"},
      {"0 0 29 feb *", "2026-03-01T00:00:00Z", "2028-02-29T00:00"},
      {"0 0 13 * 5", "2026-01-01T00:00:00Z", "2026-01-02T00:00"},  // Either day is enough.
      {"5,10-12/2 1 * * *", "2026-01-02T01:10:00Z", "2026-01-02T01:12"},
      {"50/5 * * * *", "2026-01-02T01:51:00Z", "2026-01-02T01:55"},
      {"@daily", "2026-01-02T01:51:00Z", "2026-01-03T00:00"},
      {"0 0 31 2 *", "2026-01-02T01:51:00Z", "never"},
  };
  for (auto const& one : kCases) EXPECT_EQ(next_of(one.line, one.from), one.next) << one.line;
}

TEST(CronLine, SaysWhatIsWrong) {
  for (auto const* const line :
       {"", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8",
        "*/0 * * * *", "5-1 * * * *", "a * * * *", "1,,2 * * * *", "* * * * * *", "@often"}) {
    auto const parsed = CronLine::parse(line);
    ASSERT_FALSE(parsed) << line;
    EXPECT_THAT(parsed.error().message, HasSubstr("cron: ")) << line;
  }
}

class SchedulesTest : public QueueContract {
 protected:
  void SetUp() override {
    start();
    schedules_ = std::make_unique<Schedules>(process_->store(), queue(), silent_logger());
  }
  Schedule every_minute() {
    Schedule schedule;
    schedule.name = "minutely";
    schedule.task = "plain";
    schedule.cron = "* * * * *";
    return schedule;
  }
  Schedule put(Schedule schedule) {
    auto const made = run(schedules_->put(std::move(schedule), "ann", true));
    EXPECT_TRUE(made) << made.error().message << made.error().context;
    return made.value_or(Schedule{});
  }
  std::int64_t tick(Timestamp now) {
    auto const started = run(schedules_->tick(now));
    EXPECT_TRUE(started) << started.error().message;
    return started.value_or(-1);
  }
  static Timestamp later(Timestamp from, std::int64_t seconds) {
    return {from.micros + seconds * 1'000'000};
  }
  void finish_all() {
    for (auto const& one : claim(50)) settle(one.lease, succeeded());
  }

  std::unique_ptr<Schedules> schedules_;
};
INSTANTIATE_TEST_SUITE_P(Embedded, SchedulesTest, testing::Values(sqlite_queue()), name_of_queue);
INSTANTIATE_TEST_SUITE_P(Postgres, SchedulesTest, testing::Values(postgres_queue()), name_of_queue);

TEST_P(SchedulesTest, WhatIsDueIsStartedOnceByWhoeverIsFirst) {
  auto const made = put(every_minute());
  ASSERT_TRUE(made.next_at);
  EXPECT_EQ(tick(Timestamp::now()), 0);
  auto const process = another_process();
  Schedules other(process->store(), process->queue(), silent_logger());
  EXPECT_EQ(tick(*made.next_at) + run(other.tick(*made.next_at)).value_or(-1), 1);
  auto const held = claim(9);
  ASSERT_EQ(held.size(), 1U);
  EXPECT_EQ(held[0].job.metadata.text, R"({"schedule":"minutely"})");
  EXPECT_EQ(held[0].job.created_by, "ann");
  EXPECT_EQ(run(schedules_->get("minutely"))->last_job_id, held[0].job.id);
  // The last one runs still: there is no second one beside it.
  EXPECT_EQ(tick(later(*made.next_at, 60)), 0);
  settle(held[0].lease, succeeded());
  EXPECT_EQ(tick(later(*made.next_at, 120)), 1);
}

TEST_P(SchedulesTest, MissedRunsAreMadeUpForOnceOrSkipped) {
  auto once = put(every_minute());
  auto skipping = every_minute();
  skipping.name = "skipping";
  skipping.missed = MissedRuns::skip;
  put(skipping);
  EXPECT_EQ(tick(later(*once.next_at, 3'600)), 1);
  finish_all();
  EXPECT_EQ(tick(later(*once.next_at, 3'600 + 60)), 2);
}

TEST_P(SchedulesTest, AClockThatIsSetBackStopsNothing) {
  auto const made = put(every_minute());
  EXPECT_EQ(tick(later(*made.next_at, 86'400)), 1);
  finish_all();
  // Back to where it was: the next time is a day away, and is worked out anew.
  EXPECT_EQ(tick(*made.next_at), 0);
  EXPECT_EQ(tick(later(*made.next_at, 61)), 1);
}

TEST_P(SchedulesTest, AClockThatIsALittleBehindStartsNothingAgain) {
  auto const made = put(every_minute());
  auto daily = every_minute();
  daily.name = "daily";
  daily.cron = "@daily";
  auto const day = *put(daily).next_at;
  for (auto const due : {*made.next_at, day}) {
    EXPECT_GE(tick(due), 1);
    finish_all();
    for (auto const behind : {-50, -4, -1, 0}) EXPECT_EQ(tick(later(due, behind)), 0) << behind;
  }
}

TEST_P(SchedulesTest, IntervalsKeepTheirBeat) {
  Schedule schedule = every_minute();
  schedule.cron.reset();
  schedule.every_seconds = 10;
  auto const made = put(schedule);
  EXPECT_EQ(tick(later(*made.next_at, 3)), 1);
  EXPECT_EQ(run(schedules_->get("minutely"))->next_at, later(*made.next_at, 10));
}

TEST_P(SchedulesTest, ThoseThatAreOffOrWrongDoNothing) {
  auto schedule = every_minute();
  schedule.enabled = false;
  EXPECT_FALSE(put(schedule).next_at);
  schedule.every_seconds = 5;
  EXPECT_EQ(run(schedules_->put(schedule, "ann", true)).error().code, ErrorCode::invalid);
  schedule.cron = "0 0 31 2 *";
  schedule.every_seconds.reset();
  EXPECT_EQ(run(schedules_->put(schedule, "ann", true)).error().code, ErrorCode::invalid);
  ASSERT_TRUE(run(schedules_->seed(every_minute())));  // Changes none that is there.
  EXPECT_FALSE(run(schedules_->get("minutely"))->enabled);
  EXPECT_EQ(run(schedules_->put(every_minute(), "ann", false)).error().code, ErrorCode::conflict);
  ASSERT_TRUE(run(schedules_->remove("minutely")));
  EXPECT_EQ(run(schedules_->remove("minutely")).error().code, ErrorCode::not_found);
  EXPECT_TRUE(run(schedules_->list())->empty());
}

TEST_P(SchedulesTest, WhatWasRemovedIsNotSeededAgain) {
  ASSERT_TRUE(run(schedules_->seed(every_minute())));
  ASSERT_EQ(run(schedules_->list())->size(), 1U);
  ASSERT_TRUE(run(schedules_->remove("minutely")));
  ASSERT_TRUE(run(schedules_->seed(every_minute())));
  EXPECT_TRUE(run(schedules_->list())->empty());
}

TEST_P(SchedulesTest, ArgumentsThatAreTooLongAreRefusedWithWhatTheScheduleAdds) {
  auto schedule = every_minute();
  std::size_t const most = queue().limits().payload_bytes_max;
  auto const with_argument = [&](std::size_t bytes) {
    schedule.args.text = "[\"" + std::string(bytes - 4, 'x') + "\"]";
    return schedule;
  };
  auto const around = std::string(R"({}{"schedule":"minutely"})").size();
  EXPECT_EQ(run(schedules_->put(with_argument(most - around + 1), "ann", true)).error().code,
            ErrorCode::too_large);
  auto const made = put(with_argument(most - around));
  EXPECT_EQ(tick(*made.next_at), 1);
}

TEST_P(SchedulesTest, WhatCannotBeStartedIsTriedAgainAtItsNextTime) {
  auto const made = put(every_minute());
  auto spoil = [](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute("UPDATE job_schedules SET priority = 7");
  };
  ASSERT_TRUE(run(process_->store().write(spoil)));
  EXPECT_EQ(tick(*made.next_at), 0);
  auto const after = run(schedules_->get("minutely"));
  ASSERT_TRUE(after && after->next_at);
  EXPECT_EQ(*after->next_at, later(*made.next_at, 60));
}

}  // namespace
}  // namespace subforge::jobs
