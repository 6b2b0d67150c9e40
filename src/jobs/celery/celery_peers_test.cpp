// What clients and workers of Celery tell of tasks that are ours.
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <gmock/gmock.h>

#include "jobs/celery/celery_place_test.hpp"
#include "jobs/celery/celery_queue.hpp"

namespace subforge::jobs::celery {
namespace {

class RedisServerPeers : public CeleryContract {};

TEST_P(RedisServerPeers, OthersTellWhatTheyMadeOfOurJobs) {
  start();
  auto const good = enqueue({.name = "python.good", .queue = "python"});
  auto const bad = enqueue({.name = "python.bad", .queue = "python"});
  tend();
  // Until all of it is seen in the records.
  auto const tell = [&](std::vector<ResultMeta> const& metas, auto const& seen) {
    for (auto const& one : metas) tell_as_others(one);
    (void)soon(seen);
  };
  ResultMeta meta;
  meta.task_id = good.to_string();
  meta.status = "PROGRESS";
  meta.result = R"({"current":1,"total":4,"note":"a quarter"})";
  tell({meta}, [&] { return job(good).progress == 25; });
  EXPECT_EQ(job(good).status, JobStatus::started);
  EXPECT_EQ(job(good).progress, 25);
  EXPECT_EQ(job(good).progress_note, "a quarter");
  meta.status = "SUCCESS";
  meta.result = "[1]";
  ResultMeta failure;
  failure.task_id = bad.to_string();
  failure.status = "FAILURE";
  failure.result = exception_json(exception("ValueError", "no"));
  failure.traceback = "Traceback";
  tell({meta, failure}, [&] {
    return job(good).status == JobStatus::success && job(bad).status == JobStatus::failure;
  });
  EXPECT_EQ(job(good).status, JobStatus::success);
  EXPECT_EQ(job(good).result.text, "[1]");
  EXPECT_EQ(job(bad).status, JobStatus::failure);
  EXPECT_EQ(job(bad).error, "ValueError: no");
  EXPECT_EQ(job(bad).traceback, "Traceback");
  // Put back, it waits again: what is stored of its last try does not count.
  ASSERT_TRUE(run(jobs().put_back(bad, "ann")));
  tend(6);
  EXPECT_EQ(job(bad).status, JobStatus::pending);
  EXPECT_FALSE(result(bad.to_string()));
}

// A clock that is wrong, and an error that is no exception.
TEST_P(RedisServerPeers, WhatOthersTellOfTimeIsWithinWhatCanBe) {
  start();
  auto const tell = [&](std::string const& when, std::string const& status) {
    auto const before = Timestamp::now();
    auto const id = enqueue({.name = "python", .queue = "python"});
    tend();
    tell_as_others(id.to_string(), R"({"status": ")" + status + R"(", "result": "so it is",)" +
                                       R"( "traceback": null, "children": [], "date_done": ")" +
                                       when + R"(", "task_id": ")" + id.to_string() + "\"}");
    EXPECT_TRUE(soon([&] { return is_final(job(id).status); }));
    auto told = job(id);
    EXPECT_GE(told.completed_at, before) << when;
    EXPECT_LE(told.completed_at, Timestamp::now()) << when;
    EXPECT_LE(told.started_at, told.completed_at);
    return told;
  };
  EXPECT_EQ(tell("9999-12-31T00:00:00", "SUCCESS").result.text, R"("so it is")");
  EXPECT_EQ(tell("0001-01-01T00:00:00", "FAILURE").error, "so it is");
}

TEST_P(RedisServerPeers, EachRetryThatOthersTellCountsThoughItSaysTheSame) {
  start();
  auto const id = enqueue({.name = "python.flaky", .queue = "python"});
  tend();
  ResultMeta meta;
  meta.task_id = id.to_string();
  meta.status = "RETRY";
  meta.result = exception_json(exception("ValueError", "not yet"));
  for (int i = 0; i < 3; ++i) {
    tell_as_others(meta);
    wait_ms(400);
  }
  EXPECT_EQ(job(id).retry_count, 3);
  tend(6);  // What lies there has been heard.
  EXPECT_EQ(job(id).retry_count, 3);
}

// As Celery shows people an argument in the headers.
TEST_P(RedisServerPeers, WhatOnlyPythonReadsIsToldToHaveFailed) {
  start();
  auto text = write_message(task("odd"));
  auto const at = text.find("\"argsrepr\":\"");
  ASSERT_NE(at, std::string::npos);
  text.insert(at + 12, "\\ud800");
  auto const body = text.find("\"body\":\"") + 8;
  text.replace(body, text.find('"', body) - body, "W1tOYU5dLCB7fSwge31d");  // [[NaN], {}, {}]
  ask({"LPUSH", "celery", text});
  EXPECT_TRUE(claim_celery().empty());
  EXPECT_EQ(result("odd").value_or(ResultMeta{}).status, "FAILURE");
}

// Each process tells of an end when it gets to it, and hears of it when it gets to that.
TEST_P(RedisServerPeers, AnEndThatIsToldLateIsNotThatOfTheNextRun) {
  start();
  auto const id = enqueue({.name = "plain", .queue = "nobody"});
  tend();
  ASSERT_TRUE(run(jobs().cancel(id, "ann")));
  tend();
  auto const told = ask({"GET", result_key(id.to_string())}).text;
  EXPECT_THAT(told, testing::HasSubstr("REVOKED"));
  ASSERT_TRUE(run(jobs().retry(id, "ann")));
  tend();
  tell_as_others(id.to_string(), told);
  wait_ms(100);
  tend(6);  // It is found there as well.
  EXPECT_EQ(job(id).status, JobStatus::pending);
  ResultMeta meta;
  meta.task_id = id.to_string();
  meta.status = "SUCCESS";
  meta.result = "1";
  tell_as_others(meta);
  EXPECT_TRUE(soon([&] { return job(id).status == JobStatus::success; }));
}

TEST_P(RedisServerPeers, WhatAWorkerOfOthersHadBegunIsCountedOnceOursHasIt) {
  start();
  auto const count = [&](std::string const& status) {
    return number("SELECT n FROM record_counts WHERE name = 'jobs.status=" + status + "'");
  };
  auto const id = enqueue({.name = "plain", .queue = "python"});
  tend();
  ResultMeta meta;
  meta.task_id = id.to_string();
  meta.status = "PROGRESS";
  meta.result = R"({"current":1,"total":4})";
  tell_as_others(meta);
  ASSERT_TRUE(soon([&] { return job(id).status == JobStatus::started; }));
  EXPECT_EQ(count("started"), 1);
  // That worker died, and its message is in the list again.
  auto const claimed = claim(queue(), worker_, 9, {"python"});
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(job(id).status, JobStatus::started);
  EXPECT_EQ(settle(claimed[0].lease, succeeded("1")), Verdict::taken);
  EXPECT_EQ(count("pending"), 0);
  EXPECT_EQ(count("started"), 0);
  EXPECT_EQ(count("success"), 1);
}

TEST_P(RedisServerPeers, WhatExpiresInAListIsTakenOutOfItAtOnce) {
  start();
  auto const list = list_name("nobody", 6);
  // Later than a busy machine needs to push it.
  Timestamp const soon_over{Timestamp::now().micros + 2'000'000};
  auto const id = enqueue({.name = "plain", .queue = "nobody", .expires_at = soon_over});
  auto const stays = enqueue({.name = "plain", .queue = "nobody"});
  tend();
  EXPECT_EQ(length(list), 2);
  wait_until(soon_over);
  tend();
  EXPECT_EQ(job(id).status, JobStatus::revoked);
  EXPECT_EQ(job(stays).status, JobStatus::pending);
  EXPECT_EQ(length(list), 1);
  tend();
  EXPECT_EQ(result(id.to_string()).value_or(ResultMeta{}).status, "REVOKED");
}

// A worker of Celery tells of a start only if it is asked to, and acknowledges before it runs.
TEST_P(RedisServerPeers, WhatAWorkerOfOthersMayHaveBegunInTimeDoesNotExpire) {
  start();
  // Later than a busy machine needs to push it.
  Timestamp const soon_over{Timestamp::now().micros + 2'000'000};
  auto const id = enqueue({.name = "plain", .queue = "python", .expires_at = soon_over});
  tend();
  EXPECT_TRUE(ask({"RPOP", list_name("python", 6)}).is_text());
  wait_until(soon_over);
  tend(2);
  EXPECT_EQ(job(id).status, JobStatus::pending);
  ResultMeta meta;
  meta.task_id = id.to_string();
  meta.status = "SUCCESS";
  meta.result = "16";
  tell_as_others(meta);
  EXPECT_TRUE(soon([&] { return job(id).status == JobStatus::success; }));
}

TEST_P(RedisServerPeers, AResultThatOnlyPythonReadsArrivesAsFarAsItCan) {
  start();
  std::vector<std::pair<std::string, std::string>> const told = {
      {"NaN", R"("NaN")"},
      {R"({"a": -Infinity})", R"({"a":"-Infinity"})"},
      {R"("\ud800")", "\"\uFFFD\""},
      {std::string(900, '[') + std::string(900, ']'), "nested too deeply"}};
  std::vector<Uuid> ids;
  for (std::size_t i = 0; i < told.size(); ++i)
    ids.push_back(enqueue({.name = "python.odd", .queue = "python"}));
  tend();
  for (std::size_t i = 0; i < told.size(); ++i) {
    auto const id = ids[i].to_string();
    tell_as_others(id, R"({"status": "SUCCESS", "result": )" + told[i].first +
                           R"(, "traceback": null, "children": [], "task_id": ")" + id + "\"}");
    EXPECT_TRUE(soon([&] { return job(ids[i]).status == JobStatus::success; })) << i;
    EXPECT_THAT(job(ids[i]).result.text, testing::HasSubstr(told[i].second));
  }
}

INSTANTIATE_TEST_SUITE_P(RedisServer, RedisServerPeers, testing::ValuesIn(celery_queues()),
                         name_of_queue);

}  // namespace
}  // namespace subforge::jobs::celery
