#include "domain/system/sampler.hpp"

#include "base/json_writer.hpp"

namespace subforge::domain {

Snapshot measure(std::optional<MachineReading> const& before, MachineReading const& after,
                 RequestTotals const& requests_before, RequestTotals const& requests_after) {
  Snapshot snapshot;
  auto const seconds =
      static_cast<double>(requests_after.at_ns - requests_before.at_ns) / 1'000'000'000;
  snapshot.system_load = after.load_percentage;
  snapshot.memory_usage = after.memory_percentage;
  snapshot.disk_usage = after.disk_percentage;
  snapshot.process_resident_bytes = after.resident_bytes;
  snapshot.process_open_files = after.open_files;
  if (before) {
    using Bytes = std::optional<std::uint64_t>;
    auto const received = [](MachineReading const& reading) {
      return reading.network ? Bytes(reading.network->received) : Bytes();
    };
    auto const sent = [](MachineReading const& reading) {
      return reading.network ? Bytes(reading.network->sent) : Bytes();
    };
    snapshot.cpu_usage = cpu_percentage(before->cpu, after.cpu);
    snapshot.received_per_second = rate(received(*before), received(after), seconds);
    snapshot.sent_per_second = rate(sent(*before), sent(after), seconds);
    if (before->process_cpu_seconds && after.process_cpu_seconds && seconds > 0) {
      snapshot.process_cpu =
          (*after.process_cpu_seconds - *before->process_cpu_seconds) / seconds * 100;
    }
  }
  auto const counted = requests_after.counts.since(requests_before.counts);
  if (counted.requests > 0 && seconds > 0) {
    auto const requests = static_cast<double>(counted.requests);
    auto const latencies = counted.latencies();
    snapshot.api_requests_per_minute = requests / seconds * 60;
    snapshot.error_rate = static_cast<double>(counted.server_errors) / requests * 100;
    snapshot.avg_response_time_ms = static_cast<double>(counted.duration_us) / requests / 1000;
    snapshot.min_response_time_ms = latencies.min_ms().value_or(0);
    snapshot.max_response_time_ms = latencies.max_ms().value_or(0);
    snapshot.p95_response_time_ms = latencies.quantile_ms(0.95).value_or(0);
  }
  return snapshot;
}

Sampler::Sampler(Snapshots& snapshots, metrics::Metrics const& metrics, realtime::Hub& hub,
                 BlockingPool& pool, std::string folder, Logger logger)
    : snapshots_(snapshots),
      metrics_(metrics),
      hub_(hub),
      pool_(pool),
      folder_(std::move(folder)),
      logger_(logger) {}

RequestTotals Sampler::requests() const {
  RequestTotals totals{{}, monotonic_ns()};
  for (auto const& [route, counts] : metrics_.route_totals()) totals.counts.add(counts);
  return totals;
}

Task<void> Sampler::sample() {
  // A file system that hangs must not take the loop with it.
  auto read = [this]() -> Result<MachineReading> { return read_machine(folder_); };
  auto const reading = co_await pool_.run(read);
  if (!reading) {
    logger_.warning("the machine could not be measured", {{"cause", reading.error().message}});
    co_return;
  }
  auto const counted = requests();
  auto measured = measure(last_reading_, *reading, last_requests_, counted);
  measured.process_uptime_seconds = static_cast<double>(counted.at_ns - started_ns_) / 1e9;
  measured.websocket_connections = static_cast<std::int64_t>(hub_.connections());
  auto const stored = co_await snapshots_.add_sample(std::move(measured), run_);
  if (!stored) {
    logger_.warning("a sample of the system could not be kept",
                    {{"cause", stored.error().message}, {"context", stored.error().context}});
    co_return;
  }
  last_reading_ = *reading;
  last_requests_ = counted;
  hub_.tell_news(snapshot_event(*stored, {}));
  auto const thinned = co_await snapshots_.thin(Timestamp::now());
  if (!thinned) {
    logger_.warning("old samples could not be thinned out", {{"cause", thinned.error().message}});
  }
}

}  // namespace subforge::domain
