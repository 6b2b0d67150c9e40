#include "domain/workflows/workflow_tasks.hpp"

#include <algorithm>

namespace subforge::domain {
namespace {

// What the task of a step carries beside its description: which attempt at which step it is, the
// workflow's parameters, and the outputs of the steps before it.
std::string task_metadata(Workflow const& workflow, WorkflowStep const& step) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.key("workflow");
  json.begin_object();
  json.member("id", workflow.id);
  json.member("name", workflow.name);
  json.member("run", workflow.run_number);
  json.member("step", step.key);
  json.member("attempt", step.attempts);
  json.member("attempts_max", step.max_retries + 1);
  json.member("deadline_at", *step.deadline_at);
  json.end_object();
  json.member_raw("parameters", workflow.parameters.text);
  json.key("input");
  json.begin_object();
  for (auto const& key : step.dependencies) {
    auto const from = std::ranges::find(workflow.steps, key, &WorkflowStep::key);
    json.key(key);
    describe::Codec<std::optional<describe::JsonText>>::write(json, from->output);
  }
  json.end_object();
  json.end_object();
  return text;
}

PartState state_of(TaskStatus status) {
  if (is_open(status)) return PartState::open;
  if (status == TaskStatus::completed) return PartState::completed;
  return status == TaskStatus::failed ? PartState::failed : PartState::cancelled;
}

std::optional<PartTask> part_of(TaskRecord const* task) {
  if (task == nullptr) return std::nullopt;
  return PartTask{task->workflow_id, state_of(task->status)};
}

// An output is an object: what is none becomes the member of one.
std::optional<describe::JsonText> output_of(TaskRecord const& task) {
  auto const& text = task.result.text;
  if (text == "null") return std::nullopt;
  return describe::JsonText{text.front() == '{' ? text : "{\"result\":" + text + "}"};
}

}  // namespace

Task<Result<void>> WorkflowTasks::give_out(store::Transaction& transaction,
                                           Workflow const& workflow, WorkflowStep const& step,
                                           Actor const& actor) {
  TaskRecord draft;
  draft.id = *step.task_id;
  draft.title = step.name;
  draft.description = step.task_template;
  draft.assigned_agent_id = step.agent_id;
  draft.workflow_id = workflow.id;
  draft.task_type = "workflow_step";
  draft.due_date = step.deadline_at;
  if (auto const& by = actor.user.empty() ? workflow.run_by : actor.user; !by.empty()) {
    draft.created_by = by;
  }
  draft.metadata.text = task_metadata(workflow, step);
  auto const made = co_await tasks_.create_in(transaction, std::move(draft), actor);
  if (!made) co_return std::unexpected(made.error());
  co_return {};
}

Task<Result<void>> WorkflowTasks::end(store::Transaction& transaction, Uuid task_id, AttemptEnd how,
                                      Actor const& actor) {
  TaskStatusBody body;
  body.status = how == AttemptEnd::failed ? TaskStatus::failed : TaskStatus::cancelled;
  auto const ended = co_await tasks_.set_status_in(transaction, task_id, body, actor);
  if (!ended) co_return std::unexpected(ended.error());
  co_return {};
}

Task<Result<void>> WorkflowTasks::task_changed_in(store::Transaction& transaction,
                                                  TaskRecord const* before, TaskRecord const* after,
                                                  Actor const& actor) {
  PartChange change;
  change.task_id = (after != nullptr ? after : before)->id;
  change.before = part_of(before);
  change.after = part_of(after);
  // Only the end of an open task is looked at for what it reported.
  if (before != nullptr && after != nullptr && !is_open(after->status)) {
    bool const ends = is_open(before->status);
    if (ends) change.result = output_of(*after);
    change.retold = !ends && before->result != after->result;
  }
  return workflows_->task_changed_in(transaction, std::move(change), actor);
}

}  // namespace subforge::domain
