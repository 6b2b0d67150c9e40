// Bodies of requests about workflows that are not a workflow themselves.
#pragma once

#include <optional>
#include <string>

#include "domain/workflows/workflow.hpp"

namespace subforge::domain {

// PATCH /workflows/{id}/status
struct WorkflowStatusBody {
  WorkflowStatus status = WorkflowStatus::active;
  std::optional<double> progress_percentage;
  static constexpr auto describe() {
    using describe::field;
    using B = WorkflowStatusBody;
    return describe::fields(
        field("status", &B::status).required().writable(),
        field("progress_percentage", &B::progress_percentage).range(0, 100).writable());
  }
};

// PATCH /workflows/{id}/progress
struct WorkflowProgressBody {
  double progress_percentage = 0;
  std::optional<std::int64_t> total_tasks;
  std::optional<std::int64_t> completed_tasks;
  std::optional<std::int64_t> failed_tasks;
  static constexpr auto describe() {
    using describe::field;
    using B = WorkflowProgressBody;
    return describe::fields(
        field("progress_percentage", &B::progress_percentage).range(0, 100).required().writable(),
        field("total_tasks", &B::total_tasks).range(0, std::nullopt).writable(),
        field("completed_tasks", &B::completed_tasks).range(0, std::nullopt).writable(),
        field("failed_tasks", &B::failed_tasks).range(0, std::nullopt).writable());
  }
};

// POST /workflows/{id}/agents
struct WorkflowAgentBody {
  std::string agent_id;
  std::optional<std::string> agent_name;
  static constexpr auto describe() {
    using describe::field;
    using B = WorkflowAgentBody;
    return describe::fields(field("agent_id", &B::agent_id).length(1, 255).required().writable(),
                            field("agent_name", &B::agent_name)
                                .length(0, 255)
                                .writable()
                                .doc("Shown instead of the agent's own name."));
  }
};

// POST /workflows/templates
struct WorkflowTemplateBody {
  std::string name;
  std::string workflow_type;
  std::optional<std::string> description;
  describe::JsonText configuration;
  describe::JsonText parameters;
  AssignedAgents default_agents;
  std::optional<double> estimated_duration_hours;
  std::vector<std::string> tags;
  static constexpr auto describe() {
    using describe::field;
    using B = WorkflowTemplateBody;
    return describe::fields(
        field("name", &B::name).length(1, 255).required().writable(),
        field("workflow_type", &B::workflow_type).length(0, 100).required().writable(),
        field("description", &B::description).writable(),
        field("configuration", &B::configuration).writable(),
        field("parameters", &B::parameters).writable(),
        field("default_agents", &B::default_agents).writable(),
        field("estimated_duration_hours", &B::estimated_duration_hours).writable().above(0),
        field("tags", &B::tags).writable());
  }
};

// POST /workflows/{id}/execute
struct WorkflowExecutionBody {
  std::optional<Uuid> workflow_id;  // Repeats the path; not compared.
  std::optional<describe::JsonText> parameters;
  std::optional<Timestamp> scheduled_at;
  std::optional<AssignedAgents> assigned_agents;
  static constexpr auto describe() {
    using describe::field;
    using B = WorkflowExecutionBody;
    return describe::fields(
        field("workflow_id", &B::workflow_id).writable(),
        field("parameters", &B::parameters)
            .writable()
            .doc("Merged into the workflow's parameters, key by key."),
        field("scheduled_at", &B::scheduled_at).writable().doc("When to start; now if not given."),
        field("assigned_agents", &B::assigned_agents)
            .writable()
            .doc("Replaces the list of the workflow unless empty."));
  }
};

bool read_body(boost::json::value const& body, WorkflowStatusBody& out, describe::Issues& issues);
bool read_body(boost::json::value const& body, WorkflowProgressBody& out, describe::Issues& issues);
bool read_body(boost::json::value const& body, WorkflowAgentBody& out, describe::Issues& issues);
bool read_body(boost::json::value const& body, WorkflowTemplateBody& out, describe::Issues& issues);
bool read_body(boost::json::value const& body, WorkflowExecutionBody& out,
               describe::Issues& issues);
void workflow_status_schema(JsonWriter& json);
void workflow_progress_schema(JsonWriter& json);
void workflow_agent_schema(JsonWriter& json);
void workflow_template_schema(JsonWriter& json);
void workflow_execution_schema(JsonWriter& json);

[[nodiscard]] Workflow workflow_of(WorkflowTemplateBody body);

}  // namespace subforge::domain
