// Rows as bytes, cut into chunks that are named by what is in them. Where a chunk ends depends on
// the keys of the rows alone: a row that comes, goes or changes makes one other chunk, and all the
// others stay what they are. That is what an incremental backup lives on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "store/tables.hpp"

namespace subforge::backup {

inline constexpr std::size_t kChunkBytesMin = 16U << 10;
inline constexpr std::size_t kChunkBytesMax = 256U << 10;  // One longer row is one chunk.
// Beyond the minimum, one key in so many ends a chunk.
inline constexpr std::uint64_t kKeysPerChunk = 64;

// SHA-256, 64 hexadecimal digits.
[[nodiscard]] std::string digest_of(std::string_view bytes);

using TakeChunk = std::function<Result<void>(std::string_view bytes)>;

class RowChunker {
 public:
  RowChunker(store::Table const& table, TakeChunk take)
      : key_(table.key()), take_(std::move(take)) {}
  Result<void> add(store::Cells const& row);
  Result<void> finish();

 private:
  Result<void> cut();

  std::vector<std::size_t> key_;
  TakeChunk take_;
  std::string bytes_;
};

// The rows of a chunk, each of so many columns. Error: invalid.
[[nodiscard]] Result<std::vector<store::Cells>> rows_of(std::string_view chunk,
                                                        std::size_t columns);

}  // namespace subforge::backup
