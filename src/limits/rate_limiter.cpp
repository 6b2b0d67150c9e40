#include "limits/rate_limiter.hpp"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/random.hpp"

namespace subforge::limits {
namespace {

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace

RateLimiter::RateLimiter(std::size_t clients_max, std::int64_t multiplier)
    : shard_clients_max_(std::max<std::size_t>(clients_max / kShards, 1)),
      multiplier_(multiplier),
      seed_(fast_random()) {}

http::RateLimit RateLimiter::scaled(http::RateLimit const& limit) const {
  auto const most = std::int64_t{std::numeric_limits<std::uint32_t>::max()};
  return {std::min(limit.per_minute * multiplier_, most), limit.by,
          std::min(limit.per_hour * multiplier_, most)};
}

std::uint64_t RateLimiter::key_of(std::string_view client) const {
  return mix(std::hash<std::string_view>{}(client) ^ seed_);
}

Verdict RateLimiter::check(std::size_t route_index, std::uint64_t client,
                           http::RateLimit const& limit, Timestamp now) {
  auto const allowed = scaled(limit);
  std::int64_t const second = now.micros / 1'000'000;
  auto const minute = static_cast<std::uint32_t>(second / 60);
  auto const hour = static_cast<std::uint32_t>(second / 3600);
  auto const key = mix(client + 0x9e3779b97f4a7c15ULL * (route_index + 1));
  auto& shard = shards_[key % kShards];

  Verdict verdict;
  verdict.minute_reset_seconds = 60 - second % 60;
  verdict.hour_reset_seconds = 3600 - second % 3600;
  std::lock_guard const lock(shard.mutex);
  auto found = shard.counts.find(key);
  if (found == shard.counts.end()) {
    if (shard.counts.size() >= shard_clients_max_) make_room(shard, hour);
    found = shard.counts.emplace(key, Count{}).first;
  }
  auto& count = found->second;
  if (count.minute != minute) count.minute = minute, count.in_minute = 0;
  if (count.hour != hour) count.hour = hour, count.in_hour = 0;
  bool const minute_full = allowed.per_minute > 0 && count.in_minute >= allowed.per_minute;
  bool const hour_full = allowed.per_hour > 0 && count.in_hour >= allowed.per_hour;
  verdict.allowed = !minute_full && !hour_full;
  verdict.by_hour = !minute_full && hour_full;
  if (verdict.allowed) ++count.in_minute, ++count.in_hour;
  verdict.minute_left = allowed.per_minute - count.in_minute;
  verdict.hour_left = allowed.per_hour - count.in_hour;
  return verdict;
}

void RateLimiter::make_room(Shard& shard, std::uint32_t hour) const {
  std::erase_if(shard.counts, [hour](auto const& entry) { return entry.second.hour != hour; });
  if (shard.counts.size() >= shard_clients_max_) shard.counts.erase(shard.counts.begin());
}

}  // namespace subforge::limits
