// What a handler answers.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "describe/issues.hpp"
#include "net/http_server.hpp"

namespace subforge::http {

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> fields;  // Further header fields.
  std::string etag;                                         // With its quotes; empty for none.
  std::unique_ptr<net::BodySource> stream;                  // Instead of `body`.
  std::unique_ptr<net::FileBody> file;                      // The same of one that lies in a file.
  bool packable = true;  // False: the handler has chosen a content coding itself, or wants none.
  // The body is the JSON of a problem's `detail`; the members of RFC 9457 are put around it.
  bool is_problem = false;
  std::string_view error_type = {};  // Of a problem: whose failure it is; empty for the client's.

  [[nodiscard]] static Response json(std::string body, int status = 200) {
    Response response;
    response.status = status;
    response.body = std::move(body);
    return response;
  }
  [[nodiscard]] static Response empty(int status = 204) {
    Response response;
    response.status = status;
    response.content_type.clear();
    return response;
  }
  [[nodiscard]] static Response text(std::string body, std::string content_type) {
    Response response;
    response.body = std::move(body);
    response.content_type = std::move(content_type);
    return response;
  }
  [[nodiscard]] static Response problem(int status, std::string_view detail);
  [[nodiscard]] static Response problem_json(int status, std::string detail_json);
  // 422 with everything that is wrong.
  [[nodiscard]] static Response invalid(describe::Issues const& issues);
  // The status that fits the error's code, with its safe text.
  [[nodiscard]] static Response from(Error const& error);

  [[nodiscard]] Response&& with(std::string name, std::string value) && {
    fields.emplace_back(std::move(name), std::move(value));
    return std::move(*this);
  }
};

}  // namespace subforge::http
