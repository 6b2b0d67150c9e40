#include "net/file_body.hpp"

#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace subforge::net {
namespace {

constexpr std::uint64_t kWindowBytes = 1U << 20;  // Read from the disk at once.

// Errors other than that it would have to wait count as in memory: sending tells them.
bool is_in_memory(int fd, std::uint64_t offset) {
  char byte = 0;
  iovec const target{&byte, 1};
  auto const got = ::preadv2(fd, &target, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  return got >= 0 || errno != EAGAIN;
}

}  // namespace

FileBody::FileBody(int fd, std::vector<Piece> pieces, BlockingPool& pool)
    : fd_(fd), pieces_(std::move(pieces)), pool_(pool) {}

FileBody::~FileBody() { ::close(fd_); }

std::uint64_t FileBody::size() const {
  std::uint64_t total = 0;
  for (auto const& piece : pieces_) total += piece.text.size() + piece.length;
  return total;
}

bool FileBody::in_memory() {
  if (piece_ == pieces_.size()) return true;
  auto const& piece = pieces_[piece_];
  if (piece.length == 0 || piece.offset < known_until_) return true;
  auto const window = std::min(piece.length, kWindowBytes);
  bool const there =
      is_in_memory(fd_, piece.offset) && is_in_memory(fd_, piece.offset + window - 1);
  // What is not will be, by the time this is asked again.
  known_until_ = piece.offset + window;
  return there;
}

void FileBody::read_ahead() const {
  std::array<char, 64U << 10> buffer;
  auto const& piece = pieces_[piece_];
  auto offset = piece.offset;
  auto const end = offset + std::min(piece.length, kWindowBytes);
  while (offset < end) {
    auto const got = ::pread(fd_, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (got <= 0) return;
    offset += static_cast<std::uint64_t>(got);
  }
}

FileBody::Sent FileBody::send(int socket, std::size_t bytes_max) {
  while (piece_ < pieces_.size()) {
    auto& piece = pieces_[piece_];
    ssize_t sent = 0;
    if (text_sent_ < piece.text.size()) {
      sent = ::send(socket, piece.text.data() + text_sent_, piece.text.size() - text_sent_,
                    MSG_NOSIGNAL | (piece.length > 0 ? MSG_MORE : 0));
      if (sent > 0) text_sent_ += static_cast<std::size_t>(sent);
    } else if (piece.length > 0) {
      if (bytes_max == 0 || piece.offset >= known_until_) return Sent::some;
      auto const wanted =
          std::min<std::uint64_t>({piece.length, bytes_max, known_until_ - piece.offset});
      auto offset = static_cast<off_t>(piece.offset);
      sent = ::sendfile(socket, fd_, &offset, wanted);
      if (sent == 0) return Sent::broken;  // The file has become shorter.
      if (sent > 0) {
        piece.offset += static_cast<std::uint64_t>(sent);
        piece.length -= static_cast<std::uint64_t>(sent);
        bytes_max -= static_cast<std::size_t>(sent);
      }
    } else {
      ++piece_;
      text_sent_ = 0;
      known_until_ = 0;
      if (piece_ < pieces_.size() && pieces_[piece_].length > 0) return Sent::some;
    }
    if (sent < 0 && errno != EINTR) return errno == EAGAIN ? Sent::blocked : Sent::broken;
  }
  return Sent::all;
}

}  // namespace subforge::net
