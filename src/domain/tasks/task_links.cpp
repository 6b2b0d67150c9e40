#include "domain/tasks/task_links.hpp"

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/text.hpp"
#include "domain/agents/agents.hpp"
#include "store/record_sql.hpp"

namespace subforge::domain {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

std::string const kSelect =
    "SELECT " + store::column_list<TaskRecord>() + " FROM tasks WHERE id = $1";

std::string subject_of(Uuid const& id) { return "task:" + id.to_string(); }

bool depends_on(TaskRecord const* task, std::string const& id) {
  return task != nullptr && task->depends_on(id);
}

// Whether the dependencies of `from` lead to `to`.
Task<Result<bool>> leads_to(Session& session, Uuid from, Uuid to) {
  std::vector<Uuid> open{from};
  std::unordered_set<std::string> seen{from.to_string()};
  while (!open.empty()) {
    auto const id = open.back();
    open.pop_back();
    if (id == to) co_return true;
    auto const task = co_await select_task(session, id);
    if (!task && task.error().code == ErrorCode::not_found) continue;
    if (!task) co_return std::unexpected(task.error());
    for (auto const& dependency : task->dependencies) {
      auto const next = Uuid::parse(dependency.task_id);
      if (next && seen.insert(next->to_string()).second) open.push_back(*next);
    }
    if (seen.size() > kDependencySearchMax) {
      co_return fail(ErrorCode::too_large, "Too many tasks depend on each other here; at most " +
                                               std::to_string(kDependencySearchMax) +
                                               " are searched for a cycle");
    }
  }
  co_return false;
}

// Puts a task on the list of those that depend on another, or takes it off. A task may depend on
// one that does not exist, or no longer.
Task<Result<void>> link(Transaction& transaction, std::string const& dependency_id,
                        Uuid const& dependent, bool add, Actor const& actor) {
  auto const id = Uuid::parse(dependency_id);
  if (!id) co_return {};
  auto other = co_await select_task(transaction.session(), *id);
  if (!other && other.error().code == ErrorCode::not_found) co_return {};
  if (!other) co_return std::unexpected(other.error());
  auto const text = dependent.to_string();
  bool const listed = std::ranges::find(other->dependents, text) != other->dependents.end();
  if (listed == add) co_return {};
  if (add && other->dependents.size() >= kDependenciesMax) {
    co_return fail(ErrorCode::too_large, "At most " + std::to_string(kDependenciesMax) +
                                             " tasks may depend on task " + dependency_id);
  }
  auto const before = *other;
  if (add) {
    other->dependents.push_back(text);
  } else {
    std::erase(other->dependents, text);
  }
  auto const written =
      co_await write_task(transaction, before, *other, "task.linked", true, {}, actor);
  if (!written) co_return written;
  co_return co_await follow_days(transaction, &before, &*other);
}

// Of the tasks an agent has, the one it works on.
Task<Result<std::optional<CurrentTask>>> next_task(Session& session, Uuid agent) {
  std::optional<CurrentTask> found;
  for (auto const* status : {"in_progress", "pending", "blocked"}) {
    auto const done = co_await session.query(
        "SELECT id, title FROM tasks WHERE assigned_agent_id = $1 AND status = $2"
        " ORDER BY seq LIMIT 1",
        {agent, status},
        [&](Row const& row) { found = CurrentTask{row.uuid(0), std::string(row.text(1))}; });
    if (!done) co_return std::unexpected(done.error());
    if (found) break;
  }
  co_return found;
}

Task<Result<void>> tell_agent(Transaction& transaction, Uuid agent, TaskRecord const* before,
                              TaskRecord const* after, Actor const& actor) {
  auto const has = [agent](TaskRecord const* task) {
    return task != nullptr && task->assigned_agent_id == agent;
  };
  auto const count = [](bool holds) { return holds ? 1 : 0; };
  auto const ended_as = [&](TaskRecord const* task, TaskStatus status) {
    return count(has(task) && task->status == status);
  };
  Agents::WorkChange work;
  // A task that is deleted has been done all the same.
  if (after != nullptr) {
    work.completed =
        ended_as(after, TaskStatus::completed) - ended_as(before, TaskStatus::completed);
    work.failed = ended_as(after, TaskStatus::failed) - ended_as(before, TaskStatus::failed);
  }
  bool const had = has(before) && is_open(before->status);
  bool const keeps = has(after) && is_open(after->status);
  bool const same =
      had && keeps && before->status == after->status && before->title == after->title;
  if (!same && (had || keeps)) {
    if (keeps && after->status == TaskStatus::in_progress) {
      work.current = CurrentTask{after->id, after->title};
    } else {
      auto next = co_await next_task(transaction.session(), agent);
      if (!next) co_return std::unexpected(next.error());
      work.current = std::move(*next);
    }
    if (!work.current) work.ended = (after != nullptr ? after : before)->id;
  }
  if (!work.current && !work.ended && work.completed == 0 && work.failed == 0) co_return {};
  co_return co_await Agents::work_changed_in(transaction, agent, std::move(work), actor);
}

}  // namespace

Task<Result<TaskRecord>> select_task(Session& session, Uuid id) {
  std::optional<TaskRecord> found;
  auto const done = co_await session.query(
      kSelect, {id}, [&](Row const& row) { found = store::read_row<TaskRecord>(row); });
  if (!done) co_return std::unexpected(done.error());
  if (!found) co_return fail(ErrorCode::not_found, "Task not found");
  co_return std::move(*found);
}

store::Event event_about(TaskRecord const& task, std::string kind, Actor const& actor) {
  store::Event event;
  event.kind = std::move(kind);
  event.subject = subject_of(task.id);
  event.actor = actor.user;
  std::vector<std::string> rooms{"tasks", event.subject};
  if (task.assigned_agent_id) rooms.push_back("agent:" + task.assigned_agent_id->to_string());
  if (task.workflow_id) rooms.push_back("workflow:" + task.workflow_id->to_string());
  event.audience = store::Audience::everybody(std::move(rooms));
  event.version = task.version;
  if (task.status == TaskStatus::failed) event.level = LogLevel::error;
  return event;
}

std::string payload_of(TaskRecord const& task, std::string_view extra) {
  std::string payload = "{\"task\":" + stored_json(task);
  if (!extra.empty()) payload.append(",").append(extra);
  payload.push_back('}');
  return payload;
}

Task<Result<void>> write_task(Transaction& transaction, TaskRecord const& before, TaskRecord& task,
                              std::string kind, bool announce, std::string_view extra,
                              Actor const& actor) {
  ++task.version;
  task.updated_at = transaction.now();
  auto const update = store::update_of_changes("tasks", "id", before.id, before, task);
  auto const updated = co_await transaction.execute(update.sql, update.bound.values());
  if (!updated) co_return std::unexpected(updated.error());
  auto event = event_about(task, std::move(kind), actor);
  if (announce) {
    event.payload = payload_of(task, extra);
  } else {
    event.audience = store::Audience::nobody();
  }
  auto const published = co_await transaction.publish(std::move(event));
  if (!published) co_return std::unexpected(published.error());
  co_return {};
}

Task<Result<std::string>> agent_name(Session& session, Uuid id, std::string_view refusal) {
  std::optional<std::string> name;
  auto const done = co_await session.query("SELECT name FROM agents WHERE id = $1", {id},
                                           [&](Row const& row) { name.emplace(row.text(0)); });
  if (!done) co_return std::unexpected(done.error());
  if (!name) co_return fail(ErrorCode::bad_reference, std::string(refusal));
  co_return std::move(*name);
}

Task<Result<void>> follow_dependencies(Transaction& transaction, TaskRecord const* before,
                                       TaskRecord const* after, Actor const& actor) {
  auto const id = (after != nullptr ? after : before)->id;
  if (after != nullptr) {
    if (after->dependencies.size() > kDependenciesMax) {
      co_return fail(ErrorCode::too_large, "A task may depend on at most " +
                                               std::to_string(kDependenciesMax) + " others");
    }
    for (auto const& dependency : after->dependencies) {
      if (depends_on(before, dependency.task_id)) continue;
      auto const other = Uuid::parse(dependency.task_id);
      if (other) {
        auto const cycle = co_await leads_to(transaction.session(), *other, id);
        if (!cycle) co_return std::unexpected(cycle.error());
        if (*cycle) co_return fail(ErrorCode::conflict, "The dependency would make a cycle");
      }
      auto const linked = co_await link(transaction, dependency.task_id, id, true, actor);
      if (!linked) co_return linked;
    }
  }
  if (before == nullptr) co_return {};
  for (auto const& dependency : before->dependencies) {
    if (depends_on(after, dependency.task_id)) continue;
    auto const linked = co_await link(transaction, dependency.task_id, id, false, actor);
    if (!linked) co_return linked;
  }
  co_return {};
}

Task<Result<void>> follow_assignment(Transaction& transaction, TaskRecord const* before,
                                     TaskRecord const* after, Actor const& actor) {
  auto const agent_of = [](TaskRecord const* task) {
    return task != nullptr ? task->assigned_agent_id : std::nullopt;
  };
  auto const old_agent = agent_of(before);
  auto const new_agent = agent_of(after);
  if (old_agent && old_agent != new_agent) {
    auto const told = co_await tell_agent(transaction, *old_agent, before, after, actor);
    if (!told) co_return told;
  }
  if (new_agent) co_return co_await tell_agent(transaction, *new_agent, before, after, actor);
  co_return {};
}

namespace {

// Where a task that has ended counts.
struct EndedOn {
  std::int64_t day = 0;  // Since 1970 (UTC).
  std::string agent;     // In hexadecimal; empty for none.
  bool failed = false;

  friend bool operator==(EndedOn const&, EndedOn const&) = default;
};

std::optional<EndedOn> ended_on(TaskRecord const* task) {
  if (task == nullptr) return std::nullopt;
  if (!task->ended_at) return std::nullopt;
  auto const at = task->ended_at->micros;
  constexpr std::int64_t kDayUs = 86'400'000'000;
  EndedOn ended{at / kDayUs - (at % kDayUs < 0 ? 1 : 0), {}, task->status == TaskStatus::failed};
  if (auto const& agent = task->assigned_agent_id) ended.agent = hex_encode(agent->bytes);
  return ended;
}

}  // namespace

Task<Result<void>> follow_days(Transaction& transaction, TaskRecord const* before,
                               TaskRecord const* after) {
  auto const was = ended_on(before);
  auto const is = ended_on(after);
  if (was == is) co_return {};
  auto const count = [&](EndedOn const& ended, std::int64_t sign) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "INSERT INTO task_days (day, agent, completed, failed) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (day, agent) DO UPDATE SET completed = task_days.completed +"
        " excluded.completed, failed = task_days.failed + excluded.failed",
        {ended.day, ended.agent, ended.failed ? 0 : sign, ended.failed ? sign : 0});
  };
  if (was) {
    if (auto const done = co_await count(*was, -1); !done) co_return std::unexpected(done.error());
    auto const dropped = co_await transaction.execute(
        "DELETE FROM task_days WHERE day = $1 AND agent = $2 AND completed = 0 AND failed = 0",
        {was->day, was->agent});
    if (!dropped) co_return std::unexpected(dropped.error());
  }
  if (is) {
    if (auto const done = co_await count(*is, 1); !done) co_return std::unexpected(done.error());
  }
  co_return {};
}

std::string name_of_count(TaskStatus status) {
  return "tasks.status=" + std::string(describe::to_text(status));
}

std::string name_of_count(TaskPriority priority) {
  return "tasks.priority=" + std::string(describe::to_text(priority));
}

std::string name_of_count(TaskStatus status, TaskPriority priority) {
  return std::string("tasks.status,priority=")
      .append(describe::to_text(status))
      .append(",")
      .append(describe::to_text(priority));
}

std::string name_of_count(Uuid const& agent) { return "task_agents." + hex_encode(agent.bytes); }

std::string name_of_type_count(std::string_view task_type) {
  return std::string("task_types.").append(task_type);
}

void count_task(store::CountChanges& counts, TaskRecord const& task, std::int64_t sign) {
  counts.add("tasks", sign);
  counts.add(name_of_count(task.status), sign);
  counts.add(name_of_count(task.priority), sign);
  counts.add(name_of_count(task.status, task.priority), sign);
  if (task.is_blocked) counts.add("tasks.is_blocked", sign);
  if (task.is_urgent) counts.add("tasks.is_urgent", sign);
  counts.add(task.task_type ? name_of_type_count(*task.task_type) : "task_types", sign);
  if (task.assigned_agent_id) counts.add(name_of_count(*task.assigned_agent_id), sign);
  if (task.status == TaskStatus::completed) {
    counts.add("tasks.completed_minutes", sign * task.actual_duration_minutes.value_or(0));
  }
  counts.add("tasks.progress", sign * std::llround(task.progress_percentage * kProgressUnit));
}

}  // namespace subforge::domain
