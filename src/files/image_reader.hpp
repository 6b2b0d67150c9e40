// Images: unpacked to see whether they are whole, and made small. Row by row, so that memory is
// bounded whatever an image claims to be; all the same this belongs into a process of its own
// (image_process.hpp), since it hands what strangers sent to libraries in C.
#pragma once

#include <cstdio>
#include <string>

#include "base/result.hpp"
#include "files/content.hpp"

namespace subforge::files {

// What a progressive JPEG may need, whose rows are only there once all of it was read.
inline constexpr long kDecoderBytesMax = 256L << 20;
inline constexpr int kScansMax = 500;  // Of such a JPEG: each one costs as much as the image.

struct Thumbnail {
  std::string mime_type;  // image/jpeg, or image/png where something shines through.
  ImageSize size;
  std::string bytes;
};

struct ImageFacts {
  std::string format;   // png, jpeg or gif.
  ImageSize size;       // As its header tells it.
  std::string warning;  // What is wrong with it, where it can be shown all the same.
  Thumbnail thumbnail;
};

// Reads a PNG, a JPEG, or the first picture of a GIF from the beginning of `from`, which must be
// able to go back there. Error: invalid, with the reason.
[[nodiscard]] Result<ImageFacts> read_image(std::FILE* from);

}  // namespace subforge::files
