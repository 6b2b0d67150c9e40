#include "http/response.hpp"

#include "base/json_writer.hpp"

namespace subforge::http {
namespace {

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid: return 422;
    case ErrorCode::bad_reference: return 400;
    case ErrorCode::not_found: return 404;
    case ErrorCode::conflict: return 409;
    case ErrorCode::stale: return 412;
    case ErrorCode::unauthorized: return 401;
    case ErrorCode::forbidden: return 403;
    case ErrorCode::too_large: return 413;
    case ErrorCode::unavailable: return 503;
    case ErrorCode::database:
    case ErrorCode::internal: return 500;
  }
  return 500;
}

}  // namespace

Response Response::problem(int status, std::string_view detail) {
  std::string json;
  append_json_string(json, detail);
  return problem_json(status, std::move(json));
}

Response Response::problem_json(int status, std::string detail_json) {
  Response response;
  response.status = status;
  response.body = std::move(detail_json);
  response.is_problem = true;
  if (status == 500) response.error_type = "internal_error";
  return response;
}

Response Response::invalid(describe::Issues const& issues) {
  std::string json;
  JsonWriter writer(json);
  issues.write(writer);
  return problem_json(422, std::move(json));
}

Response Response::from(Error const& error) {
  auto response = problem(status_of(error.code), error.message);
  if (error.code == ErrorCode::database) response.error_type = "database_error";
  if (error.code == ErrorCode::unavailable) response.fields.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace subforge::http
