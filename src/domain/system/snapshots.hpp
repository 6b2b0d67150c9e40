// The snapshots that are kept: written by the sampler and by clients, thinned out with age.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "describe/shape.hpp"
#include "domain/actor.hpp"
#include "domain/system/machine.hpp"
#include "domain/system/snapshot.hpp"
#include "realtime/live_event.hpp"
#include "store/listing.hpp"
#include "store/store.hpp"

namespace subforge::domain {

// How long each kind of row is kept before its like of the next kind replaces it. What clients
// posted is kept whole, as long as days are.
struct SnapshotAges {
  static constexpr std::int64_t kHourUs = 3'600'000'000;
  static constexpr std::int64_t kDayUs = 24 * kHourUs;
  std::int64_t samples_us = kDayUs;
  std::int64_t hours_us = 30 * kDayUs;
  std::int64_t days_us = 365 * kDayUs;
};

struct SnapshotFilter {
  std::optional<Timestamp> start;  // Both ends belong to the range.
  std::optional<Timestamp> end;
  std::optional<store::Position> after = {};  // Only what comes behind it.
  std::int64_t limit = 100;
};

struct SnapshotCleanup {
  std::int64_t deleted = 0;
  std::int64_t remaining = 0;
};

// When this process runs, for the share of time in which a server did.
struct ServerRun {
  Uuid id = Uuid::random();
  Timestamp started = Timestamp::now();
};

class Snapshots {
 public:
  // Rows that one transaction of thinning or cleaning removes at most, so that others wait shortly:
  // an hour of samples, one a second.
  static constexpr std::int64_t kBatchMax = 3'600;
  static constexpr std::int64_t kCountMax = 10'000;  // Totals are counted no further.
  // Times that one call of thin() summarizes at most.
  static constexpr int kTimesMax = 10;

  Snapshots(store::Store& store, SnapshotAges ages = {}) : store_(store), ages_(ages) {}

  // Counts records, notes that `run` is alive and stores the sample; returns it as stored.
  Task<Result<Snapshot>> add_sample(Snapshot measured, ServerRun run);
  // The newest one; if there is none, one is computed from `reading` and stored. Its time series
  // are filled in. What clients posted can be left out.
  enum class Which : std::uint8_t { any, measured };
  Task<Result<Snapshot>> current(MachineReading reading, Which which = Which::any);
  Task<Result<store::Page<Snapshot>>> list(SnapshotFilter filter);  // Newest first.
  // What the newest sample measured, the records count and the client says.
  Task<Result<Snapshot>> post(SnapshotBody body, MachineReading reading);
  Task<Result<SnapshotCleanup>> clean_up(Timestamp cutoff, Actor actor);

  // Replaces what is old by summaries. Tells how many rows were taken away.
  Task<Result<std::int64_t>> thin(Timestamp now);

 private:
  Task<Result<std::int64_t>> thin_kind(SnapshotOrigin from, SnapshotOrigin to, std::int64_t span_us,
                                       Timestamp before);
  Task<Result<std::int64_t>> remove_batch(Timestamp cutoff, std::string condition);
  Task<Result<std::int64_t>> remove_before(Timestamp cutoff, std::string condition);
  Task<Result<std::int64_t>> remove_full_batches(Timestamp cutoff);

  store::Store& store_;
  SnapshotAges const ages_;
};

// It is news, not of the log, since the next snapshot makes it worthless.
[[nodiscard]] store::Event snapshot_event(Snapshot const& snapshot, Actor const& actor);
// How snapshots look on the wire.
[[nodiscard]] std::span<realtime::Projection const> snapshot_projections();
// What /ws/v2 hears of a snapshot, and GET /api/v2/system/metrics answers.
[[nodiscard]] std::string metrics_json_v2(Snapshot const& snapshot);
inline constexpr describe::Shape kMetricsShapeV2 =
    "total_agents:integer active_agents:integer total_tasks:integer completed_tasks:integer"
    " system_load:number|null cpu_usage:number|null memory_usage:number|null"
    " disk_usage:number|null"
    " network_io:{bytes_received_per_second?:number bytes_sent_per_second?:number}"
    "(Empty where they are not known.)"
    " avg_response_time:number(Milliseconds.) success_rate:number uptime:number error_rate:number"
    " requests_per_minute:number websocket_connections:integer recorded_at:time";

}  // namespace subforge::domain
