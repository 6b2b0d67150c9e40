// Small pieces that many handlers share.
#pragma once

#include <expected>
#include <string>

#include <boost/json/value.hpp>

#include "base/precondition.hpp"
#include "describe/record.hpp"
#include "domain/actor.hpp"
#include "http/request.hpp"
#include "http/response.hpp"
#include "http/route.hpp"

namespace subforge::api {

inline constexpr std::int64_t kDayUs = 86'400'000'000;

[[nodiscard]] domain::Actor actor_of(http::Request const& request);
// What the client requires of the record that is to be changed or deleted.
[[nodiscard]] Precondition condition_of(http::Request const& request);

// Reads the body into `out` with `read(value, out, issues)`; the answer of refusal if it is wrong.
template <class Body, class Read>
[[nodiscard]] std::expected<Body, http::Response> read_body(http::Request const& request,
                                                            Read read) {
  auto value = http::parse_json_body(request);
  if (!value) return std::unexpected(std::move(value.error()));
  Body body;
  describe::Issues issues;
  if (!read(*value, body, issues)) return std::unexpected(http::Response::invalid(issues));
  return body;
}

// The same for a body that is but what its description says.
template <describe::Record Body>
[[nodiscard]] std::expected<Body, http::Response> read_body(http::Request const& request) {
  return read_body<Body>(
      request, [](boost::json::value const& value, Body& body, describe::Issues& issues) {
        return describe::read_record(value, body, describe::Api::v2, describe::Purpose::create,
                                     {nullptr, "body"}, issues);
      });
}

// The id in the path where ids are plain text: one that is no UUID names nothing.
[[nodiscard]] std::optional<Uuid> id_of(http::Request const& request);
// The time that a parameter of the query names.
[[nodiscard]] std::optional<Timestamp> time_of(http::Request const& request, std::string_view name);

// The ETag of a record: its version is what makes it strong.
[[nodiscard]] std::string etag_of(std::int64_t version);
// Of an answer that shows more than the version tells of: If-Match takes it for that version.
[[nodiscard]] std::string etag_of(std::int64_t version, std::int64_t reading);

[[nodiscard]] http::Parameter integer_parameter(std::string name, std::int64_t fallback,
                                                std::int64_t least,
                                                std::optional<std::int64_t> most, std::string doc);
[[nodiscard]] http::Parameter time_parameter(std::string name, std::string doc);
[[nodiscard]] http::Parameter uuid_parameter(std::string name, std::string doc);
[[nodiscard]] http::Parameter flag_parameter(std::string name, std::string doc);
[[nodiscard]] http::Parameter text_parameter(std::string name, std::string doc);
[[nodiscard]] http::Parameter choice_parameter(std::string name, std::vector<std::string> choices,
                                               std::string doc);

// What an answer that is but a sentence holds.
inline constexpr describe::Shape kMessage = "message:text";

}  // namespace subforge::api
