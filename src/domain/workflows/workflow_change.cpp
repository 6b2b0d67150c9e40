#include "domain/workflows/workflow_change.hpp"

#include <algorithm>
#include <utility>

#include "domain/workflows/step_graph.hpp"

namespace subforge::domain {
namespace {

double hours_between(Timestamp from, Timestamp to) {
  return static_cast<double>(std::max<std::int64_t>(to.micros - from.micros, 0)) / 3600e6;
}

describe::JsonText error_output(std::string_view sentence) {
  describe::JsonText output;
  output.text.clear();
  JsonWriter json(output.text);
  json.begin_object();
  json.member("error", sentence);
  json.end_object();
  return output;
}

bool is_end(WorkflowStatus status) {
  using enum WorkflowStatus;
  return status == completed || status == failed || status == cancelled;
}

bool any(std::vector<bool> const& flags) { return std::ranges::find(flags, true) != flags.end(); }

std::size_t output_bytes(std::vector<WorkflowStep> const& steps) {
  std::size_t bytes = 0;
  for (auto const& step : steps) bytes += step.output ? step.output->text.size() : 0;
  return bytes;
}

}  // namespace

Task<Result<void>> WorkflowChange::load(Uuid id, Precondition condition) {
  auto loaded = co_await select_workflow(transaction_.session(), id);
  if (!loaded) co_return std::unexpected(loaded.error());
  if (auto met = condition.check(loaded->version); !met) co_return met;
  workflow_ = std::move(*loaded);
  auto const steps = co_await select_steps(transaction_.session(), {&workflow_, 1});
  if (!steps) co_return steps;
  before_ = mark_of(workflow_);
  told_status_ = workflow_.status;
  touched_.assign(workflow_.steps.size(), false);
  co_return {};
}

void WorkflowChange::touch(std::size_t step) { touched_[step] = true; }

bool WorkflowChange::releasing() const {
  bool const going =
      workflow_.status == WorkflowStatus::running || workflow_.status == WorkflowStatus::active;
  return workflow_.run_open && going && !workflow_.is_paused;
}

bool WorkflowChange::is_ready(WorkflowStep const& step) const {
  if (step.status != StepStatus::pending) return false;
  return std::ranges::all_of(step.dependencies, [&](std::string const& key) {
    auto const found = std::ranges::find(workflow_.steps, key, &WorkflowStep::key);
    return found != workflow_.steps.end() && found->status == StepStatus::completed;
  });
}

Result<void> WorkflowChange::set_status(WorkflowStatus wanted) {
  using enum WorkflowStatus;
  auto& w = workflow_;
  if (wanted == running) return start();
  if (wanted == scheduled && w.run_open) {
    return fail(ErrorCode::conflict, "A run of this workflow is under way");
  }
  if (is_end(wanted)) {
    if (w.run_open) {
      finish(wanted);
    } else if (wanted == completed && w.status != completed) {
      complete_by_hand();
    }
  }
  w.status = wanted;
  if (wanted == active || wanted == paused) w.is_paused = wanted == paused;
  return {};
}

Result<void> WorkflowChange::start() {
  using enum WorkflowStatus;
  auto& w = workflow_;
  bool const nothing_to_do = w.steps.empty() && w.tasks_total == 0;
  if (w.run_open && releasing() && !nothing_to_do) {
    return fail(ErrorCode::conflict, "Workflow is already running");
  }
  bool const resumed = w.run_open && !nothing_to_do;
  w.status = running;
  w.is_paused = false;
  if (resumed) return {};
  w.started_at = now();
  w.completed_at.reset();
  if (w.run_open) return {};  // A run without anything to do: its clock starts again.
  w.run_open = true;
  ++w.run_number;
  w.run_id = Uuid::random();
  w.run_by = actor_.user;
  w.steps_completed = w.steps_failed = 0;
  for (std::size_t i = 0; i < w.steps.size(); ++i) {
    auto& step = w.steps[i];
    step.status = StepStatus::pending;
    step.attempts = 0;
    step.task_id.reset();
    step.deadline_at.reset();
    step.started_at.reset();
    step.completed_at.reset();
    step.output.reset();
    touch(i);
  }
  return {};
}

Result<void> WorkflowChange::schedule(Timestamp at) {
  if (auto set = set_status(WorkflowStatus::scheduled); !set) return set;
  workflow_.scheduled_at = at;
  return {};
}

Result<void> WorkflowChange::set_steps(std::vector<WorkflowStep> steps) {
  auto& w = workflow_;
  if (w.run_open) {
    return fail(ErrorCode::conflict, "Steps cannot be changed while a run is under way");
  }
  if (auto good = check_acyclic(steps); !good) return good;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    steps[i].workflow_id = w.id;
    steps[i].position = static_cast<std::int64_t>(i);
  }
  w.steps = std::move(steps);
  w.steps_total = static_cast<std::int64_t>(w.steps.size());
  w.steps_completed = w.steps_failed = 0;
  touched_.assign(w.steps.size(), false);
  steps_replaced_ = true;
  return {};
}

void WorkflowChange::fail_step(std::size_t index, StepStatus status) {
  auto& step = workflow_.steps[index];
  step.status = status;
  step.completed_at = now();
  ++workflow_.steps_failed;
  touch(index);
}

Result<void> WorkflowChange::attempt_over(std::size_t index, AttemptEnd end,
                                          std::optional<describe::JsonText> output) {
  auto& step = workflow_.steps[index];
  auto const bytes = output ? output->text.size() : 0;
  auto const others = output_bytes(workflow_.steps) - (step.output ? step.output->text.size() : 0);
  if (bytes > kStepOutputBytesMax || others + bytes > kRunOutputBytesMax) {
    return fail(ErrorCode::too_large,
                "A step's result may have " + std::to_string(kStepOutputBytesMax) +
                    " bytes, all results of a run " + std::to_string(kRunOutputBytesMax));
  }
  step.deadline_at.reset();
  step.output = std::move(output);
  touch(index);
  if (end == AttemptEnd::completed) {
    step.status = StepStatus::completed;
    step.completed_at = now();
    ++workflow_.steps_completed;
  } else if (end == AttemptEnd::failed && step.attempts <= step.max_retries) {
    step.status = StepStatus::pending;
  } else {
    if (end == AttemptEnd::cancelled) called_off_ = step.task_id;
    fail_step(index, StepStatus::failed);
  }
  return {};
}

Result<void> WorkflowChange::time_out(std::size_t index) {
  auto const& step = workflow_.steps[index];
  auto const reason = "Timed out after " + std::to_string(step.timeout) + " seconds";
  to_end_.push_back({*step.task_id, AttemptEnd::failed});
  return attempt_over(index, AttemptEnd::failed, error_output(reason));
}

void WorkflowChange::tasks_changed(PartCounts delta, std::int64_t open_delta) {
  auto& w = workflow_;
  w.tasks_total += delta.total;
  w.tasks_completed += delta.completed;
  w.tasks_failed += delta.failed;
  w.tasks_open += open_delta;
  counts_changed_ = true;
}

void WorkflowChange::complete_by_hand() {
  auto& w = workflow_;
  w.completed_at = now();
  w.base_progress = 100;
  if (w.started_at) w.actual_duration_hours = hours_between(*w.started_at, now());
  if (w.base_total > 0) {
    w.base_success = std::min(
        100.0, static_cast<double>(w.base_completed) / static_cast<double>(w.base_total) * 100);
  }
}

void WorkflowChange::finish(WorkflowStatus outcome) {
  auto& w = workflow_;
  for (std::size_t i = 0; i < w.steps.size(); ++i) {
    auto& step = w.steps[i];
    if (step.status != StepStatus::running && step.status != StepStatus::pending) continue;
    if (step.status == StepStatus::running) {
      to_end_.push_back({*step.task_id, AttemptEnd::cancelled});
      step.completed_at = now();
    }
    step.status = StepStatus::cancelled;
    step.deadline_at.reset();
    touch(i);
  }
  std::erase_if(given_out_,
                [&](std::size_t i) { return w.steps[i].status == StepStatus::cancelled; });
  if (outcome == WorkflowStatus::completed) complete_by_hand();
  w.completed_at = now();
  if (w.started_at) w.actual_duration_hours = hours_between(*w.started_at, now());
  w.run_open = false;
  w.is_paused = false;
  w.status = outcome;
  finished_ = true;
}

void WorkflowChange::abandon() {
  if (workflow_.run_open) finish(WorkflowStatus::cancelled);
}

Task<Result<bool>> WorkflowChange::release_ready() {
  auto& w = workflow_;
  bool failed = false;
  for (std::size_t i = 0; i < w.steps.size(); ++i) {
    auto& step = w.steps[i];
    if (!is_ready(step)) continue;
    if (step.agent_id) {
      auto const agent = co_await select_agent_name(transaction_.session(), *step.agent_id);
      if (!agent) co_return std::unexpected(agent.error());
      if (!*agent) {
        step.output = error_output("Agent " + step.agent_id->to_string() + " not found");
        fail_step(i, StepStatus::failed);
        failed = true;
        continue;
      }
    }
    step.status = StepStatus::running;
    ++step.attempts;
    step.task_id = Uuid::random();
    step.output.reset();
    if (!step.started_at) step.started_at = now();
    step.deadline_at = Timestamp{now().micros + step.timeout * 1'000'000};
    touch(i);
    given_out_.push_back(i);
  }
  co_return failed;
}

Task<Result<void>> WorkflowChange::advance() {
  auto& w = workflow_;
  if (!w.run_open) co_return {};
  auto const has = [&](StepStatus status) {
    return std::ranges::find(w.steps, status, &WorkflowStep::status) != w.steps.end();
  };
  if (!has(StepStatus::failed) && releasing()) {
    auto const failed = co_await release_ready();
    if (!failed) co_return std::unexpected(failed.error());
  }
  if (has(StepStatus::failed)) {
    // What this change itself was about to give out never becomes a task.
    std::vector<std::size_t> const unmade = std::exchange(given_out_, {});
    for (auto const i : unmade) {
      w.steps[i].status = StepStatus::pending;
      --w.steps[i].attempts;
      w.steps[i].task_id.reset();
      if (w.steps[i].attempts == 0) w.steps[i].started_at.reset();
    }
    finish(WorkflowStatus::failed);
  } else if (has_parts(w) && !has(StepStatus::pending) && !has(StepStatus::running) &&
             w.tasks_open == 0) {
    finish(w.tasks_failed > 0 ? WorkflowStatus::failed : WorkflowStatus::completed);
  }
  co_return {};
}

void WorkflowChange::announce(std::string kind, std::string data) {
  announcements_.push_back({std::move(kind), std::move(data)});
  told_status_ = workflow_.status;
}

Task<Result<void>> WorkflowChange::write_rows() {
  auto& w = workflow_;
  ++w.version;
  w.updated_at = now();
  auto const updated = co_await update_workflow(transaction_, before_, w);
  if (!updated) co_return updated;
  if (steps_replaced_) {
    auto const replaced = co_await replace_steps(transaction_, w);
    if (!replaced) co_return replaced;
  } else {
    for (std::size_t i = 0; i < w.steps.size(); ++i) {
      if (!touched_[i]) continue;
      auto const saved = co_await update_step(transaction_, w.steps[i]);
      if (!saved) co_return saved;
    }
  }
  for (auto const i : given_out_) {
    auto const& step = w.steps[i];
    auto const kept =
        co_await insert_attempt(transaction_, *step.task_id, {w.id, step.position, step.attempts});
    if (!kept) co_return kept;
  }
  if (finished_) co_return co_await record_finished_run(transaction_, w, called_off_);
  co_return {};
}

Task<Result<void>> WorkflowChange::publish() {
  auto const moved = any(touched_);
  if (moved || counts_changed_) {
    announcements_.push_back({"workflow.progress", progress_data(workflow_, touched_)});
  }
  if (workflow_.status != told_status_) {
    announcements_.push_back({"workflow.status", status_data(workflow_, told_status_)});
  }
  for (auto& announcement : announcements_) {
    auto event = workflow_event(workflow_, std::move(announcement.kind), actor_);
    if (event.kind == "workflow.status" && workflow_.status == WorkflowStatus::failed) {
      event.level = LogLevel::error;
    }
    event.payload = announcement.data.empty() ? "{\"workflow\":" + stored_json(workflow_) + "}"
                                              : std::move(announcement.data);
    auto const published = co_await transaction_.publish(std::move(event));
    if (!published) co_return std::unexpected(published.error());
  }
  co_return {};
}

// Last, because each of these is heard as a change of a task: what is read then must be all of this
// change.
Task<Result<void>> WorkflowChange::touch_tasks() {
  for (auto const& task : to_end_) {
    auto const ended = co_await tasks_.end(transaction_, task.id, task.how, actor_);
    if (!ended) co_return ended;
  }
  for (auto const i : given_out_) {
    auto const given =
        co_await tasks_.give_out(transaction_, workflow_, workflow_.steps[i], actor_);
    if (!given) co_return given;
  }
  co_return {};
}

Task<Result<void>> WorkflowChange::commit() {
  auto const advanced = co_await advance();
  if (!advanced) co_return advanced;
  bool const moved = any(touched_) || counts_changed_ || finished_;
  if (!moved && announcements_.empty()) co_return {};
  auto const written = co_await write_rows();
  if (!written) co_return written;
  auto const published = co_await publish();
  if (!published) co_return published;
  co_return co_await touch_tasks();
}

}  // namespace subforge::domain
