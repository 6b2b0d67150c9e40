#include "runtime/fine_timer.hpp"

#include <sys/timerfd.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <system_error>
#include <utility>

namespace subforge {

FineTimer::FineTimer(EventLoop& loop, std::move_only_function<void()> on_fire)
    : loop_(loop),
      fd_(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)),
      on_fire_(std::move(on_fire)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), "timerfd_create");
  loop_.add(fd_, EPOLLIN, *this);
}

FineTimer::~FineTimer() {
  loop_.remove(fd_, *this);
  ::close(fd_);
}

void FineTimer::arm(std::int64_t duration_ns) {
  assert(duration_ns > 0);
  itimerspec when{};
  when.it_value.tv_sec = duration_ns / 1'000'000'000;
  when.it_value.tv_nsec = duration_ns % 1'000'000'000;
  // Only fails for arguments that are none.
  [[maybe_unused]] int const set = ::timerfd_settime(fd_, 0, &when, nullptr);
  assert(set == 0);
}

void FineTimer::on_ready(std::uint32_t) {
  std::uint64_t times = 0;
  // Nothing is there if it was armed anew after the loop had been told.
  if (::read(fd_, &times, sizeof times) == static_cast<ssize_t>(sizeof times)) on_fire_();
}

}  // namespace subforge
