// One workflow inside one write transaction: loaded, changed, advanced as far as its state allows,
// and written back with its events and the tasks that follow from it.
//
// A run's whole state is in the rows, so that a process that dies in the middle loses nothing:
// whatever the next task, timeout or request finds there is what it goes on from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/precondition.hpp"
#include "domain/actor.hpp"
#include "domain/workflows/workflow_rows.hpp"
#include "store/store.hpp"

namespace subforge::domain {

// How an attempt at a step ended. A failed one is made again while retries are left; a cancelled
// one ends the step, because somebody wanted that it is not done.
enum class AttemptEnd : std::uint8_t { completed, failed, cancelled };

// Where steps become tasks.
class StepTasks {
 public:
  // Makes the task `step.task_id`, for the agent of the step, with what the task needs to know.
  virtual Task<Result<void>> give_out(store::Transaction& transaction, Workflow const& workflow,
                                      WorkflowStep const& step, Actor const& actor) = 0;
  // Ends a task that was given out: failed, or cancelled.
  virtual Task<Result<void>> end(store::Transaction& transaction, Uuid task_id, AttemptEnd how,
                                 Actor const& actor) = 0;

 protected:
  ~StepTasks() = default;
};

class WorkflowChange {
 public:
  // Of what one step reported, and of all steps of a run.
  static constexpr std::size_t kStepOutputBytesMax = 64 * 1024;
  static constexpr std::size_t kRunOutputBytesMax = 512 * 1024;

  WorkflowChange(store::Transaction& transaction, StepTasks& tasks, Actor actor)
      : transaction_(transaction), tasks_(tasks), actor_(std::move(actor)) {}

  // Errors: not_found, stale.
  Task<Result<void>> load(Uuid id, Precondition condition = {});
  [[nodiscard]] Workflow& workflow() { return workflow_; }

  // Error: conflict where the run that is under way forbids it.
  Result<void> set_status(WorkflowStatus wanted);
  // Starts a run, or goes on with one that is paused. Error: conflict if it is running already.
  Result<void> start();
  Result<void> schedule(Timestamp at);
  // Error: conflict during a run, or for a cycle.
  Result<void> set_steps(std::vector<WorkflowStep> steps);
  // The attempt under way at a step is over. Error: too_large.
  Result<void> attempt_over(std::size_t step, AttemptEnd end,
                            std::optional<describe::JsonText> output);
  // The attempt took longer than it may; its task is ended, too.
  Result<void> time_out(std::size_t step);
  // The tasks beside the steps have changed.
  void tasks_changed(PartCounts delta, std::int64_t open_delta);

  // An event to be published with the change; without data it carries the whole workflow.
  void announce(std::string kind, std::string data = {});
  // Goes on with the run and writes everything. Nothing if nothing was changed or announced.
  Task<Result<void>> commit();
  [[nodiscard]] Workflow take() && { return std::move(workflow_); }

  // Before its row goes: ends the tasks of a run under way.
  void abandon();

 private:
  struct Announcement {
    std::string kind;
    std::string data;
  };
  struct TaskToEnd {
    Uuid id;
    AttemptEnd how;
  };

  [[nodiscard]] Timestamp now() const { return transaction_.now(); }
  [[nodiscard]] bool releasing() const;
  [[nodiscard]] bool is_ready(WorkflowStep const& step) const;
  void touch(std::size_t step);
  void fail_step(std::size_t step, StepStatus status);
  void finish(WorkflowStatus outcome);
  void complete_by_hand();
  Task<Result<void>> advance();
  Task<Result<bool>> release_ready();  // Whether a step failed on the way.
  Task<Result<void>> write_rows();
  Task<Result<void>> publish();
  Task<Result<void>> touch_tasks();

  store::Transaction& transaction_;
  StepTasks& tasks_;
  Actor actor_;
  Workflow workflow_;
  WorkflowMark before_;
  WorkflowStatus told_status_ = WorkflowStatus::active;  // What viewers have heard last.
  std::vector<bool> touched_;                            // Steps that have changed.
  bool steps_replaced_ = false;
  bool counts_changed_ = false;
  bool finished_ = false;           // The run ended with this change.
  std::optional<Uuid> called_off_;  // The task of a step that was cancelled or deleted.
  std::vector<Announcement> announcements_;
  std::vector<std::size_t> given_out_;
  std::vector<TaskToEnd> to_end_;
};

// The event about a workflow, with its audience; the payload is the caller's.
[[nodiscard]] store::Event workflow_event(Workflow const& workflow, std::string kind,
                                          Actor const& actor);
// Payloads of the events that do not carry the whole workflow.
[[nodiscard]] std::string status_data(Workflow const& workflow, WorkflowStatus old_status);
[[nodiscard]] std::string progress_data(Workflow const& workflow,
                                        std::vector<bool> const& steps = {});
[[nodiscard]] std::string executed_data(Workflow const& workflow);
[[nodiscard]] std::string agent_data(Workflow const& workflow, std::string_view agent_id,
                                     std::optional<std::string> const& agent_name);

// The history row of a run that has just ended, with a phase for each step and a handoff for each
// dependency that was handed over. A step may have failed because its task was called off.
Task<Result<void>> record_finished_run(store::Transaction& transaction, Workflow const& workflow,
                                       std::optional<Uuid> called_off_task);

}  // namespace subforge::domain
