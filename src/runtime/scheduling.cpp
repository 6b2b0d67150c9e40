#include "runtime/scheduling.hpp"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "base/time.hpp"

namespace subforge {
namespace {

// sched_setattr(2), which Debian 12's C library has no declarations for.
struct SchedulingAttributes {
  std::uint32_t size = sizeof(SchedulingAttributes);
  std::uint32_t policy = SCHED_OTHER;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime_ns = 0;  // The slice.
  std::uint64_t deadline_ns = 0;
  std::uint64_t period_ns = 0;
};

constexpr std::uint64_t kSliceNs = 300'000;
constexpr std::uint64_t kNotInherited = 1;  // SCHED_FLAG_RESET_ON_FORK: not for other programs.
constexpr int kNiceMax = 19;

// Loops are back sooner. Who lets others in that have work for ever gives them many times what they
// would take otherwise.
constexpr std::int64_t kLongTurnNs = 10'000'000;
constexpr int kCallsLeftOut = 32;

// Of the calling thread.
int niceness() { return ::getpriority(PRIO_PROCESS, 0); }

void apply(SchedulingAttributes& wanted) { (void)::syscall(SYS_sched_setattr, 0, &wanted, 0); }

}  // namespace

void take_short_slices() {
  SchedulingAttributes wanted;
  wanted.flags = kNotInherited;
  wanted.nice = niceness();
  wanted.runtime_ns = kSliceNs;
  apply(wanted);
}

void stay_behind() {
  SchedulingAttributes wanted;
  wanted.policy = SCHED_BATCH;
  wanted.nice = std::min(niceness() + kStepsBehind, kNiceMax);
  apply(wanted);
}

void let_others_in() {
  thread_local int calls_to_leave_out = 0;
  if (calls_to_leave_out > 0) {
    --calls_to_leave_out;
    return;
  }
  auto const begin = monotonic_ns();
  (void)::sched_yield();
  if (monotonic_ns() - begin > kLongTurnNs) calls_to_leave_out = kCallsLeftOut;
}

}  // namespace subforge
