// How one agent performed over one period: computed from the history, one row per agent, period and
// time of asking. What the history cannot tell is null.
#pragma once

#include <optional>
#include <string>

#include "base/time.hpp"
#include "base/uuid.hpp"
#include "describe/record.hpp"

namespace subforge::domain {

// How many of a thing there were and how they went; `success_rate` is a fraction of 1.
struct OutcomeCounts {
  std::int64_t total = 0;
  std::int64_t successful = 0;
  std::int64_t failed = 0;
  double success_rate = 0;
  static constexpr auto describe() {
    using describe::field;
    using O = OutcomeCounts;
    return describe::fields(
        field("total", &O::total).writable(), field("successful", &O::successful).writable(),
        field("failed", &O::failed).writable(), field("success_rate", &O::success_rate).writable());
  }
  [[nodiscard]] static OutcomeCounts of(std::int64_t total, std::int64_t successful,
                                        std::int64_t failed);
};

struct AgentPerformance {
  Uuid id;
  std::string agent_id;
  std::string agent_name;
  std::optional<std::string> agent_type;
  Timestamp period_start;
  Timestamp period_end;
  std::string period_type{"day"};
  std::int64_t workflows_total = 0;
  std::int64_t workflows_successful = 0;
  std::int64_t workflows_failed = 0;
  std::int64_t phases_total = 0;
  std::int64_t phases_successful = 0;
  std::int64_t phases_failed = 0;
  std::int64_t tasks_total = 0;
  std::int64_t tasks_successful = 0;
  std::int64_t tasks_failed = 0;
  double active_seconds = 0;
  std::optional<double> average_task_seconds;
  std::optional<double> average_phase_seconds;
  std::optional<double> average_quality_score;
  std::optional<double> average_performance_score;
  std::optional<double> consistency_score;
  double utilization_percentage = 0;
  double idle_seconds = 0;
  std::int64_t overload_incidents = 0;
  std::int64_t total_errors = 0;
  std::int64_t total_warnings = 0;
  std::int64_t critical_issues = 0;
  std::optional<double> average_cpu_usage;
  std::optional<double> average_memory_usage;
  describe::JsonText peak_resource_usage;
  std::int64_t successful_handoffs = 0;
  std::int64_t failed_handoffs = 0;
  std::optional<double> average_handoff_seconds;
  describe::JsonText task_category_performance;
  describe::JsonText skill_proficiency_scores;
  std::optional<std::string> performance_trend;
  std::optional<double> trend_confidence;
  std::optional<double> learning_rate;
  std::optional<double> adaptation_score;
  std::optional<double> improvement_rate;
  Timestamp created_at;
  Timestamp updated_at;
  Timestamp calculated_at;

  static constexpr auto describe();
};

[[nodiscard]] OutcomeCounts workflow_outcomes(AgentPerformance const& of);
[[nodiscard]] OutcomeCounts phase_outcomes(AgentPerformance const& of);
[[nodiscard]] OutcomeCounts task_outcomes(AgentPerformance const& of);
[[nodiscard]] double handoff_success_rate(AgentPerformance const& of);

constexpr auto AgentPerformance::describe() {
  using describe::field;
  using describe::property;
  using P = AgentPerformance;
  return describe::fields(
      field("id", &P::id), field("agent_id", &P::agent_id).v1({.out = "agent.id"}),
      field("agent_name", &P::agent_name).v1({.out = "agent.name"}),
      field("agent_type", &P::agent_type)
          .v1({.out = "agent.type"})
          .doc("Null for an agent that is not registered."),
      field("period_start", &P::period_start).v1({.out = "period.start"}),
      field("period_end", &P::period_end).v1({.out = "period.end"}),
      field("period_type", &P::period_type).v1({.out = "period.type"}),
      property("workflows", &workflow_outcomes).v1({.out = "performance.workflows"}),
      property("phases", &phase_outcomes).v1({.out = "performance.phases"}),
      property("tasks", &task_outcomes).v1({.out = "performance.tasks"}),
      field("workflows_total", &P::workflows_total).internal(),
      field("workflows_successful", &P::workflows_successful).internal(),
      field("workflows_failed", &P::workflows_failed).internal(),
      field("phases_total", &P::phases_total).internal(),
      field("phases_successful", &P::phases_successful).internal(),
      field("phases_failed", &P::phases_failed).internal(),
      field("tasks_total", &P::tasks_total).internal(),
      field("tasks_successful", &P::tasks_successful).internal(),
      field("tasks_failed", &P::tasks_failed).internal(),
      field("active_seconds", &P::active_seconds)
          .v1({.out = "time_metrics.total_active_time_seconds"}),
      field("average_task_seconds", &P::average_task_seconds)
          .v1({.out = "time_metrics.average_task_duration_seconds"}),
      field("average_phase_seconds", &P::average_phase_seconds)
          .v1({.out = "time_metrics.average_phase_duration_seconds"}),
      field("average_quality_score", &P::average_quality_score)
          .v1({.out = "quality_metrics.average_quality_score"}),
      field("average_performance_score", &P::average_performance_score)
          .v1({.out = "quality_metrics.average_performance_score"}),
      field("consistency_score", &P::consistency_score)
          .v1({.out = "quality_metrics.consistency_score"})
          .doc("1 minus the phases' spread of duration over its mean, at least 0; null below two."),
      field("utilization_percentage", &P::utilization_percentage)
          .v1({.out = "utilization.utilization_percentage"}),
      field("idle_seconds", &P::idle_seconds).v1({.out = "utilization.idle_time_seconds"}),
      field("overload_incidents", &P::overload_incidents)
          .v1({.out = "utilization.overload_incidents"})
          .doc("Phases that began while another of the agent's was still going on."),
      field("total_errors", &P::total_errors).v1({.out = "issues.total_errors"}),
      field("total_warnings", &P::total_warnings).v1({.out = "issues.total_warnings"}),
      field("critical_issues", &P::critical_issues)
          .v1({.out = "issues.critical_issues"})
          .doc("Of the runs the agent took part in."),
      field("average_cpu_usage", &P::average_cpu_usage)
          .v1({.out = "resource_usage.average_cpu_usage"})
          .doc("Null: agents run elsewhere and do not report it."),
      field("average_memory_usage", &P::average_memory_usage)
          .v1({.out = "resource_usage.average_memory_usage"})
          .doc("Null: agents run elsewhere and do not report it."),
      field("peak_resource_usage", &P::peak_resource_usage)
          .v1({.out = "resource_usage.peak_resource_usage"}),
      field("successful_handoffs", &P::successful_handoffs)
          .v1({.out = "collaboration.successful_handoffs"}),
      field("failed_handoffs", &P::failed_handoffs).v1({.out = "collaboration.failed_handoffs"}),
      field("average_handoff_seconds", &P::average_handoff_seconds)
          .v1({.out = "collaboration.average_handoff_time_seconds"}),
      property("handoff_success_rate", &handoff_success_rate)
          .v1({.out = "collaboration.handoff_success_rate"}),
      field("task_category_performance", &P::task_category_performance)
          .v1({.out = "specialization.task_category_performance"})
          .doc("Per type of phase: how many, and the fraction that succeeded."),
      field("skill_proficiency_scores", &P::skill_proficiency_scores)
          .v1({.out = "specialization.skill_proficiency_scores"})
          .doc("Empty: nothing measures skills."),
      field("performance_trend", &P::performance_trend)
          .v1({.out = "trends.performance_trend"})
          .doc("improving, declining or stable against the agent's period of this type before;"
               " null without one."),
      field("trend_confidence", &P::trend_confidence)
          .v1({.out = "trends.trend_confidence"})
          .doc("Null: two periods tell of a direction, not how sure it is."),
      field("learning_rate", &P::learning_rate)
          .v1({.out = "trends.learning_rate"})
          .doc("Null: nothing measures it."),
      field("adaptation_score", &P::adaptation_score)
          .v1({.out = "trends.adaptation_score"})
          .doc("Null: nothing measures it."),
      field("improvement_rate", &P::improvement_rate)
          .v1({.out = "trends.improvement_rate"})
          .doc("The phases' success rate less that of the period before."),
      field("created_at", &P::created_at), field("updated_at", &P::updated_at),
      field("calculated_at", &P::calculated_at));
}

void write_json(JsonWriter& json, AgentPerformance const& performance);
void agent_performance_schema(JsonWriter& json);

}  // namespace subforge::domain
