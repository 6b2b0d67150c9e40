// What the route tables of background tasks share.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/background_tasks.hpp"
#include "api/handler_parts.hpp"
#include "describe/codec.hpp"

namespace subforge::api {

inline constexpr char const* kBackgroundPrefix = "/api/v2/background-tasks";
// Not below that one, where they would look like the ids of tasks.
inline constexpr char const* kSchedulesPrefix = "/api/v2/task-schedules";
inline constexpr char const* kDeadLettersPrefix = "/api/v2/dead-letters";
inline constexpr char const* kBackgroundTag = "background tasks v2";
// What is cached of tasks goes stale with any of them.
inline constexpr char const* kAnyTask = "job:*";

// A priority as clients write it: one of the numbers, or its name.
struct Urgency {
  std::int64_t value = jobs::priority::kNormal;
};

// Whether this caller may ask for the background task of this name. Errors: bad_reference,
// forbidden.
[[nodiscard]] Result<void> check_name(BackgroundTaskParts const& parts,
                                      http::Request const& request, std::string const& name);

// Whether this caller may have to do with tasks of this name, who may not ask for all. Error:
// forbidden.
[[nodiscard]] Result<void> check_right(BackgroundTaskParts const& parts,
                                       http::Request const& request, std::string const& name);
// The same of a task by its id; one that is unknown is nobody's.
[[nodiscard]] Task<Result<void>> check_right(BackgroundTaskParts const& parts,
                                             http::Request const& request, Uuid id);

// The JSON object with these members more.
[[nodiscard]] std::string with_members(
    std::string const& object, std::vector<std::pair<std::string_view, std::string>> const& texts);
// Who asks, as members of a task's metadata.
[[nodiscard]] std::vector<std::pair<std::string_view, std::string>> creator_of(
    http::Request const& request);

// The id in the path; one that is no UUID names no task.
[[nodiscard]] std::optional<Uuid> task_id_of(http::Request const& request);
[[nodiscard]] http::Response unknown_background_task(http::Request const& request);
[[nodiscard]] http::Parameter task_id_parameter();

// A page of the tasks that the filter and the request mean: its names and queues, and which page.
[[nodiscard]] Task<http::Response> task_page(BackgroundTaskParts const& parts,
                                             http::Request const& request, jobs::JobFilter filter);

template <auto Handler>
[[nodiscard]] http::AsyncHandler with_parts(BackgroundTaskParts const& parts) {
  return [&parts](http::Request const& request) { return Handler(parts, request); };
}

}  // namespace subforge::api

template <>
struct subforge::describe::Codec<subforge::api::Urgency> {
  static bool read(boost::json::value const& in, api::Urgency& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, api::Urgency const& value) { json.integer(value.value); }
  static void schema(JsonWriter& json, Bounds const& bounds);
};
