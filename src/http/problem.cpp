#include "http/problem.hpp"

#include <algorithm>

#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "net/http_status.hpp"

namespace subforge::http {
namespace {

// What stands before the separator, which goes with it.
std::string_view take_until(std::string_view& text, char separator) {
  auto const end = std::min(text.find(separator), text.size());
  auto const part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return trim(part);
}

bool is_zero_weight(std::string_view parameter) {
  auto const name = take_until(parameter, '=');
  auto const value = trim(parameter);
  return equal_ignoring_case(name, "q") && value.starts_with('0') &&
         value.find_first_not_of("0.") == std::string_view::npos;
}

}  // namespace

std::string problem_body(int status, std::string_view detail_json, std::string_view instance,
                         std::string_view error_type) {
  std::string body;
  JsonWriter json(body);
  json.begin_object();
  json.member_raw("detail", detail_json);
  if (!error_type.empty()) json.member("error_type", error_type);
  json.member("type", "about:blank");
  json.member("title", net::reason_phrase(status));
  json.member("status", status);
  json.member("instance", instance);
  json.end_object();
  return body;
}

bool accepts_problem_json(std::string_view accept) {
  while (!accept.empty()) {
    auto range = take_until(accept, ',');
    if (!equal_ignoring_case(take_until(range, ';'), "application/problem+json")) continue;
    bool welcome = true;
    while (!range.empty()) welcome = welcome && !is_zero_weight(take_until(range, ';'));
    if (welcome) return true;
  }
  return false;
}

}  // namespace subforge::http
