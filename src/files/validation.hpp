// Whether a stored file is what it should be, told with line and column.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/value.hpp>

#include "base/result.hpp"
#include "domain/agents/agents.hpp"
#include "files/file.hpp"

namespace subforge::files {

// Longer documents are not read: a parser needs a multiple of it in memory.
inline constexpr std::int64_t kDocumentBytesMax = 1 << 20;

struct Validation {
  bool is_valid = false;
  std::vector<std::string> errors = {};
  std::vector<std::string> warnings = {};
  std::string parsed_content = "null";  // As JSON.
};

// `type` is auto, json, yaml or agent_config; any other checks nothing. `content` is empty where
// the file cannot be read. For the threads of a pool.
[[nodiscard]] Validation validate(FileRecord const& file, Result<std::string> const& content,
                                  std::string_view type);

// An agent as a file defines it: JSON, YAML, or Markdown with YAML in front, whose text are the
// instructions.
struct ParsedAgent {
  domain::AgentDefinition definition;
  std::vector<std::string> warnings;
};

// Errors: invalid, with line and column of all that is wrong.
[[nodiscard]] Result<boost::json::value> parse_document(std::string_view name,
                                                        std::string const& content);
[[nodiscard]] Result<ParsedAgent> parse_agent(std::string_view name, std::string const& content);

// The whole content of a descriptor. Errors: too_large, internal.
[[nodiscard]] Result<std::string> read_document(int fd, std::int64_t size);

}  // namespace subforge::files
