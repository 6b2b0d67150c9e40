#include "runtime/blocking_pool.hpp"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <semaphore>
#include <stdexcept>
#include <thread>

#include <gtest/gtest.h>

#include "runtime/loop_threads_test.hpp"
#include "runtime/scheduling.hpp"

namespace subforge {
namespace {

TEST(BlockingPool, RunsOnAPoolThreadAndContinuesOnTheLoop) {
  BlockingPool pool(2, 10);
  EventLoop loop;
  auto body = [&]() -> Task<int> {
    std::thread::id worker;
    auto work = [&]() -> Result<int> {
      worker = std::this_thread::get_id();
      return 5;
    };
    auto const outcome = co_await pool.run(work);
    EXPECT_NE(worker, std::this_thread::get_id());
    EXPECT_EQ(EventLoop::current(), &loop);
    co_return outcome.value_or(-1);
  };
  EXPECT_EQ(block_on(loop, body()), 5);
}

TEST(BlockingPool, PassesErrorsAndExceptionsOn) {
  BlockingPool pool(1, 10);
  EventLoop loop;
  auto error = [&]() -> Task<ErrorCode> {
    auto const work = []() -> Result<int> { return fail(ErrorCode::not_found, "none"); };
    auto const outcome = co_await pool.run(work);
    co_return outcome ? ErrorCode::internal : outcome.error().code;
  };
  EXPECT_EQ(block_on(loop, error()), ErrorCode::not_found);
  auto exception = [&]() -> Task<void> {
    auto const work = []() -> Result<int> { throw std::runtime_error("broken work"); };
    (void)co_await pool.run(work);
  };
  EXPECT_THROW(block_on(loop, exception()), std::runtime_error);
  EXPECT_EQ(block_on(loop, error()), ErrorCode::not_found);  // The thread lives on.
}

TEST(BlockingPool, LetsLoopsGoFirstWhereItIsMeantTo) {
  struct Place {
    int policy;
    int niceness;
    bool operator==(Place const&) const = default;
  };
  auto const here = [] { return Place{::sched_getscheduler(0), ::getpriority(PRIO_PROCESS, 0)}; };
  auto const within = [&](BlockingPool& pool) {
    EventLoop loop;
    auto look = [&]() -> Result<Place> { return here(); };
    return block_on(loop, pool.run(look)).value_or(Place{});
  };
  auto const own = here();
  BlockingPool equal(1, 10);
  EXPECT_EQ(within(equal), own);
  BlockingPool behind(1, 10, BlockingPool::Claim::behind);
  EXPECT_EQ(within(behind), (Place{SCHED_BATCH, std::min(own.niceness + kStepsBehind, 19)}));
  EXPECT_EQ(here(), own);  // It was the pool's thread that was moved, and not this one.
}

TEST(BlockingPool, RefusesWhatItsQueueCannotHold) {
  BlockingPool pool(1, 2);
  std::binary_semaphore started{0};
  std::binary_semaphore release{0};
  std::atomic<int> ran{0};
  ASSERT_TRUE(pool.try_submit([&] {
    started.release();
    release.acquire();
    ++ran;
  }));
  started.acquire();  // The one thread is busy: what comes now waits.
  EXPECT_TRUE(pool.try_submit([&] { ++ran; }));
  EXPECT_TRUE(pool.try_submit([&] { ++ran; }));
  EXPECT_FALSE(pool.try_submit([&] { ++ran; }));
  EventLoop loop;
  auto refused = [&]() -> Task<ErrorCode> {
    auto const work = []() -> Result<int> { return 1; };
    auto const outcome = co_await pool.run(work);
    co_return outcome ? ErrorCode::internal : outcome.error().code;
  };
  EXPECT_EQ(block_on(loop, refused()), ErrorCode::unavailable);
  release.release();
  pool.stop();
  EXPECT_EQ(ran.load(), 3);
}

TEST(BlockingPool, StopFinishesWhatIsQueuedAndRefusesTheRest) {
  BlockingPool pool(2, 1000);
  std::atomic<int> ran{0};
  for (int i = 0; i < 500; ++i) ASSERT_TRUE(pool.try_submit([&] { ++ran; }));
  pool.stop();
  EXPECT_EQ(ran.load(), 500);
  EXPECT_FALSE(pool.try_submit([&] { ++ran; }));
  pool.stop();
}

TEST(BlockingPool, ServesManyLoopsAtOnce) {
  BlockingPool pool(3, 10'000);
  LoopThreads loops(3);
  std::atomic<int> sum{0};
  auto body = [&](EventLoop& home) -> Task<void> {
    for (int i = 0; i < 300; ++i) {
      auto const work = [&]() -> Result<int> { return 1; };
      auto const outcome = co_await pool.run(work);
      EXPECT_EQ(EventLoop::current(), &home);
      sum += outcome.value_or(0);
    }
  };
  for (std::size_t i = 0; i < 12; ++i) loops.start(i % 3, body(loops[i % 3]));
  loops.wait();
  EXPECT_EQ(sum.load(), 12 * 300);
}

}  // namespace
}  // namespace subforge
