// Error answers: the reference's `detail` with the members of RFC 9457 beside it.
#pragma once

#include <string>
#include <string_view>

namespace subforge::http {

// `detail_json` is a JSON string, or the list of a 422. `error_type` says whose failure a 500 is;
// empty: there is no such member.
[[nodiscard]] std::string problem_body(int status, std::string_view detail_json,
                                       std::string_view instance, std::string_view error_type);

}  // namespace subforge::http
