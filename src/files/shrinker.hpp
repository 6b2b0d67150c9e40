// A small version of an image, made while its rows come, in whatever order: each of its pixels is
// the mean of those that it stands for. So an image of any size needs the memory of the small one.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "files/content.hpp"

namespace subforge::files {

inline constexpr std::int64_t kThumbnailSide = 256;  // Pixels, of the longer side; never enlarged.
inline constexpr std::int64_t kImageSideMax = 65'535;  // Of an image that is made smaller.

struct Pixel {
  std::uint8_t red = 0;
  std::uint8_t green = 0;
  std::uint8_t blue = 0;
  std::uint8_t alpha = 255;
  friend bool operator==(Pixel const&, Pixel const&) = default;
};

struct Picture {
  ImageSize size;
  std::vector<Pixel> pixels;  // Row by row.
  [[nodiscard]] bool opaque() const;
};

// How the image is to be turned so that it stands upright, as EXIF numbers it: 1 to 8, 1 is not.
[[nodiscard]] Picture turned(Picture picture, int orientation);

class Shrinker {
 public:
  // Both sides are 1 to kImageSideMax.
  explicit Shrinker(ImageSize full);

  // Pixels of one row, the first at `x`, the others `step` further each. What lies outside counts
  // for nothing.
  void add(std::int64_t y, std::int64_t x, std::int64_t step, std::span<Pixel const> pixels);
  // Where no pixel came, it is transparent.
  [[nodiscard]] Picture picture() const;

 private:
  struct Cell {
    std::uint64_t red = 0;  // Of the colours, weighted by how much is seen of them.
    std::uint64_t green = 0;
    std::uint64_t blue = 0;
    std::uint64_t alpha = 0;
    std::uint64_t count = 0;
  };
  ImageSize const full_;
  ImageSize small_;
  std::vector<std::uint16_t> column_of_;
  std::vector<Cell> cells_;
};

}  // namespace subforge::files
