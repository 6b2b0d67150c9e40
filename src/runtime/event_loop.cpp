#include "runtime/event_loop.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <thread>
#include <utility>

namespace subforge {
namespace {

thread_local EventLoop* current_loop = nullptr;

[[noreturn]] void throw_errno(char const* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

EventLoop::EventLoop()
    : epoll_fd_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      now_ns_(monotonic_ns()),
      timers_(now_ns_),
      scratch_(std::make_unique_for_overwrite<std::array<char, kScratchBytes>>()) {
  if (epoll_fd_ < 0) throw_errno("epoll_create1");
  if (wake_fd_ < 0) throw_errno("eventfd");
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = nullptr;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event) != 0) throw_errno("epoll_ctl");
}

EventLoop::~EventLoop() {
  while (waking_.load(std::memory_order_acquire) > 0) std::this_thread::yield();
  ::close(wake_fd_);
  ::close(epoll_fd_);
}

EventLoop* EventLoop::current() { return current_loop; }

void EventLoop::run() {
  auto* const outer = std::exchange(current_loop, this);
  while (!stopping_.exchange(false, std::memory_order_acq_rel)) turn();
  current_loop = outer;
}

void EventLoop::stop() {
  stopping_.store(true, std::memory_order_release);
  wake();
}

void EventLoop::turn() noexcept {
  // A poster first leaves its mail and then looks at `sleeping_`; here it is the other way round,
  // so that one of the two sees the other's write and no wake-up is lost.
  sleeping_.store(true, std::memory_order_seq_cst);
  int const timeout =
      has_mail_.load(std::memory_order_seq_cst) || stopping_.load(std::memory_order_seq_cst)
          ? 0
          : wait_ms();
  int const count =
      ::epoll_wait(epoll_fd_, events_.data(), static_cast<int>(events_.size()), timeout);
  sleeping_.store(false, std::memory_order_seq_cst);
  if (count < 0 && errno != EINTR) throw_errno("epoll_wait");
  now_ns_ = monotonic_ns();
  if (has_mail_.load(std::memory_order_acquire)) drain_mailbox();

  event_count_ = std::max(count, 0);
  for (event_next_ = 0; event_next_ < event_count_;) {
    auto const& event = events_[static_cast<std::size_t>(event_next_++)];
    if (event.data.ptr != nullptr) static_cast<IoHandler*>(event.data.ptr)->on_ready(event.events);
  }
  event_count_ = 0;
  timers_.advance(now_ns_);

  // Callbacks may ask for another one; those still belong to this turn.
  while (!turn_end_.empty()) {
    turn_end_running_.swap(turn_end_);
    for (auto& callback : turn_end_running_) callback();
    turn_end_running_.clear();
  }
}

int EventLoop::wait_ms() {
  auto const next = timers_.next_ns();
  if (!next) return -1;
  std::int64_t const wait_ns = *next - monotonic_ns();
  if (wait_ns <= 0) return 0;
  return static_cast<int>(std::min<std::int64_t>((wait_ns + 999'999) / 1'000'000, 60'000));
}

void EventLoop::add(int fd, std::uint32_t events, IoHandler& handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &handler;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) throw_errno("epoll_ctl add");
}

void EventLoop::modify(int fd, std::uint32_t events, IoHandler& handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &handler;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0) throw_errno("epoll_ctl mod");
}

void EventLoop::remove(int fd, IoHandler& handler) {
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  // What epoll reported for it in this turn must not reach it any more.
  for (int i = event_next_; i < event_count_; ++i) {
    auto& event = events_[static_cast<std::size_t>(i)];
    if (event.data.ptr == &handler) event.data.ptr = nullptr;
  }
}

void EventLoop::post(Callback callback) {
  {
    std::lock_guard const lock(mail_mutex_);
    mail_.push_back(std::move(callback));
    has_mail_.store(true, std::memory_order_seq_cst);
    // The first poster wakes the loop for all who come before it is awake.
    if (!sleeping_.load(std::memory_order_seq_cst) || !sleeping_.exchange(false)) return;
    // A letter may be what ends the loop, and its owner may destroy it as soon as the letter was
    // taken out: he waits for this.
    waking_.fetch_add(1, std::memory_order_relaxed);
  }
  // Without the lock, which the loop would find taken: it may run at once in place of a thread that
  // has less of a claim on the core, and then wait for that one.
  wake();
  waking_.fetch_sub(1, std::memory_order_release);
}

void EventLoop::wake() {
  std::uint64_t const one = 1;
  // Only fails when the counter is full, and then the loop is awake anyway.
  [[maybe_unused]] ssize_t const written = ::write(wake_fd_, &one, sizeof one);
}

void EventLoop::drain_mailbox() {
  {
    std::lock_guard const lock(mail_mutex_);
    mail_running_.swap(mail_);
    has_mail_.store(false, std::memory_order_seq_cst);
  }
  for (auto& letter : mail_running_) letter();
  mail_running_.clear();
}

Timestamp EventLoop::wall_now() {
  if (wall_read_at_ns_ != now_ns_) {
    wall_read_at_ns_ = now_ns_;
    wall_now_ = Timestamp::now();
  }
  return wall_now_;
}

}  // namespace subforge
