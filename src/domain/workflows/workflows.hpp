// What can be done with workflows. Every change goes through the store's one write path: the rows,
// the events that tell of it, the tasks it gives out and the history it makes are committed
// together.
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
#include "domain/workflows/workflow.hpp"
#include "domain/workflows/workflow_bodies.hpp"
#include "domain/workflows/workflow_change.hpp"
#include "realtime/live_event.hpp"
#include "store/listing.hpp"
#include "store/store.hpp"

namespace subforge::domain {

struct WorkflowFilter {
  std::optional<WorkflowStatus> status = {};
  std::optional<std::string> type = {};
  std::optional<std::string> project_id = {};
  std::optional<bool> is_template = {};
  std::optional<store::Position> after = {};  // Only what comes behind it.
  std::optional<std::int64_t> until = {};     // No further than the workflow of this sequence.
  std::int64_t skip = 0;
  std::int64_t limit = 100;
};

using WorkflowPage = store::Page<Workflow>;

struct WorkflowSummary {
  std::int64_t total = 0;
  std::int64_t active = 0;
  std::int64_t paused = 0;
  std::int64_t completed = 0;
  std::int64_t failed = 0;
  std::int64_t templates = 0;
  double avg_progress = 0;
  double avg_success_rate = 0;
};

enum class WithSteps : std::uint8_t { no, yes };

// A task as far as workflows care.
enum class PartState : std::uint8_t { open, completed, failed, cancelled };
struct PartTask {
  std::optional<Uuid> workflow_id;
  PartState state = PartState::open;
};
// A change of a task: without `before` it was made, without `after` it was deleted.
struct PartChange {
  Uuid task_id;
  std::optional<PartTask> before;
  std::optional<PartTask> after;
  std::optional<describe::JsonText> result;  // What was reported with the end.
  bool retold = false;                       // Another result than at the end, afterwards.
};

class Workflows {
 public:
  static constexpr std::int64_t kCountMax = 10'000;
  // Rows one sweep takes up; what is left waits for the next, so that others get their turn.
  static constexpr std::int64_t kSweepBatch = 100;

  // `tasks` is where steps become tasks.
  Workflows(store::Store& store, StepTasks& tasks) : store_(store), tasks_(tasks) {}

  // Error of all that take an id: not_found.
  Task<Result<Workflow>> get(Uuid id, WithSteps with = WithSteps::no);
  // Newest first.
  Task<Result<WorkflowPage>> list(WorkflowFilter filter, WithSteps with = WithSteps::no);
  // The same without the total.
  Task<Result<WorkflowPage>> list_part(WorkflowFilter filter);
  // Where the page behind that of `filter` begins; nothing if none follows.
  Task<Result<std::optional<store::Position>>> end_of_page(WorkflowFilter filter);
  Task<Result<WorkflowSummary>> summary();

  // Errors: bad_reference for an agent that is not there, conflict for a cycle of steps.
  Task<Result<Workflow>> create(Workflow draft, Actor actor);
  Task<Result<Workflow>> create_template(WorkflowTemplateBody body, Actor actor);
  // `body` has been checked against the description before. Errors: as create, stale.
  Task<Result<Workflow>> update(Uuid id, boost::json::value body, describe::Api api, Actor actor,
                                Precondition condition = {});
  Task<Result<Workflow>> set_status(Uuid id, WorkflowStatusBody body, Actor actor,
                                    Precondition condition = {});
  Task<Result<Workflow>> set_progress(Uuid id, WorkflowProgressBody body, Actor actor,
                                      Precondition condition = {});
  // Error: bad_reference for an agent that is not there.
  Task<Result<Workflow>> add_agent(Uuid id, WorkflowAgentBody body, Actor actor,
                                   Precondition condition = {});
  Task<Result<Workflow>> remove_agent(Uuid id, std::string agent_id, Actor actor,
                                      Precondition condition = {});
  // Error: conflict if a run is under way.
  Task<Result<Workflow>> execute(Uuid id, WorkflowExecutionBody body, Actor actor,
                                 Precondition condition = {});
  Task<Result<void>> remove(Uuid id, Actor actor, Precondition condition = {});

  // To be called in the transaction of each change of a task. Errors: too_large, conflict for what
  // must not be done with the task of a step.
  Task<Result<void>> task_changed_in(store::Transaction& transaction, PartChange change,
                                     Actor const& actor);

  // Starts what was scheduled for this moment or before, and ends attempts whose time is up. Tells
  // how many; costs by what is due, not by what is stored.
  Task<Result<std::int64_t>> sweep(Timestamp now);

 private:
  using Edit = std::function<Task<Result<void>>(WorkflowChange&, store::Transaction&)>;
  Task<Result<Workflow>> change(Uuid id, Edit edit, Actor actor, Precondition condition = {});
  Task<Result<void>> attempt_changed_in(store::Transaction& transaction, StepAttempt attempt,
                                        PartChange change, Actor const& actor);
  Task<Result<void>> count_part_in(store::Transaction& transaction, Uuid workflow_id,
                                   std::optional<PartState> before, std::optional<PartState> after,
                                   Actor const& actor);
  Task<Result<void>> start_scheduled(Uuid id, Timestamp now);
  Task<Result<void>> time_out(Uuid id, std::int64_t position, Timestamp now);

  store::Store& store_;
  StepTasks& tasks_;
};

// The questions of a sweep; each is answered from an index of what is due.
inline constexpr std::string_view kScheduledStarts =
    "SELECT id FROM workflows WHERE status = 'scheduled' AND scheduled_at <= $1"
    " ORDER BY scheduled_at LIMIT $2";
inline constexpr std::string_view kLateAttempts =
    "SELECT workflow_id, position FROM workflow_steps WHERE deadline_at <= $1"
    " ORDER BY deadline_at LIMIT $2";

// How workflow events look on the wire, one row per kind.
[[nodiscard]] std::span<realtime::Projection const> workflow_projections();

}  // namespace subforge::domain
