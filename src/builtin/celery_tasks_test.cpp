// What Celery's workers can do by themselves, by ours.
#include "builtin/celery_tasks.hpp"

#include <gmock/gmock.h>

#include "builtin/arguments.hpp"
#include "builtin/worker_fixture_test.hpp"
#include "store/counts.hpp"

namespace subforge::builtin {
namespace {

using jobs::JobContext;
using jobs::JobStatus;
using jobs::Outcome;
using testing::ElementsAre;
using testing::HasSubstr;

// Gives its arguments back, and counts itself in our own data.
Task<Outcome> echo(JobContext& context) {
  context.log(LogLevel::info, context.args());
  context.progress(99);
  auto const note = [](store::Transaction& transaction) -> Task<Result<void>> {
    store::CountChanges counts;
    counts.add("echoes", 1);
    co_return co_await counts.apply(transaction);
  };
  co_return jobs::succeeded_with(context.args(), note);
}

Task<Outcome> fail(JobContext& context) { co_return jobs::failed("ValueError: " + context.args()); }

Task<Outcome> be_long(JobContext&) {
  co_return jobs::succeeded('"' + std::string(400'000, 'x') + '"');
}

// Runs until it is asked to stop.
Task<Outcome> wait(EventLoop& loop, JobContext& context) {
  while (!context.stop_requested()) co_await loop.sleep_ms(5);
  co_return jobs::failed("It was stopped");
}

class CeleryTasksTest : public WorkerFixture {
 protected:
  CeleryTasksTest() {
    add_celery_definitions(registry_, loop_);
    registry_.add({.name = "echo", .handler = &echo});
    registry_.add({.name = "be long", .handler = &be_long});
    registry_.add({.name = "fail", .handler = &fail, .automatic_retries = 3});
    registry_.add(
        {.name = "wait", .handler = [this](JobContext& context) { return wait(loop_, context); }});
    registry_.add({.name = "alone", .handler = &echo, .concurrency = 1});
  }
  jobs::Job mapped(std::string const& how, std::string const& name, std::string const& items) {
    return ended({.name = "celery." + how,
                  .kwargs = R"({"task":{"task":")" + name + R"(","args":[],"kwargs":{}},"it":)" +
                            items + "}"});
  }
  std::int64_t echoes() {
    std::int64_t n = 0;
    auto const read = [&](store::Session& session) -> Task<Result<std::int64_t>> {
      auto const count = co_await store::read_count(session, "echoes");
      n = count.value_or(-1);
      co_return n;
    };
    EXPECT_TRUE(run(store_.store().read(store::ReadCost::point, read)));
    return n;
  }
};

TEST_F(CeleryTasksTest, MapRunsATaskForEachAndKeepsAllTheirEffects) {
  auto const one = mapped("map", "echo", R"([1,"b",[2]])");
  EXPECT_EQ(one.status, JobStatus::success) << one.error.value_or("");
  EXPECT_EQ(one.result.text, R"([[1],["b"],[[2]]])");
  EXPECT_EQ(echoes(), 3);
  auto const all = mapped("starmap", "echo", "[[1,2],[]]");
  EXPECT_EQ(all.result.text, "[[1,2],[]]");
  EXPECT_EQ(echoes(), 5);
  EXPECT_TRUE(until([&] { return lines(all.id).size() == 2; }));
  EXPECT_THAT(lines(all.id), ElementsAre("INFO [1,2]", "INFO []"));
  EXPECT_EQ(mapped("starmap", "echo", "[]").result.text, "[]");
}

TEST_F(CeleryTasksTest, OneThatFailsFailsAllAndLeavesNoEffect) {
  for (auto const* const items : {"[[1]]", "[[1],[2]]"}) {
    auto const job = mapped("starmap", "fail", items);
    EXPECT_EQ(job.status, JobStatus::failure);
    EXPECT_EQ(job.error, "ValueError: [1]");
    EXPECT_EQ(job.retry_count, 0);
  }
  EXPECT_THAT(mapped("starmap", "echo", "[[1],2]").error.value_or(""), HasSubstr("no list"));
  EXPECT_EQ(echoes(), 0);
  EXPECT_THAT(mapped("map", "unknown", "[1]").error.value_or(""),
              HasSubstr("NotRegistered: no worker here knows the task 'unknown'"));
  EXPECT_THAT(mapped("map", "alone", "[1]").error.value_or(""), HasSubstr("limits"));
  EXPECT_THAT(ended({.name = "celery.map"}).error.value_or(""), HasSubstr("takes task and it"));
}

TEST_F(CeleryTasksTest, AllResultsTogetherAreNoLongerThanOneMayBe) {
  EXPECT_EQ(mapped("map", "be long", "[1,2]").status, JobStatus::success);
  EXPECT_EQ(mapped("map", "be long", "[1,2,3]").error, "The results take more than 1048576 bytes");
}

TEST_F(CeleryTasksTest, ALimitReachesTheOneThatRuns) {
  auto const job = ended({.name = "celery.map",
                          .kwargs = R"({"task":{"task":"wait"},"it":[1,2]})",
                          .soft_limit_seconds = 0.1});
  EXPECT_EQ(job.status, JobStatus::failure);
  EXPECT_EQ(job.error, "It was stopped");
}

TEST_F(CeleryTasksTest, AccumulateGivesItsArgumentsBack) {
  EXPECT_EQ(ended({.name = "celery.accumulate", .args = "[[1,2],3]"}).result.text, "[[1,2],3]");
  EXPECT_EQ(ended({.name = "celery.accumulate", .args = "[[1,2],3]", .kwargs = R"({"index":0})"})
                .result.text,
            "[1,2]");
  EXPECT_EQ(ended({.name = "celery.accumulate", .args = "[[1,2],3]", .kwargs = R"({"index":-1})"})
                .result.text,
            "3");
  EXPECT_THAT(ended({.name = "celery.accumulate", .kwargs = R"({"index":0})"}).error.value_or(""),
              HasSubstr("IndexError"));
  EXPECT_EQ(ended({.name = "celery.backend_cleanup"}).status, JobStatus::success);
}

}  // namespace
}  // namespace subforge::builtin
