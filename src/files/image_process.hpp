// Images are unpacked in a process of their own with little memory, little time and nothing to
// open: what a hostile one does to a library there, it does to nobody else. It gets the image as
// its standard input and writes one line of JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "files/image_reader.hpp"

namespace subforge::files {

inline constexpr std::string_view kReadImageCommand = "read-image";  // Of the program itself.
inline constexpr std::int64_t kImageMemoryBytesMax = 512LL << 20;    // Its address space.
inline constexpr std::int64_t kImageCpuSecondsMax = 20;
inline constexpr std::int64_t kThumbnailBytesMax = 300'000;  // More than a whole PNG of that size.
inline constexpr std::int64_t kImageReplyBytesMax = 500'000;

// What the process does: the exit status.
int read_image_process();

// The line that it writes.
[[nodiscard]] std::string image_reply(Result<ImageFacts> const& facts);
// Believes nothing: whoever took the process over could have written it. Errors: invalid, with what
// is wrong with the image; internal, if it is no such line.
[[nodiscard]] Result<ImageFacts> parse_image_reply(std::string_view line);

}  // namespace subforge::files
