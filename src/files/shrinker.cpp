#include "files/shrinker.hpp"

#include <algorithm>
#include <utility>

namespace subforge::files {
namespace {

std::int64_t shrunk(std::int64_t side, std::int64_t longer) {
  if (longer <= kThumbnailSide) return side;
  return std::max<std::int64_t>(side * kThumbnailSide / longer, 1);
}

std::uint8_t mean(std::uint64_t sum, std::uint64_t weight) {
  return static_cast<std::uint8_t>((sum + weight / 2) / weight);
}

}  // namespace

bool Picture::opaque() const {
  return std::ranges::all_of(pixels, [](Pixel const& pixel) { return pixel.alpha == 255; });
}

Picture turned(Picture picture, int orientation) {
  if (orientation < 2 || orientation > 8) return picture;
  auto const [width, height] = picture.size;
  bool const lying = orientation >= 5;
  Picture upright{lying ? ImageSize{height, width} : picture.size, {}};
  upright.pixels.resize(picture.pixels.size());
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      auto to_x = x;
      auto to_y = y;
      switch (orientation) {
        case 2: to_x = width - 1 - x; break;
        case 3: to_x = width - 1 - x, to_y = height - 1 - y; break;
        case 4: to_y = height - 1 - y; break;
        case 5: to_x = y, to_y = x; break;
        case 6: to_x = height - 1 - y, to_y = x; break;
        case 7: to_x = height - 1 - y, to_y = width - 1 - x; break;
        default: to_x = y, to_y = width - 1 - x; break;
      }
      upright.pixels[static_cast<std::size_t>(to_y * upright.size.width + to_x)] =
          picture.pixels[static_cast<std::size_t>(y * width + x)];
    }
  }
  return upright;
}

Shrinker::Shrinker(ImageSize full) : full_(full) {
  auto const longer = std::max(full.width, full.height);
  small_ = {shrunk(full.width, longer), shrunk(full.height, longer)};
  column_of_.resize(static_cast<std::size_t>(full.width));
  for (std::int64_t x = 0; x < full.width; ++x) {
    column_of_[static_cast<std::size_t>(x)] =
        static_cast<std::uint16_t>(x * small_.width / full.width);
  }
  cells_.resize(static_cast<std::size_t>(small_.width * small_.height));
}

void Shrinker::add(std::int64_t y, std::int64_t x, std::int64_t step,
                   std::span<Pixel const> pixels) {
  if (y < 0 || y >= full_.height) return;
  auto const row = static_cast<std::size_t>(y * small_.height / full_.height * small_.width);
  for (auto const& pixel : pixels) {
    auto const at = std::exchange(x, x + step);
    if (at < 0 || at >= full_.width) continue;
    auto& cell = cells_[row + column_of_[static_cast<std::size_t>(at)]];
    cell.red += std::uint64_t{pixel.red} * pixel.alpha;
    cell.green += std::uint64_t{pixel.green} * pixel.alpha;
    cell.blue += std::uint64_t{pixel.blue} * pixel.alpha;
    cell.alpha += pixel.alpha;
    ++cell.count;
  }
}

Picture Shrinker::picture() const {
  Picture picture{small_, {}};
  picture.pixels.reserve(cells_.size());
  for (auto const& cell : cells_) {
    if (cell.alpha == 0) {
      picture.pixels.push_back({0, 0, 0, 0});
      continue;
    }
    picture.pixels.push_back({mean(cell.red, cell.alpha), mean(cell.green, cell.alpha),
                              mean(cell.blue, cell.alpha), mean(cell.alpha, cell.count)});
  }
  return picture;
}

}  // namespace subforge::files
