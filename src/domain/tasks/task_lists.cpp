// Lists of tasks and figures about them.
#include <algorithm>

#include "domain/tasks/task_links.hpp"
#include "domain/tasks/tasks.hpp"
#include "store/counts.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

using store::Row;
using store::Session;

std::string const kColumns = store::column_list<TaskRecord>();

std::string escape_like(std::string_view text) {
  std::string escaped;
  for (char const c : text) {
    if (c == '%' || c == '_' || c == '\\') escaped.push_back('\\');
    escaped.push_back(c);
  }
  return escaped;
}

// The WHERE clause of a filter and the values it binds, starting at $1.
struct Where {
  std::string sql;
  store::BoundRecord bound;
  int count = 0;

  std::string mark() { return "$" + std::to_string(++count); }
  void both(std::string const& condition) {
    sql += sql.empty() ? " WHERE " : " AND ";
    sql += condition;
  }
};

Where where_of(TaskFilter const& filter) {
  Where where;
  auto const equal = [&where](std::string_view column, auto const& value) {
    if (!value) return;
    where.both(std::string(column) + " = " + where.mark());
    where.bound.add(*value);
  };
  if (filter.impossible) where.both("1 = 0");
  if (filter.status) {
    where.both("status = " + where.mark());
    where.bound.add(describe::to_text(*filter.status));
  }
  if (filter.priority) {
    where.both("priority = " + where.mark());
    where.bound.add(describe::to_text(*filter.priority));
  }
  equal("assigned_agent_id", filter.assigned_agent_id);
  equal("assigned_agent_name", filter.assigned_agent_name);
  equal("workflow_id", filter.workflow_id);
  equal("task_type", filter.task_type);
  // As literals: an index of the few that are set is used only so.
  if (filter.is_blocked) where.both(*filter.is_blocked ? "is_blocked = 1" : "is_blocked = 0");
  if (filter.is_urgent) where.both(*filter.is_urgent ? "is_urgent = 1" : "is_urgent = 0");
  if (filter.search) {
    auto const mark = where.mark();
    where.both("(lower(title) LIKE lower(" + mark +
               ") ESCAPE '\\' OR"
               " lower(description) LIKE lower(" +
               mark + ") ESCAPE '\\')");
    where.bound.add_text("%" + escape_like(*filter.search) + "%");
  }
  if (!filter.tags.empty()) {
    std::string any;
    for (auto const& tag : filter.tags) {
      if (!any.empty()) any += " OR ";
      // Tags are kept as a JSON list: a tag is in it where its quoted form is.
      any += "instr(tags, " + where.mark() + ") > 0";
      std::string quoted;
      append_json_string(quoted, tag);
      where.bound.add_text(std::move(quoted));
    }
    where.both("(" + any + ")");
  }
  return where;
}

// The name of the count that tells how many tasks a filter finds; nothing where none does.
std::optional<std::string> kept_count(TaskFilter const& filter) {
  bool const others = filter.impossible || filter.assigned_agent_id || filter.assigned_agent_name ||
                      filter.workflow_id || filter.task_type || filter.is_blocked ||
                      filter.is_urgent || filter.search || !filter.tags.empty();
  if (others || (filter.status && filter.priority)) return std::nullopt;
  if (filter.status) return "tasks.status=" + std::string(describe::to_text(*filter.status));
  if (filter.priority) {
    return "tasks.priority=" + std::string(describe::to_text(*filter.priority));
  }
  return "tasks";
}

Task<Result<void>> count_matches(Session& session, TaskFilter const& filter, TaskPage& page) {
  if (auto const name = kept_count(filter)) {
    auto const n = co_await store::read_count(session, *name);
    if (!n) co_return std::unexpected(n.error());
    page.total = *n;
    co_return {};
  }
  auto where = where_of(filter);
  auto const sql = "SELECT count(*) FROM (SELECT 1 FROM tasks" + where.sql + " LIMIT " +
                   where.mark() + ") AS found";
  where.bound.add(kTaskCountMax + 1);
  auto const counted = co_await session.query(sql, where.bound.values(),
                                              [&](Row const& row) { page.total = row.integer(0); });
  if (!counted) co_return std::unexpected(counted.error());
  page.total_capped = page.total > kTaskCountMax;
  page.total = std::min(page.total, kTaskCountMax);
  co_return {};
}

}  // namespace

Task<Result<TaskPage>> Tasks::list(TaskFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) -> Task<Result<TaskPage>> {
    static int const column_count = static_cast<int>(std::ranges::count(kColumns, ',')) + 1;
    store::Keyset const newest_first{.descending = true};
    TaskPage page;
    if (auto counted = co_await count_matches(session, filter, page); !counted) {
      co_return std::unexpected(counted.error());
    }
    auto where = where_of(filter);
    if (filter.after) {
      where.both(newest_first.behind(*filter.after, where.bound, where.count));
    }
    // One row more tells whether another page follows.
    auto const sql = "SELECT " + kColumns + newest_first.columns() + " FROM tasks" + where.sql +
                     newest_first.order() + " LIMIT " + where.mark() + " OFFSET " + where.mark();
    where.bound.add(filter.limit + 1);
    where.bound.add(filter.skip);
    store::Position last;
    auto const done = co_await session.query(sql, where.bound.values(), [&](Row const& row) {
      if (static_cast<std::int64_t>(page.tasks.size()) == filter.limit) {
        page.next = last;
        return;
      }
      page.tasks.push_back(store::read_row<TaskRecord>(row));
      last = newest_first.position(row, column_count);
    });
    if (!done) co_return std::unexpected(done.error());
    co_return page;
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<TaskSummary>> Tasks::summary() {
  auto read = [](Session& session) -> Task<Result<TaskSummary>> {
    auto const counts = co_await store::read_counts(session, "tasks");
    if (!counts) co_return std::unexpected(counts.error());
    auto const of = [&counts](std::string_view name) {
      auto const found = counts->find(name);
      return found == counts->end() ? 0 : found->second;
    };
    TaskSummary summary;
    summary.total = of("tasks");
    summary.pending = of("tasks.status=pending");
    summary.in_progress = of("tasks.status=in_progress");
    summary.completed = of("tasks.status=completed");
    summary.failed = of("tasks.status=failed");
    summary.blocked = of("tasks.is_blocked");
    summary.urgent = of("tasks.is_urgent");
    if (summary.total > 0) {
      auto const total = static_cast<double>(summary.total);
      summary.avg_progress = static_cast<double>(of("tasks.progress")) / kProgressUnit / total;
      summary.completion_rate = static_cast<double>(summary.completed) / total * 100;
    }
    co_return summary;
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

}  // namespace subforge::domain
