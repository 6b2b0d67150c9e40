#include "api/tasks_v2.hpp"

#include <fmt/format.h>

#include "api/handler_parts.hpp"
#include "api/listed.hpp"
#include "base/json_writer.hpp"
#include "base/text.hpp"
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
using http::ClientKey;
using http::Parameter;
using http::Request;
using http::Response;
using net::Method;

http::Schema const kTaskSchema{"TaskV2", &domain::task_schema_v2};

Response unknown_task(std::string_view id) {
  return Response::problem(404, fmt::format("Task {} not found", id));
}

// The error of something done to the task named in the path.
Response task_failure(Error const& error, std::string_view id) {
  return error.code == ErrorCode::not_found ? unknown_task(id) : Response::from(error);
}

Response task_response(TaskRecord const& task, int status = 200) {
  auto response = Response::json(domain::to_json(task, Api::v2), status);
  response.etag = etag_of(task.version);
  return response;
}

// A filter by a name that does not exist finds nothing.
template <class E>
void set_choice(std::optional<E>& to, bool& impossible, std::optional<std::string> const& text) {
  if (!text) return;
  to = describe::from_text<E>(*text);
  if (!to) impossible = true;
}

TaskFilter task_filter_of(Request const& request) {
  TaskFilter filter;
  set_choice(filter.status, filter.impossible, request.text("status"));
  set_choice(filter.priority, filter.impossible, request.text("priority"));
  if (auto agent = request.text("assigned_agent")) {
    filter.assigned_agent_id = Uuid::parse(*agent);
    if (!filter.assigned_agent_id) filter.assigned_agent_name = std::move(agent);
  }
  if (auto const tags = request.text("tags")) {
    for (auto const tag : split_list(*tags, ',')) filter.tags.emplace_back(tag);
  }
  filter.search = request.text("search");
  filter.skip = request.integer("skip");
  filter.limit = request.integer("limit");
  return filter;
}

Task<Response> list_tasks(Tasks& tasks, Request const& request) {
  auto filter = task_filter_of(request);
  auto after = read_cursor(request);
  if (!after) co_return std::move(after.error());
  filter.after = std::move(*after);
  auto const page = co_await tasks.list(std::move(filter));
  if (!page) co_return Response::from(page.error());
  co_return page_response(request, *page, Api::v2);
}

Task<Response> get_task(Tasks& tasks, Request const& request) {
  auto const id = id_of(request);
  if (!id) co_return unknown_task(request.path_values.front());
  auto const task = co_await tasks.get(*id);
  if (!task) co_return task_failure(task.error(), request.path_values.front());
  co_return task_response(*task);
}

Task<Response> create_task(Tasks& tasks, Request const& request) {
  auto const read = [](auto const& value, TaskRecord& out, describe::Issues& issues) {
    return domain::read_task(value, out, Api::v2, Purpose::create, issues);
  };
  auto draft = read_body<TaskRecord>(request, read);
  if (!draft) co_return std::move(draft.error());
  auto actor = actor_of(request);
  draft->created_by = actor.user;
  auto const created = [](Result<TaskRecord> const& task) {
    return task ? task_response(*task, 201) : Response::from(task.error());
  };
  co_return co_await pipeline::answer_with(
      request, tasks.create(std::move(*draft), std::move(actor)), created);
}

Task<Response> update_task(Tasks& tasks, Request const& request) {
  auto body = http::parse_json_body(request);
  if (!body) co_return std::move(body.error());
  TaskRecord scratch;
  describe::Issues issues;
  if (!domain::read_task(*body, scratch, Api::v2, Purpose::update, issues)) {
    co_return Response::invalid(issues);
  }
  auto const id = id_of(request);
  if (!id) co_return unknown_task(request.path_values.front());
  auto const task = co_await tasks.update(*id, std::move(*body), Api::v2, actor_of(request),
                                          condition_of(request));
  if (!task) co_return task_failure(task.error(), request.path_values.front());
  co_return task_response(*task);
}

Task<Response> delete_task(Tasks& tasks, Request const& request) {
  auto const id = id_of(request);
  if (!id) co_return unknown_task(request.path_values.front());
  auto const removed = co_await tasks.remove(*id, actor_of(request), condition_of(request));
  if (!removed) co_return task_failure(removed.error(), request.path_values.front());
  co_return Response::empty(204);
}

}  // namespace

http::Routes tasks_v2(Tasks& tasks) {
  using enum http::Access;
  Parameter const id{.name = "task_id", .doc = "The task's id."};
  http::Answer const task{200, "The task.", kTaskSchema};
  http::Answer const unknown{404, "There is no such task."};
  http::Answer const no_agent{400, "There is no such agent."};
  http::Answer const cycle{409, "The dependencies would make a cycle."};
  auto const with = [&tasks](auto handler) -> http::AsyncHandler {
    return [&tasks, handler](Request const& request) { return handler(tasks, request); };
  };
  http::Routes routes("/api/v2/tasks");
  routes
      .add({.method = Method::get,
            .path = "/",
            .name = "v2_list_tasks",
            .summary = "List and filter tasks, newest first",
            .tag = "tasks v2",
            .handler = with(&list_tasks),
            .access = read,
            .limit = {100, ClientKey::address},
            .cache = {30, "task:*"},
            .query = {integer_parameter("skip", 0, 0, std::nullopt, "How many to leave out."),
                      integer_parameter("limit", 100, 1, 1000, "How many at most."),
                      text_parameter("status", "Only tasks in this state."),
                      text_parameter("priority", "Only tasks of this priority."),
                      text_parameter("assigned_agent", "Only tasks of this agent, by id or name."),
                      text_parameter("tags", "Comma separated; tasks that have any of them."),
                      text_parameter("search", "Part of title or description, in any case."),
                      cursor_parameter()},
            .answers = {{200, "The tasks.", kTaskSchema, http::Shape::list}},
            .failure = "Failed to retrieve tasks"})
      .add({.method = Method::post,
            .path = "/",
            .name = "v2_create_task",
            .summary = "Create a task",
            .tag = "tasks v2",
            .handler = with(&create_task),
            .access = write,
            .limit = {30, ClientKey::user},
            .body = http::BodySpec{{"TaskCreateV2", &domain::task_create_schema_v2}},
            .answers = {{201, "The new task.", kTaskSchema}, no_agent},
            .failure = "Failed to create task"})
      .add({.method = Method::get,
            .path = "/{task_id}",
            .name = "v2_get_task",
            .summary = "Get a task",
            .tag = "tasks v2",
            .handler = with(&get_task),
            .access = read,
            .limit = {200, ClientKey::address},
            .cache = {30, "task:{}"},
            .path_parameters = {id},
            .answers = {task, unknown},
            .failure = "Failed to retrieve task"})
      .add({.method = Method::put,
            .path = "/{task_id}",
            .name = "v2_update_task",
            .summary = "Change a task; only members that are sent change",
            .tag = "tasks v2",
            .handler = with(&update_task),
            .access = write,
            .limit = {50, ClientKey::user},
            .conditional = true,
            .path_parameters = {id},
            .body = http::BodySpec{{"TaskUpdateV2", &domain::task_update_schema_v2}},
            .answers = {task, no_agent, unknown, cycle},
            .failure = "Failed to update task"})
      .add({.method = Method::del,
            .path = "/{task_id}",
            .name = "v2_delete_task",
            .summary = "Delete a task",
            .tag = "tasks v2",
            .handler = with(&delete_task),
            .access = write,
            .limit = {20, ClientKey::user},
            .conditional = true,
            .path_parameters = {id},
            .answers = {{204, "Deleted."}, unknown},
            .failure = "Failed to delete task"});
  return routes;
}

}  // namespace subforge::api
