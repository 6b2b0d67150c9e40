#include "domain/history/history_records.hpp"

#include "describe/parse_json.hpp"
#include "domain/history/agent_performance.hpp"

namespace subforge::domain {
namespace {

using describe::Api;

std::int64_t items_in(describe::JsonList const& list) {
  if (list.text == "[]") return 0;
  boost::system::error_code error;
  auto const value = describe::parse_json(list.text, error);
  return !error && value.is_array() ? static_cast<std::int64_t>(value.get_array().size()) : 0;
}

double seconds_between(Timestamp from, Timestamp to) {
  return static_cast<double>(to.micros - from.micros) / 1e6;
}

void fill_duration(std::optional<double>& duration, std::optional<Timestamp> from,
                   std::optional<Timestamp> to) {
  if (!duration && from && to) duration = seconds_between(*from, *to);
}

template <class Record>
void fill_times(Record& record, Timestamp now) {
  if (record.created_at.micros == 0) record.created_at = now;
  record.updated_at = now;
}

}  // namespace

PhaseCounts phase_counts(WorkflowHistory const& run) {
  return {run.phases_total, run.phases_completed, run.phases_failed, run.phases_skipped};
}

TaskCounts task_counts(WorkflowHistory const& run) {
  return {run.tasks_total, run.tasks_completed, run.tasks_failed};
}

void complete(WorkflowHistory& run, Timestamp now) {
  if (run.id == Uuid{}) run.id = Uuid::random();
  if (run.execution_id.empty()) run.execution_id = Uuid::random().to_string();
  if (run.started_at.micros == 0) run.started_at = now;
  fill_duration(run.duration_seconds, run.started_at, run.completed_at);
  run.critical_count = items_in(run.critical);
  fill_times(run, now);
}

void complete(PhaseHistory& phase, Timestamp now) {
  if (phase.id == Uuid{}) phase.id = Uuid::random();
  fill_duration(phase.duration_seconds, phase.started_at, phase.completed_at);
  phase.error_count = items_in(phase.errors);
  phase.warning_count = items_in(phase.warnings);
  fill_times(phase, now);
  phase.sort_at = phase.started_at.value_or(phase.created_at);
}

void complete(HandoffHistory& handoff, Timestamp now) {
  if (handoff.id == Uuid{}) handoff.id = Uuid::random();
  if (handoff.initiated_at.micros == 0) handoff.initiated_at = now;
  fill_duration(handoff.duration_seconds, handoff.initiated_at, handoff.completed_at);
  fill_times(handoff, now);
}

OutcomeCounts OutcomeCounts::of(std::int64_t total, std::int64_t successful, std::int64_t failed) {
  auto const rate = total > 0 ? static_cast<double>(successful) / static_cast<double>(total) : 0.0;
  return {total, successful, failed, rate};
}

OutcomeCounts workflow_outcomes(AgentPerformance const& of) {
  return OutcomeCounts::of(of.workflows_total, of.workflows_successful, of.workflows_failed);
}

OutcomeCounts phase_outcomes(AgentPerformance const& of) {
  return OutcomeCounts::of(of.phases_total, of.phases_successful, of.phases_failed);
}

OutcomeCounts task_outcomes(AgentPerformance const& of) {
  return OutcomeCounts::of(of.tasks_total, of.tasks_successful, of.tasks_failed);
}

double handoff_success_rate(AgentPerformance const& of) {
  auto const ended = of.successful_handoffs + of.failed_handoffs;
  return OutcomeCounts::of(ended, of.successful_handoffs, of.failed_handoffs).success_rate;
}

void write_json(JsonWriter& json, WorkflowHistory const& run) {
  describe::write_record(json, run, Api::v1);
}
void write_json(JsonWriter& json, PhaseHistory const& phase) {
  describe::write_record(json, phase, Api::v1);
}
void write_json(JsonWriter& json, HandoffHistory const& handoff) {
  describe::write_record(json, handoff, Api::v1);
}
void write_json(JsonWriter& json, AgentPerformance const& performance) {
  describe::write_record(json, performance, Api::v1);
}

void workflow_history_schema(JsonWriter& json) {
  describe::write_schema<WorkflowHistory>(json, Api::v1);
}
void phase_history_schema(JsonWriter& json) { describe::write_schema<PhaseHistory>(json, Api::v1); }
void handoff_history_schema(JsonWriter& json) {
  describe::write_schema<HandoffHistory>(json, Api::v1);
}
void agent_performance_schema(JsonWriter& json) {
  describe::write_schema<AgentPerformance>(json, Api::v1);
}

}  // namespace subforge::domain
