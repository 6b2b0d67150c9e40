#include "pipeline/once.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "auth/digest.hpp"
#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "describe/parse_json.hpp"
#include "http/multipart.hpp"
#include "http/router.hpp"

namespace subforge::pipeline {
namespace {

using http::Request;
using http::Response;

constexpr std::size_t kKeyBytesMax = 255;

std::string sha256_text(std::string_view text) {
  auto const digest = auth::sha256(text);
  return {digest.begin(), digest.end()};
}

// What stands between the parts of a form is made up anew for each attempt, and tells nothing.
void append_content(std::string& text, Request const& request) {
  auto const boundary = request.content_type.starts_with("multipart/")
                            ? http::boundary_of(request.content_type)
                            : std::nullopt;
  if (!boundary) {
    text.append(request.body);
    return;
  }
  auto const delimiter = "--" + *boundary;
  for (std::string_view rest = request.body;;) {
    auto const at = rest.find(delimiter);
    text.append(rest.substr(0, at));
    if (at == std::string_view::npos) return;
    text.append("--\n");
    rest.remove_prefix(at + delimiter.size());
  }
}

std::string hash_of(Request const& request) {
  auto path = request.path;
  if (path.size() > 1 && path.back() == '/') path.pop_back();
  std::string text(http::method_name(request.method));
  text.append(1, ' ').append(path).append(1, '?').append(request.raw_query);
  text.push_back('\n');
  append_content(text, request);
  return sha256_text(text);
}

Response another_request(std::string_view key) {
  describe::Issues issues;
  describe::Where const header{nullptr, "header"};
  issues.add({&header, std::string_view("Idempotency-Key")}, "value_error",
             "Value error, this key was used for another request", json_string(key));
  return Response::invalid(issues);
}

std::string fields_json(Response const& response) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("content_type", response.content_type);
  json.member("etag", response.etag);
  json.member("is_problem", response.is_problem);
  json.key("fields");
  json.begin_array();
  for (auto const& [name, value] : response.fields) {
    json.begin_array();
    json.string(name);
    json.string(value);
    json.end_array();
  }
  json.end_array();
  json.end_object();
  return text;
}

void read_fields(std::string_view text, Response& response) {
  auto const value = describe::parse_json(text);
  auto const text_of = [](boost::json::value const& json) {
    auto const& string = json.as_string();
    return std::string(string.data(), string.size());
  };
  response.content_type = text_of(value.at("content_type"));
  response.etag = text_of(value.at("etag"));
  response.is_problem = value.at("is_problem").as_bool();
  for (auto const& field : value.at("fields").as_array()) {
    response.fields.emplace_back(text_of(field.at(0)), text_of(field.at(1)));
  }
}

}  // namespace

std::optional<std::string> parse_idempotency_key(std::string_view field) {
  auto text = trim(field);
  bool const quoted = text.size() >= 2 && text.starts_with('"') && text.ends_with('"');
  if (quoted) text = text.substr(1, text.size() - 2);
  std::string key;
  bool escaped = false;
  for (char const c : text) {
    if (c < ' ' || c > '~') return std::nullopt;
    if (quoted && !escaped && c == '\\') {
      escaped = true;
      continue;
    }
    if (quoted && (c == '"' || c == '\\') != escaped) return std::nullopt;
    escaped = false;
    key.push_back(c);
  }
  if (escaped || key.empty() || key.size() > kKeyBytesMax) return std::nullopt;
  return key;
}

Once::Once(RepeatedRequests const& shared, std::string client, std::string key,
           Request const& request)
    : shared_(shared),
      request_(request),
      key_{std::move(client), request.route->name, std::move(key)},
      hash_(hash_of(request)) {}

Task<Response> Once::answer(http::AsyncHandler const& handler) {
  auto const claim = shared_.claims.take(key_.client + '\0' + key_.route + '\0' + key_.key);
  if (!claim) {
    co_return Response::problem(409, "A request with this Idempotency-Key is still under way")
        .with("Retry-After", "1");
  }
  // Nobody else in this process can keep an answer between this look and the effect; if another
  // process does, the effect is undone.
  if (!request_.route->streamed_body) {
    auto const earlier = co_await shared_.answers.find(key_);
    if (!earlier) co_return Response::from(earlier.error());
    if (*earlier) co_return replay(**earlier);
  }
  auto response = co_await handler(request_);
  if (late_) {
    auto const earlier = co_await shared_.answers.find(key_);
    if (earlier && *earlier) co_return replay(**earlier);
    co_return std::move(response).with("Retry-After", "1");
  }
  bool const success = response.status >= 200 && response.status < 300;
  if (success && !kept_ && !response.stream) co_await keep_afterwards(response);
  co_return response;
}

void Once::expect(std::type_info const& type, Render render) {
  expected_ = &type;
  render_ = std::move(render);
}

Task<Result<void>> Once::join(store::Transaction& transaction, std::type_info const& type,
                              void const* result) {
  // A handler may write more than what its answer tells of.
  if (expected_ == nullptr || *expected_ != type) co_return {};
  kept_ = render_(result);
  auto kept = co_await shared_.answers.keep(transaction, key_, to_keep(*kept_));
  late_ = !kept && kept.error().code == ErrorCode::conflict;
  co_return kept;
}

void Once::content(std::string_view digest) { hash_ = sha256_text(hash_.append(digest)); }

store::KeptAnswer Once::to_keep(Response const& response) const {
  return {hash_, response.status, fields_json(response), response.body};
}

Task<void> Once::amend(Response const& response) {
  // What was kept with the effect is true as well, so that a failure here is no reason to fail.
  (void)co_await shared_.answers.amend(key_, to_keep(response));
}

Task<void> Once::keep_afterwards(Response const& response) {
  auto const answer = to_keep(response);
  auto keep = [&](store::Transaction& transaction) {
    return shared_.answers.keep(transaction, key_, answer);
  };
  // The effect is there; that a repetition would double it is no reason to deny it.
  (void)co_await shared_.store.write(keep);
}

Response Once::replay(store::KeptAnswer const& kept) const {
  if (kept.request_hash != hash_) return another_request(key_.key);
  if (!kept.complete) {
    return Response::problem(409, fmt::format("This request was carried out before and answered"
                                              " with {}; the answer was too long to be kept",
                                              kept.status));
  }
  Response response;
  response.status = kept.status;
  response.body = kept.body;
  read_fields(kept.fields, response);
  return std::move(response).with("Idempotency-Replayed", "true");
}

}  // namespace subforge::pipeline
