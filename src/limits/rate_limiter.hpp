// Rate limits in memory: fixed calendar minutes and hours (UTC), counted per route and client.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "base/time.hpp"
#include "http/route.hpp"

namespace subforge::limits {

// What a client may still do, and when its windows start anew.
struct Verdict {
  bool allowed = true;
  std::int64_t minute_left = 0;
  std::int64_t hour_left = 0;
  std::int64_t minute_reset_seconds = 0;
  std::int64_t hour_reset_seconds = 0;
  bool by_hour = false;  // Which limit refused.
};

class RateLimiter {
 public:
  // Beyond `clients_max` pairs of route and client, those whose windows have passed are forgotten;
  // where none has, any one is, which only ever errs in a client's favour.
  RateLimiter(std::size_t clients_max, std::int64_t multiplier);

  // Counts the request if it is allowed; a refused one counts nothing. From any thread.
  [[nodiscard]] Verdict check(std::size_t route_index, std::uint64_t client,
                              http::RateLimit const& limit, Timestamp now);

  // The limit in force, after the multiplier of the settings.
  [[nodiscard]] http::RateLimit scaled(http::RateLimit const& limit) const;
  // A client's key from its address or user id; differs from process to process, so that nobody can
  // choose names that collide.
  [[nodiscard]] std::uint64_t key_of(std::string_view client) const;

 private:
  static constexpr std::size_t kShards = 16;
  struct Count {
    std::uint32_t minute = 0;  // Minutes since 1970 of the window being counted.
    std::uint32_t in_minute = 0;
    std::uint32_t hour = 0;
    std::uint32_t in_hour = 0;
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::uint64_t, Count> counts;
  };
  void make_room(Shard& shard, std::uint32_t hour) const;

  std::size_t const shard_clients_max_;
  std::int64_t const multiplier_;
  std::uint64_t const seed_;
  std::array<Shard, kShards> shards_;
};

}  // namespace subforge::limits
