#include "domain/workflows/workflow_bodies.hpp"

#include "domain/workflows/step_graph.hpp"

namespace subforge::domain {
namespace {

using describe::Api;
using describe::Issues;
using describe::Purpose;
using describe::Where;

Where const kBody{nullptr, "body"};

template <class T>
bool read(boost::json::value const& body, T& out, Issues& issues) {
  return describe::read_record(body, out, Api::v2, Purpose::create, kBody, issues);
}

template <class T>
void schema(JsonWriter& json) {
  describe::write_body_schema<T>(json, Api::v2, Purpose::create);
}

}  // namespace

bool read_body(boost::json::value const& body, WorkflowStatusBody& out, Issues& issues) {
  return read(body, out, issues);
}
bool read_body(boost::json::value const& body, WorkflowProgressBody& out, Issues& issues) {
  return read(body, out, issues) && check_task_counts(body.get_object(), kBody, issues);
}
bool read_body(boost::json::value const& body, WorkflowAgentBody& out, Issues& issues) {
  return read(body, out, issues);
}
bool read_body(boost::json::value const& body, WorkflowTemplateBody& out, Issues& issues) {
  return read(body, out, issues);
}
bool read_body(boost::json::value const& body, WorkflowExecutionBody& out, Issues& issues) {
  bool const good = read(body, out, issues);
  auto const* object = body.if_object();
  return object != nullptr && check_agent_entries(*object, false, kBody, issues) && good;
}

void workflow_status_schema(JsonWriter& json) { schema<WorkflowStatusBody>(json); }
void workflow_progress_schema(JsonWriter& json) { schema<WorkflowProgressBody>(json); }
void workflow_agent_schema(JsonWriter& json) { schema<WorkflowAgentBody>(json); }
void workflow_template_schema(JsonWriter& json) { schema<WorkflowTemplateBody>(json); }
void workflow_execution_schema(JsonWriter& json) { schema<WorkflowExecutionBody>(json); }

Workflow workflow_of(WorkflowTemplateBody body) {
  Workflow made;
  made.name = std::move(body.name);
  made.workflow_type = std::move(body.workflow_type);
  made.description = std::move(body.description);
  made.configuration = std::move(body.configuration);
  made.parameters = std::move(body.parameters);
  made.assigned_agents = std::move(body.default_agents);
  made.estimated_duration_hours = body.estimated_duration_hours;
  made.tags = std::move(body.tags);
  made.status = WorkflowStatus::inactive;
  made.is_template = true;
  return made;
}

}  // namespace subforge::domain
