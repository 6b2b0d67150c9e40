// Small pictures as files.
#pragma once

#include "base/result.hpp"
#include "files/image_reader.hpp"
#include "files/shrinker.hpp"

namespace subforge::files {

inline constexpr int kJpegQuality = 80;

// A JPEG of an opaque picture, a PNG of any other. Error: internal.
[[nodiscard]] Result<Thumbnail> write_picture(Picture const& picture);

}  // namespace subforge::files
