#include "cache/response_cache.hpp"

#include <functional>

namespace subforge::cache {
namespace {

std::size_t hash_of(std::string_view text) { return std::hash<std::string_view>{}(text); }

}  // namespace

ResponseCache::ResponseCache(std::size_t bytes_max)
    : shard_bytes_max_(bytes_max / kShards),
      versions_(std::make_unique<std::array<std::atomic<std::uint64_t>, kSlots>>()) {}

ResponseCache::Shard& ResponseCache::shard_of(std::string_view key) {
  return shards_[(hash_of(key) >> 7) % kShards];
}

Ticket ResponseCache::ticket(std::string_view subject) const {
  auto const slot = hash_of(subject) % kSlots;
  return {slot, (*versions_)[slot].load(std::memory_order_acquire)};
}

bool ResponseCache::fresh(Ticket const& ticket) const {
  return (*versions_)[ticket.slot].load(std::memory_order_acquire) == ticket.version;
}

void ResponseCache::invalidate(std::string_view subject) {
  (*versions_)[hash_of(subject) % kSlots].fetch_add(1, std::memory_order_acq_rel);
}

bool ResponseCache::find(std::string_view key, std::int64_t now_ns,
                         FunctionRef<bool(CachedAnswer const&)> use) {
  auto& shard = shard_of(key);
  std::lock_guard const lock(shard.mutex);
  auto const found = shard.by_key.find(key);
  if (found != shard.by_key.end()) {
    auto const entry = found->second;
    if (entry->expires_ns <= now_ns || !fresh(entry->ticket)) {
      remove(shard, entry);
    } else if (use(entry->answer)) {
      if (entry != shard.entries.begin()) {
        shard.entries.splice(shard.entries.begin(), shard.entries, entry);
      }
      hits_.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
  }
  misses_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

bool ResponseCache::holds(std::string_view key) {
  auto& shard = shard_of(key);
  std::lock_guard const lock(shard.mutex);
  auto const found = shard.by_key.find(key);
  return found != shard.by_key.end() && fresh(found->second->ticket);
}

void ResponseCache::put(std::string_view key, Ticket ticket, std::int64_t expires_ns,
                        CachedAnswer answer) {
  if (!fresh(ticket)) return;
  Entry entry{std::string(key), ticket, expires_ns, std::move(answer)};
  auto& shard = shard_of(key);
  std::lock_guard const lock(shard.mutex);
  if (auto const found = shard.by_key.find(key); found != shard.by_key.end()) {
    auto& old = *found->second;
    // What was packed stays while the body does, or clients of two codings would undo each other's.
    bool const same = old.answer.body == entry.answer.body;
    for (std::size_t i = 0; same && i < http::kCodings; ++i) {
      // Its size must be known to remove(), so it is copied.
      if (entry.answer.packed[i].empty()) entry.answer.packed[i] = old.answer.packed[i];
    }
    remove(shard, found->second);
  }
  auto const size = entry.bytes();
  if (size > shard_bytes_max_) return;
  while (shard.bytes + size > shard_bytes_max_) remove(shard, std::prev(shard.entries.end()));
  shard.entries.push_front(std::move(entry));
  shard.by_key.emplace(shard.entries.front().key, shard.entries.begin());
  shard.bytes += size;
  bytes_.fetch_add(size, std::memory_order_relaxed);
}

void ResponseCache::remove(Shard& shard, std::list<Entry>::iterator entry) {
  auto const size = entry->bytes();
  shard.bytes -= size;
  bytes_.fetch_sub(size, std::memory_order_relaxed);
  shard.by_key.erase(entry->key);
  shard.entries.erase(entry);
}

}  // namespace subforge::cache
