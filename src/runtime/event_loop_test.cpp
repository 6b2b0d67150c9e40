#include "runtime/event_loop.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "runtime/loop_threads_test.hpp"

namespace subforge {
namespace {

// A pipe whose reading end is watched.
class Pipe final : public IoHandler {
 public:
  Pipe() { EXPECT_EQ(::pipe2(fds_, O_NONBLOCK | O_CLOEXEC), 0); }
  ~Pipe() {
    ::close(fds_[0]);
    ::close(fds_[1]);
  }
  Pipe(Pipe const&) = delete;
  Pipe& operator=(Pipe const&) = delete;

  void fill() const { EXPECT_EQ(::write(fds_[1], "x", 1), 1); }
  void on_ready(std::uint32_t events) override { then(events); }
  [[nodiscard]] int fd() const { return fds_[0]; }

  std::function<void(std::uint32_t)> then;

 private:
  int fds_[2] = {-1, -1};
};

TEST(EventLoop, RunsLettersInTheOrderPosted) {
  EventLoop loop;
  std::vector<int> seen;
  for (int i = 0; i < 100; ++i) loop.post([&seen, i] { seen.push_back(i); });
  loop.post([&] { loop.stop(); });
  loop.run();
  ASSERT_EQ(seen.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(seen[static_cast<std::size_t>(i)], i);
}

TEST(EventLoop, ALetterPostedByALetterWaitsForTheNextTurn) {
  EventLoop loop;
  std::string order;
  loop.post([&] {
    loop.post([&] {
      order += 'c';
      loop.stop();
    });
    loop.at_turn_end([&] { order += 'b'; });
    order += 'a';
  });
  loop.run();
  EXPECT_EQ(order, "abc");
}

TEST(EventLoop, TurnEndCallbacksMayAskForMoreInTheSameTurn) {
  EventLoop loop;
  std::string order;
  loop.post([&] {
    loop.post([&] {
      order += 'x';
      loop.stop();
    });
    loop.at_turn_end([&] {
      order += '1';
      loop.at_turn_end([&] { order += '2'; });
    });
  });
  loop.run();
  EXPECT_EQ(order, "12x");
}

TEST(EventLoop, StopBeforeRunReturnsAtOnceAndTheLoopCanRunAgain) {
  EventLoop loop;
  loop.stop();
  loop.run();
  bool ran = false;
  loop.post([&] {
    ran = true;
    loop.stop();
  });
  loop.run();
  EXPECT_TRUE(ran);
}

TEST(EventLoop, CurrentIsTheLoopOfTheRunningThread) {
  EXPECT_EQ(EventLoop::current(), nullptr);
  EventLoop outer;
  EventLoop inner;
  EventLoop* during = nullptr;
  EventLoop* after = nullptr;
  outer.post([&] {
    inner.post([&] {
      during = EventLoop::current();
      inner.stop();
    });
    inner.run();
    after = EventLoop::current();
    outer.stop();
  });
  outer.run();
  EXPECT_EQ(during, &inner);
  EXPECT_EQ(after, &outer);
  EXPECT_EQ(EventLoop::current(), nullptr);
}

// Every letter arrives, and a sleeping loop wakes for each: the posters pause at random, so that
// the loop often falls asleep just when the next letter comes. A lost wake-up shows as a hang.
TEST(EventLoop, NoWakeUpIsLostAmongManyPosters) {
  constexpr int kPosters = 4;
  constexpr int kEach = 5'000;
  EventLoop loop;
  std::vector<int> next(kPosters, 0);
  int wrong = 0;
  int total = 0;
  std::vector<std::thread> posters;
  for (int p = 0; p < kPosters; ++p) {
    posters.emplace_back([&, p] {
      for (int i = 0; i < kEach; ++i) {
        loop.post([&, p, i] {
          wrong += next[static_cast<std::size_t>(p)]++ == i ? 0 : 1;
          if (++total == kPosters * kEach) loop.stop();
        });
        if (i % 64 == p) std::this_thread::yield();
      }
    });
  }
  loop.run();
  for (auto& poster : posters) poster.join();
  EXPECT_EQ(total, kPosters * kEach);
  EXPECT_EQ(wrong, 0);
}

// Two loops throw one ball to and fro: after each throw the thrower goes to sleep.
TEST(EventLoop, TwoLoopsWakeEachOther) {
  LoopThreads loops(2);
  std::atomic<bool> done{false};
  int throws = 0;
  std::function<void(std::size_t)> toss = [&](std::size_t to) {
    loops[to].post([&, to] {
      if (++throws == 5'000) {
        done.store(true);
        done.notify_all();
      } else {
        toss(1 - to);
      }
    });
  };
  toss(0);
  done.wait(false);
  loops.stop();
  EXPECT_EQ(throws, 5'000);
}

// What a foreign thread posts may end the loop and free it while that thread is still in post().
TEST(EventLoop, ALetterMayEndTheLoopUnderItsPoster) {
  for (int i = 0; i < 2'000; ++i) {
    auto loop = std::make_unique<EventLoop>();
    std::thread poster([&raw = *loop] { raw.post([&raw] { raw.stop(); }); });
    loop->run();
    loop.reset();
    poster.join();
  }
}

TEST(EventLoop, ReportsReadinessUntilTheHandlerIsRemoved) {
  EventLoop loop;
  Pipe pipe;
  int calls = 0;
  pipe.then = [&](std::uint32_t events) {
    EXPECT_EQ(events, static_cast<std::uint32_t>(EPOLLIN));
    if (++calls == 3) {  // Level-triggered: nobody reads, so it is told again and again.
      loop.remove(pipe.fd(), pipe);
      loop.post([&] { loop.stop(); });
    }
  };
  loop.add(pipe.fd(), EPOLLIN, pipe);
  pipe.fill();
  loop.run();
  EXPECT_EQ(calls, 3);
}

TEST(EventLoop, ModifyChangesWhatIsReported) {
  EventLoop loop;
  Pipe pipe;
  pipe.fill();
  int calls = 0;
  pipe.then = [&](std::uint32_t) {
    ++calls;
    loop.modify(pipe.fd(), 0, pipe);
    loop.post([&] { loop.post([&] { loop.stop(); }); });
  };
  loop.add(pipe.fd(), EPOLLIN, pipe);
  loop.run();
  EXPECT_EQ(calls, 1);
}

TEST(EventLoop, AddRefusesABadDescriptor) {
  EventLoop loop;
  Pipe pipe;
  EXPECT_THROW(loop.add(-1, EPOLLIN, pipe), std::system_error);
}

// All become ready in one turn; the first to be told destroys all others.
TEST(EventLoop, HandlersRemovedDuringATurnAreNotCalled) {
  constexpr std::size_t kPipes = 20;
  EventLoop loop;
  std::vector<std::unique_ptr<Pipe>> pipes;
  int calls = 0;
  for (std::size_t i = 0; i < kPipes; ++i) {
    auto& pipe = *pipes.emplace_back(std::make_unique<Pipe>());
    pipe.then = [&](std::uint32_t) {
      ++calls;
      loop.post([&] { loop.stop(); });
      for (auto& other : pipes) loop.remove(other->fd(), *other);
      // The callable that runs lies in one of them; it must live until it returns.
      auto keep = std::make_shared<std::vector<std::unique_ptr<Pipe>>>(std::move(pipes));
      loop.at_turn_end([keep] { keep->clear(); });
    };
    loop.add(pipe.fd(), EPOLLIN, pipe);
  }
  for (auto const& pipe : pipes) pipe->fill();
  loop.run();
  EXPECT_EQ(calls, 1);
}

TEST(EventLoop, WallClockIsReadOncePerTurn) {
  EventLoop loop;
  Timestamp first;
  Timestamp second;
  Timestamp next_turn;
  loop.post([&] {
    first = loop.wall_now();
    while (Timestamp::now() == first) {
    }
    second = loop.wall_now();
    loop.post([&] {
      next_turn = loop.wall_now();
      loop.stop();
    });
  });
  loop.run();
  EXPECT_EQ(first, second);
  EXPECT_GT(next_turn, first);
}

TEST(EventLoop, SleepsAsLongAsAskedAndWakesInOrder) {
  EventLoop loop;
  std::vector<std::int64_t> woken;
  std::int64_t const start = monotonic_ns();
  auto nap = [](EventLoop& on, std::vector<std::int64_t>& out, std::int64_t ms) -> Task<void> {
    co_await on.sleep_ms(ms);
    out.push_back(ms);
  };
  auto all = [&]() -> Task<void> {
    TaskGroup group;
    for (std::int64_t const ms : {90, 30, 150, 60, 0, 120}) group.spawn(nap(loop, woken, ms));
    while (group.running() > 0) co_await loop.sleep_ms(5);
  };
  block_on(loop, all());
  EXPECT_EQ(woken, (std::vector<std::int64_t>{0, 30, 60, 90, 120, 150}));
  EXPECT_GE(monotonic_ns() - start, 150'000'000);
}

TEST(EventLoop, SleepIsNeverShorterThanAsked) {
  EventLoop loop;
  auto naps = [&]() -> Task<void> {
    for (int i = 0; i < 10; ++i) {
      auto const before = monotonic_ns();
      co_await loop.sleep_ms(7);
      EXPECT_GE(monotonic_ns() - before, 7'000'000);
      EXPECT_LT(monotonic_ns() - before, 2'000'000'000);
    }
  };
  block_on(loop, naps());
}

TEST(EventLoop, ResumeHereContinuesOnThatLoop) {
  LoopThreads loops(2);
  EventLoop* first = nullptr;
  EventLoop* second = nullptr;
  auto travel = [&]() -> Task<void> {
    first = EventLoop::current();
    co_await loops[1].resume_here();
    second = EventLoop::current();
    co_await loops[1].resume_here();  // Already there: no turn is lost.
  };
  loops.start(0, travel());
  loops.wait();
  EXPECT_EQ(first, &loops[0]);
  EXPECT_EQ(second, &loops[1]);
}

TEST(BlockOn, GivesTheResult) {
  EventLoop loop;
  auto answer = [](EventLoop& on) -> Task<int> {
    co_await on.sleep_ms(1);
    co_return 42;
  };
  EXPECT_EQ(block_on(loop, answer(loop)), 42);
  EXPECT_EQ(block_on(loop, answer(loop)), 42);  // The same loop serves again.
}

TEST(BlockOn, ThrowsWhatTheTaskThrew) {
  EventLoop loop;
  auto broken = [](EventLoop& on) -> Task<int> {
    co_await on.sleep_ms(1);
    throw std::runtime_error("broken");
  };
  EXPECT_THROW((void)block_on(loop, broken(loop)), std::runtime_error);
}

}  // namespace
}  // namespace subforge
