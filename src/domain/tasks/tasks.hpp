// What can be done with tasks. Whatever a change brings with it, for the agent that has the task,
// for tasks that depend on it and for its workflow, is committed with it in one transaction.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <boost/json/value.hpp>

#include "base/precondition.hpp"
#include "domain/actor.hpp"
#include "domain/tasks/task.hpp"
#include "domain/tasks/task_bodies.hpp"
#include "realtime/live_event.hpp"
#include "store/listing.hpp"
#include "store/store.hpp"

namespace subforge::domain {

struct TaskFilter {
  std::optional<TaskStatus> status = {};
  std::optional<TaskPriority> priority = {};
  bool impossible = false;  // A filter value that nothing can match.
  std::optional<Uuid> assigned_agent_id = {};
  std::optional<std::string> assigned_agent_name = {};  // Of tasks without an agent's id.
  std::optional<Uuid> workflow_id = {};
  std::optional<std::string> task_type = {};
  std::optional<bool> is_blocked = {};
  std::optional<bool> is_urgent = {};
  std::vector<std::string> tags = {};      // Any of them.
  std::optional<std::string> search = {};  // Part of title or description, whatever the case.
  std::int64_t skip = 0;
  std::int64_t limit = 100;
  std::optional<store::Position> after = {};
  std::optional<std::int64_t> until = {};  // No further than the task of this sequence.
};

using TaskPage = store::Page<TaskRecord>;  // Newest first.

inline constexpr std::int64_t kTaskCountMax = 10'000;

struct TaskSummary {
  std::int64_t total = 0;
  std::int64_t pending = 0;
  std::int64_t in_progress = 0;
  std::int64_t completed = 0;
  std::int64_t failed = 0;
  std::int64_t blocked = 0;  // By the flag, as `urgent`.
  std::int64_t urgent = 0;
  double avg_progress = 0;
  double completion_rate = 0;  // Percent of all.
};

// Hears of every change to a task within the transaction that makes it; an error undoes both.
class TaskWatcher {
 public:
  // Without `before` the task was made, without `after` it was deleted.
  virtual Task<Result<void>> task_changed_in(store::Transaction& transaction,
                                             TaskRecord const* before, TaskRecord const* after,
                                             Actor const& actor) = 0;

 protected:
  ~TaskWatcher() = default;
};

class Tasks {
 public:
  explicit Tasks(store::Store& store) : store_(store) {}

  // Before the first change; must outlive this.
  void watch(TaskWatcher& watcher) { watcher_ = &watcher; }

  // Error of all that take an id: not_found.
  Task<Result<TaskRecord>> get(Uuid id);
  Task<Result<TaskPage>> list(TaskFilter filter);
  // The same without the total, and where that page ends: for lists that are sent in pieces.
  Task<Result<TaskPage>> list_part(TaskFilter filter);
  Task<Result<std::optional<store::Position>>> end_of_page(TaskFilter filter);
  Task<Result<TaskSummary>> summary();

  // Error: bad_reference for an agent that does not exist.
  Task<Result<TaskRecord>> create(TaskRecord draft, Actor actor);
  // `body` has been checked against the description before. Errors: as create; conflict for a
  // dependency that leads back to the task.
  Task<Result<TaskRecord>> update(Uuid id, boost::json::value body, describe::Api api, Actor actor,
                                  Precondition condition = {});
  Task<Result<TaskRecord>> set_status(Uuid id, TaskStatusBody body, Actor actor,
                                      Precondition condition = {});
  Task<Result<TaskRecord>> set_progress(Uuid id, TaskProgressBody body, Actor actor,
                                        Precondition condition = {});
  Task<Result<TaskRecord>> assign(Uuid id, TaskAssignBody body, Actor actor,
                                  Precondition condition = {});
  // The agent says how it went: completed or failed.
  Task<Result<TaskRecord>> report(Uuid id, TaskStatus status, TaskReportBody body, Actor actor,
                                  Precondition condition = {});
  // Error: bad_reference for a task that does not exist, conflict for a cycle.
  Task<Result<TaskRecord>> add_dependency(Uuid id, std::string dependency_id, Actor actor,
                                          Precondition condition = {});
  Task<Result<TaskRecord>> remove_dependency(Uuid id, std::string dependency_id, Actor actor,
                                             Precondition condition = {});
  // All or none; error bad_reference if one of them does not exist or is named twice.
  Task<Result<std::vector<TaskRecord>>> bulk_update(TaskBulkBody body, Actor actor);
  Task<Result<void>> remove(Uuid id, Actor actor, Precondition condition = {});

  // Inside somebody else's transaction. A draft with an id keeps it.
  Task<Result<TaskRecord>> create_in(store::Transaction& transaction, TaskRecord draft,
                                     Actor const& actor);
  Task<Result<TaskRecord>> set_status_in(store::Transaction& transaction, Uuid id,
                                         TaskStatusBody const& body, Actor const& actor);

 private:
  // The event that tells of a change.
  struct News {
    std::string kind;  // Empty: nothing changed, nothing is written.
    bool announce = true;
    std::string extra = {};  // Members of the payload beside the task, as JSON without braces.
  };
  // Changes the task; may look things up with the transaction.
  using EditTask = std::function<Task<Result<News>>(store::Transaction&, TaskRecord&)>;

  Task<Result<TaskRecord>> change(Uuid id, EditTask edit, Actor actor, Precondition condition);
  Task<Result<TaskRecord>> change_in(store::Transaction& transaction, Uuid id, EditTask const& edit,
                                     Actor const& actor, Precondition const& condition);
  // All that a change brings with it beside the task's own row and event.
  Task<Result<void>> follow_in(store::Transaction& transaction, TaskRecord const* before,
                               TaskRecord const* after, Actor const& actor);

  store::Store& store_;
  TaskWatcher* watcher_ = nullptr;
};

// How task events look on the wire, one row per kind.
[[nodiscard]] std::span<realtime::Projection const> task_projections();

}  // namespace subforge::domain
