#include "jobs/job_figures.hpp"

#include <algorithm>

#include "jobs/job_changes.hpp"
#include "store/counts.hpp"

namespace subforge::jobs {
namespace {

using store::Row;
using store::Session;

// Of the counts "<prefix><status>,<queue>".
void read_queues(store::Counts const& counts, std::map<std::string, QueueLoad>& queues) {
  auto const prefix = std::string_view("jobs.status,queue=");
  for (auto const& [name, n] : counts) {
    if (!name.starts_with(prefix)) continue;
    auto const rest = std::string_view(name).substr(prefix.size());
    auto const comma = rest.find(',');
    if (comma == std::string_view::npos) continue;
    auto const status = rest.substr(0, comma);
    auto& queue = queues[std::string(rest.substr(comma + 1))];
    if (status == "pending" || status == "retry") queue.waiting += n;
    if (status == "started") queue.running += n;
  }
}

// The first in line of each lane and queue is found by the index that claims use.
Task<Result<void>> read_due(Session& session, Registry const& registry, JobFigures& figures) {
  std::vector<store::Value> values;
  auto const listed = [&values](std::vector<std::string_view> const& texts) {
    std::string rows;
    for (auto const text : texts) {
      values.emplace_back(text);
      rows += (rows.empty() ? "" : ", ");
      rows += "(CAST($" + std::to_string(values.size()) + " AS TEXT))";
    }
    return rows;
  };
  std::vector<std::string_view> lanes{""};
  for (auto const* const definition : registry.all()) {
    if (definition->limited()) lanes.emplace_back(definition->name);
  }
  std::vector<std::string_view> queues;
  for (auto const& [name, queue] : figures.queues) {
    if (queue.waiting > 0) queues.emplace_back(name);
  }
  if (queues.empty()) co_return {};
  auto sql = "WITH lanes (lane) AS (VALUES " + listed(lanes) + "), queues (queue) AS (VALUES ";
  sql += listed(queues) +
         ") SELECT queue, min((SELECT due_at FROM jobs WHERE stage = 'ready'"
         " AND jobs.lane = lanes.lane AND jobs.queue = queues.queue ORDER BY rank, seq LIMIT 1))"
         " FROM lanes CROSS JOIN queues GROUP BY queue";
  auto const now = Timestamp::now();
  auto const done = co_await session.query(sql, values, [&](Row const& row) {
    if (row.is_null(1)) return;
    auto const since = now.micros - row.timestamp(1).micros;
    figures.queues[std::string(row.text(0))].due_us = std::max<std::int64_t>(since, 0);
  });
  if (!done) co_return std::unexpected(done.error());
  co_return {};
}

}  // namespace

std::int64_t count_named(store::Counts const& counts, std::string_view name) {
  auto const found = counts.find(name);
  return found == counts.end() ? 0 : found->second;
}

std::string count_of_ends(JobStatus status) {
  return std::string("jobs.ended=").append(describe::to_text(status));
}

Task<Result<JobFigures>> job_figures(store::Store& store, Registry const& registry) {
  auto read = [&registry](Session& session) -> Task<Result<JobFigures>> {
    auto const counts = co_await store::read_counts(session, "jobs");
    if (!counts) co_return std::unexpected(counts.error());
    JobFigures figures;
    read_queues(*counts, figures.queues);
    for (auto const& [status, name] : names_of(JobStatus{})) {
      figures.ended[static_cast<std::size_t>(status)] = count_named(*counts, count_of_ends(status));
    }
    figures.timed = count_named(*counts, kTimedCount);
    figures.duration_us = count_named(*counts, kDurationCount);
    auto const counted =
        co_await session.query("SELECT count(*) FROM job_workers", {},
                               [&](Row const& row) { figures.workers = row.integer(0); });
    if (!counted) co_return std::unexpected(counted.error());
    if (auto done = co_await read_due(session, registry, figures); !done) {
      co_return std::unexpected(done.error());
    }
    co_return figures;
  };
  co_return co_await store.read(store::ReadCost::point, std::move(read));
}

}  // namespace subforge::jobs
