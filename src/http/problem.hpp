// Error answers: the reference's `detail` with the members of RFC 9457 beside it.
#pragma once

#include <string>
#include <string_view>

namespace subforge::http {

// `detail_json` is a JSON string, or the list of a 422.
[[nodiscard]] std::string problem_body(int status, std::string_view detail_json,
                                       std::string_view instance);

}  // namespace subforge::http
