#include "net/socket_batch.hpp"

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

constexpr int kNotDone = std::numeric_limits<int>::min();
constexpr int kSendFlags = MSG_NOSIGNAL | MSG_DONTWAIT;

}  // namespace

// As send(2) and recv(2), which are places where threads can be cancelled: in a process with
// several, libc marks each call before and after, for what is a hundredth of a delivery. No thread
// here is cancelled.
int SocketBatch::alone(Op const& op) {
  auto const done =
      op.to_send != nullptr
          ? ::syscall(SYS_sendto, op.fd, op.to_send, op.bytes, kSendFlags, nullptr, 0)
          : ::syscall(SYS_recvfrom, op.fd, op.to_fill, op.bytes, MSG_DONTWAIT, nullptr, nullptr);
  return done < 0 ? -errno : static_cast<int>(done);
}

class SocketBatch::Ring {
 public:
  Ring() {
    // What completes waits for the thread that submits and asks for it, as no other does: since
    // Linux 6.1.
    unsigned const flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    works_ = ::io_uring_queue_init(kOpsMax, &ring_, flags) == 0;
    made_ = works_;
  }
  ~Ring() {
    if (made_) ::io_uring_queue_exit(&ring_);
  }
  Ring(Ring const&) = delete;
  Ring& operator=(Ring const&) = delete;

  [[nodiscard]] bool works() const { return works_; }

  // Leaves the results alone of those that the ring did not take.
  void run(std::span<Op const> ops, std::span<int> results) {
    for (std::size_t i = 0; i < ops.size(); ++i) {
      auto* const entry = ::io_uring_get_sqe(&ring_);  // The ring is as long as a batch.
      auto const& op = ops[i];
      if (op.to_send != nullptr) {
        ::io_uring_prep_send(entry, op.fd, op.to_send, op.bytes, kSendFlags);
      } else {
        ::io_uring_prep_recv(entry, op.fd, op.to_fill, op.bytes, MSG_DONTWAIT);
      }
      ::io_uring_sqe_set_data64(entry, i);
    }
    auto const all = static_cast<unsigned>(ops.size());
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

SocketBatch::SocketBatch(bool use_ring) : use_ring_(use_ring) {}
SocketBatch::~SocketBatch() = default;

void SocketBatch::add_send(int fd, std::string_view bytes) {
  ops_[count_++] = {fd, bytes.data(), nullptr, bytes.size()};
}

void SocketBatch::add_receive(int fd, std::span<char> to) {
  ops_[count_++] = {fd, nullptr, to.data(), to.size()};
}

std::span<int const> SocketBatch::run() {
  auto const count = std::exchange(count_, 0);
  std::span const ops(ops_.data(), count);
  std::span const results(results_.data(), count);
  std::ranges::fill(results, kNotDone);
  if (use_ring_ && count >= kFew) {
    if (ring_ == nullptr) ring_ = std::make_unique<Ring>();
    if (ring_->works()) ring_->run(ops, results);
    use_ring_ = ring_->works();
    if (!use_ring_) ring_ = nullptr;
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (results[i] == kNotDone) results[i] = alone(ops[i]);
  }
  return results;
}

}  // namespace subforge::net
