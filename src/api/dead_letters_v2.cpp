// Background tasks that have failed for good: to be read, mended and put back.
#include <fmt/format.h>

#include "api/background_task_parts.hpp"
#include "api/cursor.hpp"
#include "base/json_writer.hpp"
#include "describe/record.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using describe::Api;
using describe::Purpose;
using http::ClientKey;
using http::Request;
using http::Response;
using jobs::JobStatus;
using net::Method;

struct EditBody {
  std::optional<describe::JsonList> task_args;
  std::optional<describe::JsonText> task_kwargs;
  std::optional<std::string> queue;
  std::optional<Urgency> priority;
  std::optional<std::int64_t> max_retries;

  static constexpr auto describe() {
    using describe::field;
    using B = EditBody;
    return describe::fields(field("task_args", &B::task_args).writable(),
                            field("task_kwargs", &B::task_kwargs).writable(),
                            field("queue", &B::queue).length(1, 100).writable(),
                            field("priority", &B::priority).writable(),
                            field("max_retries", &B::max_retries).range(0, 100).writable());
  }
};

Response unknown(Request const& request) {
  return Response::problem(404,
                           fmt::format("Dead letter {} not found", request.path_values.front()));
}

Response failure(Request const& request, Error const& error) {
  return error.code == ErrorCode::not_found ? unknown(request) : Response::from(error);
}

// The failed task that the path names, for whoever only looks at it.
Task<std::expected<jobs::Job, Response>> letter_of(BackgroundTaskParts const& parts,
                                                   Request const& request) {
  auto const id = task_id_of(request);
  if (!id) co_return std::unexpected(unknown(request));
  auto job = co_await parts.jobs.get(*id);
  if (!job) co_return std::unexpected(failure(request, job.error()));
  if (job->status != JobStatus::failure) co_return std::unexpected(unknown(request));
  co_return std::move(*job);
}

// For whoever changes it or starts it anew.
Task<std::expected<jobs::Job, Response>> letter_to_change(BackgroundTaskParts const& parts,
                                                          Request const& request) {
  auto job = co_await letter_of(parts, request);
  if (!job) co_return job;
  if (auto may = check_right(parts, request, job->name); !may) {
    co_return std::unexpected(Response::from(may.error()));
  }
  co_return job;
}

Task<Response> list_dead_letters(BackgroundTaskParts const& parts, Request const& request) {
  jobs::JobFilter filter;
  filter.status = JobStatus::failure;
  co_return co_await task_page(parts, request, std::move(filter));
}

Task<Response> get_dead_letter(BackgroundTaskParts const& parts, Request const& request) {
  auto job = co_await letter_of(parts, request);
  if (!job) co_return std::move(job.error());
  co_return Response::json(jobs::detail_json(*job));
}

Response detail(Result<jobs::Job> const& job, Request const& request) {
  return job ? Response::json(jobs::detail_json(*job)) : failure(request, job.error());
}

Task<Response> edit(BackgroundTaskParts const& parts, Request const& request) {
  auto body = read_body<EditBody>(request);
  if (!body) co_return std::move(body.error());
  auto job = co_await letter_to_change(parts, request);
  if (!job) co_return std::move(job.error());
  jobs::JobEdit edit;
  if (body->task_args) edit.args = std::move(body->task_args->text);
  if (body->task_kwargs) edit.kwargs = std::move(body->task_kwargs->text);
  edit.queue = std::move(body->queue);
  if (body->priority) edit.priority = body->priority->value;
  edit.max_retries = body->max_retries;
  auto const edited = co_await parts.jobs.edit(job->id, std::move(edit), actor_of(request).user);
  co_return detail(edited, request);
}

Task<Response> put_back(BackgroundTaskParts const& parts, Request const& request) {
  auto job = co_await letter_to_change(parts, request);
  if (!job) co_return std::move(job.error());
  auto const answer = [&](Result<jobs::Job> const& back) { return detail(back, request); };
  co_return co_await pipeline::answer_with(
      request, parts.jobs.put_back(job->id, actor_of(request).user), answer);
}

void edit_schema(JsonWriter& json) {
  describe::write_body_schema<EditBody>(json, Api::v2, Purpose::update);
}

}  // namespace

http::Routes dead_letters_v2(BackgroundTaskParts const& parts) {
  using enum http::Access;
  http::Schema const task{"BackgroundTask", &jobs::job_schema};
  http::Answer const one{200, "The task.", {"BackgroundTaskDetail", &jobs::job_detail_schema}};
  http::Answer const missing{404, "No such task has failed."};
  http::Routes routes(kDeadLettersPrefix);
  routes
      .add({.method = Method::get,
            .path = "/",
            .name = "v2_list_dead_letters",
            .summary = "Background tasks that have failed for good, newest first",
            .tag = kBackgroundTag,
            .handler = with_parts<&list_dead_letters>(parts),
            .access = read,
            .limit = {100, ClientKey::address},
            .cache = {10, kAnyTask},
            .query = {integer_parameter("skip", 0, 0, std::nullopt, "How many to leave out."),
                      integer_parameter("limit", 100, 1, 1000, "How many at most."),
                      text_parameter("task_name", "Part of the name, in any case."),
                      text_parameter("queue", "Only those of this queue."), cursor_parameter()},
            .answers = {{200, "The tasks.", task, http::Shape::list}},
            .failure = "Failed to retrieve background tasks"})
      .add({.method = Method::get,
            .path = "/{task_id}",
            .name = "v2_get_dead_letter",
            .summary = "A failed task with its arguments and its error",
            .tag = kBackgroundTag,
            .handler = with_parts<&get_dead_letter>(parts),
            .access = read,
            .limit = {200, ClientKey::address},
            .cache = {5, kAnyTask},
            .path_parameters = {task_id_parameter()},
            .answers = {one, missing},
            .failure = "Failed to retrieve background task"})
      .add({.method = Method::patch,
            .path = "/{task_id}",
            .name = "v2_edit_dead_letter",
            .summary = "Change a failed task before it is put back",
            .tag = kBackgroundTag,
            .handler = with_parts<&edit>(parts),
            .access = write,
            .limit = {30, ClientKey::user},
            .path_parameters = {task_id_parameter()},
            .body = http::BodySpec{{"DeadLetterEdit", &edit_schema}},
            .answers = {one, missing},
            .failure = "Failed to change background task"})
      .add({.method = Method::post,
            .path = "/{task_id}/put-back",
            .name = "v2_put_back_dead_letter",
            .summary = "Start a failed task again, as if it had never been tried",
            .tag = kBackgroundTag,
            .handler = with_parts<&put_back>(parts),
            .access = write,
            .limit = {30, ClientKey::user},
            .path_parameters = {task_id_parameter()},
            .answers = {one, missing},
            .failure = "Failed to retry background task"});
  return routes;
}

}  // namespace subforge::api
