// What the history keeps of a run: made from the rows of the workflow at the moment it ends.
#include <algorithm>
#include <map>

#include "domain/history/history.hpp"
#include "domain/workflows/workflow_change.hpp"

namespace subforge::domain {
namespace {

using Names = std::map<Uuid, std::string>;

double seconds_between(Timestamp from, Timestamp to) {
  return static_cast<double>(to.micros - from.micros) / 1e6;
}

RunStatus run_status(WorkflowStatus status) {
  if (status == WorkflowStatus::completed) return RunStatus::completed;
  return status == WorkflowStatus::failed ? RunStatus::failed : RunStatus::cancelled;
}

// A run that was completed by hand, or cancelled, before all was done is a part of one.
std::optional<WorkResult> run_result(Workflow const& w) {
  if (w.status == WorkflowStatus::failed) return WorkResult::failure;
  bool const all = completed_count(w) == total_count(w);
  if (w.status == WorkflowStatus::completed && all) return WorkResult::success;
  if (completed_count(w) > 0) return WorkResult::partial;
  if (w.status == WorkflowStatus::cancelled) return std::nullopt;
  return has_parts(w) ? WorkResult::partial : WorkResult::success;
}

PhaseStatus phase_status(StepStatus status) {
  switch (status) {
    case StepStatus::completed: return PhaseStatus::completed;
    case StepStatus::failed: return PhaseStatus::failed;
    default: return PhaseStatus::skipped;
  }
}

// How many of a step's tasks failed: all but the last, as only what failed is tried again, and that
// one too unless it was completed or called off. A step that was to be tried again when its run
// ended was cancelled without an end of its own.
std::int64_t failed_tasks(WorkflowStep const& step, std::optional<Uuid> called_off) {
  bool const last_failed = step.status == StepStatus::failed
                               ? step.task_id != called_off
                               : step.status == StepStatus::cancelled && !step.completed_at;
  return std::max<std::int64_t>(step.attempts - (last_failed ? 0 : 1), 0);
}

std::string json_list(std::vector<std::string> const& items) {
  std::string text;
  JsonWriter json(text);
  describe::Codec<std::vector<std::string>>::write(json, items);
  return text;
}

std::vector<std::string> dependents_of(Workflow const& w, std::string const& key) {
  std::vector<std::string> keys;
  for (auto const& step : w.steps) {
    if (std::ranges::find(step.dependencies, key) != step.dependencies.end()) {
      keys.push_back(step.key);
    }
  }
  return keys;
}

// The errors of a run or phase: what its failed steps reported last.
void write_error(JsonWriter& json, WorkflowStep const& step) {
  json.begin_object();
  json.member("step", step.key);
  json.member_raw("output", step.output ? std::string_view(step.output->text) : "null");
  json.end_object();
}

// The agents of the steps with their names, and whom else the workflow was assigned to.
std::string agents_json(Workflow const& w, Names const& names) {
  std::string text;
  JsonWriter json(text);
  json.begin_array();
  for (auto const& [id, name] : names) {
    json.begin_object();
    json.member("id", id);
    json.member("name", name);
    json.end_object();
  }
  auto const ids = agent_ids(w.assigned_agents);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    auto const id = Uuid::parse(ids[i]);
    if (ids[i].empty() || (id && names.contains(*id))) continue;
    json.raw(w.assigned_agents.entries[i].text);
  }
  json.end_array();
  return text;
}

WorkflowHistory run_of(Workflow const& w, Names const& names, std::optional<Uuid> called_off) {
  WorkflowHistory run;
  run.id = Uuid::random();
  run.workflow_id = w.id;
  run.execution_id = w.run_id ? w.run_id->to_string() : std::string();
  run.execution_number = w.run_number;
  run.workflow_name = w.name;
  run.workflow_type = w.workflow_type;
  run.project_id = w.project_id;
  run.project_name = w.project_name;
  run.status = run_status(w.status);
  run.final_result = run_result(w);
  run.started_at = w.started_at.value_or(w.updated_at);
  run.completed_at = w.completed_at;
  run.phases_total = w.steps_total;
  run.phases_completed = w.steps_completed;
  run.phases_failed = w.steps_failed;
  run.phases_skipped = w.steps_total - w.steps_completed - w.steps_failed;
  run.tasks_total = w.tasks_total;
  run.tasks_completed = w.tasks_completed + w.steps_completed;
  run.tasks_failed = w.tasks_failed;
  for (auto const& step : w.steps) {
    run.tasks_total += step.attempts;
    run.tasks_failed += failed_tasks(step, called_off);
  }
  run.success_rate = success_rate_of(w) / 100;
  run.quality_score = w.quality_score;
  run.efficiency_score = w.efficiency_score;
  run.agents_assigned.text = agents_json(w, names);
  run.errors.text.clear();
  JsonWriter errors(run.errors.text);
  errors.begin_array();
  for (auto const& step : w.steps) {
    if (step.status == StepStatus::failed) write_error(errors, step);
  }
  errors.end_array();
  run.triggered_by = w.run_by.empty() ? "schedule" : w.run_by;
  run.configuration = w.configuration;
  run.parameters = w.parameters;
  return run;
}

PhaseHistory phase_of(Workflow const& w, WorkflowStep const& step, Uuid run_id, Names const& names,
                      std::optional<Uuid> called_off) {
  PhaseHistory phase;
  phase.id = Uuid::random();
  phase.workflow_history_id = run_id;
  phase.phase_name = step.name;
  phase.phase_type = "step";
  phase.phase_order = step.position;
  phase.status = phase_status(step.status);
  if (step.status == StepStatus::completed) phase.result = WorkResult::success;
  if (step.status == StepStatus::failed) phase.result = WorkResult::failure;
  phase.started_at = step.started_at;
  phase.completed_at = step.completed_at;
  if (step.started_at && step.completed_at) {
    phase.duration_seconds = seconds_between(*step.started_at, *step.completed_at);
  }
  if (step.agent_id) {
    phase.agent_id = step.agent_id->to_string();
    if (auto const name = names.find(*step.agent_id); name != names.end()) {
      phase.agent_name = name->second;
    }
  }
  phase.input.text.clear();
  JsonWriter input(phase.input.text);
  input.begin_object();
  input.member("step", step.key);
  input.member_raw("outputs_of", json_list(step.dependencies));
  input.end_object();
  if (step.output) phase.output = *step.output;
  phase.tasks_total = step.attempts;
  phase.tasks_completed = step.status == StepStatus::completed ? 1 : 0;
  phase.tasks_failed = failed_tasks(step, called_off);
  phase.dependencies.text = json_list(step.dependencies);
  phase.dependents.text = json_list(dependents_of(w, step.key));
  if (step.status == StepStatus::failed) {
    phase.errors.text.clear();
    JsonWriter errors(phase.errors.text);
    errors.begin_array();
    write_error(errors, step);
    errors.end_array();
  }
  return phase;
}

HandoffHistory handoff_of(WorkflowStep const& from, WorkflowStep const& to, Uuid run_id) {
  HandoffHistory handoff;
  handoff.id = Uuid::random();
  handoff.workflow_history_id = run_id;
  handoff.handoff_name = from.name + " to " + to.name;
  handoff.source_phase_name = from.name;
  handoff.target_phase_name = to.name;
  if (from.agent_id) handoff.source_agent_id = from.agent_id->to_string();
  if (to.agent_id) handoff.target_agent_id = to.agent_id->to_string();
  handoff.result = WorkResult::success;
  handoff.initiated_at = *from.completed_at;
  handoff.completed_at = to.started_at;
  handoff.duration_seconds = seconds_between(*from.completed_at, *to.started_at);
  handoff.handoff_data.text.clear();
  JsonWriter data(handoff.handoff_data.text);
  data.begin_object();
  data.member("source_step", from.key);
  data.member("target_step", to.key);
  data.member("output_bytes", from.output ? from.output->text.size() : std::size_t{0});
  data.end_object();
  return handoff;
}

Task<Result<Names>> names_of_agents(store::Session& session, Workflow const& w) {
  Names names;
  for (auto const& step : w.steps) {
    if (!step.agent_id || names.contains(*step.agent_id)) continue;
    auto const name = co_await select_agent_name(session, *step.agent_id);
    if (!name) co_return std::unexpected(name.error());
    names.emplace(*step.agent_id, name->value_or(step.agent_id->to_string()));
  }
  co_return names;
}

}  // namespace

Task<Result<void>> record_finished_run(store::Transaction& transaction, Workflow const& w,
                                       std::optional<Uuid> called_off) {
  auto const names = co_await names_of_agents(transaction.session(), w);
  if (!names) co_return std::unexpected(names.error());
  auto const run = co_await record_run_in(transaction, run_of(w, *names, called_off));
  if (!run) co_return std::unexpected(run.error());
  for (auto const& step : w.steps) {
    auto const phase =
        co_await record_phase_in(transaction, phase_of(w, step, run->id, *names, called_off));
    if (!phase) co_return std::unexpected(phase.error());
    if (!step.started_at) continue;  // Nothing was handed to it.
    for (auto const& key : step.dependencies) {
      auto const from = std::ranges::find(w.steps, key, &WorkflowStep::key);
      auto const handoff =
          co_await record_handoff_in(transaction, handoff_of(*from, step, run->id));
      if (!handoff) co_return std::unexpected(handoff.error());
    }
  }
  co_return {};
}

}  // namespace subforge::domain
