#include "http/problem.hpp"

#include "base/json_writer.hpp"
#include "net/http_status.hpp"

namespace subforge::http {

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

}  // namespace subforge::http
