#include "metrics/latency.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <numeric>

#include <fmt/format.h>

namespace subforge::metrics {

namespace buckets = latency_buckets;

void Latencies::merge(Latencies const& other) {
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
}

std::uint64_t Latencies::count() const {
  return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
}

std::optional<double> Latencies::quantile_ms(double fraction) const {
  auto const total = count();
  if (total == 0) return std::nullopt;
  auto const wanted = std::max(std::ceil(fraction * static_cast<double>(total)), 1.0);
  std::uint64_t reached = 0;
  std::size_t bucket = 0;
  while (bucket + 1 < counts_.size()) {
    reached += counts_[bucket];
    if (static_cast<double>(reached) >= wanted) break;
    ++bucket;
  }
  auto const lower = static_cast<double>(buckets::lower_us(bucket));
  auto const upper = static_cast<double>(buckets::lower_us(bucket + 1));
  // A bucket of one microsecond is exact.
  auto const middle = upper - lower <= 1 ? lower : (lower + upper) / 2;
  return middle / 1000;
}

std::string Latencies::to_text() const {
  std::string text;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    if (counts_[i] == 0) continue;
    if (!text.empty()) text.push_back(' ');
    text += fmt::format("{}:{}", i, counts_[i]);
  }
  return text;
}

Latencies Latencies::parse(std::string_view text) {
  Latencies parsed;
  auto const* at = text.data();
  auto const* const end = at + text.size();
  while (at < end) {
    std::size_t bucket = 0;
    std::uint64_t count = 0;
    auto const first = std::from_chars(at, end, bucket);
    if (first.ec != std::errc{} || first.ptr == end || *first.ptr != ':') break;
    auto const second = std::from_chars(first.ptr + 1, end, count);
    if (second.ec != std::errc{} || bucket >= parsed.counts_.size()) break;
    parsed.counts_[bucket] += count;
    at = second.ptr == end ? end : second.ptr + 1;
  }
  return parsed;
}

}  // namespace subforge::metrics
