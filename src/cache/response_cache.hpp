// Answers kept in memory until the event log says that they are stale.
//
// Nothing is ever searched for invalidation: each entry remembers the version of its subject, a
// change moves that version on, and an entry with an old version is a miss. A version is read
// before the data, so that an answer made from data that changed meanwhile can never be served.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/function_ref.hpp"
#include "http/content_coding.hpp"

namespace subforge::cache {

struct CachedAnswer {
  std::string
      fields;  // Header lines, each ended by CRLF; without those about the form of the body.
  std::string body;
  std::string etag;  // Of the body as it is.
  bool packable = false;
  // The body packed by each coding; empty for identity, and as long as nobody asked for it.
  std::array<std::string, http::kCodings> packed = {};
};

// The version of a subject at a moment.
struct Ticket {
  std::size_t slot = 0;
  std::uint64_t version = 0;
};

class ResponseCache {
 public:
  explicit ResponseCache(std::size_t bytes_max);

  // To be taken before the data is read.
  [[nodiscard]] Ticket ticket(std::string_view subject) const;
  // Makes every answer about `subject` stale; from any thread. Subjects share a fixed number of
  // versions, so that a collision costs a miss and nothing else.
  void invalidate(std::string_view subject);

  // Calls `use` with a fresh answer; true if there was one and it could be used. `use` must be
  // short.
  [[nodiscard]] bool find(std::string_view key, std::int64_t now_ns,
                          FunctionRef<bool(CachedAnswer const&)> use);
  // Whether find() would have one, as far as can be said without looking at it.
  [[nodiscard]] bool holds(std::string_view key);
  // Keeps the answer unless its subject changed since the ticket was taken. Packed forms that are
  // kept of the same body stay.
  void put(std::string_view key, Ticket ticket, std::int64_t expires_ns, CachedAnswer answer);

  [[nodiscard]] std::uint64_t hits() const { return hits_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t misses() const { return misses_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::size_t kShards = 16;
  static constexpr std::size_t kSlots = 16384;
  static constexpr std::size_t kOverheadBytes = 256;  // Of an entry besides its texts.

  struct Entry {
    std::string key;
    Ticket ticket;
    std::int64_t expires_ns;
    CachedAnswer answer;
    [[nodiscard]] std::size_t bytes() const {
      auto bytes = kOverheadBytes + key.size() + answer.fields.size() + answer.body.size();
      for (auto const& packed : answer.packed) bytes += packed.size();
      return bytes;
    }
  };
  struct Shard {
    std::mutex mutex;
    std::list<Entry> entries;  // Most recently used first.
    std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key;
    std::size_t bytes = 0;
  };

  [[nodiscard]] Shard& shard_of(std::string_view key);
  [[nodiscard]] bool fresh(Ticket const& ticket) const;
  void remove(Shard& shard, std::list<Entry>::iterator entry);

  std::size_t const shard_bytes_max_;
  std::array<Shard, kShards> shards_;
  std::unique_ptr<std::array<std::atomic<std::uint64_t>, kSlots>> versions_;
  std::atomic<std::uint64_t> hits_{0};
  std::atomic<std::uint64_t> misses_{0};
  std::atomic<std::size_t> bytes_{0};
};

}  // namespace subforge::cache
