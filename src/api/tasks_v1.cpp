#include "api/tasks_v1.hpp"

#include "api/handler_parts.hpp"
#include "api/listed.hpp"
#include "base/json_writer.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using describe::Api;
using describe::Purpose;
using domain::TaskFilter;
using domain::TaskPriority;
using domain::TaskRecord;
using domain::Tasks;
using domain::TaskStatus;
using http::Request;
using http::Response;
using net::Method;

http::Schema const kTaskSchema{"TaskV1", &domain::task_schema_v1};

Response task_response(Result<TaskRecord> const& task) {
  if (!task) return Response::from(task.error());
  auto response = Response::json(domain::to_json(*task, Api::v1));
  response.etag = etag_of(task->version);
  return response;
}

// A body with the names of older clients put in place of today's.
template <class Body>
std::expected<Body, Response> read_old_or_new(Request const& request,
                                              bool (*read)(boost::json::value const&, Body&,
                                                           describe::Issues&)) {
  return read_body<Body>(request,
                         [read](boost::json::value& value, Body& out, describe::Issues& issues) {
                           domain::accept_old_names(value);
                           return read(value, out, issues);
                         });
}

Task<Response> list_tasks(Tasks& tasks, Request const& request) {
  TaskFilter filter;
  if (auto const status = request.text("status")) {
    filter.status = describe::from_text<TaskStatus>(*status);
  }
  if (auto const priority = request.text("priority")) {
    filter.priority = describe::from_text<TaskPriority>(*priority);
  }
  if (auto const agent = request.text("assigned_agent_id")) {
    filter.assigned_agent_id = Uuid::parse(*agent);
  }
  if (auto const workflow = request.text("workflow_id")) {
    filter.workflow_id = Uuid::parse(*workflow);
  }
  filter.task_type = request.text("task_type");
  filter.is_blocked = request.boolean("is_blocked");
  filter.is_urgent = request.boolean("is_urgent");
  filter.skip = request.integer("skip");
  filter.limit = request.integer("limit");
  return listed(tasks, request, std::move(filter));
}

Task<Response> get_task(Tasks& tasks, Request const& request) {
  co_return task_response(co_await tasks.get(request.uuid(0)));
}

Task<Response> create_task(Tasks& tasks, Request const& request) {
  auto const read = [](auto& value, TaskRecord& out, describe::Issues& issues) {
    domain::accept_old_names(value);
    return domain::read_task(value, out, Api::v1, Purpose::create, issues);
  };
  auto draft = read_body<TaskRecord>(request, read);
  if (!draft) co_return std::move(draft.error());
  auto actor = actor_of(request);
  draft->created_by = actor.user;
  co_return co_await pipeline::answer_with(
      request, tasks.create(std::move(*draft), std::move(actor)), task_response);
}

Task<Response> update_task(Tasks& tasks, Request const& request) {
  auto body = http::parse_json_body(request);
  if (!body) co_return std::move(body.error());
  domain::accept_old_names(*body);
  TaskRecord scratch;
  describe::Issues issues;
  if (!domain::read_task(*body, scratch, Api::v1, Purpose::update, issues)) {
    co_return Response::invalid(issues);
  }
  co_return task_response(co_await tasks.update(request.uuid(0), std::move(*body), Api::v1,
                                                actor_of(request), condition_of(request)));
}

Task<Response> set_task_status(Tasks& tasks, Request const& request) {
  auto body = read_old_or_new(request, &domain::read_task_status_body);
  if (!body) co_return std::move(body.error());
  co_return task_response(
      co_await tasks.set_status(request.uuid(0), *body, actor_of(request), condition_of(request)));
}

Task<Response> set_progress(Tasks& tasks, Request const& request) {
  auto body = read_old_or_new(request, &domain::read_task_progress_body);
  if (!body) co_return std::move(body.error());
  co_return task_response(co_await tasks.set_progress(request.uuid(0), *body, actor_of(request),
                                                      condition_of(request)));
}

Task<Response> assign_task(Tasks& tasks, Request const& request) {
  auto body = read_old_or_new(request, &domain::read_task_assign_body);
  if (!body) co_return std::move(body.error());
  co_return task_response(co_await tasks.assign(request.uuid(0), std::move(*body),
                                                actor_of(request), condition_of(request)));
}

Task<Response> start_task(Tasks& tasks, Request const& request) {
  domain::TaskStatusBody body;
  body.status = TaskStatus::in_progress;
  co_return task_response(
      co_await tasks.set_status(request.uuid(0), body, actor_of(request), condition_of(request)));
}

Task<Response> report(Tasks& tasks, Request const& request, TaskStatus status) {
  domain::TaskReportBody body;
  if (!request.body.empty()) {
    auto read = read_body<domain::TaskReportBody>(request, &domain::read_task_report_body);
    if (!read) co_return std::move(read.error());
    body = std::move(*read);
  }
  co_return task_response(co_await tasks.report(request.uuid(0), status, std::move(body),
                                                actor_of(request), condition_of(request)));
}

Task<Response> complete_task(Tasks& tasks, Request const& request) {
  return report(tasks, request, TaskStatus::completed);
}

Task<Response> fail_task(Tasks& tasks, Request const& request) {
  return report(tasks, request, TaskStatus::failed);
}

Task<Response> add_dependency(Tasks& tasks, Request const& request) {
  auto body = read_body<domain::TaskDependencyBody>(request, &domain::read_task_dependency_body);
  if (!body) co_return std::move(body.error());
  co_return co_await pipeline::answer_with(
      request,
      tasks.add_dependency(request.uuid(0), std::move(body->dependency_id), actor_of(request),
                           condition_of(request)),
      task_response);
}

Task<Response> remove_dependency(Tasks& tasks, Request const& request) {
  co_return task_response(co_await tasks.remove_dependency(
      request.uuid(0), request.path_values[1], actor_of(request), condition_of(request)));
}

Task<Response> bulk_update(Tasks& tasks, Request const& request) {
  auto body = read_body<domain::TaskBulkBody>(request, &domain::read_task_bulk_body);
  if (!body) co_return std::move(body.error());
  auto const changed = co_await tasks.bulk_update(std::move(*body), actor_of(request));
  if (!changed) co_return Response::from(changed.error());
  Response response;
  write_rows(response.body, *changed, Api::v1);
  co_return response;
}

Task<Response> delete_task(Tasks& tasks, Request const& request) {
  auto const removed =
      co_await tasks.remove(request.uuid(0), actor_of(request), condition_of(request));
  if (!removed) co_return Response::from(removed.error());
  co_return Response::json(R"({"message":"Task deleted successfully"})");
}

Task<Response> tasks_summary(Tasks& tasks, Request const&) {
  auto const summary = co_await tasks.summary();
  if (!summary) co_return Response::from(summary.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total_tasks", summary->total);
  json.member("pending_tasks", summary->pending);
  json.member("in_progress_tasks", summary->in_progress);
  json.member("completed_tasks", summary->completed);
  json.member("failed_tasks", summary->failed);
  json.member("blocked_tasks", summary->blocked);
  json.member("urgent_tasks", summary->urgent);
  json.member("avg_progress", summary->avg_progress);
  json.member("completion_rate", summary->completion_rate);
  json.end_object();
  co_return response;
}

constexpr describe::Shape kTasksSummary =
    "total_tasks:integer pending_tasks:integer in_progress_tasks:integer completed_tasks:integer"
    " failed_tasks:integer blocked_tasks:integer urgent_tasks:integer avg_progress:number"
    " completion_rate:number";

}  // namespace

http::Routes tasks_v1(Tasks& tasks) {
  using enum http::Access;
  auto const id = uuid_parameter("task_id", "The task's id.");
  http::Answer const task{200, "The task.", kTaskSchema};
  http::Answer const unknown{404, "There is no such task."};
  http::Answer const no_agent{400, "There is no such agent."};
  auto const with = [&tasks](auto handler) -> http::AsyncHandler {
    return [&tasks, handler](Request const& request) { return handler(tasks, request); };
  };
  // A change to the task that the path names.
  auto const change = [&](std::string path, std::string name, std::string summary, auto handler,
                          std::optional<http::BodySpec> body) {
    return http::Route{.method = Method::patch,
                       .path = std::move(path),
                       .name = std::move(name),
                       .summary = std::move(summary),
                       .tag = "tasks v1",
                       .handler = with(handler),
                       .access = write,
                       .conditional = true,
                       .path_parameters = {id},
                       .body = std::move(body),
                       .answers = {task, unknown}};
  };
  http::BodySpec const report{{"TaskReportV1", &domain::task_report_body_schema}};
  http::Routes routes("/api/v1/tasks");
  routes
      .add({.method = Method::get,
            .path = "/",
            .name = "v1_list_tasks",
            .summary = "List tasks, newest first",
            .tag = "tasks v1",
            .handler = with(&list_tasks),
            .access = read,
            .query = {choice_parameter("status", describe::enum_names<TaskStatus>(),
                                       "Only tasks in this state."),
                      choice_parameter("priority", describe::enum_names<TaskPriority>(),
                                       "Only tasks of this priority."),
                      uuid_parameter("assigned_agent_id", "Only tasks of this agent."),
                      uuid_parameter("workflow_id", "Only tasks of this workflow."),
                      text_parameter("task_type", "Only tasks of this type."),
                      flag_parameter("is_blocked", "Only tasks that are, or are not, blocked."),
                      flag_parameter("is_urgent", "Only tasks that are, or are not, urgent."),
                      integer_parameter("skip", 0, 0, std::nullopt, "How many to leave out."),
                      integer_parameter("limit", 100, 1, kListLimitMax, "How many at most."),
                      cursor_parameter()},
            .answers = {{200, "The tasks.", kTaskSchema, http::Shape::list}}})
      .add({.method = Method::post,
            .path = "/",
            .name = "v1_create_task",
            .summary = "Create a task",
            .tag = "tasks v1",
            .handler = with(&create_task),
            .access = write,
            .body = http::BodySpec{{"TaskCreateV1", &domain::task_create_schema_v1}},
            .answers = {task, no_agent}})
      .add({.method = Method::patch,
            .path = "/bulk",
            .name = "v1_bulk_tasks",
            .summary = "Change several tasks in the same way, all or none",
            .tag = "tasks v1",
            .handler = with(&bulk_update),
            .access = write,
            .body = http::BodySpec{{"TaskBulkUpdateV1", &domain::task_bulk_body_schema}},
            .answers = {{200, "The tasks.", kTaskSchema, http::Shape::list},
                        {400, "Some of the tasks do not exist."}}})
      .add({.method = Method::get,
            .path = "/stats/summary",
            .name = "v1_tasks_summary",
            .summary = "Counts and averages over all tasks",
            .tag = "tasks v1",
            .handler = with(&tasks_summary),
            .access = read,
            .answers = {{200, "The figures.", {"TasksSummaryV1", kTasksSummary}}}})
      .add({.method = Method::get,
            .path = "/{task_id}",
            .name = "v1_get_task",
            .summary = "Get a task",
            .tag = "tasks v1",
            .handler = with(&get_task),
            .access = read,
            .path_parameters = {id},
            .answers = {task, unknown}})
      .add({.method = Method::put,
            .path = "/{task_id}",
            .name = "v1_update_task",
            .summary = "Change a task; only members that are sent change",
            .tag = "tasks v1",
            .handler = with(&update_task),
            .access = write,
            .conditional = true,
            .path_parameters = {id},
            .body = http::BodySpec{{"TaskUpdateV1", &domain::task_update_schema_v1}},
            .answers = {task, no_agent, unknown}})
      .add(change("/{task_id}/status", "v1_set_task_status", "Set a task's status",
                  &set_task_status,
                  http::BodySpec{{"TaskStatusV1", &domain::task_status_body_schema}}))
      .add(change("/{task_id}/progress", "v1_set_task_progress", "Tell how far a task is",
                  &set_progress,
                  http::BodySpec{{"TaskProgressV1", &domain::task_progress_body_schema}}))
      .add([&] {
        auto row =
            change("/{task_id}/assign", "v1_assign_task", "Give a task to an agent", &assign_task,
                   http::BodySpec{{"TaskAssignV1", &domain::task_assign_body_schema}});
        row.answers.push_back(no_agent);
        return row;
      }())
      .add(change("/{task_id}/start", "v1_start_task", "Begin a task", &start_task, std::nullopt))
      .add(change("/{task_id}/complete", "v1_complete_task", "Report a task as done",
                  &complete_task, report))
      .add(change("/{task_id}/fail", "v1_fail_task", "Report a task as failed", &fail_task, report))
      .add({.method = Method::post,
            .path = "/{task_id}/dependencies",
            .name = "v1_add_task_dependency",
            .summary = "Let a task wait for another one",
            .tag = "tasks v1",
            .handler = with(&add_dependency),
            .access = write,
            .conditional = true,
            .path_parameters = {id},
            .body = http::BodySpec{{"TaskDependencyV1", &domain::task_dependency_body_schema}},
            .answers = {task,
                        {400, "There is no such task to depend on."},
                        unknown,
                        {409, "The dependency would make a cycle."}}})
      .add({.method = Method::del,
            .path = "/{task_id}/dependencies/{dependency_id}",
            .name = "v1_remove_task_dependency",
            .summary = "Let a task no longer wait for another one",
            .tag = "tasks v1",
            .handler = with(&remove_dependency),
            .access = write,
            .conditional = true,
            .path_parameters = {id, {.name = "dependency_id", .doc = "The other task's id."}},
            .answers = {task, unknown}})
      .add({.method = Method::del,
            .path = "/{task_id}",
            .name = "v1_delete_task",
            .summary = "Delete a task",
            .tag = "tasks v1",
            .handler = with(&delete_task),
            .access = write,
            .conditional = true,
            .path_parameters = {id},
            .answers = {{200, "Deleted.", {"Message", kMessage}}, unknown}});
  return routes;
}

}  // namespace subforge::api
