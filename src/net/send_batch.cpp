#include "net/send_batch.hpp"

#include <liburing.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

namespace subforge::net {
namespace {

// Fewer are sent one by one: a ring has costs of its own.
constexpr std::size_t kRingFrom = 3;
constexpr int kNotSent = std::numeric_limits<int>::min();

// As send(2), which is a place where threads can be cancelled: in a process with several, libc
// marks each call before and after, for what is a hundredth of a delivery. No thread here is
// cancelled.
int send_alone(int fd, std::string_view bytes) {
  auto const sent = ::syscall(SYS_sendto, fd, bytes.data(), bytes.size(),
                              MSG_NOSIGNAL | MSG_DONTWAIT, nullptr, 0);
  return sent < 0 ? -errno : static_cast<int>(sent);
}

}  // namespace

class SendBatch::Ring {
 public:
  Ring() {
    // What completes waits for the thread that submits and asks for it, as no other does: since
    // Linux 6.1.
    unsigned const flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    works_ = ::io_uring_queue_init(kSendsMax, &ring_, flags) == 0;
    made_ = works_;
  }
  ~Ring() {
    if (made_) ::io_uring_queue_exit(&ring_);
  }
  Ring(Ring const&) = delete;
  Ring& operator=(Ring const&) = delete;

  [[nodiscard]] bool works() const { return works_; }

  // Leaves the results alone of those that the ring did not take.
  void run(std::span<Send const> sends, std::span<int> results) {
    for (std::size_t i = 0; i < sends.size(); ++i) {
      auto* const entry = ::io_uring_get_sqe(&ring_);  // The ring is as long as a batch.
      auto const& [fd, bytes] = sends[i];
      ::io_uring_prep_send(entry, fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      ::io_uring_sqe_set_data64(entry, i);
    }
    auto const all = static_cast<unsigned>(sends.size());
    int const submitted = ::io_uring_submit_and_wait(&ring_, all);
    works_ = submitted == static_cast<int>(all);
    for (int seen = 0; seen < submitted; ++seen) {
      io_uring_cqe* done = nullptr;
      int waited = -EINTR;
      while (waited == -EINTR) waited = ::io_uring_wait_cqe(&ring_, &done);
      if (waited < 0) break;
      results[::io_uring_cqe_get_data64(done)] = done->res;
      ::io_uring_cqe_seen(&ring_, done);
    }
  }

 private:
  io_uring ring_{};
  bool made_ = false;
  bool works_ = false;
};

SendBatch::SendBatch(bool use_ring) : use_ring_(use_ring) {}
SendBatch::~SendBatch() = default;

std::span<int const> SendBatch::run() {
  auto const count = std::exchange(count_, 0);
  std::span const sends(sends_.data(), count);
  std::span const results(results_.data(), count);
  std::ranges::fill(results, kNotSent);
  if (use_ring_ && count >= kRingFrom) {
    if (ring_ == nullptr) ring_ = std::make_unique<Ring>();
    if (ring_->works()) ring_->run(sends, results);
    use_ring_ = ring_->works();
    if (!use_ring_) ring_ = nullptr;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (results[i] == kNotSent) results[i] = send_alone(sends[i].fd, sends[i].bytes);
  }
  return results;
}

}  // namespace subforge::net
