// Schedules of background tasks.
#include <fmt/format.h>

#include "api/background_task_parts.hpp"
#include "base/json_writer.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using describe::Purpose;
using http::ClientKey;
using http::Request;
using http::Response;
using jobs::Schedule;
using net::Method;

Response unknown_schedule(Request const& request) {
  return Response::problem(404, fmt::format("Schedule {} not found", request.path_values.front()));
}

Response schedule_response(Result<Schedule> const& schedule, Request const& request,
                           int status = 200) {
  if (!schedule && schedule.error().code == ErrorCode::not_found) return unknown_schedule(request);
  if (!schedule) return Response::from(schedule.error());
  auto response = Response::json(jobs::to_json(*schedule), status);
  response.etag = etag_of(schedule->version);
  return response;
}

Task<Response> list_schedules(BackgroundTaskParts const& parts, Request const&) {
  auto const schedules = co_await parts.schedules.list();
  if (!schedules) co_return Response::from(schedules.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_array();
  for (auto const& schedule : *schedules) json.raw(jobs::to_json(schedule));
  json.end_array();
  co_return response;
}

Task<Response> get_schedule(BackgroundTaskParts const& parts, Request const& request) {
  auto const schedule = co_await parts.schedules.get(request.path_values.front());
  co_return schedule_response(schedule, request);
}

Task<Response> create_schedule(BackgroundTaskParts const& parts, Request const& request) {
  auto const read = [](auto const& value, Schedule& out, describe::Issues& issues) {
    return jobs::read_schedule(value, out, Purpose::create, issues);
  };
  auto body = read_body<Schedule>(request, read);
  if (!body) co_return std::move(body.error());
  if (auto named = check_name(parts, request, body->task); !named) {
    co_return Response::from(named.error());
  }
  auto const answer = [&](Result<Schedule> const& made) {
    return schedule_response(made, request, 201);
  };
  co_return co_await pipeline::answer_with(
      request, parts.schedules.put(std::move(*body), actor_of(request).user, false), answer);
}

// A schedule of what only administrators may ask for is theirs.
Task<Result<void>> check_schedule(BackgroundTaskParts const& parts, Request const& request) {
  auto const schedule = co_await parts.schedules.get(request.path_values.front());
  if (!schedule) co_return std::unexpected(schedule.error());
  co_return check_right(parts, request, schedule->task);
}

Task<Response> change_schedule(BackgroundTaskParts const& parts, Request const& request) {
  auto body = http::parse_json_body(request);
  if (!body) co_return std::move(body.error());
  Schedule scratch;
  describe::Issues issues;
  if (!jobs::read_schedule(*body, scratch, Purpose::update, issues)) {
    co_return Response::invalid(issues);
  }
  if (auto may = co_await check_schedule(parts, request); !may) {
    co_return schedule_response(std::unexpected(may.error()), request);
  }
  auto const allow = [&](std::string const& task) { return check_name(parts, request, task); };
  auto const changed =
      co_await parts.schedules.change(request.path_values.front(), std::move(*body),
                                      actor_of(request).user, condition_of(request), allow);
  co_return schedule_response(changed, request);
}

Task<Response> remove_schedule(BackgroundTaskParts const& parts, Request const& request) {
  auto removed = co_await check_schedule(parts, request);
  if (removed) {
    removed = co_await parts.schedules.remove(request.path_values.front(), condition_of(request));
  }
  if (!removed && removed.error().code == ErrorCode::not_found) co_return unknown_schedule(request);
  if (!removed) co_return Response::from(removed.error());
  co_return Response::empty(204);
}

}  // namespace

http::Routes task_schedules_v2(BackgroundTaskParts const& parts) {
  using enum http::Access;
  http::Schema const schema{"TaskSchedule", &jobs::schedule_schema};
  http::BodySpec const body{{"TaskScheduleCreate", &jobs::schedule_create_schema}};
  http::BodySpec const update{{"TaskScheduleUpdate", &jobs::schedule_update_schema}};
  http::Parameter const name{.name = "name", .doc = "The schedule's name."};
  http::Answer const found{200, "The schedule.", schema};
  http::Answer const missing{404, "There is no such schedule."};
  http::Answer const refused{400, "No such task can be asked for."};
  http::Routes routes(kSchedulesPrefix);
  routes
      .add({.method = Method::get,
            .path = "/",
            .name = "v2_list_task_schedules",
            .summary = "All schedules of background tasks",
            .tag = kBackgroundTag,
            .handler = with_parts<&list_schedules>(parts),
            .access = read,
            .limit = {100, ClientKey::address},
            .answers = {{200, "The schedules.", schema, http::Shape::list}},
            .failure = "Failed to retrieve schedules"})
      .add({.method = Method::post,
            .path = "/",
            .name = "v2_create_task_schedule",
            .summary = "Start a background task by the clock from now on",
            .tag = kBackgroundTag,
            .handler = with_parts<&create_schedule>(parts),
            .access = write,
            .limit = {30, ClientKey::user},
            .body = body,
            .answers = {{201, "The new schedule.", schema},
                        refused,
                        {409, "There is one of this name."}},
            .failure = "Failed to create schedule"})
      .add({.method = Method::get,
            .path = "/{name}",
            .name = "v2_get_task_schedule",
            .summary = "Get a schedule",
            .tag = kBackgroundTag,
            .handler = with_parts<&get_schedule>(parts),
            .access = read,
            .limit = {200, ClientKey::address},
            .path_parameters = {name},
            .answers = {found, missing},
            .failure = "Failed to retrieve schedule"})
      .add({.method = Method::put,
            .path = "/{name}",
            .name = "v2_change_task_schedule",
            .summary = "Change a schedule; only members that are sent change",
            .tag = kBackgroundTag,
            .handler = with_parts<&change_schedule>(parts),
            .access = write,
            .limit = {30, ClientKey::user},
            .conditional = true,
            .path_parameters = {name},
            .body = update,
            .answers = {found, refused, missing},
            .failure = "Failed to change schedule"})
      .add({.method = Method::del,
            .path = "/{name}",
            .name = "v2_delete_task_schedule",
            .summary = "Delete a schedule",
            .tag = kBackgroundTag,
            .handler = with_parts<&remove_schedule>(parts),
            .access = write,
            .limit = {30, ClientKey::user},
            .conditional = true,
            .path_parameters = {name},
            .answers = {{204, "Deleted."}, missing},
            .failure = "Failed to delete schedule"});
  return routes;
}

}  // namespace subforge::api
