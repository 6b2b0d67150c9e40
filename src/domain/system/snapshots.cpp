#include "domain/system/snapshots.hpp"

#include <algorithm>

#include "domain/system/census.hpp"
#include "domain/system/span_means.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

std::string const kColumns = store::column_list<Snapshot>();
std::string const kSelect = "SELECT " + kColumns + " FROM system_metrics";
std::string const kInsert = store::insert_sql<Snapshot>("system_metrics");

Task<Result<std::vector<Snapshot>>> select(Session& session, std::string rest,
                                           std::vector<store::Value> values) {
  std::vector<Snapshot> rows;
  auto const done = co_await session.query(kSelect + rest, values, [&](Row const& row) {
    rows.push_back(store::read_row<Snapshot>(row));
  });
  if (!done) co_return std::unexpected(done.error());
  co_return rows;
}

Task<Result<std::optional<Snapshot>>> newest(Session& session, std::string_view condition) {
  std::optional<Snapshot> found;
  auto const done = co_await session.query(
      kSelect + std::string(condition) + " ORDER BY recorded_at DESC, seq DESC LIMIT 1", {},
      [&](Row const& row) { found = store::read_row<Snapshot>(row); });
  if (!done) co_return std::unexpected(done.error());
  co_return found;
}

Task<Result<void>> insert(Transaction& transaction, Snapshot& snapshot) {
  snapshot.created_at = snapshot.updated_at = transaction.now();
  auto const bound = store::bind_record(snapshot);
  auto const done = co_await transaction.execute(kInsert, bound.values());
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

// Notes that a server is running, and how much of the last day one was.
Task<Result<void>> note_run(Transaction& transaction, ServerRun const& run, Snapshot& snapshot) {
  auto const now = transaction.now();
  auto const noted = co_await transaction.execute(
      "INSERT INTO server_runs (id, started_at, last_seen_at) VALUES ($1, $2, $3)"
      " ON CONFLICT (id) DO UPDATE SET last_seen_at = excluded.last_seen_at",
      {run.id, run.started, now});
  if (!noted) co_return std::unexpected(noted.error());
  Timestamp const begin{now.micros - SnapshotAges::kDayUs};
  // Runs that end before the day say that a server was there to be down; one of them is enough.
  std::optional<Timestamp> first;
  std::int64_t covered = 0;
  auto reached = begin;
  auto const summed = co_await transaction.query(
      "SELECT started_at, last_seen_at FROM server_runs ORDER BY started_at", {},
      [&](Row const& row) {
        auto const start = row.timestamp(0);
        auto const end = row.timestamp(1);
        if (!first) first = start;
        auto const from = std::max(start, reached);
        if (end > from) {
          covered += end.micros - from.micros;
          reached = end;
        }
      });
  if (!summed) co_return std::unexpected(summed.error());
  auto const since = std::max(first.value_or(now), begin);
  auto const length = now.micros - since.micros;
  snapshot.uptime_percentage =
      length > 0 ? static_cast<double>(covered) / static_cast<double>(length) * 100 : 100.0;
  snapshot.last_restart = run.started;
  auto const forgotten = co_await transaction.execute(
      "DELETE FROM server_runs WHERE last_seen_at < $1 AND id NOT IN"
      " (SELECT id FROM server_runs WHERE last_seen_at < $1 ORDER BY last_seen_at DESC LIMIT 1)",
      {begin});
  if (!forgotten) co_return std::unexpected(forgotten.error());
  co_return {};
}

// A snapshot of now: counts are taken, and so is what can be read at once; what needs two readings
// comes from the newest sample.
Task<Result<Snapshot>> compute(Session& session, MachineReading const& reading, Timestamp now) {
  Snapshot snapshot;
  auto sampled = co_await newest(session, " WHERE origin = 'sample'");
  if (!sampled) co_return std::unexpected(sampled.error());
  if (*sampled) snapshot = std::move(**sampled);
  snapshot.system_load = reading.load_percentage;
  snapshot.memory_usage = reading.memory_percentage;
  snapshot.disk_usage = reading.disk_percentage;
  snapshot.process_resident_bytes = reading.resident_bytes;
  snapshot.process_open_files = reading.open_files;
  if (auto const counted = co_await take_census(session, snapshot); !counted) {
    co_return std::unexpected(counted.error());
  }
  snapshot.id = Uuid::random();
  snapshot.recorded_at = now;
  derive(snapshot);
  co_return snapshot;
}

// Means of the rows since `start`.
Task<Result<std::string>> stats_since(Session& session, Timestamp start) {
  std::string text;
  static constexpr char const* kMeans[] = {"cpu_usage",   "memory_usage",
                                           "system_load", "api_requests_per_minute",
                                           "error_rate",  "avg_response_time_ms"};
  auto const done = co_await session.query(
      span_means_sql(kMeans, "websocket_connections"), {start}, [&](Row const& row) {
        JsonWriter json(text);
        json.begin_object();
        json.member("snapshots", row.integer(0));
        static constexpr char const* kNames[] = {
            "cpu_usage_percentage",    "memory_usage_percentage", "system_load_percentage",
            "api_requests_per_minute", "error_rate_percentage",   "avg_response_time_ms"};
        int column = 0;
        for (auto const* name : kNames) {
          json.key(name);
          row.is_null(++column) ? json.null() : json.number(row.real(column));
        }
        json.key("max_websocket_connections");
        row.is_null(7) ? json.null() : json.integer(row.integer(7));
        json.end_object();
      });
  if (!done) co_return std::unexpected(done.error());
  co_return text;
}

Task<Result<void>> fill_series(Session& session, Snapshot& snapshot) {
  struct Series {
    describe::JsonText Snapshot::* member;
    std::int64_t span_us;
  };
  static constexpr Series kSeries[] = {
      {&Snapshot::hourly_stats, SnapshotAges::kHourUs},
      {&Snapshot::daily_stats, SnapshotAges::kDayUs},
      {&Snapshot::weekly_stats, 7 * SnapshotAges::kDayUs},
  };
  for (auto const& series : kSeries) {
    Timestamp const start{snapshot.recorded_at.micros - series.span_us};
    auto text = co_await stats_since(session, start);
    if (!text) co_return std::unexpected(text.error());
    (snapshot.*series.member).text = std::move(*text);
  }
  co_return {};
}

}  // namespace

store::Event snapshot_event(Snapshot const& snapshot, Actor const& actor) {
  store::Event event;
  event.kind = "system.metrics";
  event.subject = "system";
  event.actor = actor.user;
  event.audience = store::Audience::everybody({"metrics", "system"});
  event.payload = "{\"snapshot\":" + stored_json(snapshot) + "}";
  return event;
}

Task<Result<Snapshot>> Snapshots::add_sample(Snapshot measured, ServerRun run) {
  // Counting may take long where there is much: writers do not wait for it.
  auto count = [&measured](Session& session) { return take_census(session, measured); };
  if (auto const counted = co_await store_.read(store::ReadCost::scan, std::move(count));
      !counted) {
    co_return std::unexpected(counted.error());
  }
  auto add = [&measured, &run](Transaction& transaction) -> Task<Result<void>> {
    if (auto const noted = co_await note_run(transaction, run, measured); !noted) co_return noted;
    measured.id = Uuid::random();
    measured.origin = SnapshotOrigin::sample;
    measured.recorded_at = transaction.now();
    derive(measured);
    co_return co_await insert(transaction, measured);
  };
  if (auto const added = co_await store_.write(add); !added) {
    co_return std::unexpected(added.error());
  }
  co_return measured;
}

Task<Result<Snapshot>> Snapshots::current(MachineReading reading, Which which) {
  auto read = [which](Session& session) -> Task<Result<std::optional<Snapshot>>> {
    auto found = co_await newest(session, which == Which::any ? "" : " WHERE origin <> 'posted'");
    if (found && *found) {
      if (auto const filled = co_await fill_series(session, **found); !filled) {
        co_return std::unexpected(filled.error());
      }
    }
    co_return found;
  };
  auto found = co_await store_.read(store::ReadCost::scan, std::move(read));
  if (!found) co_return std::unexpected(found.error());
  if (*found) co_return std::move(**found);
  auto make = [&reading](Transaction& transaction) -> Task<Result<Snapshot>> {
    auto made = co_await compute(transaction.session(), reading, transaction.now());
    if (!made) co_return made;
    if (auto const stored = co_await insert(transaction, *made); !stored) {
      co_return std::unexpected(stored.error());
    }
    co_return made;
  };
  co_return co_await store_.write(make);
}

Task<Result<store::Page<Snapshot>>> Snapshots::list(SnapshotFilter filter) {
  auto read = [filter =
                   std::move(filter)](Session& session) -> Task<Result<store::Page<Snapshot>>> {
    store::Where where;
    if (filter.start) where.at_least("recorded_at", *filter.start);
    if (filter.end) where.at_most("recorded_at", *filter.end);
    auto const total = co_await store::count_matches(session, "system_metrics", where, kCountMax);
    if (!total) co_return std::unexpected(total.error());
    store::Keyset const newest_first{"recorded_at", true, store::Value::Kind::integer};
    auto page = co_await store::select_page<Snapshot>(session, "system_metrics", newest_first,
                                                      std::move(where),
                                                      {filter.after, {}, 0, filter.limit});
    if (!page) co_return page;
    page->total = total->count;
    page->total_capped = total->capped;
    co_return page;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<Snapshot>> Snapshots::post(SnapshotBody body, MachineReading reading) {
  auto add = [&](Transaction& transaction) -> Task<Result<Snapshot>> {
    auto made = co_await compute(transaction.session(), reading, transaction.now());
    if (!made) co_return made;
    made->origin = SnapshotOrigin::posted;
    apply(body, *made);
    if (auto const stored = co_await insert(transaction, *made); !stored) {
      co_return std::unexpected(stored.error());
    }
    co_return made;
  };
  co_return co_await store_.write(add);
}

Task<Result<std::int64_t>> Snapshots::remove_batch(Timestamp cutoff, std::string condition) {
  auto const sql =
      "DELETE FROM system_metrics WHERE seq IN (SELECT seq FROM system_metrics WHERE " + condition +
      "recorded_at < $1 ORDER BY recorded_at, seq LIMIT $2)";
  auto remove = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(sql, {cutoff, kBatchMax});
  };
  co_return co_await store_.write(remove);
}

Task<Result<std::int64_t>> Snapshots::remove_before(Timestamp cutoff, std::string condition) {
  std::int64_t total = 0;
  for (;;) {
    auto const removed = co_await remove_batch(cutoff, condition);
    if (!removed) co_return removed;
    total += *removed;
    if (*removed < kBatchMax) co_return total;
  }
}

Task<Result<SnapshotCleanup>> Snapshots::clean_up(Timestamp cutoff, Actor actor) {
  auto const batches = co_await remove_full_batches(cutoff);
  if (!batches) co_return std::unexpected(batches.error());
  // The rest goes together with what is told of all, so that whoever keeps the answer with it keeps
  // it with the effect.
  auto finish = [&, earlier = *batches](Transaction& transaction) -> Task<Result<SnapshotCleanup>> {
    auto const removed =
        co_await transaction.execute("DELETE FROM system_metrics WHERE recorded_at < $1", {cutoff});
    if (!removed) co_return std::unexpected(removed.error());
    SnapshotCleanup cleanup{.deleted = earlier + *removed};
    auto const counted =
        co_await transaction.query("SELECT count(*) FROM system_metrics", {},
                                   [&](Row const& row) { cleanup.remaining = row.integer(0); });
    if (!counted) co_return std::unexpected(counted.error());
    store::Event event;
    event.kind = "system.cleaned";
    event.subject = "system";
    event.actor = actor.user;
    JsonWriter json(event.payload = {});
    json.begin_object();
    json.member("before", cutoff);
    json.member("snapshots", cleanup.deleted);
    json.end_object();
    auto const told = co_await transaction.publish(std::move(event));
    if (!told) co_return std::unexpected(told.error());
    co_return cleanup;
  };
  co_return co_await store_.write(finish);
}

// Removes batches as long as more than one is there; what is left is at most one.
Task<Result<std::int64_t>> Snapshots::remove_full_batches(Timestamp cutoff) {
  std::int64_t total = 0;
  for (;;) {
    auto look = [cutoff](Session& session) -> Task<Result<std::int64_t>> {
      std::int64_t found = 0;
      auto const done = co_await session.query(
          "SELECT count(*) FROM"
          " (SELECT seq FROM system_metrics WHERE recorded_at < $1 LIMIT $2) AS batch",
          {cutoff, kBatchMax + 1}, [&](Row const& row) { found = row.integer(0); });
      if (!done) co_return done;
      co_return found;
    };
    auto const waiting = co_await store_.read(store::ReadCost::scan, look);
    if (!waiting) co_return waiting;
    if (*waiting <= kBatchMax) co_return total;
    auto const removed = co_await remove_batch(cutoff, "");
    if (!removed) co_return removed;
    total += *removed;
  }
}

Task<Result<std::int64_t>> Snapshots::thin_kind(SnapshotOrigin from, SnapshotOrigin to,
                                                std::int64_t span_us, Timestamp before) {
  auto const origin = describe::to_text(from);
  std::int64_t taken = 0;
  for (int time = 0; time < kTimesMax; ++time) {
    auto step = [&](Transaction& transaction) -> Task<Result<std::int64_t>> {
      std::optional<Timestamp> oldest;
      auto const looked = co_await transaction.query(
          "SELECT recorded_at FROM system_metrics WHERE origin = $1 AND recorded_at < $2"
          " ORDER BY recorded_at LIMIT 1",
          {origin, before}, [&](Row const& row) { oldest = row.timestamp(0); });
      if (!looked) co_return looked;
      if (!oldest) co_return 0;
      Timestamp const start{oldest->micros - oldest->micros % span_us};
      Timestamp const end{start.micros + span_us};
      // A time is summarized when all of it is old enough, so that it becomes one row.
      if (end > before) co_return 0;
      auto const rows = co_await select(transaction.session(),
                                        " WHERE origin = $1 AND recorded_at >= $2 AND"
                                        " recorded_at < $3 ORDER BY recorded_at, seq",
                                        {origin, start, end});
      if (!rows) co_return std::unexpected(rows.error());
      auto sum = summarize(*rows, to, start);
      if (auto const stored = co_await insert(transaction, sum); !stored) {
        co_return std::unexpected(stored.error());
      }
      co_return co_await transaction.execute(
          "DELETE FROM system_metrics WHERE origin = $1 AND recorded_at >= $2 AND recorded_at < $3",
          {origin, start, end});
    };
    auto const removed = co_await store_.write(step);
    if (!removed) co_return removed;
    if (*removed == 0) break;
    taken += *removed;
  }
  co_return taken;
}

Task<Result<std::int64_t>> Snapshots::thin(Timestamp now) {
  auto const ago = [now](std::int64_t span_us) { return Timestamp{now.micros - span_us}; };
  auto const samples = co_await thin_kind(SnapshotOrigin::sample, SnapshotOrigin::hour,
                                          SnapshotAges::kHourUs, ago(ages_.samples_us));
  if (!samples) co_return samples;
  auto const hours = co_await thin_kind(SnapshotOrigin::hour, SnapshotOrigin::day,
                                        SnapshotAges::kDayUs, ago(ages_.hours_us));
  if (!hours) co_return hours;
  auto const days = co_await remove_before(ago(ages_.days_us), "origin IN ('day', 'posted') AND ");
  if (!days) co_return days;
  co_return *samples + *hours + *days;
}

}  // namespace subforge::domain
