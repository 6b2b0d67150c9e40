// Cutting one input into pieces in several ways, for targets that assert that the cuts don't
// matter.
#pragma once

#include <sanitizer/asan_interface.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace subforge::fuzz {

// Ends the program, which makes libFuzzer keep the input.
inline void require(bool holds) {
  if (!holds) std::abort();
}

// A copy of each piece, of which no byte behind its end may be read: as if each had memory of its
// own, for which most of a run would be spent otherwise.
class Guarded {
 public:
  // Good until the next call.
  std::span<char> copy(std::string_view piece) {
    ASAN_UNPOISON_MEMORY_REGION(bytes_.data(), bytes_.size());
    if (piece.size() > bytes_.size()) bytes_.resize(2 * piece.size());
    std::ranges::copy(piece, bytes_.begin());
    ASAN_POISON_MEMORY_REGION(bytes_.data() + piece.size(), bytes_.size() - piece.size());
    return std::span(bytes_).first(piece.size());
  }
  ~Guarded() { ASAN_UNPOISON_MEMORY_REGION(bytes_.data(), bytes_.size()); }

 private:
  std::vector<char> bytes_ = std::vector<char>(4096);
};

using Pieces = std::vector<std::string_view>;

// The lengths depend on the input alone, so that a finding can be run again.
inline Pieces cut_at_random(std::string_view text) {
  std::uint64_t random = std::hash<std::string_view>()(text) | 1;
  Pieces pieces;
  while (!text.empty()) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    auto const piece = text.substr(0, random % 24);
    pieces.push_back(piece);
    text.remove_prefix(piece.size());
  }
  return pieces;
}

inline Pieces cut_at_every_byte(std::string_view text) {
  Pieces pieces;
  for (std::size_t at = 0; at < text.size(); ++at) pieces.push_back(text.substr(at, 1));
  return pieces;
}

}  // namespace subforge::fuzz
