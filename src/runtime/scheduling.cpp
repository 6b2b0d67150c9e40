#include "runtime/scheduling.hpp"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

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

void let_others_in() { (void)::sched_yield(); }

}  // namespace subforge
