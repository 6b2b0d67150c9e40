#include "jobs/queue_contract_test.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <utility>

#include <gmock/gmock.h>

#include "jobs/job_figures.hpp"

namespace subforge::jobs {

using store::Transaction;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(QueueContract);

JobSpec plain(std::string name = "plain") { return {.name = std::move(name)}; }

TEST_P(QueueContract, AJobGoesFromPendingToStartedToSuccess) {
  start();
  auto const id = enqueue({.name = "plain",
                           .args = "[1,\"two\"]",
                           .kwargs = R"({"three":3})",
                           .metadata = R"({"a":1,"b":2})",
                           .created_by = "ann"});
  auto pending = job(id);
  EXPECT_EQ(pending.status, JobStatus::pending);
  EXPECT_EQ(pending.created_by, "ann");
  EXPECT_EQ(pending.priority, 5);
  EXPECT_FALSE(pending.started_at);

  auto const claimed = claim(10);
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(claimed[0].job.id, id);
  EXPECT_EQ(claimed[0].job.args.text, "[1,\"two\"]");
  EXPECT_EQ(claimed[0].job.kwargs.text, R"({"three":3})");
  EXPECT_EQ(claimed[0].job.status, JobStatus::started);
  EXPECT_EQ(job(id).status, JobStatus::started);
  EXPECT_TRUE(job(id).started_at);

  auto outcome = succeeded(R"({"sum":6})");
  outcome.metadata = R"({"b":3,"c":4})";
  EXPECT_EQ(settle(claimed[0].lease, std::move(outcome)), Verdict::taken);
  auto const ended = job(id);
  EXPECT_EQ(ended.status, JobStatus::success);
  EXPECT_EQ(ended.result.text, R"({"sum":6})");
  EXPECT_EQ(ended.progress, 100);
  EXPECT_EQ(ended.metadata.text, R"({"a":1,"b":3,"c":4})");
  EXPECT_TRUE(ended.completed_at);
  EXPECT_TRUE(claim(10).empty());
}

TEST_P(QueueContract, WhatATransactionUndoesWasNeverEnqueued) {
  start();
  auto const change = [&](Transaction& transaction) -> Task<Result<void>> {
    JobSpec const spec = plain();
    auto const added = co_await queue().enqueue_in(transaction, std::span(&spec, 1));
    EXPECT_TRUE(added);
    co_return fail(ErrorCode::conflict, "changed my mind");
  };
  EXPECT_FALSE(run(process_->store().write(change)));
  EXPECT_TRUE(claim(10).empty());
  EXPECT_EQ(run(jobs().statistics())->total, 0);
}

TEST_P(QueueContract, BadWishesAreRefusedWithASentence) {
  start({.payload_bytes_max = 100});
  auto const refused = [&](JobSpec spec) {
    auto const added = run(jobs().enqueue({std::move(spec)}));
    EXPECT_FALSE(added);
    return added ? Error{} : added.error();
  };
  EXPECT_EQ(refused({.name = "plain", .args = "{}"}).code, ErrorCode::invalid);
  EXPECT_EQ(refused({.name = "plain", .kwargs = "[]"}).code, ErrorCode::invalid);
  EXPECT_EQ(refused({.name = "plain", .metadata = "nonsense"}).code, ErrorCode::invalid);
  EXPECT_EQ(refused({.name = ""}).code, ErrorCode::invalid);
  EXPECT_EQ(refused({.name = "plain", .queue = "with space"}).code, ErrorCode::invalid);
  EXPECT_EQ(refused({.name = "plain", .priority = 7}).code, ErrorCode::invalid);
  EXPECT_EQ(refused({.name = "plain", .max_retries = -1}).code, ErrorCode::invalid);
  EXPECT_EQ(refused({.name = "plain", .batch_id = Uuid::random()}).code, ErrorCode::bad_reference);
  auto const large = refused({.name = "plain", .args = "[\"" + std::string(200, 'x') + "\"]"});
  EXPECT_EQ(large.code, ErrorCode::too_large);
  EXPECT_THAT(large.message, HasSubstr("100 bytes"));
}

TEST_P(QueueContract, HigherPriorityGoesFirstAndEqualsInTheirOrder) {
  start();
  enqueue_all({{.name = "low", .priority = 1},
               {.name = "normal1"},
               {.name = "critical", .priority = 10},
               {.name = "normal2"},
               {.name = "high", .priority = 8}});
  EXPECT_THAT(claimed_names(2), ElementsAre("critical", "high"));
  EXPECT_THAT(claimed_names(9), ElementsAre("normal1", "normal2", "low"));
}

TEST_P(QueueContract, AWorkerGetsTheQueuesThatItServes) {
  start();
  enqueue_all({{.name = "a", .queue = "left"}, {.name = "b", .queue = "right"}, plain("c")});
  EXPECT_THAT(claimed_names(9), ElementsAre("c"));
  auto const both = claim(queue(), worker_, 9, {"left", "right"});
  EXPECT_EQ(both.size(), 2U);
}

TEST_P(QueueContract, RoutesGiveNamesTheirQueue) {
  start({.routes = {{"plain", "special"}}});
  EXPECT_EQ(job(enqueue(plain())).queue, "special");
  EXPECT_EQ(job(enqueue({.name = "plain", .queue = "own"})).queue, "own");
}

TEST_P(QueueContract, NothingStartsBeforeItsTime) {
  start();
  auto const now = Timestamp::now();
  auto const later = enqueue({.name = "later", .eta = Timestamp{now.micros + 300'000}});
  enqueue({.name = "much_later", .priority = 10, .eta = Timestamp{now.micros + 3'600'000'000}});
  EXPECT_EQ(job(later).status, JobStatus::pending);
  auto claim = run(queue().claim({worker_, {"default"}, 9}));
  ASSERT_TRUE(claim);
  EXPECT_TRUE(claim->jobs.empty());
  ASSERT_TRUE(claim->again_in_us);
  EXPECT_LE(*claim->again_in_us, 300'000);
  run([](EventLoop& loop) -> Task<void> { co_await loop.sleep_ms(350); }(loop_));
  EXPECT_THAT(claimed_names(9), ElementsAre("later"));
}

TEST_P(QueueContract, ARetryWaitsItsTurnAndEndsInFailure) {
  start();
  auto const id = enqueue({.name = "stubborn", .max_retries = 5});
  for (int tried = 0; tried < 2; ++tried) {
    auto const claimed = claim(1);
    ASSERT_EQ(claimed.size(), 1U);
    EXPECT_EQ(settle(claimed[0].lease, failed("no " + std::to_string(tried))), Verdict::retried);
    EXPECT_EQ(job(id).status, JobStatus::retry);
    EXPECT_EQ(job(id).retry_count, tried + 1);
    EXPECT_EQ(job(id).error, "no " + std::to_string(tried));
  }
  auto const last = claim(1);
  ASSERT_EQ(last.size(), 1U);
  EXPECT_EQ(settle(last[0].lease, failed("no more")), Verdict::taken);
  EXPECT_EQ(job(id).status, JobStatus::failure);
  EXPECT_EQ(job(id).error, "no more");
  EXPECT_EQ(job(id).progress, 0);
  EXPECT_TRUE(claim(1).empty());
}

TEST_P(QueueContract, BackoffDelaysARetry) {
  start();
  auto const id = enqueue(plain("patient"));
  auto const claimed = claim(1);
  EXPECT_EQ(settle(claimed.at(0).lease, failed("later")), Verdict::retried);
  EXPECT_TRUE(claim(1).empty());
  auto const waits = job(id);
  EXPECT_EQ(waits.status, JobStatus::retry);
  EXPECT_GE(waits.due_at.micros - Timestamp::now().micros, 25'000'000);
  EXPECT_LE(waits.due_at.micros - Timestamp::now().micros, 60'000'000);
}

TEST_P(QueueContract, AHandlerMayAskForARetryAsLongAsAnyIsLeft) {
  start();
  auto const id = enqueue({.name = "plain", .max_retries = 1});
  EXPECT_EQ(settle(claim(1).at(0).lease, try_again("busy", 0)), Verdict::retried);
  EXPECT_EQ(settle(claim(1).at(0).lease, try_again("busy still", 0)), Verdict::taken);
  EXPECT_EQ(job(id).status, JobStatus::failure);
  EXPECT_EQ(job(id).error, "busy still");
}

TEST_P(QueueContract, AutomaticRetriesAndThoseByHandCountTogether) {
  start();
  auto const id = enqueue({.name = "plain", .max_retries = 2, .created_by = "ann"});
  EXPECT_EQ(settle(claim(1).at(0).lease, try_again("one", 0)), Verdict::retried);
  EXPECT_EQ(settle(claim(1).at(0).lease, failed("two")), Verdict::taken);
  auto const again = run(jobs().retry(id, "ann"));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->status, JobStatus::pending);
  EXPECT_EQ(again->retry_count, 2);
  EXPECT_EQ(again->error, std::nullopt);
  EXPECT_EQ(settle(claim(1).at(0).lease, failed("three")), Verdict::taken);
  EXPECT_EQ(run(jobs().retry(id, "ann")).error().code, ErrorCode::invalid);
  // A dead letter is edited and put back, as if it were new; who did it is known.
  ASSERT_TRUE(run(jobs().edit(id, {.priority = 8}, "bob")));
  EXPECT_EQ(job(id).created_by, "ann") << "it is still what she asked for";
  ASSERT_TRUE(run(jobs().edit(id, {.args = "[7]", .priority = 5}, "bob")));
  ASSERT_TRUE(run(jobs().edit(id, {.priority = 8}, "carl")));
  ASSERT_TRUE(run(jobs().put_back(id, "bob")));
  auto const claimed = claim(1);
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_EQ(claimed[0].job.created_by, "bob") << "what he made of it, he answers for";
  EXPECT_EQ(claimed[0].job.args.text, "[7]");
  EXPECT_EQ(claimed[0].job.priority, 8);
  EXPECT_EQ(claimed[0].job.retry_count, 0);
  auto const actions = run(jobs().actions(id));
  ASSERT_TRUE(actions);
  std::vector<std::string> done;
  for (auto const& one : *actions) done.push_back(one.actor + " " + one.action);
  EXPECT_THAT(
      done, ElementsAre("bob put_back", "carl edited", "bob edited", "bob edited", "ann retried"));
  EXPECT_EQ(actions->at(2).detail, "args, priority");
}

TEST_P(QueueContract, OnlyWhatHasFailedIsPutBackOrEdited) {
  start();
  auto const id = enqueue(plain());
  EXPECT_EQ(run(jobs().retry(id, "ann")).error().code, ErrorCode::invalid);
  EXPECT_EQ(run(jobs().edit(id, {.args = "[1]"}, "ann")).error().code, ErrorCode::invalid);
  EXPECT_EQ(settle(claim(1).at(0).lease, succeeded()), Verdict::taken);
  EXPECT_EQ(run(jobs().put_back(id, "ann")).error().code, ErrorCode::invalid);
  EXPECT_EQ(run(jobs().retry(Uuid::random(), "ann")).error().code, ErrorCode::not_found);
}

TEST_P(QueueContract, WhatIsNotStartedInTimeIsRevoked) {
  start();
  auto const now = Timestamp::now();
  auto const late = enqueue({.name = "late", .expires_at = Timestamp{now.micros - 1}});
  auto const soon = enqueue({.name = "soon", .expires_at = Timestamp{now.micros + 60'000'000}});
  EXPECT_THAT(claimed_names(9), ElementsAre("soon"));
  EXPECT_EQ(run(queue().tend()), 1);
  EXPECT_EQ(job(late).status, JobStatus::revoked);
  EXPECT_THAT(*job(late).error, HasSubstr("expired"));
  EXPECT_EQ(job(soon).status, JobStatus::started);
}

TEST_P(QueueContract, OfAUniqueKeyThereIsOneAtATime) {
  start();
  JobSpec const spec{.name = "plain", .unique_key = "nightly"};
  auto const first = run(jobs().enqueue({spec}));
  auto const second = run(jobs().enqueue({spec, spec}));
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(first->at(0).fresh);
  EXPECT_FALSE(second->at(0).fresh);
  EXPECT_EQ(second->at(1).id, first->at(0).id);
  auto const claimed = claim(9);
  ASSERT_EQ(claimed.size(), 1U);
  EXPECT_FALSE(run(jobs().enqueue({spec}))->at(0).fresh);  // It runs still.
  settle(claimed[0].lease, failed("no"));
  auto const third = run(jobs().enqueue({spec}));
  EXPECT_TRUE(third->at(0).fresh);
  // The key is taken: the failed one cannot come back beside it.
  EXPECT_EQ(run(jobs().put_back(claimed[0].job.id, "ann")).error().code, ErrorCode::conflict);
}

TEST_P(QueueContract, ABatchEndsWithItsCompletionTask) {
  start();
  JobSpec const then{.name = "then"};
  Uuid batch;
  auto const open = [&](Transaction& transaction) -> Task<Result<void>> {
    auto const opened = co_await queue().open_batch_in(transaction, then);
    if (!opened) co_return std::unexpected(opened.error());
    batch = *opened;
    std::vector<JobSpec> specs(3, {.name = "plain", .batch_id = batch});
    auto const added = co_await queue().enqueue_in(transaction, specs);
    if (!added) co_return std::unexpected(added.error());
    co_return co_await queue().seal_batch_in(transaction, batch);
  };
  ASSERT_TRUE(run(process_->store().write(open)));
  auto const claimed = claim(9);
  ASSERT_EQ(claimed.size(), 3U);
  settle(claimed[0].lease, succeeded());
  settle(claimed[1].lease, failed("no"));
  EXPECT_TRUE(claim(9).empty());
  settle(claimed[2].lease, succeeded());
  auto const last = claim(9);
  ASSERT_EQ(last.size(), 1U);
  EXPECT_EQ(last[0].job.name, "then");
  EXPECT_THAT(last[0].job.metadata.text, HasSubstr(R"("total":3,"succeeded":2,"failed":1)"));
  // What comes too late finds it closed.
  EXPECT_EQ(run(jobs().enqueue({{.name = "plain", .batch_id = batch}})).error().code,
            ErrorCode::bad_reference);
}

TEST_P(QueueContract, AnEmptyBatchIsDoneWhenItIsSealed) {
  start();
  auto const open = [&](Transaction& transaction) -> Task<Result<void>> {
    auto const batch = co_await queue().open_batch_in(transaction, plain("then"));
    if (!batch) co_return std::unexpected(batch.error());
    co_return co_await queue().seal_batch_in(transaction, *batch);
  };
  ASSERT_TRUE(run(process_->store().write(open)));
  EXPECT_THAT(claimed_names(9), ElementsAre("then"));
}

TEST_P(QueueContract, ACancelledJobIsOverAndItsResultRefused) {
  start();
  auto const waiting = enqueue(plain("waiting"));
  auto const cancelled = run(jobs().cancel(waiting, "ann"));
  ASSERT_TRUE(cancelled) << cancelled.error().message << ": " << cancelled.error().context;
  EXPECT_EQ(cancelled->status, JobStatus::revoked);
  EXPECT_TRUE(claim(9).empty());
  auto const running = enqueue(plain("running"));
  auto const claimed = claim(9);
  ASSERT_EQ(claimed.size(), 1U);
  ASSERT_TRUE(run(jobs().cancel(running, "ann")));
  EXPECT_EQ(job(running).status, JobStatus::revoked);
  EXPECT_TRUE(job(running).completed_at);
  EXPECT_EQ(settle(claimed[0].lease, succeeded("42")), Verdict::refused);
  EXPECT_EQ(job(running).result.text, "null");
  EXPECT_EQ(run(jobs().cancel(running, "ann")).error().code, ErrorCode::invalid);
  EXPECT_EQ(run(jobs().cancel(Uuid::random(), "ann")).error().code, ErrorCode::not_found);
}

TEST_P(QueueContract, FiguresAreCountsOfWhatIsThere) {
  start();
  enqueue_all(
      {plain("a"), {.name = "b", .priority = 10}, {.name = "c", .queue = "other"}, plain("d")});
  auto const held = claim(2);
  ASSERT_EQ(held.size(), 2U);
  settle(held[0].lease, succeeded());
  settle(held[1].lease, failed("no"));
  auto const figures = run(jobs().statistics());
  ASSERT_TRUE(figures);
  EXPECT_EQ(figures->total, 4);
  EXPECT_THAT(figures->by_status, ElementsAre(2, 0, 1, 1, 0, 0));
  EXPECT_THAT(figures->by_priority, ElementsAre(0, 3, 0, 1));
  EXPECT_EQ(figures->success_rate, 25);
  auto const status = run(jobs().queue_status());
  ASSERT_TRUE(status);
  EXPECT_EQ(status->queues.at("default").pending, 1);
  EXPECT_EQ(status->queues.at("default").failed, 1);
  EXPECT_EQ(status->queues.at("other").pending, 1);
  ASSERT_EQ(status->workers.size(), 1U);
  EXPECT_EQ(status->workers[0].busy, 0);
}

TEST_P(QueueContract, FiguresOfLongWatchesGrowAndTellWhoWaits) {
  start();
  auto const figures_now = [&] {
    auto const found = run(job_figures(process_->store(), registry_));
    EXPECT_TRUE(found) << found.error().context;
    return found.value_or(JobFigures{});
  };
  EXPECT_TRUE(figures_now().queues.empty());
  auto const ids = enqueue_all({plain("a"), plain("b"), {.name = "c", .queue = "other"}});
  auto const held = claim(2);
  ASSERT_EQ(held.size(), 2U);
  EXPECT_EQ(figures_now().queues.at("default").running, 2);
  settle(held[0].lease, succeeded());
  settle(held[1].lease, failed("no"));
  enqueue_all({{.name = "lonely"}, {.name = "d", .eta = Timestamp{4'000'000'000'000'000}}});
  ASSERT_TRUE(run(jobs().cancel(ids[2], "ann")));
  enqueue({.name = "e", .queue = "other"});
  ASSERT_TRUE(run(jobs().clean_up({4'000'000'000'000'000})));
  auto const figures = figures_now();
  EXPECT_THAT(figures.ended, ElementsAre(0, 0, 1, 1, 0, 1)) << "though they are gone";
  EXPECT_EQ(figures.timed, 3);
  EXPECT_EQ(figures.queues.at("default").waiting, 2);
  EXPECT_GT(figures.queues.at("default").due_us, 0) << "of the one with a limit of its own";
  EXPECT_LT(figures.queues.at("default").due_us, 60'000'000);
  // Where a broker has them, it is the broker that knows who is next.
  bool const known = !GetParam().name.starts_with("redis");
  EXPECT_EQ(figures.queues.at("other").due_us > 0, known);
  EXPECT_EQ(figures.workers, 1);
  ASSERT_EQ(claim(1).size(), 1U);
  EXPECT_EQ(figures_now().queues.at("default").due_us, 0) << "the other one's time has not come";
}

TEST_P(QueueContract, ListsFilterAndSort) {
  start();
  enqueue_all({plain("Alpha"), plain("beta"), {.name = "alphabet", .priority = 8}, plain("gamma")});
  auto const names = [&](JobFilter filter) {
    std::vector<std::string> found;
    auto const page = run(jobs().list(std::move(filter)));
    EXPECT_TRUE(page) << page.error().context;
    if (page) {
      for (auto const& one : page->rows) found.push_back(one.name);
      EXPECT_EQ(page->total, static_cast<std::int64_t>(found.size()));
    }
    return found;
  };
  EXPECT_THAT(names({}), ElementsAre("gamma", "alphabet", "beta", "Alpha"));
  EXPECT_THAT(names({.name_part = "ALPHA"}), ElementsAre("alphabet", "Alpha"));
  EXPECT_THAT(names({.priority = 8}), ElementsAre("alphabet"));
  EXPECT_THAT(names({.order = JobOrder::priority}),
              ElementsAre("alphabet", "gamma", "beta", "Alpha"));
  claim(1);
  EXPECT_THAT(names({.status = JobStatus::started}), ElementsAre("alphabet"));
  EXPECT_THAT(names({.status = JobStatus::success}), ElementsAre());
  EXPECT_THAT(names({.created_after = Timestamp{Timestamp::now().micros + 1'000'000}}),
              ElementsAre());
}

// The list is put together of parts: each job is in one of them, wherever pages begin and end.
TEST_P(QueueContract, ListsByProgressHaveEachJobOnce) {
  start();
  constexpr std::size_t kJobs = 18;
  std::vector<JobSpec> specs(kJobs, plain("all"));
  for (std::size_t i = 0; i < kJobs; i += 2) specs[i].priority = 8;
  enqueue_all(std::move(specs));
  auto const held = claim(14);
  ASSERT_EQ(held.size(), 14U);
  std::vector<ProgressReport> reports;
  for (std::size_t i = 0; i < 8; ++i) {
    reports.push_back({held[i].lease, i < 5 ? 30.0 + static_cast<double>(i / 2) : 100.0});
  }
  ASSERT_TRUE(run(queue().beat(worker_, {}, std::move(reports), {})));
  for (auto const i : {0U, 1U, 9U, 10U}) settle(held[i].lease, succeeded());
  for (auto const i : {2U, 11U}) settle(held[i].lease, failed_for_good("no"));
  settle(held[12].lease, try_again("later", 60'000));
  for (auto const i : {3U, 13U}) ASSERT_TRUE(run(jobs().cancel(held[i].job.id, "ann")));

  auto const page_of = [&](JobFilter filter) {
    filter.order = JobOrder::progress;
    auto const page = run(jobs().list(std::move(filter)));
    EXPECT_TRUE(page) << page.error().context;
    return page.value_or(JobPage{});
  };
  using Listed = std::vector<std::pair<double, Uuid>>;
  auto const add_to = [](Listed& listed, JobPage const& page) {
    for (auto const& one : page.rows) listed.emplace_back(one.progress, one.id);
  };
  JobFilter const all;
  JobFilter const important{.priority = 8};
  JobFilter const ended_badly{.status = JobStatus::failure};
  JobFilter const at_work{.status = JobStatus::started};
  for (auto const& base : {all, important, ended_badly, at_work}) {
    auto filter = base;
    filter.descending = false;
    Listed upwards;
    add_to(upwards, page_of(filter));
    EXPECT_TRUE(std::ranges::is_sorted(upwards, {}, [](auto const& one) { return one.first; }));
    EXPECT_EQ(std::ssize(upwards), page_of(filter).total);
    EXPECT_EQ(std::set(upwards.begin(), upwards.end()).size(), upwards.size());
    auto downwards = upwards;
    std::ranges::reverse(downwards);
    for (bool const descending : {false, true}) {
      auto const& expected = descending ? downwards : upwards;
      filter.descending = descending;
      for (std::int64_t const limit : {1, 2, 5, 100}) {
        filter.limit = limit;
        Listed paged;
        for (filter.after = {};;) {
          auto const page = page_of(filter);
          EXPECT_LE(std::ssize(page.rows), limit);
          add_to(paged, page);
          if (!page.next) break;
          filter.after = page.next;
        }
        EXPECT_EQ(paged, expected);
      }
      filter.after = {};
      filter.limit = 3;
      for (std::int64_t skip = 0; skip <= std::ssize(expected); ++skip) {
        filter.skip = skip;
        Listed found;
        add_to(found, page_of(filter));
        auto const rest = std::span(expected).subspan(static_cast<std::size_t>(skip));
        auto const first = rest.first(std::min<std::size_t>(rest.size(), 3));
        EXPECT_TRUE(std::ranges::equal(found, first)) << skip;
      }
      filter.skip = 0;
    }
  }
}

// However many a page has, it takes memory for short ones.
TEST_P(QueueContract, ListsLeaveOutWhatIsTooLongForThem) {
  start();
  constexpr auto kMost = static_cast<std::size_t>(Jobs::kListedBytesMax);
  auto const text = [](std::size_t bytes) { return '"' + std::string(bytes - 2, 'x') + '"'; };
  auto const in_object = [&](std::size_t bytes) { return R"({"a":)" + text(bytes - 6) + '}'; };
  // Two bytes each: it is bytes that count.
  std::string wide = "\"";
  for (std::size_t i = 0; i < kMost / 2; ++i) wide += "é";
  wide += '"';
  auto const ids = enqueue_all({{.name = "short", .metadata = in_object(kMost)},
                                {.name = "long", .args = "[1]", .metadata = in_object(kMost + 1)},
                                {.name = "wide"}});
  std::map<std::string, std::string> const results{
      {"short", text(kMost)}, {"long", text(kMost + 1)}, {"wide", wide}};
  auto const held = claim(3);
  ASSERT_EQ(held.size(), 3U);
  for (auto const& one : held) {
    EXPECT_EQ(settle(one.lease, succeeded(results.at(one.job.name))), Verdict::taken);
  }
  for (auto const order : {JobOrder::created_at, JobOrder::progress}) {
    auto const page = run(jobs().list({.order = order, .descending = false}));
    ASSERT_TRUE(page) << page.error().context;
    ASSERT_EQ(page->rows.size(), 3U);
    for (auto const& listed : page->rows) {
      bool const whole = listed.name == "short";
      EXPECT_EQ(listed.result_left_out, !whole) << listed.name;
      EXPECT_EQ(listed.result.text, whole ? results.at("short") : "null") << listed.name;
      EXPECT_EQ(listed.metadata_left_out, listed.name == "long");
      EXPECT_EQ(listed.metadata.text == "{}", listed.name != "short");
      EXPECT_EQ(listed.args.text, "[]") << "lists show none";
    }
  }
  for (auto const& id : ids) EXPECT_EQ(job(id).result.text, results.at(job(id).name));
  EXPECT_EQ(job(ids[1]).metadata.text, in_object(kMost + 1));
  EXPECT_EQ(job(ids[1]).args.text, "[1]");
}

TEST_P(QueueContract, OldEndedJobsAreRemovedAndNoOthers) {
  start();
  enqueue_all({plain("a"), plain("b"), plain("c")});
  auto const held = claim(2);
  settle(held.at(0).lease, succeeded());
  EXPECT_EQ(run(jobs().clean_up(Timestamp{Timestamp::now().micros - 60'000'000})), 0);
  EXPECT_EQ(run(jobs().clean_up(Timestamp{Timestamp::now().micros + 1})), 1);
  EXPECT_EQ(run(jobs().statistics())->total, 2);
  EXPECT_EQ(run(jobs().get(held[0].job.id)).error().code, ErrorCode::not_found);
}

TEST_P(QueueContract, TextsThatNoDatabaseTakesAreMended) {
  start();
  auto const id = enqueue(plain());
  EXPECT_EQ(settle(claim(1).at(0).lease, failed(std::string("a\0b\xff", 4))), Verdict::taken);
  EXPECT_EQ(job(id).error, "a b?");
}

}  // namespace
}  // namespace subforge::jobs
