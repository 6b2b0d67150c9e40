#include "api/background_task_parts.hpp"

#include <boost/json/object.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "api/cursor.hpp"
#include "auth/principal.hpp"
#include "base/json_writer.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"

namespace subforge::api {

using http::Request;
using http::Response;

Result<void> check_name(BackgroundTaskParts const& parts, Request const& request,
                        std::string const& name) {
  if (!parts.takes_any_name && parts.registry.find(name) == nullptr) {
    return fail(ErrorCode::bad_reference, fmt::format("Unknown task '{}'; known are: {}", name,
                                                      fmt::join(parts.registry.names(), ", ")));
  }
  return check_right(parts, request, name);
}

Result<void> check_right(BackgroundTaskParts const& parts, Request const& request,
                         std::string const& name) {
  bool const admin = request.principal != nullptr && request.principal->may_administrate();
  if (admin || !parts.for_admins.contains(name)) return {};
  return fail(ErrorCode::forbidden, "Permission 'admin' required");
}

Task<Result<void>> check_right(BackgroundTaskParts const& parts, Request const& request, Uuid id) {
  bool const admin = request.principal != nullptr && request.principal->may_administrate();
  if (admin || parts.for_admins.empty()) co_return {};
  auto const job = co_await parts.jobs.get(id);
  if (!job && job.error().code == ErrorCode::not_found) co_return {};
  if (!job) co_return std::unexpected(job.error());
  co_return check_right(parts, request, job->name);
}

std::string with_members(std::string const& object,
                         std::vector<std::pair<std::string_view, std::string>> const& texts) {
  auto members = describe::parse_json(object).as_object();
  for (auto const& [name, text] : texts) members.insert_or_assign(name, text);
  return describe::json_text(members);
}

std::vector<std::pair<std::string_view, std::string>> creator_of(Request const& request) {
  if (request.principal == nullptr) return {};
  return {{"created_by", request.principal->id},
          {"created_by_username", request.principal->username}};
}

std::optional<Uuid> task_id_of(Request const& request) {
  return Uuid::parse(request.path_values.front());
}

Response unknown_background_task(Request const& request) {
  return Response::problem(404, fmt::format("Task {} not found", request.path_values.front()));
}

http::Parameter task_id_parameter() { return {.name = "task_id", .doc = "The task's id."}; }

Task<Response> task_page(BackgroundTaskParts const& parts, Request const& request,
                         jobs::JobFilter filter) {
  filter.name_part = request.text("task_name");
  filter.queue = request.text("queue");
  filter.skip = request.integer("skip");
  filter.limit = request.integer("limit");
  auto after = read_cursor(request);
  if (!after) co_return std::move(after.error());
  filter.after = std::move(*after);
  auto const page = co_await parts.jobs.list(std::move(filter));
  if (!page) co_return Response::from(page.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_array();
  for (auto const& job : page->rows) jobs::write_json(json, job);
  json.end_array();
  add_page_fields(response, request, {page->total, page->total_capped}, page->next);
  co_return response;
}

}  // namespace subforge::api

namespace subforge::describe {

constexpr std::string_view kUrgencyPattern = "^(1|5|8|10|low|normal|high|critical)$";

bool Codec<api::Urgency>::read(boost::json::value const& in, api::Urgency& out, Bounds const&,
                               Where const& where, Issues& issues) {
  std::optional<std::int64_t> found;
  if (auto const* const number = in.if_int64(); number != nullptr && jobs::is_priority(*number)) {
    found = *number;
  }
  if (auto const* const text = in.if_string()) found = jobs::priority_of(*text);
  if (!found) {
    add_pattern_issue(in.is_string() ? std::string(in.get_string()) : json_text(in),
                      kUrgencyPattern, where, issues);
    return false;
  }
  out.value = *found;
  return true;
}

void Codec<api::Urgency>::schema(JsonWriter& json, Bounds const&) {
  json.member_raw("enum", R"([1,5,8,10,"low","normal","high","critical","1","5","8","10"])");
}

}  // namespace subforge::describe
