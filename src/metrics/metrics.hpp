// Counts of requests, written by event loops without locks and read when /metrics is asked for.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "metrics/latency.hpp"
#include "metrics/user_counts.hpp"

namespace subforge::metrics {

// Upper bounds of the duration buckets, in microseconds; beyond lies one more bucket.
inline constexpr std::array<std::int64_t, 14> kDurationBucketsUs = {
    50,     100,    250,    500,     1'000,   2'500,     5'000,
    10'000, 25'000, 50'000, 100'000, 500'000, 1'000'000, 5'000'000};

// What one loop counted for one route.
struct RouteCounts {
  std::array<Counter, 6> by_class;  // Status / 100.
  std::array<Counter, kDurationBucketsUs.size() + 1> by_duration;
  Counter duration_us;
  Counter bytes;
  LatencyRecorder latency;

  void record(int status, std::int64_t duration_us_taken, std::size_t bytes_sent);
};

// One measured value, read at the moment it is asked for.
struct Gauge {
  std::string name;
  std::string type;  // gauge or counter.
  std::string help;
  std::function<double()> read;
};

class Metrics {
 public:
  // One row per route, and one more for requests that found none.
  Metrics(std::vector<std::string> route_names, std::size_t loops);

  [[nodiscard]] RouteCounts& of(std::size_t loop, std::size_t route_index) {
    return loops_[loop][route_index];
  }
  [[nodiscard]] std::size_t unrouted() const { return route_names_.size() - 1; }
  [[nodiscard]] UserCounts& users(std::size_t loop) { return *users_[loop]; }
  // What was counted since the process started, over all loops: by route, and by user.
  [[nodiscard]] std::map<std::string, UsageTotals> route_totals() const;
  [[nodiscard]] std::map<std::string, UsageTotals> user_totals() const;
  void add(Gauge gauge) { gauges_.push_back(std::move(gauge)); }

  // The Prometheus text format, version 0.0.4.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::string> route_names_;
  std::vector<std::vector<RouteCounts>> loops_;
  std::vector<std::unique_ptr<UserCounts>> users_;
  std::vector<Gauge> gauges_;
};

// Process figures every server has: CPU, memory, descriptors, start time, threads.
void add_process_gauges(Metrics& metrics);
[[nodiscard]] std::int64_t resident_bytes();

}  // namespace subforge::metrics
