// Sends to and receives from many sockets in one system call, by io_uring(7). To enter the kernel
// and leave it again costs about as much as what TCP does with a short message
// (bench/micro_socket_batch.cpp), so that among many each costs half of what it does alone. Where
// the kernel has no io_uring (before 6.1) or keeps it from the process, as containers often do,
// each gets a call of its own.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace subforge::net {

class SocketBatch {
 public:
  // In one call; more at once gain nothing.
  static constexpr std::size_t kOpsMax = 128;
  // Fewer are done one by one: a ring has costs of its own.
  static constexpr std::size_t kFew = 3;

  // With `use_ring` false as on a kernel without io_uring.
  explicit SocketBatch(bool use_ring);
  ~SocketBatch();
  SocketBatch(SocketBatch const&) = delete;
  SocketBatch& operator=(SocketBatch const&) = delete;

  // One more, at most kOpsMax; the memory has to stay where it is until run() is done.
  void add_send(int fd, std::string_view bytes);
  void add_receive(int fd, std::span<char> to);
  // Does all that was added, none of which waits: for each, in the same order, what send(2) or
  // recv(2) on a non-blocking socket would have given, an error as its negative number. Always on
  // the same thread.
  [[nodiscard]] std::span<int const> run();

  // Whether the last run() of more than two went by io_uring.
  [[nodiscard]] bool by_ring() const { return ring_ != nullptr; }

 private:
  class Ring;
  struct Op {
    int fd;
    char const* to_send;  // Null: to be received.
    char* to_fill;
    std::size_t bytes;
  };

  [[nodiscard]] static int alone(Op const& op);

  std::array<Op, kOpsMax> ops_;
  std::array<int, kOpsMax> results_;
  std::size_t count_ = 0;
  bool use_ring_;
  std::unique_ptr<Ring> ring_;
};

}  // namespace subforge::net
