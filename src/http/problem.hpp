// Error answers: the reference's `detail` with the members of RFC 9457 beside it.
#pragma once

#include <string>
#include <string_view>

namespace subforge::http {

// `detail_json` is a JSON string, or the list of a 422. `error_type` says whose failure a 500 is;
// empty: there is no such member.
[[nodiscard]] std::string problem_body(int status, std::string_view detail_json,
                                       std::string_view instance, std::string_view error_type);

// Whether an Accept field names application/problem+json, and not with a weight of 0 (RFC 9110
// section 12.5.1). Wildcards do not name it: who takes anything gets what the reference sends.
[[nodiscard]] bool accepts_problem_json(std::string_view accept);

}  // namespace subforge::http
