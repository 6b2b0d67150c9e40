// Measures the machine and this process, and keeps what it found: every `interval`, from the first
// event loop.
#pragma once

#include <functional>
#include <string>

#include "domain/system/machine.hpp"
#include "domain/system/snapshots.hpp"
#include "metrics/metrics.hpp"
#include "realtime/hub.hpp"
#include "runtime/blocking_pool.hpp"

namespace subforge::domain {

// The measured half of a snapshot: differences of two readings and of two counts of requests.
// Percentages of CPU are null without a reading before.
struct RequestTotals {
  metrics::UsageTotals counts;
  std::int64_t at_ns = 0;  // Of the clock that never jumps.
};
[[nodiscard]] Snapshot measure(std::optional<MachineReading> const& before,
                               MachineReading const& after, RequestTotals const& requests_before,
                               RequestTotals const& requests_after);

class Sampler {
 public:
  Sampler(Snapshots& snapshots, metrics::Metrics const& metrics, realtime::Hub& hub,
          BlockingPool& pool, std::string folder, Logger logger);

  // Samples, stores, tells viewers, and thins out what is old. A failure is logged; the next sample
  // covers the time of both. Not to be called again before it is done.
  Task<void> sample();

  [[nodiscard]] ServerRun const& run() const { return run_; }
  [[nodiscard]] std::string const& folder() const { return folder_; }

 private:
  [[nodiscard]] RequestTotals requests() const;

  Snapshots& snapshots_;
  metrics::Metrics const& metrics_;
  realtime::Hub& hub_;
  BlockingPool& pool_;
  std::string const folder_;
  Logger logger_;
  ServerRun const run_;
  std::int64_t const started_ns_ = monotonic_ns();
  std::optional<MachineReading> last_reading_;
  RequestTotals last_requests_{{}, started_ns_};
};

}  // namespace subforge::domain
