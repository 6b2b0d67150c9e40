#include "app/signals.hpp"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <utility>

namespace subforge::app {
namespace {

sigset_t stop_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

void block_stop_signals() {
  auto const set = stop_signals();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
}

Signals::Signals(EventLoop& loop, std::function<void()> on_stop)
    : loop_(loop), on_stop_(std::move(on_stop)) {
  auto const set = stop_signals();
  fd_ = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  loop_.add(fd_, EPOLLIN, *this);
}

Signals::~Signals() {
  loop_.remove(fd_, *this);
  ::close(fd_);
}

void Signals::on_ready(std::uint32_t) {
  signalfd_siginfo info{};
  while (::read(fd_, &info, sizeof info) == sizeof info) on_stop_();
}

}  // namespace subforge::app
