// The AsyncAPI 3.0 document of the live protocols
// (https://www.asyncapi.com/docs/reference/specification/v3.0.0), written from the rows by which
// messages are validated and made.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "http/route.hpp"
#include "realtime/live_event.hpp"

namespace subforge::realtime {

struct ProtocolAddresses {
  std::string v1;
  std::string v2;
  std::string sse;
  std::string socketio;
};

// `schemas` has those that shapes name. Throws std::logic_error for a shape that is none, or names
// a schema that is not there: both are bugs.
[[nodiscard]] std::string asyncapi_document(std::string_view title, std::string_view version,
                                            ProtocolAddresses const& addresses,
                                            Projections const& projections,
                                            std::span<http::Schema const> schemas);

}  // namespace subforge::realtime
