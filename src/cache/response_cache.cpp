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
                         FunctionRef<void(CachedAnswer const&)> use) {
  auto& shard = shard_of(key);
  std::lock_guard const lock(shard.mutex);
  auto const found = shard.by_key.find(key);
  if (found != shard.by_key.end()) {
    auto const entry = found->second;
    if (entry->expires_ns > now_ns && fresh(entry->ticket)) {
      if (entry != shard.entries.begin()) {
        shard.entries.splice(shard.entries.begin(), shard.entries, entry);
      }
      hits_.fetch_add(1, std::memory_order_relaxed);
      use(entry->answer);
      return true;
    }
    remove(shard, entry);
  }
  misses_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void ResponseCache::put(std::string_view key, Ticket ticket, std::int64_t expires_ns,
                        CachedAnswer answer) {
  if (!fresh(ticket)) return;
  Entry entry{std::string(key), ticket, expires_ns, std::move(answer)};
  auto const size = entry.bytes();
  if (size > shard_bytes_max_) return;
  auto& shard = shard_of(key);
  std::lock_guard const lock(shard.mutex);
  if (auto const old = shard.by_key.find(key); old != shard.by_key.end()) {
    remove(shard, old->second);
  }
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
