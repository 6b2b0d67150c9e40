// Whether long work lets others have its core, for tests.
#pragma once

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>

#include "base/function_ref.hpp"
#include "base/time.hpp"

namespace subforge {

// How often the calling thread was taken off its core for another one.
inline std::int64_t switches_during(FunctionRef<void()> work) {
  struct rusage before{};
  struct rusage after{};
  ::getrusage(RUSAGE_THREAD, &before);
  work();
  ::getrusage(RUSAGE_THREAD, &after);
  return after.ru_nivcsw - before.ru_nivcsw;
}

// How often another thread that wants the same core gets it while this one works: the most of some
// tries, or the first that is `enough`. Nothing where the kernel does not tell, a core cannot be
// chosen, or others are in the way.
inline std::optional<std::int64_t> turns_of_another(FunctionRef<void()> work, std::int64_t enough) {
  constexpr int kTries = 50;
  constexpr int kTriesMin = 3;
  constexpr std::int64_t kLongTurnNs = 2'000'000;
  cpu_set_t all;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(static_cast<std::size_t>(::sched_getcpu()), &one);
  if (::sched_getaffinity(0, sizeof all, &all) != 0) return std::nullopt;
  if (::sched_setaffinity(0, sizeof one, &one) != 0) return std::nullopt;
  std::atomic<bool> over{false};
  std::thread other([&] {
    while (!over) std::this_thread::yield();
  });
  auto const have_the_core = [enough] {
    auto const begin = monotonic_ns();
    auto const turns = switches_during([enough] {
      for (auto n = enough; n > 0; --n) std::this_thread::yield();
    });
    return turns >= enough / 2 && monotonic_ns() - begin < enough * kLongTurnNs;
  };
  std::int64_t most = 0;
  int tries = 0;
  for (int i = 0; i < kTries && most < enough; ++i) {
    if (!have_the_core()) continue;
    ++tries;
    most = std::max(most, switches_during(work));
  }
  over = true;
  other.join();
  ::sched_setaffinity(0, sizeof all, &all);
  if (most < enough && tries < kTriesMin) return std::nullopt;
  return most;
}

}  // namespace subforge
