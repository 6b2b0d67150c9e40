#include "app/house.hpp"

namespace subforge::app {
namespace {

constexpr int kThinningsPerLook = 20;  // So much of the log at most leaves it in a second.

}  // namespace

Task<bool> forget_old(store::KeptAnswers& answers, store::EventRetention& retention,
                      store::Inbox& inbox, Logger const& logger) {
  auto const forgotten = co_await answers.forget_old();
  if (!forgotten) {
    logger.warning("old idempotency keys could not be removed",
                   {{"cause", forgotten.error().context}});
  }
  Result<std::int64_t> thinned = store::EventRetention::kRemovedAtOnce;
  for (int i = 0; i < kThinningsPerLook && thinned.value_or(0) == retention.kRemovedAtOnce; ++i) {
    thinned = co_await retention.thin(Timestamp::now());
  }
  if (!thinned) {
    logger.warning("old events could not be removed", {{"cause", thinned.error().context}});
  }
  auto const expired = co_await inbox.expire(Timestamp::now());
  if (!expired) {
    logger.warning("old messages to users could not be removed",
                   {{"cause", expired.error().context}});
  }
  co_return expired.value_or(0) >= store::Inbox::kRemovedAtOnce ||
      forgotten.value_or(0) >= store::KeptAnswers::kForgottenAtOnce ||
      thinned.value_or(0) >= store::EventRetention::kRemovedAtOnce;
}

Task<bool> remove_put_aside(BlockingPool& pool, files::BlobStore& blobs) {
  auto work = [&]() -> Result<std::int64_t> { return blobs.remove_put_aside(); };
  (void)co_await pool.run(work);
  co_return false;
}

Task<bool> expire_uploads(BlockingPool& pool, files::ResumableUploads& resumable,
                          Logger const& logger) {
  auto work = [&]() -> Result<std::int64_t> { return resumable.remove_expired(Timestamp::now()); };
  auto const removed = co_await pool.run(work);
  if (removed.value_or(0) > 0) {
    logger.info("removed uploads that nobody went on with", {{"uploads", *removed}});
  }
  co_return false;
}

Task<bool> fold_usage(domain::ApiUsage& usage, Logger const& logger) {
  auto const now = Timestamp::now();
  auto const folded = co_await usage.fold(now);
  auto const thinned = co_await usage.thin(now);
  if (!folded || !thinned) {
    auto const& error = folded ? thinned.error() : folded.error();
    logger.warning("the counts of requests could not be kept",
                   {{"cause", error.message}, {"context", error.context}});
  }
  co_return false;
}

Task<bool> finish_restarts(domain::Agents& agents, std::int64_t seconds, Logger const& logger) {
  auto before = Timestamp::now();
  before.micros -= seconds * 1'000'000;
  for (;;) {
    auto const done = co_await agents.finish_restarts(before);
    if (!done) {
      logger.warning("restarting agents could not be made active",
                     {{"cause", done.error().context}});
    }
    if (!done || *done < domain::Agents::kChangedAtOnce) co_return false;
  }
}

Task<bool> move_workflows(domain::Workflows& workflows, Logger const& logger) {
  auto const now = Timestamp::now();
  for (;;) {
    auto const moved = co_await workflows.sweep(now);
    if (!moved) {
      logger.warning("workflows could not be moved", {{"cause", moved.error().context}});
    }
    if (!moved || *moved < domain::Workflows::kSweepBatch) co_return false;
  }
}

}  // namespace subforge::app
