// Lists of tasks and figures about them.
#include "domain/tasks/task_links.hpp"
#include "domain/tasks/tasks.hpp"
#include "store/conditions.hpp"
#include "store/counts.hpp"

namespace subforge::domain {
namespace {

using store::Conditions;
using store::Session;

constexpr std::string_view kTable = "tasks";
constexpr std::string_view kTextIndex = "task_texts";
constexpr store::Keyset kNewestFirst{.descending = true};

Conditions conditions_of(Session& session, TaskFilter const& filter) {
  Conditions conditions(session, kTable);
  auto const equal = [&](std::string_view column, std::optional<store::Value> const& value,
                         std::string_view kept = {}) {
    if (value) conditions.equal({{column, *value}}, {.kept = kept});
  };
  auto const text = [](auto const& value) {
    return value ? std::optional(store::Value(describe::to_text(*value))) : std::nullopt;
  };
  auto const id = [](std::optional<Uuid> const& value) {
    return value ? std::optional(store::Value(*value)) : std::nullopt;
  };
  auto const name = [](std::optional<std::string> const& value) {
    return value ? std::optional(store::Value(*value)) : std::nullopt;
  };
  if (filter.impossible) conditions.check([](store::Where& where) { where.both("1 = 0"); });
  // Where an index answers two of them, they are one condition.
  std::vector<Conditions::Equal> both;
  std::string kept;
  if (filter.assigned_agent_id) {
    both.push_back({"assigned_agent_id", *filter.assigned_agent_id});
    kept = name_of_count(*filter.assigned_agent_id);
  }
  if (filter.status) {
    both.push_back({"status", *text(filter.status)});
    kept = both.size() > 1 ? std::string() : name_of_count(*filter.status);
  }
  if (both.size() == 1 && filter.status && filter.priority) {
    both.push_back({"priority", *text(filter.priority)});
    kept = name_of_count(*filter.status, *filter.priority);
  } else if (filter.priority) {
    equal("priority", text(filter.priority), name_of_count(*filter.priority));
  }
  if (!both.empty()) conditions.equal(both, {.kept = kept});
  equal("assigned_agent_name", name(filter.assigned_agent_name));
  equal("workflow_id", id(filter.workflow_id));
  if (filter.task_type) {
    equal("task_type", name(filter.task_type), name_of_type_count(*filter.task_type));
  }
  auto const flag = [&](std::string_view column, std::optional<bool> const& wanted) {
    if (!wanted) return;
    if (*wanted) return conditions.set(column);
    conditions.check([column](store::Where& where) { where.both(std::string(column) + " = 0"); });
  };
  flag("is_blocked", filter.is_blocked);
  flag("is_urgent", filter.is_urgent);
  if (filter.search) {
    conditions.contains(*filter.search, kTextIndex, [text = *filter.search](store::Where& where) {
      where.contains({"title", "description"}, text);
    });
  }
  conditions.lists_any("tags", filter.tags, "task_tags");
  return conditions;
}

// A page of what contains a text, if nothing else is asked for, reads the index of texts in the
// order of the list and takes from the table what it finds: it ends early where many contain it.
bool by_text_alone(Session const& session, TaskFilter const& filter) {
  if (!store::has_text_index(session, filter.search)) return false;
  bool const more = filter.impossible || filter.status || filter.priority ||
                    filter.assigned_agent_id || filter.assigned_agent_name || filter.workflow_id ||
                    filter.task_type || filter.is_blocked || filter.is_urgent ||
                    !filter.tags.empty();
  return !more;
}

struct Source {
  std::string_view table = kTable;
  store::Keyset keyset = kNewestFirst;
  store::Where where;
};

Task<Result<Source>> source_of(Session& session, TaskFilter const& filter) {
  Source source;
  if (by_text_alone(session, filter)) {
    source.table = "task_texts CROSS JOIN tasks ON tasks.seq = task_texts.rowid";
    source.keyset.seq = "task_texts.rowid";
    source.where.indexed(kTextIndex, *filter.search);
    co_return source;
  }
  auto where = co_await conditions_of(session, filter).choose(kNewestFirst);
  if (!where) co_return std::unexpected(where.error());
  source.where = std::move(*where);
  co_return source;
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

Task<Result<store::Total>> total_of(Session& session, TaskFilter const& filter) {
  auto const name = kept_count(filter);
  if (!name) co_return co_await conditions_of(session, filter).total(kTaskCountMax);
  auto const count = co_await store::read_count(session, *name);
  if (!count) co_return std::unexpected(count.error());
  co_return store::Total{*count};
}

Task<Result<TaskPage>> page_of(Session& session, TaskFilter const& filter) {
  auto source = co_await source_of(session, filter);
  if (!source) co_return std::unexpected(source.error());
  co_return co_await store::select_page<TaskRecord>(
      session, source->table, source->keyset, std::move(source->where), store::bounds_of(filter));
}

}  // namespace

Task<Result<TaskPage>> Tasks::list(TaskFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) -> Task<Result<TaskPage>> {
    auto const total = co_await total_of(session, filter);
    if (!total) co_return std::unexpected(total.error());
    auto page = co_await page_of(session, filter);
    if (!page) co_return std::unexpected(page.error());
    page->total = total->count;
    page->total_capped = total->capped;
    co_return std::move(*page);
  };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<TaskPage>> Tasks::list_part(TaskFilter filter) {
  auto read = [filter = std::move(filter)](Session& session) { return page_of(session, filter); };
  co_return co_await store_.read(store::ReadCost::scan, std::move(read));
}

Task<Result<std::optional<store::Position>>> Tasks::end_of_page(TaskFilter filter) {
  using End = std::optional<store::Position>;
  auto read = [filter = std::move(filter)](Session& session) -> Task<Result<End>> {
    auto source = co_await source_of(session, filter);
    if (!source) co_return std::unexpected(source.error());
    co_return co_await store::end_of_page(session, source->table, source->keyset,
                                          std::move(source->where), store::bounds_of(filter));
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
