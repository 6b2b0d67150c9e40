#include "jobs/job_metrics.hpp"

#include <gmock/gmock.h>

namespace subforge::jobs {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(TaskMetrics, AreTheFiguresWithTheirLabels) {
  JobFigures figures;
  figures.queues["a\"b\\c"] = {3, 1, 1'500'000};
  figures.workers = 2;
  figures.ended = {0, 0, 5, 6, 0, 7};
  figures.timed = 18;
  figures.duration_us = 2'250'000;
  auto const text = metrics_text(figures);
  for (auto const* const line : {
           R"(subforge_background_queue_tasks{queue="a\"b\\c",state="waiting"} 3)",
           R"(subforge_background_queue_tasks{queue="a\"b\\c",state="running"} 1)",
           R"(subforge_background_queue_due_seconds{queue="a\"b\\c"} 1.5)",
           "subforge_background_workers 2",
           R"(subforge_background_tasks_ended_total{status="success"} 5)",
           R"(subforge_background_tasks_ended_total{status="failure"} 6)",
           R"(subforge_background_tasks_ended_total{status="revoked"} 7)",
           "subforge_background_task_duration_seconds_sum 2.25",
           "subforge_background_task_duration_seconds_count 18",
       }) {
    EXPECT_THAT(text, HasSubstr("\n" + std::string(line) + "\n"));
  }
}

TEST(TaskMetrics, OfManyQueuesThoseWithMostAreShown) {
  JobFigures figures;
  for (int i = 0; i < 60; ++i) figures.queues["q" + std::to_string(i)] = {i, 0, 0};
  auto const text = metrics_text(figures);
  EXPECT_THAT(text, HasSubstr("{queue=\"q59\",state=\"waiting\"} 59\n"));
  EXPECT_THAT(text, HasSubstr("{queue=\"q10\","));
  EXPECT_THAT(text, Not(HasSubstr("{queue=\"q9\",")));
}

}  // namespace
}  // namespace subforge::jobs
