// A batch of sends gives, by io_uring and without, what send(2) gives for each.
#include "net/send_batch.hpp"

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

class SendBatchTest : public testing::TestWithParam<bool> {};

TEST_P(SendBatchTest, EachHasItsOwnBytes) {
  SendBatch batch(GetParam());
  for (std::size_t const count : {std::size_t{1}, std::size_t{2}, SendBatch::kSendsMax,
                                  std::size_t{0}, SendBatch::kSendsMax - 1}) {
    std::vector<Pair> pairs(count);
    std::vector<std::string> texts;
    texts.reserve(count);
    for (std::size_t i = 0; i < count; ++i) texts.push_back("to " + std::to_string(i));
    for (std::size_t i = 0; i < count; ++i) batch.add(pairs[i].fds[0], texts[i]);
    auto const results = batch.run();
    ASSERT_EQ(results.size(), count);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_EQ(results[i], static_cast<int>(texts[i].size()));
      EXPECT_EQ(pairs[i].received(), texts[i]);
    }
  }
  EXPECT_EQ(batch.by_ring(), GetParam() && kernel_has_ring());
}

TEST_P(SendBatchTest, OneThatCannotTakeItStopsNobodyElse) {
  SendBatch batch(GetParam());
  Pair full, gone, good, part;
  std::string const block(64U << 10, 'x');
  while (::send(full.fds[0], block.data(), block.size(), 0) > 0) {
  }
  ::close(gone.fds[1]);
  gone.fds[1] = -1;
  std::string const huge(8U << 20, 'y');

  batch.add(full.fds[0], "late");
  batch.add(gone.fds[0], "late");
  batch.add(good.fds[0], "in time");
  batch.add(-1, "nowhere");
  batch.add(part.fds[0], huge);
  auto const results = batch.run();
  EXPECT_EQ(results[0], -EAGAIN);
  EXPECT_EQ(results[1], -EPIPE);  // And no signal.
  EXPECT_EQ(results[2], 7);
  EXPECT_EQ(results[3], -EBADF);
  EXPECT_GT(results[4], 0);
  EXPECT_LT(results[4], static_cast<int>(huge.size()));
  EXPECT_EQ(good.received(), "in time");
}

INSTANTIATE_TEST_SUITE_P(Ways, SendBatchTest, testing::Bool(),
                         [](auto const& way) { return way.param ? "ring" : "one_by_one"; });

}  // namespace
}  // namespace subforge::net
