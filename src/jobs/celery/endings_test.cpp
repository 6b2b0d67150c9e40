// What follows the end of a task, as Celery's own worker was seen to do it.
#include "jobs/celery/endings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::IsEmpty;

json::object signature(std::string_view text) { return describe::parse_json(text).get_object(); }

Ended success(std::string result = "3") {
  Ended ended;
  ended.message.id = "parent";
  ended.message.task = "add";
  ended.message.queue = "celery";
  ended.result = std::move(result);
  return ended;
}

std::vector<std::string> ids_of(std::vector<TaskMessage> const& messages) {
  std::vector<std::string> ids;
  for (auto const& message : messages) ids.push_back(message.id);
  return ids;
}

TEST(CeleryEndings, ASuccessIsStored) {
  auto const out = consequences_of(success());
  ASSERT_EQ(out.results.size(), 1U);
  EXPECT_EQ(out.results[0].status, "SUCCESS");
  EXPECT_EQ(out.results[0].result, "3");
  EXPECT_EQ(out.results[0].children, "[]");
  EXPECT_TRUE(out.results[0].done_at);
  EXPECT_THAT(out.sent.messages, IsEmpty());
  auto ignored = success();
  ignored.message.ignore_result = true;
  EXPECT_THAT(consequences_of(ignored).results, IsEmpty());
}

TEST(CeleryEndings, CallbacksGetTheResultBeforeTheirArguments) {
  auto ended = success();
  ended.message.callbacks = {
      signature(R"({"task":"a","args":[10],"kwargs":{"k":1},"options":{"task_id":"cb"}})"),
      signature(R"({"task":"b","args":[5],"options":{},"immutable":true})")};
  auto const out = consequences_of(ended);
  ASSERT_EQ(out.sent.messages.size(), 2U);
  auto const& first = out.sent.messages[0];
  EXPECT_EQ(first.id, "cb");
  EXPECT_EQ(first.args, "[3,10]");
  EXPECT_EQ(first.kwargs, R"({"k":1})");
  EXPECT_EQ(first.parent_id, "parent");
  EXPECT_EQ(first.root_id, "parent");
  EXPECT_EQ(first.queue, "celery");
  EXPECT_EQ(out.sent.messages[1].args, "[5]");
  // Several share a group.
  EXPECT_EQ(first.group, out.sent.messages[1].group);
  EXPECT_FALSE(first.group.empty());
  EXPECT_EQ(out.results[0].children, "[[[\"" + first.group + "\",null],[[[\"cb\",null],null],[[\"" +
                                         out.sent.messages[1].id + "\",null],null]]]]");
  // Done again, it is the same.
  EXPECT_EQ(ids_of(consequences_of(ended).sent.messages), ids_of(out.sent.messages));
}

TEST(CeleryEndings, AChainGoesOnWithItsLastElementAndTheRest) {
  auto ended = success();
  ended.message.chain = {signature(R"({"task":"c","args":[],"options":{"task_id":"third"}})"),
                         signature(R"({"task":"b","args":[2],"options":{"task_id":"second"}})")};
  auto const out = consequences_of(ended);
  ASSERT_THAT(ids_of(out.sent.messages), ElementsAre("second"));
  EXPECT_EQ(out.sent.messages[0].args, "[3,2]");
  ASSERT_EQ(out.sent.messages[0].chain.size(), 1U);
  EXPECT_EQ(out.results[0].children, R"([[["second",null],null]])");
}

TEST(CeleryEndings, AFailureIsThatOfTheWholeChainAndCallsErrbacks) {
  auto ended = success();
  ended.status = JobStatus::failure;
  ended.error = exception("ValueError", "no");
  ended.traceback = "Traceback";
  ended.message.chain = {signature(R"({"task":"c","options":{"task_id":"third"}})"),
                         signature(R"({"task":"b","options":{"task_id":"second"}})")};
  ended.message.errbacks = {signature(R"({"task":"log","args":["x"],"options":{}})")};
  ended.message.callbacks = {signature(R"({"task":"never"})")};
  auto const out = consequences_of(ended);
  std::vector<std::string> told;
  for (auto const& meta : out.results) {
    told.push_back(meta.task_id);
    EXPECT_EQ(meta.status, "FAILURE");
    EXPECT_EQ(meta.result, exception_json(ended.error));
    EXPECT_EQ(meta.traceback, "Traceback");
  }
  EXPECT_THAT(told, ElementsAre("parent", "third", "second"));
  ASSERT_EQ(out.sent.messages.size(), 1U);
  EXPECT_EQ(out.sent.messages[0].task, "log");
  EXPECT_EQ(out.sent.messages[0].args, R"(["parent","x"])");
}

TEST(CeleryEndings, ARetryNamesItselfAndStartsNothing) {
  auto ended = success();
  ended.status = JobStatus::retry;
  ended.error = exception("ValueError", "later");
  ended.message.callbacks = {signature(R"({"task":"never"})")};
  auto const out = consequences_of(ended);
  ASSERT_EQ(out.results.size(), 1U);
  EXPECT_EQ(out.results[0].status, "RETRY");
  EXPECT_EQ(out.results[0].children, R"([[["parent",null],null]])");
  EXPECT_FALSE(out.results[0].done_at);
  EXPECT_THAT(out.sent.messages, IsEmpty());
}

TEST(CeleryEndings, APartOfAChordIsToldWithItsPlace) {
  auto ended = success();
  ended.message.group = "g";
  ended.message.group_index = 2;
  ended.message.chord = signature(R"({"task":"sum","options":{"task_id":"body"}})");
  auto out = consequences_of(ended);
  ASSERT_EQ(out.chord_parts.size(), 1U);
  EXPECT_EQ(out.chord_parts[0].group, "g");
  EXPECT_EQ(out.chord_parts[0].place, 2);
  EXPECT_EQ(out.chord_parts[0].result, "3");
  EXPECT_EQ(out.results[0].group_id, "g");
  ended.status = JobStatus::failure;
  ended.error = exception("ValueError", "no");
  out = consequences_of(ended);
  ASSERT_EQ(out.chord_parts.size(), 1U);
  EXPECT_EQ(out.chord_parts[0].status, "FAILURE");
  EXPECT_EQ(out.chord_parts[0].result, exception_json(ended.error));
}

TEST(CeleryEndings, AChordInAChainIsTakenApart) {
  auto ended = success();
  ended.message.chain = {signature(R"({"task":"last","args":[],"options":{"task_id":"end"}})"),
                         signature(R"({"task":"celery.chord","options":{"task_id":"g"},"kwargs":{
        "header":{"task":"celery.group","options":{"task_id":"g"},"kwargs":{"tasks":[
          {"task":"a","args":[1],"options":{"task_id":"h0"}},
          {"task":"celery.chain","kwargs":{"tasks":[
            {"task":"b","args":[2],"options":{"task_id":"h1a"}},
            {"task":"c","args":[],"options":{"task_id":"h1b"}}]}}]}},
        "body":{"task":"sum","args":[],"options":{"task_id":"body"}}}})")};
  auto const out = consequences_of(ended);
  ASSERT_THAT(ids_of(out.sent.messages), ElementsAre("h0", "h1a"));
  ASSERT_EQ(out.sent.chords.size(), 1U);
  EXPECT_EQ(out.sent.chords[0].first, "g");
  EXPECT_EQ(out.sent.chords[0].second, 2U);
  auto const& first = out.sent.messages[0];
  EXPECT_EQ(first.args, "[3,1]");
  EXPECT_EQ(first.group, "g");
  EXPECT_EQ(first.group_index, 0);
  EXPECT_EQ(describe::text_member(first.chord, "task"), "sum");
  // The last task of a chain is the part, not its first.
  auto const& second = out.sent.messages[1];
  EXPECT_TRUE(second.chord.empty());
  ASSERT_EQ(second.chain.size(), 1U);
  auto const& options = second.chain[0].get_object().at("options").get_object();
  EXPECT_EQ(options.at("group_index").get_int64(), 1);
  EXPECT_TRUE(options.contains("chord"));
  EXPECT_EQ(out.results[0].children, R"([[["body",null],null]])");
  // What comes behind the chord hangs on its body.
  Expansion body;
  expand(first.chord, first, "[4,6]", "seed", {}, body);
  ASSERT_THAT(ids_of(body.messages), ElementsAre("body"));
  EXPECT_EQ(body.messages[0].args, "[[4,6]]");
  ASSERT_EQ(body.messages[0].chain.size(), 1U);
}

TEST(CeleryEndings, WhatCannotBeSentFailsForThoseWhoWait) {
  auto ended = success();
  ended.message.callbacks = {
      signature(R"({"task":"celery.chunks","options":{"task_id":"never"}})")};
  auto const out = consequences_of(ended);
  EXPECT_THAT(out.sent.messages, IsEmpty());
  ASSERT_EQ(out.results.size(), 2U);
  EXPECT_EQ(out.results[1].task_id, "never");
  EXPECT_EQ(out.results[1].status, "FAILURE");
}

TEST(CeleryEndings, ErrorsOfRecordsAreThoseThatPythonKnows) {
  Job job;
  job.name = "unknown";
  job.status = JobStatus::failure;
  job.error = "NotRegistered: no worker here knows the task 'unknown'";
  EXPECT_EQ(exception_of_job(job), not_registered("unknown"));
  job.error = "TimeLimitExceeded: it ran for more than 7 s";
  EXPECT_EQ(exception_of_job(job), (Exception{"TimeLimitExceeded", "[7]", "billiard.exceptions"}));
  job.error = "SoftTimeLimitExceeded: it ran for more than 0.5 s";
  EXPECT_EQ(exception_of_job(job),
            (Exception{"SoftTimeLimitExceeded", "[]", "billiard.exceptions"}));
  job.error = "ValueError: no";
  EXPECT_EQ(exception_of_job(job), exception("ValueError", "no"));
  job.status = JobStatus::revoked;
  EXPECT_EQ(exception_of_job(job), revoked_exception("revoked"));
  job.started_at = Timestamp{1};
  EXPECT_EQ(exception_of_job(job), revoked_exception("terminated"));
  job.error = "The task expired before it was started";
  EXPECT_EQ(exception_of_job(job), revoked_exception("expired"));
}

}  // namespace
}  // namespace subforge::jobs::celery
