// Cancelling background tasks, trying them again, clearing them up, and what they logged.
#include <fmt/format.h>

#include "api/background_task_parts.hpp"
#include "base/json_writer.hpp"
#include "base/log.hpp"
#include "describe/record.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using describe::Api;
using describe::Purpose;
using http::ClientKey;
using http::Request;
using http::Response;
using net::Method;

// ---- One task ----------------------------------------------------------------------------------

Response refuse_change(Request const& request, Error const& error, std::string_view what,
                       std::string_view why) {
  bool const refused = error.code == ErrorCode::not_found || error.code == ErrorCode::invalid ||
                       error.code == ErrorCode::conflict;
  if (!refused) return Response::from(error);
  return Response::problem(
      400, fmt::format("Task {} cannot be {}: {}", request.path_values.front(), what, why));
}

constexpr std::string_view kNotCancelled = "it is unknown or has ended";
constexpr std::string_view kNotRetried =
    "it is unknown, has not failed, or has used up its retries";

Response changed(Request const& request, std::string_view what, std::string_view by) {
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("message", fmt::format("Task {} {} successfully", request.path_values.front(), what));
  json.member(by, actor_of(request).user);
  json.end_object();
  return response;
}

Task<Response> cancel(BackgroundTaskParts const& parts, Request const& request) {
  auto const id = task_id_of(request).value_or(Uuid{});
  if (auto may = co_await check_right(parts, request, id); !may) {
    co_return Response::from(may.error());
  }
  auto const answer = [&](Result<jobs::Job> const& job) {
    return job ? changed(request, "cancelled", "cancelled_by")
               : refuse_change(request, job.error(), "cancelled", kNotCancelled);
  };
  co_return co_await pipeline::answer_with(request, parts.jobs.cancel(id, actor_of(request).user),
                                           answer);
}

Task<Response> retry(BackgroundTaskParts const& parts, Request const& request) {
  auto const id = task_id_of(request).value_or(Uuid{});
  if (auto may = co_await check_right(parts, request, id); !may) {
    co_return Response::from(may.error());
  }
  auto const answer = [&](Result<jobs::Job> const& job) {
    return job ? changed(request, "retry initiated", "retried_by")
               : refuse_change(request, job.error(), "retried", kNotRetried);
  };
  co_return co_await pipeline::answer_with(request, parts.jobs.retry(id, actor_of(request).user),
                                           answer);
}

// ---- Many --------------------------------------------------------------------------------------

struct BulkBody {
  std::vector<std::string> task_ids;
  std::string operation;

  static constexpr auto describe() {
    using describe::field;
    return describe::fields(
        field("task_ids", &BulkBody::task_ids).required().writable(),
        field("operation", &BulkBody::operation).required().writable().doc("cancel or retry"));
  }
};

struct BulkItem {
  std::string action;  // Of a success.
  std::string error;   // Of an operation that does not exist, or is not for everybody.
};

Task<BulkItem> change_one(BackgroundTaskParts const& parts, Request const& request,
                          std::string const& text, std::string const& operation) {
  auto const id = Uuid::parse(text).value_or(Uuid{});
  auto actor = actor_of(request).user;
  if (auto may = co_await check_right(parts, request, id); !may) {
    co_return BulkItem{{}, may.error().message};
  }
  if (operation == "cancel") {
    auto const done = co_await parts.jobs.cancel(id, std::move(actor));
    co_return BulkItem{done ? "cancelled" : "", {}};
  }
  if (operation == "retry") {
    auto const done = co_await parts.jobs.retry(id, std::move(actor));
    co_return BulkItem{done ? "retried" : "", {}};
  }
  co_return BulkItem{{}, "Unknown operation: " + operation};
}

Task<Response> change_many(BackgroundTaskParts const& parts, Request const& request) {
  auto body = read_body<BulkBody>(request);
  if (!body) co_return std::move(body.error());
  auto const actor = actor_of(request).user;
  std::string results;
  std::int64_t successful = 0;
  JsonWriter items(results);
  items.begin_array();
  for (auto const& id : body->task_ids) {
    auto const item = co_await change_one(parts, request, id, body->operation);
    bool const success = !item.action.empty();
    successful += success ? 1 : 0;
    items.begin_object();
    items.member("task_id", id);
    items.member("success", success);
    if (success) items.member("action", item.action);
    if (!success && item.error.empty()) items.member("action", "failed");
    if (!item.error.empty()) items.member("error", item.error);
    items.end_object();
  }
  items.end_array();
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("operation", body->operation);
  json.member("total_tasks", std::ssize(body->task_ids));
  json.member("successful", successful);
  json.member("failed", std::ssize(body->task_ids) - successful);
  json.member_raw("results", results);
  json.member("performed_by", actor);
  json.end_object();
  co_return response;
}

Task<Response> clean_up(BackgroundTaskParts const& parts, Request const& request) {
  auto const days = request.integer("older_than_days");
  auto before = Timestamp::now();
  before.micros -= days * kDayUs;
  auto const removed = co_await parts.jobs.clean_up(before);
  if (!removed) co_return Response::from(removed.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("message", fmt::format("Cleaned up tasks older than {} days", days));
  json.member("cleaned_by", actor_of(request).user);
  json.member("removed", *removed);
  json.end_object();
  co_return response;
}

// ---- What happened -----------------------------------------------------------------------------

Task<Response> lines(BackgroundTaskParts const& parts, Request const& request) {
  auto const id = task_id_of(request);
  if (!id) co_return unknown_background_task(request);
  auto const job = co_await parts.jobs.get(*id);
  if (!job && job.error().code == ErrorCode::not_found) co_return unknown_background_task(request);
  if (!job) co_return Response::from(job.error());
  auto const limit = request.integer("limit");
  auto found = co_await parts.jobs.lines(*id, request.integer("after"), limit + 1);
  if (!found) co_return Response::from(found.error());
  bool const more = std::ssize(*found) > limit;
  if (more) found->pop_back();
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("task_id", request.path_values.front());
  json.key("lines");
  json.begin_array();
  for (auto const& line : *found) {
    json.begin_object();
    json.member("number", line.number);
    json.member("timestamp", line.at);
    json.member("level", log_level_name(line.level));
    json.member("message", line.text);
    json.end_object();
  }
  json.end_array();
  json.key("next");
  more ? json.integer(found->back().number) : json.null();
  json.end_object();
  co_return response;
}

Task<Response> actions(BackgroundTaskParts const& parts, Request const& request) {
  auto const id = task_id_of(request);
  if (!id) co_return unknown_background_task(request);
  auto const job = co_await parts.jobs.get(*id);
  if (!job && job.error().code == ErrorCode::not_found) co_return unknown_background_task(request);
  if (!job) co_return Response::from(job.error());
  auto const found = co_await parts.jobs.actions(*id);
  if (!found) co_return Response::from(found.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_array();
  for (auto const& action : *found) {
    json.begin_object();
    json.member("timestamp", action.at);
    json.member("actor", action.actor);
    json.member("action", action.action);
    json.member("detail", action.detail);
    json.end_object();
  }
  json.end_array();
  co_return response;
}

// ---- Schemas -----------------------------------------------------------------------------------

void bulk_schema(JsonWriter& json) {
  describe::write_body_schema<BulkBody>(json, Api::v2, Purpose::create);
}
constexpr describe::Shape kBulkChanged =
    "operation:text total_tasks:integer successful:integer failed:integer"
    " results:[{task_id:text success:boolean action?=cancelled|retried|failed error?:text}]"
    " performed_by:text";
constexpr describe::Shape kLines =
    "task_id:text lines:[{number:integer timestamp:time level:text message:text}]"
    " next:integer|null(Behind which more follow.)";

}  // namespace

http::Routes background_task_changes_v2(BackgroundTaskParts const& parts) {
  using enum http::Access;
  http::Answer const unknown{404, "There is no such task."};
  http::Routes routes(kBackgroundPrefix);
  routes
      .add({.method = Method::post,
            .path = "/{task_id}/cancel",
            .name = "v2_cancel_background_task",
            .summary = "Cancel a background task that has not ended",
            .tag = kBackgroundTag,
            .handler = with_parts<&cancel>(parts),
            .access = write,
            .limit = {30, ClientKey::user},
            .path_parameters = {task_id_parameter()},
            .answers = {{200,
                         "It is revoked; who runs it is told to stop.",
                         {"TaskCancelled", "message:text cancelled_by:text"}},
                        {400, "There is no such task, or it has ended."}},
            .failure = "Failed to cancel background task"})
      .add({.method = Method::post,
            .path = "/{task_id}/retry",
            .name = "v2_retry_background_task",
            .summary = "Try a failed or revoked task again",
            .tag = kBackgroundTag,
            .handler = with_parts<&retry>(parts),
            .access = write,
            .limit = {30, ClientKey::user},
            .path_parameters = {task_id_parameter()},
            .answers = {{200, "It is on its way.", {"TaskRetried", "message:text retried_by:text"}},
                        {400, "There is no such task, or it cannot be tried again."}},
            .failure = "Failed to retry background task"})
      .add({.method = Method::post,
            .path = "/bulk-operation",
            .name = "v2_bulk_background_tasks",
            .summary = "Cancel or retry many background tasks",
            .tag = kBackgroundTag,
            .handler = with_parts<&change_many>(parts),
            .access = write,
            .limit = {10, ClientKey::user},
            .body = http::BodySpec{{"BulkBackgroundTasks", &bulk_schema}},
            .answers = {{200,
                         "What became of each, in their order.",
                         {"BulkBackgroundTasksDone", kBulkChanged}}},
            .failure = "Failed to perform bulk operation"})
      .add({.method = Method::post,
            .path = "/cleanup",
            .name = "v2_clean_up_background_tasks",
            .summary = "Remove background tasks that ended long ago",
            .tag = kBackgroundTag,
            .handler = with_parts<&clean_up>(parts),
            .access = admin,
            .limit = {5, ClientKey::user},
            .query = {integer_parameter("older_than_days", 7, 1, 365, "Since their end, in days.")},
            .answers = {{200,
                         "They are gone.",
                         {"TasksCleanedUp", "message:text cleaned_by:text removed:integer"}}},
            .failure = "Failed to clean up old tasks"})
      .add({.method = Method::get,
            .path = "/{task_id}/log",
            .name = "v2_background_task_log",
            .summary = "Lines that a background task logged, oldest first",
            .tag = kBackgroundTag,
            .handler = with_parts<&lines>(parts),
            .access = read,
            .limit = {100, ClientKey::address},
            .path_parameters = {task_id_parameter()},
            .query = {integer_parameter("after", 0, 0, std::nullopt, "Behind this number."),
                      integer_parameter("limit", 100, 1, 1000, "How many at most.")},
            .answers = {{200, "The lines.", {"TaskLog", kLines}}, unknown},
            .failure = "Failed to retrieve task log"})
      .add({.method = Method::get,
            .path = "/{task_id}/actions",
            .name = "v2_background_task_actions",
            .summary = "What somebody did to a background task by hand, newest first",
            .tag = kBackgroundTag,
            .handler = with_parts<&actions>(parts),
            .access = read,
            .limit = {100, ClientKey::address},
            .path_parameters = {task_id_parameter()},
            .answers = {{200,
                         "Them.",
                         {"TaskAction", "timestamp:time actor:text action:text detail:text"},
                         http::Shape::list},
                        unknown},
            .failure = "Failed to retrieve task actions"});
  return routes;
}

}  // namespace subforge::api
