#include "describe/issues.hpp"

#include <algorithm>

#include "base/json_writer.hpp"

namespace subforge::describe {

void Issues::add(Where const& where, std::string type, std::string msg, std::string input,
                 std::string ctx) {
  if (list_.size() >= kIssuesMax) return;
  Issue issue{std::move(type), {}, std::move(msg), {}, std::move(ctx)};
  if (input.size() <= kInputBytesMax) issue.input = std::move(input);
  for (auto const* at = &where; at != nullptr; at = at->outer) {
    if (auto const* name = std::get_if<std::string_view>(&at->step)) {
      issue.loc.emplace_back(std::string(*name));
    } else {
      issue.loc.emplace_back(std::get<std::int64_t>(at->step));
    }
  }
  std::ranges::reverse(issue.loc);
  list_.push_back(std::move(issue));
}

std::string Issues::first() const {
  auto const& issue = list_.front();
  std::string where;
  for (auto const& step : issue.loc) {
    auto const* name = std::get_if<std::string>(&step);
    if (name == nullptr || *name == "body") continue;
    if (!where.empty()) where += ".";
    where += *name;
  }
  return where.empty() ? issue.msg : where + ": " + issue.msg;
}

void Issues::write(JsonWriter& json) const {
  json.begin_array();
  for (auto const& issue : list_) {
    json.begin_object();
    json.member("type", issue.type);
    json.key("loc");
    json.begin_array();
    for (auto const& step : issue.loc) {
      if (auto const* name = std::get_if<std::string>(&step)) {
        json.string(*name);
      } else {
        json.integer(std::get<std::int64_t>(step));
      }
    }
    json.end_array();
    json.member("msg", issue.msg);
    if (!issue.input.empty()) json.member_raw("input", issue.input);
    if (!issue.ctx.empty()) json.member_raw("ctx", issue.ctx);
    json.end_object();
  }
  json.end_array();
}

}  // namespace subforge::describe
