#include "runtime/frame_pool.hpp"

#include <array>
#include <new>
#include <utility>

namespace subforge {
namespace {

// Under the sanitizer every frame is malloc's, or a use after its end would go unnoticed.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kPooled = false;
#else
constexpr bool kPooled = true;
#endif
#else
constexpr bool kPooled = true;
#endif

struct FreeFrame {
  FreeFrame* next;
};

struct FreeList {
  FreeFrame* first = nullptr;
  unsigned count = 0;
};

struct Pool {
  ~Pool() {
    closed = true;
    for (auto& list : lists) {
      while (list.first != nullptr) ::operator delete(std::exchange(list.first, list.first->next));
    }
  }
  std::array<FreeList, kPooledFrameBytesMax / kFrameClassBytes> lists;
  bool closed = false;  // The thread is ending; what is freed from now on is malloc's again.
};

thread_local Pool pool;

std::size_t class_of(std::size_t bytes) { return (bytes - 1) / kFrameClassBytes; }

}  // namespace

void* allocate_frame(std::size_t bytes) {
  if (!kPooled || bytes > kPooledFrameBytesMax) return ::operator new(bytes);
  auto const which = class_of(bytes);
  auto& list = pool.lists[which];
  if (list.first == nullptr) return ::operator new((which + 1) * kFrameClassBytes);
  --list.count;
  return std::exchange(list.first, list.first->next);
}

void free_frame(void* frame, std::size_t bytes) noexcept {
  if (!kPooled || bytes > kPooledFrameBytesMax || pool.closed) return ::operator delete(frame);
  auto& list = pool.lists[class_of(bytes)];
  if (list.count >= kFramesKept) return ::operator delete(frame);
  ++list.count;
  list.first = new (frame) FreeFrame{list.first};
}

}  // namespace subforge
