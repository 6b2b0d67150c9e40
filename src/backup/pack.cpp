#include "backup/pack.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <zlib.h>

#include "backup/chunks.hpp"

namespace subforge::backup {
namespace {

constexpr int kPackingLevel = 3;    // A third of the bytes of rows, at a few times a disk's pace.
constexpr mode_t kPackMode = 0600;  // Its owner alone reads it.
constexpr std::int64_t kUnpackedMax = 1LL << 30;  // Of one chunk: the longest row there can be.

std::unexpected<Error> file_failure(std::filesystem::path const& path, std::string_view what) {
  return fail(ErrorCode::unavailable,
              path.string() + " cannot be " + std::string(what) + ": " + std::strerror(errno));
}

Result<void> write_all(int fd, std::filesystem::path const& path, std::string_view bytes) {
  while (!bytes.empty()) {
    auto const wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return file_failure(path, "written");
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

Result<void> sync_and_close(int fd, std::filesystem::path const& path) {
  bool const synced = ::fsync(fd) == 0;
  bool const closed = ::close(fd) == 0;
  if (!synced || !closed) return file_failure(path, "written");
  return {};
}

}  // namespace

PackWriter::~PackWriter() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> PackWriter::open(std::filesystem::path const& path) {
  path_ = path;
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kPackMode);
  if (fd_ < 0) return file_failure(path, "made");
  return {};
}

Result<void> PackWriter::add(std::string digest, std::string_view bytes) {
  auto packed_bytes = ::compressBound(bytes.size());
  packed_.resize(packed_bytes);
  int const code =
      ::compress2(reinterpret_cast<Bytef*>(packed_.data()), &packed_bytes,
                  reinterpret_cast<Bytef const*>(bytes.data()), bytes.size(), kPackingLevel);
  if (code != Z_OK) return fail(ErrorCode::internal, "A chunk could not be packed");
  packed_.resize(packed_bytes);
  if (auto written = write_all(fd_, path_, packed_); !written) return written;
  chunks_.push_back({std::move(digest), bytes_, std::ssize(packed_), std::ssize(bytes)});
  bytes_ += std::ssize(packed_);
  return {};
}

Result<void> PackWriter::close() { return sync_and_close(std::exchange(fd_, -1), path_); }

PackReader::~PackReader() {
  if (fd_ >= 0) ::close(fd_);
}

PackReader::PackReader(PackReader&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {}

Result<void> PackReader::open(std::filesystem::path const& path) {
  path_ = path;
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) return file_failure(path, "read");
  return {};
}

Result<std::string> PackReader::read(PackedChunk const& chunk) const {
  auto const damaged = [&] {
    return fail(ErrorCode::invalid,
                path_.string() + " is damaged: chunk " + chunk.digest + " is not what was written");
  };
  if (chunk.bytes < 0 || chunk.unpacked < 0 || chunk.unpacked > kUnpackedMax ||
      chunk.bytes >
          static_cast<std::int64_t>(::compressBound(static_cast<uLong>(chunk.unpacked)))) {
    return damaged();
  }
  std::string packed(static_cast<std::size_t>(chunk.bytes), '\0');
  for (std::size_t done = 0; done < packed.size();) {
    auto const got = ::pread(fd_, packed.data() + done, packed.size() - done,
                             chunk.offset + static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return file_failure(path_, "read");
    if (got == 0) return damaged();
    done += static_cast<std::size_t>(got);
  }
  std::string bytes(static_cast<std::size_t>(chunk.unpacked), '\0');
  auto unpacked = static_cast<uLongf>(bytes.size());
  int const code = ::uncompress(reinterpret_cast<Bytef*>(bytes.data()), &unpacked,
                                reinterpret_cast<Bytef const*>(packed.data()), packed.size());
  if (code != Z_OK || unpacked != bytes.size() || digest_of(bytes) != chunk.digest) {
    return damaged();
  }
  return bytes;
}

Result<void> write_file(std::filesystem::path const& path, std::string_view text) {
  int const fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kPackMode);
  if (fd < 0) return file_failure(path, "made");
  if (auto written = write_all(fd, path, text); !written) {
    ::close(fd);
    return written;
  }
  return sync_and_close(fd, path);
}

Result<std::string> read_file(std::filesystem::path const& path) {
  int const fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return file_failure(path, "read");
  std::string text;
  std::string part(64U << 10, '\0');
  ssize_t got = 0;
  while ((got = ::read(fd, part.data(), part.size())) != 0) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    text.append(part, 0, static_cast<std::size_t>(got));
  }
  auto failed = file_failure(path, "read");
  ::close(fd);
  if (got < 0) return failed;
  return text;
}

Result<void> write_file(std::filesystem::path const& path,
                        std::function<Result<std::string>()> const& next) {
  int const fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kPackMode);
  if (fd < 0) return file_failure(path, "made");
  for (;;) {
    auto const bytes = next();
    auto const written = bytes ? write_all(fd, path, *bytes) : std::unexpected(bytes.error());
    if (!written) {
      ::close(fd);
      return written;
    }
    if (bytes->empty()) return sync_and_close(fd, path);
  }
}

Result<void> read_pieces(std::filesystem::path const& path, std::size_t bytes,
                         std::function<Result<void>(std::string_view)> const& take) {
  int const fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    return fail(ErrorCode::not_found, path.string() + " does not exist");
  }
  if (fd < 0) return file_failure(path, "read");
  std::string piece(bytes, '\0');
  Result<void> done;
  for (bool more = true; more && done;) {
    std::size_t have = 0;
    while (have < bytes) {
      auto const got = ::read(fd, piece.data() + have, bytes - have);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) done = file_failure(path, "read");
      if (got <= 0) break;
      have += static_cast<std::size_t>(got);
    }
    more = have == bytes;
    if (done && have > 0) done = take(std::string_view(piece).substr(0, have));
  }
  ::close(fd);
  return done;
}

Result<void> sync_folder(std::filesystem::path const& path) {
  int const fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return file_failure(path, "read");
  return sync_and_close(fd, path);
}

}  // namespace subforge::backup
