#include "api/workflows_v2.hpp"

#include <fmt/format.h>

#include "api/handler_parts.hpp"
#include "api/listed.hpp"
#include "base/json_writer.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using describe::Api;
using describe::Purpose;
using domain::WithSteps;
using domain::Workflow;
using domain::Workflows;
using domain::WorkflowStatus;
using http::ClientKey;
using http::Parameter;
using http::Request;
using http::Response;
using net::Method;

// With all the outputs a run may have (WorkflowChange::kRunOutputBytesMax) a page stays within
// what is worth holding in memory.
constexpr std::int64_t kPageLimitMax = 200;

http::Schema const kWorkflowSchema{"WorkflowV2", &domain::workflow_schema_v2};

Response unknown_workflow(std::string_view id) {
  return Response::problem(404, fmt::format("Workflow {} not found", id));
}

// The error of something done to the workflow named in the path.
Response workflow_failure(Error const& error, std::string_view id) {
  if (error.code == ErrorCode::not_found) return unknown_workflow(id);
  return Response::from(error);
}

Response workflow_response(Workflow const& workflow, int status = 200) {
  auto response = Response::json(domain::to_json(workflow, Api::v2), status);
  response.etag = etag_of(workflow.version);
  return response;
}

Task<Response> list_workflows(Workflows& workflows, Request const& request) {
  domain::WorkflowFilter filter;
  if (auto const status = request.text("status")) {
    filter.status = describe::from_text<WorkflowStatus>(*status);
  }
  filter.skip = request.integer("skip");
  filter.limit = request.integer("limit");
  auto after = read_cursor(request);
  if (!after) co_return std::move(after.error());
  filter.after = std::move(*after);
  auto const page = co_await workflows.list(std::move(filter), WithSteps::yes);
  if (!page) co_return Response::from(page.error());
  co_return page_response(request, *page, Api::v2);
}

Task<Response> get_workflow(Workflows& workflows, Request const& request) {
  auto const id = id_of(request);
  if (!id) co_return unknown_workflow(request.path_values.front());
  auto const workflow = co_await workflows.get(*id, WithSteps::yes);
  if (!workflow) co_return workflow_failure(workflow.error(), request.path_values.front());
  co_return workflow_response(*workflow);
}

Task<Response> create_workflow(Workflows& workflows, Request const& request) {
  auto const read = [](auto const& value, Workflow& out, describe::Issues& issues) {
    return domain::read_workflow(value, out, Api::v2, Purpose::create, issues);
  };
  auto draft = read_body<Workflow>(request, read);
  if (!draft) co_return std::move(draft.error());
  auto const created = [](Result<Workflow> const& workflow) {
    return workflow ? workflow_response(*workflow, 201) : workflow_failure(workflow.error(), {});
  };
  co_return co_await pipeline::answer_with(
      request, workflows.create(std::move(*draft), actor_of(request)), created);
}

Task<Response> update_workflow(Workflows& workflows, Request const& request) {
  auto body = http::parse_json_body(request);
  if (!body) co_return std::move(body.error());
  Workflow scratch;
  describe::Issues issues;
  if (!domain::read_workflow(*body, scratch, Api::v2, Purpose::update, issues)) {
    co_return Response::invalid(issues);
  }
  auto const id = id_of(request);
  if (!id) co_return unknown_workflow(request.path_values.front());
  auto const workflow = co_await workflows.update(*id, std::move(*body), Api::v2, actor_of(request),
                                                  condition_of(request));
  if (!workflow) co_return workflow_failure(workflow.error(), request.path_values.front());
  co_return workflow_response(*workflow);
}

Task<Response> delete_workflow(Workflows& workflows, Request const& request) {
  auto const id = id_of(request);
  if (!id) co_return unknown_workflow(request.path_values.front());
  auto const removed = co_await workflows.remove(*id, actor_of(request), condition_of(request));
  if (!removed) co_return workflow_failure(removed.error(), request.path_values.front());
  co_return Response::empty(204);
}

Task<Response> execute_workflow(Workflows& workflows, Request const& request) {
  auto const id = id_of(request);
  if (!id) co_return unknown_workflow(request.path_values.front());
  auto const started = [&request](Result<Workflow> const& workflow) {
    if (!workflow) return workflow_failure(workflow.error(), request.path_values.front());
    Response response;
    JsonWriter json(response.body);
    json.begin_object();
    json.member("message", "Workflow execution started");
    json.member("workflow_id", workflow->id);
    json.end_object();
    return response;
  };
  co_return co_await pipeline::answer_with(
      request, workflows.execute(*id, {}, actor_of(request), condition_of(request)), started);
}

}  // namespace

http::Routes workflows_v2(Workflows& workflows) {
  using enum http::Access;
  Parameter const id{.name = "workflow_id", .doc = "The workflow's id."};
  http::Answer const workflow{200, "The workflow.", kWorkflowSchema};
  http::Answer const unknown{404, "There is no such workflow."};
  http::Answer const no_agent{400, "A step names an agent that does not exist."};
  http::Answer const cycle{409, "The steps depend on each other in a cycle."};
  auto const with = [&workflows](auto handler) -> http::AsyncHandler {
    return [&workflows, handler](Request const& request) { return handler(workflows, request); };
  };
  http::Routes routes("/api/v2/workflows");
  routes
      .add({.method = Method::get,
            .path = "/",
            .name = "v2_list_workflows",
            .summary = "List workflows with their steps, newest first",
            .tag = "workflows v2",
            .handler = with(&list_workflows),
            .access = read,
            .limit = {100, ClientKey::address},
            .cache = {60, "workflow:*"},
            .query = {choice_parameter("status", describe::enum_names<WorkflowStatus>(),
                                       "Only workflows in this state."),
                      integer_parameter("skip", 0, 0, std::nullopt, "How many to leave out."),
                      integer_parameter("limit", 100, 1, kPageLimitMax, "How many at most."),
                      cursor_parameter()},
            .answers = {{200, "The workflows.", kWorkflowSchema, http::Shape::list}},
            .failure = "Failed to retrieve workflows"})
      .add({.method = Method::post,
            .path = "/",
            .name = "v2_create_workflow",
            .summary = "Create a workflow of steps",
            .tag = "workflows v2",
            .handler = with(&create_workflow),
            .access = write,
            .limit = {20, ClientKey::user},
            .body = http::BodySpec{{"WorkflowCreateV2", &domain::workflow_create_schema_v2}},
            .answers = {{201, "The new workflow.", kWorkflowSchema}, no_agent, cycle},
            .failure = "Failed to create workflow"})
      .add({.method = Method::get,
            .path = "/{workflow_id}",
            .name = "v2_get_workflow",
            .summary = "Get a workflow with its steps",
            .tag = "workflows v2",
            .handler = with(&get_workflow),
            .access = read,
            .limit = {200, ClientKey::address},
            .cache = {30, "workflow:{}"},
            .path_parameters = {id},
            .answers = {workflow, unknown},
            .failure = "Failed to retrieve workflow"})
      .add({.method = Method::put,
            .path = "/{workflow_id}",
            .name = "v2_update_workflow",
            .summary = "Change a workflow; only members that are sent change",
            .tag = "workflows v2",
            .handler = with(&update_workflow),
            .access = write,
            .limit = {50, ClientKey::user},
            .conditional = true,
            .path_parameters = {id},
            .body = http::BodySpec{{"WorkflowUpdateV2", &domain::workflow_update_schema_v2}},
            .answers = {workflow,
                        no_agent,
                        unknown,
                        {409, "The steps form a cycle, or a run is under way."}},
            .failure = "Failed to update workflow"})
      .add({.method = Method::del,
            .path = "/{workflow_id}",
            .name = "v2_delete_workflow",
            .summary = "Delete a workflow; a run under way is cancelled",
            .tag = "workflows v2",
            .handler = with(&delete_workflow),
            .access = write,
            .limit = {20, ClientKey::user},
            .conditional = true,
            .path_parameters = {id},
            .answers = {{204, "Deleted."}, unknown},
            .failure = "Failed to delete workflow"})
      .add({.method = Method::post,
            .path = "/{workflow_id}/execute",
            .name = "v2_execute_workflow",
            .summary = "Start a workflow, or go on with one that is paused",
            .tag = "workflows v2",
            .handler = with(&execute_workflow),
            .access = write,
            .limit = {10, ClientKey::user},
            .conditional = true,
            .path_parameters = {id},
            .answers = {{200,
                         "Started.",
                         {"WorkflowExecutionStarted", "message:text workflow_id:id"}},
                        unknown,
                        {409, "It is running already."}},
            .failure = "Failed to execute workflow"});
  return routes;
}

}  // namespace subforge::api
