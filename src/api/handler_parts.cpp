#include "api/handler_parts.hpp"

#include <fmt/format.h>

#include "auth/principal.hpp"

namespace subforge::api {

domain::Actor actor_of(http::Request const& request) {
  return {request.principal != nullptr ? request.principal->id : std::string()};
}

Precondition condition_of(http::Request const& request) {
  return Precondition::if_match(request.if_match);
}

std::optional<Uuid> id_of(http::Request const& request) {
  return Uuid::parse(request.path_values.front());
}

std::optional<Timestamp> time_of(http::Request const& request, std::string_view name) {
  auto const text = request.text(name);
  return text ? Timestamp::parse(*text) : std::nullopt;
}

std::string etag_of(std::int64_t version) { return "\"" + std::to_string(version) + "\""; }

std::string etag_of(std::int64_t version, std::int64_t reading) {
  return fmt::format("\"{}-{:x}\"", version, reading);
}

http::Parameter integer_parameter(std::string name, std::int64_t fallback, std::int64_t least,
                                  std::optional<std::int64_t> most, std::string doc) {
  return {.name = std::move(name),
          .type = http::Parameter::Type::integer,
          .doc = std::move(doc),
          .fallback = fallback,
          .least = least,
          .most = most};
}

http::Parameter time_parameter(std::string name, std::string doc) {
  return {.name = std::move(name), .type = http::Parameter::Type::timestamp, .doc = std::move(doc)};
}

http::Parameter uuid_parameter(std::string name, std::string doc) {
  return {.name = std::move(name), .type = http::Parameter::Type::uuid, .doc = std::move(doc)};
}

http::Parameter flag_parameter(std::string name, std::string doc) {
  return {.name = std::move(name), .type = http::Parameter::Type::boolean, .doc = std::move(doc)};
}

http::Parameter text_parameter(std::string name, std::string doc) {
  return {.name = std::move(name), .type = http::Parameter::Type::text, .doc = std::move(doc)};
}

http::Parameter choice_parameter(std::string name, std::vector<std::string> choices,
                                 std::string doc) {
  return {.name = std::move(name),
          .type = http::Parameter::Type::choice,
          .doc = std::move(doc),
          .choices = std::move(choices)};
}

}  // namespace subforge::api
