// Lists of tasks and figures about them.
#include "domain/tasks/task_links.hpp"
#include "domain/tasks/tasks.hpp"
#include "store/counts.hpp"
#include "store/listing.hpp"

namespace subforge::domain {
namespace {

using store::Session;
using store::Where;

constexpr std::string_view kTable = "tasks";
constexpr std::string_view kTextIndex = "task_texts";

// What a list is read from. A search by the index reads that in the order of the list and takes
// from the table what it finds, so that a page of what many tasks contain ends early.
struct Source {
  bool by_text = false;
  std::string_view table = kTable;
  store::Keyset newest_first{.descending = true};
};

Source source_of(Session const& session, TaskFilter const& filter) {
  if (!store::has_text_index(session, filter.search)) return {};
  return {true,
          "task_texts CROSS JOIN tasks ON tasks.seq = task_texts.rowid",
          {.descending = true, .seq = "task_texts.rowid"}};
}

Where where_of(TaskFilter const& filter, Source const& source) {
  Where where;
  if (source.by_text) where.indexed(kTextIndex, *filter.search);
  auto const equals = [&where](std::string_view column, auto const& value) {
    if (value) where.equals(column, *value);
  };
  if (filter.impossible) where.both("1 = 0");
  if (filter.status) where.equals("status", store::Value(describe::to_text(*filter.status)));
  if (filter.priority) where.equals("priority", store::Value(describe::to_text(*filter.priority)));
  if (filter.assigned_agent_id) {
    where.equals("assigned_agent_id", store::Value(*filter.assigned_agent_id));
  }
  equals("assigned_agent_name", filter.assigned_agent_name);
  if (filter.workflow_id) where.equals("workflow_id", store::Value(*filter.workflow_id));
  equals("task_type", filter.task_type);
  // As literals: an index of the few that are set is used only so.
  if (filter.is_blocked) where.both(*filter.is_blocked ? "is_blocked = 1" : "is_blocked = 0");
  if (filter.is_urgent) where.both(*filter.is_urgent ? "is_urgent = 1" : "is_urgent = 0");
  if (filter.search && !source.by_text) {
    where.contains({"title", "description"}, *filter.search);
  }
  where.lists_any("tags", filter.tags);
  return where;
}

// The name of the count that tells how many tasks a filter finds; nothing where none does.
std::optional<std::string> kept_count(TaskFilter const& filter) {
  bool const never = filter.impossible || filter.assigned_agent_name || filter.workflow_id ||
                     filter.is_blocked || filter.is_urgent || filter.search || !filter.tags.empty();
  if (never) return std::nullopt;
  bool const by_state = filter.status || filter.priority;
  // Each of these by itself alone.
  if (by_state + filter.task_type.has_value() + filter.assigned_agent_id.has_value() > 1) {
    return std::nullopt;
  }
  if (filter.task_type) return name_of_type_count(*filter.task_type);
  if (filter.assigned_agent_id) return name_of_count(*filter.assigned_agent_id);
  if (filter.status && filter.priority) return name_of_count(*filter.status, *filter.priority);
  if (filter.status) return name_of_count(*filter.status);
  if (filter.priority) return name_of_count(*filter.priority);
  return "tasks";
}

// Where nothing but the text is asked for, the index alone knows how much it finds.
std::string_view counted_table(TaskFilter filter, Source const& source) {
  if (!source.by_text) return kTable;
  filter.search.reset();
  return where_of(filter, {}).sql().empty() ? kTextIndex : source.table;
}

Task<Result<store::Total>> total_of(Session& session, TaskFilter filter) {
  auto const name = kept_count(filter);
  if (!name) {
    auto const source = source_of(session, filter);
    co_return co_await store::count_matches(session, counted_table(filter, source),
                                            where_of(filter, source), kTaskCountMax);
  }
  auto const count = co_await store::read_count(session, *name);
  if (!count) co_return std::unexpected(count.error());
  co_return store::Total{*count};
}

}  // namespace

Task<Result<TaskPage>> Tasks::list(TaskFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) -> Task<Result<TaskPage>> {
    auto const total = co_await total_of(session, filter);
    if (!total) co_return std::unexpected(total.error());
    auto const source = source_of(session, filter);
    auto page =
        co_await store::select_page<TaskRecord>(session, source.table, source.newest_first,
                                                where_of(filter, source), store::bounds_of(filter));
    if (!page) co_return std::unexpected(page.error());
    page->total = total->count;
    page->total_capped = total->capped;
    co_return std::move(*page);
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<TaskPage>> Tasks::list_part(TaskFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) {
    auto const source = source_of(session, filter);
    return store::select_page<TaskRecord>(session, source.table, source.newest_first,
                                          where_of(filter, source), store::bounds_of(filter));
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<std::optional<store::Position>>> Tasks::end_of_page(TaskFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) {
    auto const source = source_of(session, filter);
    return store::end_of_page(session, source.table, source.newest_first, where_of(filter, source),
                              store::bounds_of(filter));
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
