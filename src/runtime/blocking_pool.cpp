#include "runtime/blocking_pool.hpp"

#include "runtime/scheduling.hpp"

namespace subforge {

BlockingPool::BlockingPool(std::size_t threads, std::size_t queue_max, Claim claim)
    : queue_max_(queue_max) {
  threads_.reserve(threads);
  for (std::size_t i = 0; i < threads; ++i) {
    threads_.emplace_back([this, claim] {
      if (claim == Claim::behind) stay_behind();
      serve();
    });
  }
}

void BlockingPool::stop() {
  {
    std::lock_guard const lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

bool BlockingPool::try_submit(Job job) {
  {
    std::lock_guard const lock(mutex_);
    if (stopping_ || queue_.size() >= queue_max_) return false;
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  return true;
}

void BlockingPool::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    auto job = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

}  // namespace subforge
