// Where workflows and tasks meet: steps are given out as tasks, and what becomes of tasks is told
// to their workflow, both in the transaction that changes the other.
#pragma once

#include "domain/tasks/tasks.hpp"
#include "domain/workflows/workflows.hpp"

namespace subforge::domain {

class WorkflowTasks final : public StepTasks, public TaskWatcher {
 public:
  // Hears of the changes of `tasks` from now on.
  explicit WorkflowTasks(Tasks& tasks) : tasks_(tasks) { tasks_.watch(*this); }
  WorkflowTasks(WorkflowTasks const&) = delete;
  WorkflowTasks& operator=(WorkflowTasks const&) = delete;

  // Before the first change of a task.
  void serve(Workflows& workflows) { workflows_ = &workflows; }

  Task<Result<void>> give_out(store::Transaction& transaction, Workflow const& workflow,
                              WorkflowStep const& step, Actor const& actor) override;
  Task<Result<void>> end(store::Transaction& transaction, Uuid task_id, AttemptEnd how,
                         Actor const& actor) override;
  Task<Result<void>> task_changed_in(store::Transaction& transaction, TaskRecord const* before,
                                     TaskRecord const* after, Actor const& actor) override;

 private:
  Tasks& tasks_;
  Workflows* workflows_ = nullptr;
};

}  // namespace subforge::domain
