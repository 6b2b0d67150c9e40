#include "http/request.hpp"

#include <boost/json/error.hpp>
#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "base/time.hpp"
#include "base/utf8.hpp"
#include "describe/codec.hpp"
#include "describe/exact_json.hpp"
#include "http/route.hpp"

namespace subforge::http {
namespace {

using describe::Issues;
using describe::Where;

std::optional<bool> parse_boolean(std::string_view text) {
  static constexpr std::string_view kTrue[] = {"true", "1", "yes", "on", "t", "y"};
  static constexpr std::string_view kFalse[] = {"false", "0", "no", "off", "f", "n"};
  for (auto const word : kTrue) {
    if (equal_ignoring_case(text, word)) return true;
  }
  for (auto const word : kFalse) {
    if (equal_ignoring_case(text, word)) return false;
  }
  return std::nullopt;
}

void check_integer(Parameter const& parameter, std::string_view text, Where const& where,
                   Issues& issues) {
  auto const digits = text.starts_with('+') ? text.substr(1) : text;
  auto const value = parse_number<std::int64_t>(digits);
  if (!value) {
    issues.add(where, "int_parsing",
               "Input should be a valid integer, unable to parse string as an integer",
               json_string(text));
  } else if (parameter.least && *value < *parameter.least) {
    issues.add(where, "greater_than_equal",
               fmt::format("Input should be greater than or equal to {}", *parameter.least),
               json_string(text), fmt::format(R"({{"ge":{}}})", *parameter.least));
  } else if (parameter.most && *value > *parameter.most) {
    issues.add(where, "less_than_equal",
               fmt::format("Input should be less than or equal to {}", *parameter.most),
               json_string(text), fmt::format(R"({{"le":{}}})", *parameter.most));
  }
}

void check_choice(Parameter const& parameter, std::string_view text, Where const& where,
                  Issues& issues) {
  if (std::ranges::find(parameter.choices, text) != parameter.choices.end()) return;
  auto const pattern = fmt::format("^({})$", fmt::join(parameter.choices, "|"));
  issues.add(where, "string_pattern_mismatch",
             fmt::format("String should match pattern '{}'", pattern), json_string(text),
             fmt::format(R"({{"pattern":{}}})", json_string(pattern)));
}

void check_value(Parameter const& parameter, std::string_view text, Where const& where,
                 Issues& issues) {
  using Type = Parameter::Type;
  switch (parameter.type) {
    case Type::text: break;
    case Type::integer: check_integer(parameter, text, where, issues); break;
    case Type::choice: check_choice(parameter, text, where, issues); break;
    case Type::boolean:
      if (!parse_boolean(text)) {
        issues.add(where, "bool_parsing",
                   "Input should be a valid boolean, unable to interpret input", json_string(text));
      }
      break;
    case Type::uuid:
      if (!Uuid::parse(text)) {
        issues.add(where, "uuid_parsing", "Input should be a valid UUID", json_string(text));
      }
      break;
    case Type::timestamp:
      if (!Timestamp::parse(text)) {
        issues.add(where, "datetime_parsing", "Input should be a valid datetime",
                   json_string(text));
      }
      break;
  }
}

Parameter const* declared(Route const* route, std::string_view name) {
  if (route == nullptr) return nullptr;
  for (auto const& parameter : route->query) {
    if (parameter.name == name) return &parameter;
  }
  return nullptr;
}

bool is_json(std::string_view content_type) {
  auto const type = to_lower(trim(content_type.substr(0, content_type.find(';'))));
  return type.empty() || type == "application/json" || type.ends_with("+json");
}

}  // namespace

std::optional<Query> Query::parse(std::string_view raw) {
  Query query;
  while (!raw.empty()) {
    auto const end = std::min(raw.find('&'), raw.size());
    auto const pair = raw.substr(0, end);
    raw.remove_prefix(std::min(end + 1, raw.size()));
    if (pair.empty()) continue;
    auto const equals = std::min(pair.find('='), pair.size());
    auto name = percent_decode(pair.substr(0, equals), PlusSign::space);
    auto value = percent_decode(pair.substr(std::min(equals + 1, pair.size())), PlusSign::space);
    bool const good = name && value && is_valid_utf8(*name) && is_valid_utf8(*value) &&
                      value->find('\0') == std::string::npos;
    if (!good || query.pairs_.size() >= kPairsMax) return std::nullopt;
    query.pairs_.emplace_back(std::move(*name), std::move(*value));
  }
  return query;
}

std::optional<std::string_view> Query::find(std::string_view name) const {
  // The last one counts, as in the reference.
  for (auto pair = pairs_.rbegin(); pair != pairs_.rend(); ++pair) {
    if (pair->first == name) return pair->second;
  }
  return std::nullopt;
}

std::int64_t Request::integer(std::string_view name) const {
  auto const* parameter = declared(route, name);
  auto const fallback = parameter != nullptr ? parameter->fallback.value_or(0) : 0;
  auto const sent = query.find(name);
  if (!sent) return fallback;
  auto const digits = sent->starts_with('+') ? sent->substr(1) : *sent;
  return parse_number<std::int64_t>(digits).value_or(fallback);
}

std::optional<std::string> Request::text(std::string_view name) const {
  auto const sent = query.find(name);
  if (!sent || sent->empty()) return std::nullopt;  // Empty equals not given.
  return std::string(*sent);
}

std::optional<bool> Request::boolean(std::string_view name) const {
  auto const sent = query.find(name);
  return sent ? parse_boolean(*sent) : std::nullopt;
}

std::string_view Request::field(std::string_view name) const {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (route->reads[i] == name) return fields[i];
  }
  return {};
}

Uuid Request::uuid(std::size_t index) const {
  return Uuid::parse(path_values.at(index)).value_or(Uuid{});
}

void check_parameters(Request const& request, Issues& issues) {
  auto const& route = *request.route;
  Where const path{nullptr, "path"};
  for (std::size_t i = 0; i < route.path_parameters.size(); ++i) {
    Where const where{&path, std::string_view(route.path_parameters[i].name)};
    check_value(route.path_parameters[i], request.path_values[i], where, issues);
  }
  Where const query{nullptr, "query"};
  for (auto const& parameter : route.query) {
    auto const sent = request.query.find(parameter.name);
    if (!sent || (sent->empty() && parameter.type == Parameter::Type::text)) continue;
    Where const where{&query, std::string_view(parameter.name)};
    check_value(parameter, *sent, where, issues);
  }
}

namespace {

// Names each whole number beyond 64 bits. Recursion is bounded by the depth that parsing allows.
void refuse_long_integers(boost::json::value const& value, Where const& where, Issues& issues) {
  if (describe::long_integer(value)) {
    issues.add(where, "int_parsing_size",
               "A whole number beyond 64 bits would lose digits: send it as a text",
               describe::input_text(value));
  } else if (auto const* const list = value.if_array()) {
    for (std::size_t i = 0; i < list->size(); ++i) {
      refuse_long_integers((*list)[i], {&where, static_cast<std::int64_t>(i)}, issues);
    }
  } else if (auto const* const object = value.if_object()) {
    for (auto const& member : *object) {
      refuse_long_integers(member.value(), {&where, std::string_view(member.key())}, issues);
    }
  }
}

}  // namespace

std::expected<boost::json::value, Response> parse_json_body(Request const& request) {
  if (!is_json(request.content_type)) {
    return std::unexpected(
        Response::problem(415, "Send the body as JSON with Content-Type: application/json"));
  }
  Where const body{nullptr, "body"};
  Issues issues;
  if (request.body.empty()) {
    issues.add(body, "missing", "Field required", "null");
    return std::unexpected(Response::invalid(issues));
  }
  boost::system::error_code error;
  std::size_t used = 0;
  describe::JsonLimits const limits{.depth_max = describe::kDocumentDepthMax,
                                    .whole_numbers_exact = true};
  auto value = describe::parse_json(request.body, error, limits, {}, &used);
  if (error == boost::json::error::not_exact) {
    auto const exact = describe::parse_exact_json(request.body, error, limits);
    if (!error) {
      refuse_long_integers(exact, body, issues);
      return std::unexpected(Response::invalid(issues));
    }
    // It is no JSON further on, which is worse.
    (void)describe::parse_json(request.body, error, {.depth_max = limits.depth_max}, {}, &used);
  }
  if (error) {
    Where const where{&body, static_cast<std::int64_t>(used)};
    std::string ctx = "{\"error\":";
    append_json_string(ctx, error.message());
    issues.add(where, "json_invalid", "JSON decode error", "{}", ctx + "}");
    return std::unexpected(Response::invalid(issues));
  }
  return value;
}

}  // namespace subforge::http
