#include "jobs/job_lists.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "jobs/job_changes.hpp"
#include "store/conditions.hpp"
#include "store/counts.hpp"

namespace subforge::jobs {
namespace {

using store::Conditions;
using store::Row;
using store::Session;
using store::Where;

constexpr std::string_view kTable = "jobs";

store::Keyset keyset_of(JobFilter const& filter) {
  using enum JobOrder;
  using Kind = store::Value::Kind;
  switch (filter.order) {
    case created_at: break;
    case name: return {.expression = "name", .descending = filter.descending};
    case status: return {.expression = "status", .descending = filter.descending};
    case priority:
      return {.expression = "priority", .descending = filter.descending, .kind = Kind::integer};
    case progress: break;  // See page_by_progress().
  }
  return {.descending = filter.descending};
}

// The names there are that contain a text, in any case. A walk from each to the next: there are
// few, however many jobs.
Task<Result<std::vector<std::string>>> names_with(Session& session, std::string_view part) {
  constexpr int kNamesMax = 1'000;
  Where where;
  auto const most = where.mark(store::Value(kNamesMax));
  where.contains({"name"}, part);
  auto const sql =
      "WITH RECURSIVE names (name) AS (SELECT min(name) FROM jobs UNION ALL"
      " SELECT (SELECT min(name) FROM jobs WHERE name > names.name) FROM names"
      " WHERE names.name IS NOT NULL) SELECT name FROM (SELECT name FROM names LIMIT " +
      most + ") AS known" + where.sql();
  std::vector<std::string> names;
  auto const done = co_await session.query(
      sql, where.values(), [&](Row const& row) { names.emplace_back(row.text(0)); });
  if (!done) co_return std::unexpected(done.error());
  co_return names;
}

Task<Result<Conditions>> conditions_of(Session& session, JobFilter const& filter) {
  Conditions conditions(session, kTable);
  if (filter.status) {
    auto const kept = count_of_status(*filter.status);
    conditions.equal({{"status", store::Value(describe::to_text(*filter.status))}}, {.kept = kept});
  }
  if (filter.priority) {
    auto const kept = count_of_priority(*filter.priority);
    conditions.equal({{"priority", store::Value(*filter.priority)}}, {.kept = kept});
  }
  if (filter.queue) {
    // Most are in the default queue, whose jobs the index of queues leaves out.
    auto const equal = [queue = *filter.queue](Where& where) { where.equals("queue", queue); };
    if (*filter.queue == kDefaultQueue) conditions.check(equal);
    if (*filter.queue != kDefaultQueue) {
      conditions.equal({{"queue", store::Value(*filter.queue)}}, {.of = "queue <> 'default'"});
    }
  }
  if (filter.batch_id) conditions.equal({{"batch_id", store::Value(*filter.batch_id)}});
  if (filter.name_part && !filter.name_part->empty()) {
    auto const names = co_await names_with(session, *filter.name_part);
    if (!names) co_return std::unexpected(names.error());
    conditions.any_of("name", *names);
  }
  std::optional<store::Value> after;
  std::optional<store::Value> before;
  if (filter.created_after) after = store::Value(*filter.created_after);
  if (filter.created_before) before = store::Value(*filter.created_before);
  conditions.within("created_at", after, before);
  co_return conditions;
}

// Where a count is kept that tells how many a filter finds.
std::optional<std::string> kept_count(JobFilter const& filter) {
  if (filter.name_part || filter.batch_id || filter.created_after || filter.created_before) {
    return std::nullopt;
  }
  if (filter.queue) {
    if (!filter.status || filter.priority) return std::nullopt;
    return count_in_queue(*filter.queue, *filter.status);
  }
  if (filter.status && filter.priority) return count_of_both(*filter.status, *filter.priority);
  if (filter.status) return count_of_status(*filter.status);
  if (filter.priority) return count_of_priority(*filter.priority);
  return "jobs";
}

Task<Result<store::Total>> total_of(Session& session, JobFilter const& filter) {
  if (auto const name = kept_count(filter)) {
    auto const count = co_await store::read_count(session, *name);
    if (!count) co_return std::unexpected(count.error());
    co_return store::Total{*count};
  }
  auto const conditions = co_await conditions_of(session, filter);
  if (!conditions) co_return std::unexpected(conditions.error());
  co_return co_await conditions->total(Jobs::kCountMax);
}

// ---- What a list shows -------------------------------------------------------------------------

// What is too long comes as an empty text, which no JSON is, and is not read any further than it
// takes to know that: PostgreSQL knows the length of what it has set apart.
std::string listed_columns(store::Dialect dialect) {
  std::string columns;
  store::for_each_column<Job>([&](auto const& field) {
    std::string const name(field.name);
    if (!columns.empty()) columns += ", ";
    if (name == "args") {
      columns += "'[]'";
    } else if (name == "kwargs") {
      columns += "'{}'";
    } else if (name == "traceback") {
      columns += "NULL";
    } else if (name == "result" || name == "metadata") {
      auto const bytes = dialect == store::Dialect::sqlite ? "length(CAST(" + name + " AS BLOB))"
                                                           : "octet_length(" + name + ")";
      columns += "CASE WHEN " + bytes + " > " + std::to_string(Jobs::kListedBytesMax) +
                 " THEN '' ELSE " + name + " END";
    } else {
      columns += name;
    }
  });
  return columns;
}

Job read_listed(Row const& row) {
  auto job = store::read_row<Job>(row);
  job.result_left_out = job.result.text.empty();
  if (job.result_left_out) job.result = {};
  job.metadata_left_out = job.metadata.text.empty();
  if (job.metadata_left_out) job.metadata = {};
  return job;
}

store::PageColumns<Job> const& columns_of(store::Dialect dialect) {
  static store::PageColumns<Job> const sqlite{listed_columns(store::Dialect::sqlite), &read_listed};
  static store::PageColumns<Job> const postgres{listed_columns(store::Dialect::postgres),
                                                &read_listed};
  return dialect == store::Dialect::sqlite ? sqlite : postgres;
}

Task<Result<JobPage>> page_of(Session& session, JobFilter const& filter, store::Keyset keyset,
                              Conditions const& conditions) {
  auto where = co_await conditions.choose(keyset);
  if (!where) co_return std::unexpected(where.error());
  co_return co_await store::select_page<Job>(session, kTable, keyset, std::move(*where),
                                             store::bounds_of(filter),
                                             columns_of(session.dialect()));
}

// ---- By progress -------------------------------------------------------------------------------

// An index of every job by its progress costs a job three entries, more than any other index; yet
// most are at 0 until they have succeeded. So a list by progress is put together of parts, each of
// which an index has in order: among those at 0 the statuses follow each other, and those that have
// succeeded come behind all others.
struct Part {
  std::optional<JobStatus> status;  // Those at 0, or all that have succeeded; none: those between.
  double place;                     // As the value of a position; between, that is the progress.
};
constexpr Part kParts[] = {{JobStatus::pending, -5}, {JobStatus::retry, -4},
                           {JobStatus::started, -3}, {JobStatus::failure, -2},
                           {JobStatus::revoked, -1}, {std::nullopt, 0},
                           {JobStatus::success, 101}};
constexpr double kProgressMax = 100;

bool has(Part const& part, store::Position const& position) {
  auto const* const value = std::get_if<double>(&position.value);
  if (value == nullptr) return false;
  bool const between = *value >= 0 && *value <= kProgressMax;
  return part.status ? *value == part.place : between;
}

store::Position before_all_of(Part const& part, bool descending) {
  using Limits = std::numeric_limits<std::int64_t>;
  auto const seq = descending ? Limits::max() : Limits::min();
  if (part.status) return {part.place, seq};
  return {descending ? kProgressMax : 0.0, seq};
}

// Those that can have something, in the order of the list, from where the page begins.
std::vector<Part> parts_of(JobFilter const& filter) {
  std::vector<Part> parts(std::begin(kParts), std::end(kParts));
  if (filter.descending) std::ranges::reverse(parts);
  if (filter.after) {
    auto const first =
        std::ranges::find_if(parts, [&](Part const& part) { return has(part, *filter.after); });
    parts.erase(parts.begin(), first);
  }
  std::erase_if(parts, [&](Part const& part) {
    if (!filter.status) return false;
    return part.status ? part.status != filter.status : filter.status == JobStatus::success;
  });
  return parts;
}

Task<Result<JobPage>> page_of(Session& session, JobFilter const& filter, Part const& part,
                              std::int64_t& skip) {
  auto conditions = co_await conditions_of(session, filter);
  if (!conditions) co_return std::unexpected(conditions.error());
  store::Keyset keyset{.descending = filter.descending};
  if (!part.status) {
    keyset.expression = "progress";
    keyset.kind = store::Value::Kind::real;
    // In the words of the index.
    conditions->check([](Where& where) { where.both("progress > 0 AND status <> 'success'"); });
  } else if (part.status != JobStatus::success) {
    conditions->check([](Where& where) { where.both("progress = 0"); });
  }
  auto page = co_await page_of(session, filter, keyset, *conditions);
  if (!page) co_return page;
  if (page->next && page->rows.empty()) page->next = before_all_of(part, filter.descending);
  if (page->next && part.status) page->next->value = part.place;
  if (!page->rows.empty() || page->next) {
    skip = 0;
  } else if (skip > 0) {
    auto where = co_await conditions->choose(keyset);
    if (!where) co_return std::unexpected(where.error());
    if (filter.after) where->behind(keyset, *filter.after);
    auto const passed = co_await store::count_matches(session, kTable, std::move(*where), skip);
    if (!passed) co_return std::unexpected(passed.error());
    skip -= passed->count;
  }
  co_return page;
}

Task<Result<JobPage>> page_by_progress(Session& session, JobFilter const& filter) {
  JobPage page;
  auto skip = filter.skip;
  for (auto const& part : parts_of(filter)) {
    auto of_part = filter;
    if (part.status) of_part.status = part.status;
    if (of_part.after && !has(part, *of_part.after)) of_part.after.reset();
    of_part.skip = skip;
    of_part.limit -= std::ssize(page.rows);
    auto some = co_await page_of(session, of_part, part, skip);
    if (!some) co_return some;
    std::ranges::move(some->rows, std::back_inserter(page.rows));
    page.next = some->next;
    if (page.next) break;
  }
  co_return page;
}

}  // namespace

Task<Result<JobPage>> read_job_page(Session& session, JobFilter const& filter) {
  auto const total = co_await total_of(session, filter);
  if (!total) co_return std::unexpected(total.error());
  Result<JobPage> page;
  if (filter.order == JobOrder::progress) {
    page = co_await page_by_progress(session, filter);
  } else {
    auto const conditions = co_await conditions_of(session, filter);
    if (!conditions) co_return std::unexpected(conditions.error());
    page = co_await page_of(session, filter, keyset_of(filter), *conditions);
  }
  if (!page) co_return page;
  page->total = total->count;
  page->total_capped = total->capped;
  co_return page;
}

}  // namespace subforge::jobs
