#include "runtime/disk_turns.hpp"

#include <chrono>

namespace subforge {

void DiskTurns::let_pass() {
  std::unique_lock lock(mutex_);
  wake_.wait_for(lock, std::chrono::milliseconds(kLetPassMsMax), [this] { return first_ == 0; });
}

void DiskTurns::begin() {
  std::lock_guard const lock(mutex_);
  ++first_;
}

void DiskTurns::end() {
  {
    std::lock_guard const lock(mutex_);
    --first_;
  }
  wake_.notify_all();
}

}  // namespace subforge
