// YAML text as values of the same form as JSON's, with bounds that make a hostile document an error
// instead of a load.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <boost/json/value.hpp>

#include "base/result.hpp"
#include "describe/parse_json.hpp"

namespace subforge::describe {

// Nodes after aliases are expanded: what makes a "billion laughs" document large.
inline constexpr std::size_t kDocumentNodesMax = 100'000;
// Bytes of all texts after that.
inline constexpr std::size_t kDocumentTextBytesMax = 4U << 20;

// One YAML document of the core schema (YAML 1.2 section 10.3), no deeper than kDocumentDepthMax;
// duplicate keys are an error. Errors: invalid, with a sentence that gives line and column.
[[nodiscard]] Result<boost::json::value> parse_yaml_text(std::string_view text);

// "line 3, column 5" of what each path leads to in YAML that was parsed without an error, or of the
// last step that is there; empty where that cannot be told. It is not looked for behind aliases.
using DocumentPath = std::span<std::variant<std::string, std::int64_t> const>;
[[nodiscard]] std::vector<std::string> places_in_document(std::string_view text,
                                                          std::span<DocumentPath const> paths);
// The same in JSON, whose escapes are not all YAML's.
[[nodiscard]] std::vector<std::string> places_in_json(std::string_view text,
                                                      std::span<DocumentPath const> paths);

}  // namespace subforge::describe
