// Memory for coroutine frames. A request makes a few of them, of ever the same sizes, and frees
// them at once; frames that hold a record are beyond what malloc keeps at hand for each thread.
#pragma once

#include <cstddef>

namespace subforge {

// Frames up to this size are kept for the next one of their size, at most kFramesKept of each on
// each thread; what is larger or more goes back to malloc. Any thread may free a frame.
inline constexpr std::size_t kPooledFrameBytesMax = 8192;
inline constexpr std::size_t kFrameClassBytes = 256;
inline constexpr unsigned kFramesKept = 8;

[[nodiscard]] void* allocate_frame(std::size_t bytes);
void free_frame(void* frame, std::size_t bytes) noexcept;

}  // namespace subforge
