// Configuration files as values: JSON and YAML text into the same form, with bounds that make a
// hostile document an error instead of a load.
#pragma once

#include <string_view>

#include <boost/json/value.hpp>

#include "base/result.hpp"

namespace subforge::describe {

inline constexpr std::size_t kDocumentDepthMax = 64;
// Nodes after aliases are expanded: what makes a "billion laughs" document large.
inline constexpr std::size_t kDocumentNodesMax = 100'000;

// Errors: invalid, with a sentence that gives line and column.
[[nodiscard]] Result<boost::json::value> parse_json_text(std::string_view text);
// One YAML document of the core schema (YAML 1.2 section 10.3); duplicate keys are an error.
[[nodiscard]] Result<boost::json::value> parse_yaml_text(std::string_view text);

}  // namespace subforge::describe
