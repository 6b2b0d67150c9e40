#include "runtime/frame_pool.hpp"

#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace subforge {
namespace {

// Whatever is asked for, live frames never share a byte and hold as much as was asked for.
TEST(FramePool, LiveFramesAreApart) {
  struct Live {
    unsigned char* bytes;
    std::size_t size;
    unsigned char mark;
  };
  std::vector<Live> live;
  std::uint32_t random = 1;
  for (int step = 0; step < 20'000; ++step) {
    random = random * 1664525U + 1013904223U;
    if (live.size() < 40 && (random >> 16) % 2 == 0) {
      std::size_t const size = 1 + (random >> 8) % (kPooledFrameBytesMax + 1000);
      auto* const bytes = static_cast<unsigned char*>(allocate_frame(size));
      auto const mark = static_cast<unsigned char>(random >> 24);
      std::memset(bytes, mark, size);
      live.push_back({bytes, size, mark});
    } else if (!live.empty()) {
      auto const which = (random >> 4) % live.size();
      auto const frame = live[which];
      std::string const marked(frame.size, static_cast<char>(frame.mark));
      ASSERT_EQ(std::memcmp(frame.bytes, marked.data(), frame.size), 0);
      free_frame(frame.bytes, frame.size);
      live.erase(live.begin() + static_cast<std::ptrdiff_t>(which));
    }
  }
  for (auto const& frame : live) free_frame(frame.bytes, frame.size);
}

TEST(FramePool, FramesMayBeFreedByAnotherThread) {
  std::vector<void*> frames;
  for (int i = 0; i < 100; ++i) frames.push_back(allocate_frame(2000));
  std::thread([&] {
    for (auto* frame : frames) free_frame(frame, 2000);
    auto* const again = allocate_frame(2000);
    free_frame(again, 2000);
  }).join();
}

}  // namespace
}  // namespace subforge
