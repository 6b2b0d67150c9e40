// A file of chunks, each packed by itself, that is written once and read by place.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace subforge::backup {

struct PackedChunk {
  std::string digest;       // Of what is in it, unpacked.
  std::int64_t offset = 0;  // In the pack.
  std::int64_t bytes = 0;   // There.
  std::int64_t unpacked = 0;
};

class PackWriter {
 public:
  PackWriter() = default;
  ~PackWriter();
  PackWriter(PackWriter const&) = delete;
  PackWriter& operator=(PackWriter const&) = delete;

  Result<void> open(std::filesystem::path const& path);
  Result<void> add(std::string digest, std::string_view bytes);
  Result<void> close();  // Once it returns, all is on disk.

  [[nodiscard]] std::vector<PackedChunk> const& chunks() const { return chunks_; }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  std::filesystem::path path_;
  int fd_ = -1;
  std::int64_t bytes_ = 0;
  std::vector<PackedChunk> chunks_;
  std::string packed_;
};

class PackReader {
 public:
  PackReader() = default;
  ~PackReader();
  PackReader(PackReader&& other) noexcept;
  PackReader& operator=(PackReader&&) = delete;

  Result<void> open(std::filesystem::path const& path);
  // Errors: invalid, with a sentence that names the file, if it is not what it was.
  Result<std::string> read(PackedChunk const& chunk) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

// Writes a whole file and sees to it that it is on disk.
[[nodiscard]] Result<void> write_file(std::filesystem::path const& path, std::string_view text);
[[nodiscard]] Result<std::string> read_file(std::filesystem::path const& path);
// The same piece by piece: `next` gives the bytes, and nothing once there are no more.
[[nodiscard]] Result<void> write_file(std::filesystem::path const& path,
                                      std::function<Result<std::string>()> const& next);
// All pieces but the last one have that many bytes. Error: not_found, if there is no such file.
[[nodiscard]] Result<void> read_pieces(std::filesystem::path const& path, std::size_t bytes,
                                       std::function<Result<void>(std::string_view)> const& take);
// Sees to it that the names in a folder are on disk.
[[nodiscard]] Result<void> sync_folder(std::filesystem::path const& path);

}  // namespace subforge::backup
