// Durations counted in log-linear buckets: eight to each doubling, so that a figure read from them
// is at most 1/16 off. Exact below 8 µs; beyond 134 s all is one bucket.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace subforge::metrics {

namespace latency_buckets {
inline constexpr int kSubBits = 3;
inline constexpr std::int64_t kLargestUs = (std::int64_t{1} << 27) - 1;
inline constexpr std::size_t kCount = (27 - kSubBits + 1) << kSubBits;

[[nodiscard]] constexpr std::size_t index_of(std::int64_t us) {
  auto const value = static_cast<std::uint64_t>(us < 0 ? 0 : us > kLargestUs ? kLargestUs : us);
  if (value < (1U << kSubBits)) return value;
  auto const exponent = static_cast<std::size_t>(std::bit_width(value)) - 1;
  auto const sub = (value >> (exponent - kSubBits)) & ((1U << kSubBits) - 1);
  return ((exponent - kSubBits + 1) << kSubBits) + sub;
}
// The least duration of a bucket; that of the one after the last ends it.
[[nodiscard]] constexpr std::int64_t lower_us(std::size_t index) {
  if (index < (1U << kSubBits)) return static_cast<std::int64_t>(index);
  auto const exponent = (index >> kSubBits) - 1;
  auto const sub = index & ((1U << kSubBits) - 1);
  return static_cast<std::int64_t>(((std::size_t{1} << kSubBits) + sub) << exponent);
}
}  // namespace latency_buckets

// Plain counts, for adding up and reading figures from.
class Latencies {
 public:
  void add(std::size_t bucket, std::uint64_t count) { counts_[bucket] += count; }
  void merge(Latencies const& other);
  [[nodiscard]] std::uint64_t count() const;
  [[nodiscard]] std::uint64_t at(std::size_t bucket) const { return counts_[bucket]; }
  // The middle of the bucket in which this fraction of all durations is reached; nothing if there
  // are none.
  [[nodiscard]] std::optional<double> quantile_ms(double fraction) const;
  [[nodiscard]] std::optional<double> min_ms() const { return quantile_ms(0); }
  [[nodiscard]] std::optional<double> max_ms() const { return quantile_ms(1); }

  // "bucket:count ..." of the buckets that are not empty, and back; what is malformed is left out.
  [[nodiscard]] std::string to_text() const;
  [[nodiscard]] static Latencies parse(std::string_view text);

 private:
  std::array<std::uint64_t, latency_buckets::kCount> counts_{};
};

// The same with one writer that never waits and readers that see some recent value. The counts wrap
// around: readers take differences.
class LatencyRecorder {
 public:
  void record(std::int64_t us) {
    auto& count = counts_[latency_buckets::index_of(us)];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t at(std::size_t bucket) const {
    return counts_[bucket].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<std::uint32_t>, latency_buckets::kCount> counts_{};
};

}  // namespace subforge::metrics
