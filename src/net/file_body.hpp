// The body of an answer that lies in a file: sent from there by the kernel, in whole or in parts
// with text around them. The file stays open, so that it may be deleted meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace subforge {
class BlockingPool;
}

namespace subforge::net {

class FileBody {
 public:
  // First the text, then so many bytes of the file.
  struct Piece {
    std::string text = {};
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };

  // Owns `fd`. What is not in memory is read by the pool, so that no event loop waits for a disk.
  FileBody(int fd, std::vector<Piece> pieces, BlockingPool& pool);
  ~FileBody();
  FileBody(FileBody const&) = delete;
  FileBody& operator=(FileBody const&) = delete;

  [[nodiscard]] std::uint64_t size() const;

 private:
  friend class HttpConnection;

  enum class Sent : std::uint8_t { all, some, blocked, broken };
  // Sends what the socket takes, up to `bytes_max`. `blocked`: the socket takes no more.
  [[nodiscard]] Sent send(int socket, std::size_t bytes_max);
  // Whether the next bytes are in memory; else they have to be read by read_ahead() first, on a
  // thread that may wait.
  [[nodiscard]] bool in_memory();
  void read_ahead() const;

  int fd_;
  std::vector<Piece> pieces_;
  BlockingPool& pool_;
  std::size_t piece_ = 0;
  std::size_t text_sent_ = 0;
  std::uint64_t known_until_ = 0;  // Offset in the file up to which it was found in memory.
};

}  // namespace subforge::net
