#include "api/workflows_v1.hpp"

#include "api/handler_parts.hpp"
#include "api/listed.hpp"
#include "base/json_writer.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using describe::Api;
using describe::Purpose;
using domain::Workflow;
using domain::WorkflowFilter;
using domain::Workflows;
using domain::WorkflowStatus;
using http::Parameter;
using http::Request;
using http::Response;
using net::Method;

http::Schema const kWorkflowSchema{"WorkflowV1", &domain::workflow_schema_v1};

Response workflow_response(Result<Workflow> const& workflow) {
  if (!workflow) return Response::from(workflow.error());
  auto response = Response::json(domain::to_json(*workflow, Api::v1));
  response.etag = etag_of(workflow->version);
  return response;
}

// Bodies that have a reader of their own.
template <class Body>
std::expected<Body, Response> body_of(Request const& request) {
  return read_body<Body>(request, [](auto const& value, Body& out, describe::Issues& issues) {
    return domain::read_body(value, out, issues);
  });
}

WorkflowFilter workflow_filter_of(Request const& request) {
  WorkflowFilter filter;
  if (auto const status = request.text("status")) {
    filter.status = describe::from_text<WorkflowStatus>(*status);
  }
  filter.type = request.text("workflow_type");
  filter.project_id = request.text("project_id");
  filter.is_template = request.boolean("is_template");
  filter.skip = request.integer("skip");
  filter.limit = request.integer("limit");
  return filter;
}

Task<Response> list_workflows(Workflows& workflows, Request const& request) {
  return listed(workflows, request, workflow_filter_of(request));
}

Task<Response> get_workflow(Workflows& workflows, Request const& request) {
  co_return workflow_response(co_await workflows.get(request.uuid(0)));
}

Task<Response> create_workflow(Workflows& workflows, Request const& request) {
  auto const read = [](auto const& value, Workflow& out, describe::Issues& issues) {
    return domain::read_workflow(value, out, Api::v1, Purpose::create, issues);
  };
  auto draft = read_body<Workflow>(request, read);
  if (!draft) co_return std::move(draft.error());
  co_return co_await pipeline::answer_with(
      request, workflows.create(std::move(*draft), actor_of(request)), workflow_response);
}

Task<Response> create_template(Workflows& workflows, Request const& request) {
  auto body = body_of<domain::WorkflowTemplateBody>(request);
  if (!body) co_return std::move(body.error());
  co_return co_await pipeline::answer_with(
      request, workflows.create_template(std::move(*body), actor_of(request)), workflow_response);
}

Task<Response> update_workflow(Workflows& workflows, Request const& request) {
  auto body = http::parse_json_body(request);
  if (!body) co_return std::move(body.error());
  Workflow scratch;
  describe::Issues issues;
  if (!domain::read_workflow(*body, scratch, Api::v1, Purpose::update, issues)) {
    co_return Response::invalid(issues);
  }
  co_return workflow_response(co_await workflows.update(request.uuid(0), std::move(*body), Api::v1,
                                                        actor_of(request), condition_of(request)));
}

Task<Response> set_workflow_status(Workflows& workflows, Request const& request) {
  auto body = body_of<domain::WorkflowStatusBody>(request);
  if (!body) co_return std::move(body.error());
  co_return workflow_response(co_await workflows.set_status(
      request.uuid(0), std::move(*body), actor_of(request), condition_of(request)));
}

Task<Response> set_workflow_progress(Workflows& workflows, Request const& request) {
  auto body = body_of<domain::WorkflowProgressBody>(request);
  if (!body) co_return std::move(body.error());
  co_return workflow_response(co_await workflows.set_progress(
      request.uuid(0), std::move(*body), actor_of(request), condition_of(request)));
}

Task<Response> add_agent(Workflows& workflows, Request const& request) {
  auto body = body_of<domain::WorkflowAgentBody>(request);
  if (!body) co_return std::move(body.error());
  co_return co_await pipeline::answer_with(
      request,
      workflows.add_agent(request.uuid(0), std::move(*body), actor_of(request),
                          condition_of(request)),
      workflow_response);
}

Task<Response> remove_agent(Workflows& workflows, Request const& request) {
  co_return workflow_response(co_await workflows.remove_agent(
      request.uuid(0), request.path_values[1], actor_of(request), condition_of(request)));
}

Task<Response> execute_workflow(Workflows& workflows, Request const& request) {
  auto body = body_of<domain::WorkflowExecutionBody>(request);
  if (!body) co_return std::move(body.error());
  co_return co_await pipeline::answer_with(
      request,
      workflows.execute(request.uuid(0), std::move(*body), actor_of(request),
                        condition_of(request)),
      workflow_response);
}

Task<Response> start_workflow(Workflows& workflows, Request const& request) {
  co_return workflow_response(
      co_await workflows.execute(request.uuid(0), {}, actor_of(request), condition_of(request)));
}

Task<Response> complete_workflow(Workflows& workflows, Request const& request) {
  domain::WorkflowStatusBody body;
  body.status = WorkflowStatus::completed;
  co_return workflow_response(co_await workflows.set_status(
      request.uuid(0), body, actor_of(request), condition_of(request)));
}

Task<Response> delete_workflow(Workflows& workflows, Request const& request) {
  auto const removed =
      co_await workflows.remove(request.uuid(0), actor_of(request), condition_of(request));
  if (!removed) co_return Response::from(removed.error());
  co_return Response::json(R"({"message":"Workflow deleted successfully"})");
}

// Of a workflow that does not exist there are none.
Task<Response> list_tasks_of_workflow(domain::Tasks& tasks, Request const& request) {
  domain::TaskFilter filter;
  filter.workflow_id = request.uuid(0);
  filter.skip = request.integer("skip");
  filter.limit = request.integer("limit");
  return listed(tasks, request, std::move(filter));
}

Task<Response> workflows_summary(Workflows& workflows, Request const&) {
  auto const summary = co_await workflows.summary();
  if (!summary) co_return Response::from(summary.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total_workflows", summary->total);
  json.member("active_workflows", summary->active);
  json.member("paused_workflows", summary->paused);
  json.member("completed_workflows", summary->completed);
  json.member("failed_workflows", summary->failed);
  json.member("template_workflows", summary->templates);
  json.member("avg_progress", summary->avg_progress);
  json.member("avg_success_rate", summary->avg_success_rate);
  json.end_object();
  co_return response;
}

constexpr describe::Shape kWorkflowsSummary =
    "total_workflows:integer active_workflows:integer paused_workflows:integer"
    " completed_workflows:integer failed_workflows:integer template_workflows:integer"
    " avg_progress:number avg_success_rate:number";

Parameter const kId = uuid_parameter("workflow_id", "The workflow's id.");
http::Answer const kOne{200, "The workflow.", kWorkflowSchema};
http::Answer const kUnknown{404, "There is no such workflow."};
http::Answer const kNoAgent{400, "There is no such agent."};
http::Answer const kRunning{409, "A run that is under way forbids it."};

// What reads, and what makes and removes whole workflows.
template <class With>
void add_record_routes(http::Routes& routes, With const& with) {
  using enum http::Access;
  routes
      .add({.method = Method::get,
            .path = "/",
            .name = "v1_list_workflows",
            .summary = "List workflows, newest first",
            .tag = "workflows v1",
            .handler = with(&list_workflows),
            .access = read,
            .query = {choice_parameter("status", describe::enum_names<WorkflowStatus>(),
                                       "Only workflows in this state."),
                      text_parameter("workflow_type", "Only workflows of this type."),
                      text_parameter("project_id", "Only workflows of this project."),
                      flag_parameter("is_template", "Only templates, or none."),
                      integer_parameter("skip", 0, 0, std::nullopt, "How many to leave out."),
                      integer_parameter("limit", 100, 1, kListLimitMax, "How many at most."),
                      cursor_parameter()},
            .answers = {{200, "The workflows.", kWorkflowSchema, http::Shape::list}}})
      .add({.method = Method::post,
            .path = "/",
            .name = "v1_create_workflow",
            .summary = "Create a workflow",
            .tag = "workflows v1",
            .handler = with(&create_workflow),
            .access = write,
            .body = http::BodySpec{{"WorkflowCreateV1", &domain::workflow_create_schema_v1}},
            .answers = {kOne, kNoAgent}})
      .add({.method = Method::post,
            .path = "/templates",
            .name = "v1_create_workflow_template",
            .summary = "Create a template of workflows",
            .tag = "workflows v1",
            .handler = with(&create_template),
            .access = write,
            .body = http::BodySpec{{"WorkflowTemplateV1", &domain::workflow_template_schema}},
            .answers = {kOne}})
      .add({.method = Method::get,
            .path = "/stats/summary",
            .name = "v1_workflows_summary",
            .summary = "Counts and averages over all workflows",
            .tag = "workflows v1",
            .handler = with(&workflows_summary),
            .access = read,
            .answers = {{200, "The figures.", {"WorkflowsSummaryV1", kWorkflowsSummary}}}})
      .add({.method = Method::get,
            .path = "/{workflow_id}",
            .name = "v1_get_workflow",
            .summary = "Get a workflow",
            .tag = "workflows v1",
            .handler = with(&get_workflow),
            .access = read,
            .path_parameters = {kId},
            .answers = {kOne, kUnknown}})
      .add({.method = Method::put,
            .path = "/{workflow_id}",
            .name = "v1_update_workflow",
            .summary = "Change a workflow; only members that are sent change",
            .tag = "workflows v1",
            .handler = with(&update_workflow),
            .access = write,
            .conditional = true,
            .path_parameters = {kId},
            .body = http::BodySpec{{"WorkflowUpdateV1", &domain::workflow_update_schema_v1}},
            .answers = {kOne, kUnknown}})
      .add({.method = Method::del,
            .path = "/{workflow_id}",
            .name = "v1_delete_workflow",
            .summary = "Delete a workflow; a run under way is cancelled",
            .tag = "workflows v1",
            .handler = with(&delete_workflow),
            .access = write,
            .conditional = true,
            .path_parameters = {kId},
            .answers = {{200, "Deleted.", {"Message", kMessage}}, kUnknown}});
}

// What moves one workflow.
template <class With>
void add_change_routes(http::Routes& routes, With const& with) {
  using enum http::Access;
  auto const add = [&](Method method, char const* path, char const* name, char const* summary,
                       auto handler, std::optional<http::BodySpec> body, http::Answer error) {
    routes.add({.method = method,
                .path = path,
                .name = name,
                .summary = summary,
                .tag = "workflows v1",
                .handler = with(handler),
                .access = write,
                .conditional = true,
                .path_parameters = {kId},
                .body = std::move(body),
                .answers = {kOne, kUnknown, std::move(error)}});
  };
  using Body = http::BodySpec;
  add(Method::patch, "/{workflow_id}/status", "v1_set_workflow_status",
      "Set a workflow's status: paused and active pause and resume a run, running starts one,"
      " completed, failed and cancelled end it",
      &set_workflow_status, Body{{"WorkflowStatusV1", &domain::workflow_status_schema}}, kRunning);
  add(Method::patch, "/{workflow_id}/progress", "v1_set_workflow_progress",
      "Set what steps and tasks of the workflow cannot tell of its progress",
      &set_workflow_progress, Body{{"WorkflowProgressV1", &domain::workflow_progress_schema}},
      kRunning);
  add(Method::post, "/{workflow_id}/agents", "v1_add_workflow_agent",
      "Assign an agent to a workflow", &add_agent,
      Body{{"WorkflowAgentV1", &domain::workflow_agent_schema}}, kNoAgent);
  add(Method::post, "/{workflow_id}/execute", "v1_execute_workflow",
      "Start a workflow, now or at a given time", &execute_workflow,
      Body{{"WorkflowExecutionV1", &domain::workflow_execution_schema}}, kRunning);
  add(Method::patch, "/{workflow_id}/start", "v1_start_workflow",
      "Start a workflow now; another name for execute", &start_workflow, std::nullopt, kRunning);
  add(Method::patch, "/{workflow_id}/complete", "v1_complete_workflow",
      "Complete a workflow; another name for its status", &complete_workflow, std::nullopt,
      kRunning);
  routes.add({.method = Method::del,
              .path = "/{workflow_id}/agents/{agent_id}",
              .name = "v1_remove_workflow_agent",
              .summary = "Take an agent from a workflow",
              .tag = "workflows v1",
              .handler = with(&remove_agent),
              .access = write,
              .conditional = true,
              .path_parameters = {kId, {.name = "agent_id", .doc = "The agent's id."}},
              .answers = {kOne, kUnknown}});
}

}  // namespace

http::Routes workflows_v1(Workflows& workflows, domain::Tasks& tasks) {
  // Binds the service a handler needs; the row shows which handler it is.
  auto const with = [&workflows](auto handler) -> http::AsyncHandler {
    return [&workflows, handler](Request const& request) { return handler(workflows, request); };
  };
  http::Routes routes("/api/v1/workflows");
  add_record_routes(routes, with);
  add_change_routes(routes, with);
  routes.add(
      {.method = Method::get,
       .path = "/{workflow_id}/tasks",
       .name = "v1_list_workflow_tasks",
       .summary = "List the tasks of a workflow, newest first",
       .tag = "workflows v1",
       .handler = http::AsyncHandler(
           [&tasks](Request const& request) { return list_tasks_of_workflow(tasks, request); }),
       .access = http::Access::read,
       .path_parameters = {kId},
       .query = {integer_parameter("skip", 0, 0, std::nullopt, "How many to leave out."),
                 integer_parameter("limit", 1000, 1, kListLimitMax, "How many at most."),
                 cursor_parameter()},
       .answers = {{200, "The tasks.", {"TaskV1", &domain::task_schema_v1}, http::Shape::list}}});
  return routes;
}

}  // namespace subforge::api
