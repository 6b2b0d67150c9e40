#include "runtime/memory.hpp"

#include <malloc.h>

namespace subforge {

void keep_freed_memory() {
  constexpr int kMiB = 1 << 20;
  ::mallopt(M_TRIM_THRESHOLD, 4 * kMiB);
  // With the one set, glibc would no longer raise the other by itself.
  ::mallopt(M_MMAP_THRESHOLD, 2 * kMiB);
}

}  // namespace subforge
