// Sends to many sockets in one system call, by io_uring(7). To enter the kernel and leave it again
// costs about as much as what TCP does with a short message (bench/micro_send_batch.cpp), so that a
// message to a room costs each receiver little more than half of what send(2) does. Where the
// kernel has no io_uring (before 6.1) or keeps it from the process, as containers often do, each is
// sent by a call of its own.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace subforge::net {

class SendBatch {
 public:
  // In one call; more at once gain nothing.
  static constexpr std::size_t kSendsMax = 128;

  // With `use_ring` false as on a kernel without io_uring.
  explicit SendBatch(bool use_ring);
  ~SendBatch();
  SendBatch(SendBatch const&) = delete;
  SendBatch& operator=(SendBatch const&) = delete;

  // One send more, at most kSendsMax. The bytes have to stay where they are until run() is done.
  void add(int fd, std::string_view bytes) { sends_[count_++] = {fd, bytes}; }
  // Sends all that was added, none of which waits: for each, in the same order, what send(2) on a
  // non-blocking socket would have given, an error as its negative number. Always on the same
  // thread.
  [[nodiscard]] std::span<int const> run();

  // Whether the last run() went by io_uring.
  [[nodiscard]] bool by_ring() const { return ring_ != nullptr; }

 private:
  class Ring;
  struct Send {
    int fd;
    std::string_view bytes;
  };

  std::array<Send, kSendsMax> sends_;
  std::array<int, kSendsMax> results_;
  std::size_t count_ = 0;
  bool use_ring_;
  std::unique_ptr<Ring> ring_;
};

}  // namespace subforge::net
