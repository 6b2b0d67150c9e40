// Counts of requests by user: a table of fixed size for each loop, written by that loop alone.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "metrics/latency.hpp"

namespace subforge::metrics {

// A counter with one writer; readers see some recent value.
class Counter {
 public:
  void add(std::uint64_t amount) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// How often and how long, added up; later totals less earlier ones give what came between. All
// counts may wrap around, which differences do not mind.
struct UsageTotals {
  std::uint64_t requests = 0;
  std::uint64_t client_errors = 0;  // 4xx
  std::uint64_t server_errors = 0;  // 5xx
  std::uint64_t duration_us = 0;
  std::array<std::uint32_t, latency_buckets::kCount> latency{};

  void add(UsageTotals const& other);
  [[nodiscard]] UsageTotals since(UsageTotals const& earlier) const;
  [[nodiscard]] Latencies latencies() const;
};

class UserCounts {
 public:
  // Users told apart on one loop until the process ends; requests of further ones are counted
  // together under kOthers.
  static constexpr std::size_t kUsersMax = 100;
  static constexpr std::size_t kNameBytesMax = 128;  // Longer names are cut.
  static constexpr std::string_view kOthers = "(others)";
  static constexpr std::string_view kAnonymous = "(anonymous)";

  // An empty name stands for kAnonymous.
  void record(std::string_view user, int status, std::int64_t duration_us);
  // Adds what was counted so far; from any thread.
  void add_to(std::map<std::string, UsageTotals>& totals) const;

 private:
  static constexpr std::size_t kSlots = 256;  // A power of two, with room to spare.

  struct Slot {
    std::atomic<std::size_t> name_bytes{0};  // 0: free. Written last when a slot is taken.
    std::array<char, kNameBytesMax> name{};
    Counter requests;
    Counter client_errors;
    Counter server_errors;
    Counter duration_us;
    LatencyRecorder latency;

    void record(int status, std::int64_t us);
    [[nodiscard]] UsageTotals totals() const;
    void take(std::string_view text);
  };
  [[nodiscard]] Slot& slot_of(std::string_view name);

  std::array<Slot, kSlots> slots_;
  Slot others_;
  std::size_t used_ = 0;
};

}  // namespace subforge::metrics
