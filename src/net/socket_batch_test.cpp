// A batch gives, by io_uring and without, what send(2) and recv(2) give for each.
#include "net/socket_batch.hpp"

#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace subforge::net {
namespace {

bool kernel_has_ring() {
  io_uring ring{};
  bool const made =
      ::io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) == 0;
  if (made) ::io_uring_queue_exit(&ring);
  return made;
}

struct Pair {
  Pair() { EXPECT_EQ(0, ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds)); }
  ~Pair() {
    ::close(fds[0]);
    if (fds[1] >= 0) ::close(fds[1]);
  }
  Pair(Pair const&) = delete;
  Pair& operator=(Pair const&) = delete;

  std::string received() const {
    char buffer[4096];
    auto const got = ::recv(fds[1], buffer, sizeof buffer, 0);
    return got > 0 ? std::string(buffer, static_cast<std::size_t>(got)) : std::string();
  }

  int fds[2] = {-1, -1};
};

class SocketBatchTest : public testing::TestWithParam<bool> {};

TEST_P(SocketBatchTest, EachHasItsOwnBytes) {
  SocketBatch batch(GetParam());
  for (std::size_t const count : {std::size_t{1}, std::size_t{2}, SocketBatch::kOpsMax,
                                  std::size_t{0}, SocketBatch::kOpsMax - 1}) {
    std::vector<Pair> pairs(count);
    std::vector<std::string> texts;
    texts.reserve(count);
    for (std::size_t i = 0; i < count; ++i) texts.push_back("to " + std::to_string(i));
    for (std::size_t i = 0; i < count; ++i) batch.add_send(pairs[i].fds[0], texts[i]);
    auto const results = batch.run();
    ASSERT_EQ(results.size(), count);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(results[i], static_cast<int>(texts[i].size()));
      EXPECT_EQ(pairs[i].received(), texts[i]);
    }
  }
  EXPECT_EQ(batch.by_ring(), GetParam() && kernel_has_ring());
}

TEST_P(SocketBatchTest, OneThatCannotTakeItStopsNobodyElse) {
  SocketBatch batch(GetParam());
  Pair full, gone, good, part;
  std::string const block(64U << 10, 'x');
  while (::send(full.fds[0], block.data(), block.size(), 0) > 0) {
  }
  ::close(gone.fds[1]);
  gone.fds[1] = -1;
  std::string const huge(8U << 20, 'y');

  batch.add_send(full.fds[0], "late");
  batch.add_send(gone.fds[0], "late");
  batch.add_send(good.fds[0], "in time");
  batch.add_send(-1, "nowhere");
  batch.add_send(part.fds[0], huge);
  auto const results = batch.run();
  EXPECT_EQ(results[0], -EAGAIN);
  EXPECT_EQ(results[1], -EPIPE);  // And no signal.
  EXPECT_EQ(results[2], 7);
  EXPECT_EQ(results[3], -EBADF);
  EXPECT_GT(results[4], 0);
  EXPECT_LT(results[4], static_cast<int>(huge.size()));
  EXPECT_EQ(good.received(), "in time");
}

TEST_P(SocketBatchTest, ReceivesWhatIsThere) {
  SocketBatch batch(GetParam());
  Pair full, silent, ended, part;
  ASSERT_EQ(4, ::send(full.fds[1], "here", 4, 0));
  ::close(ended.fds[1]);
  ended.fds[1] = -1;
  ASSERT_EQ(8, ::send(part.fds[1], "too much", 8, 0));
  char buffers[4][8];
  batch.add_receive(full.fds[0], buffers[0]);
  batch.add_receive(silent.fds[0], buffers[1]);
  batch.add_receive(ended.fds[0], buffers[2]);
  batch.add_receive(part.fds[0], {buffers[3], 3});
  auto const results = batch.run();
  EXPECT_EQ(results[0], 4);
  EXPECT_EQ(std::string_view(buffers[0], 4), "here");
  EXPECT_EQ(results[1], -EAGAIN);
  EXPECT_EQ(results[2], 0);
  EXPECT_EQ(results[3], 3);
  EXPECT_EQ(std::string_view(buffers[3], 3), "too");
}

INSTANTIATE_TEST_SUITE_P(Ways, SocketBatchTest, testing::Bool(),
                         [](auto const& way) { return way.param ? "ring" : "one_by_one"; });

}  // namespace
}  // namespace subforge::net
