// The parsers of agents' configurations: whatever document somebody uploads as JSON, YAML or
// Markdown with YAML in front, it is read within bounds or refused with its place; what was read
// can be written as JSON and is the same when that is read.
#include <cstdint>
#include <string>
#include <string_view>

#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "files/validation.hpp"
#include "pieces.hpp"

namespace {

using subforge::fuzz::require;
namespace files = subforge::files;
namespace describe = subforge::describe;

// The first byte of the input says which: '0' and so on.
constexpr std::string_view kNames[] = {"agent.json", "agent.yaml", "agent.md"};

std::size_t depth_of(boost::json::value const& value) {
  std::size_t deepest = 0;
  if (auto const* const array = value.if_array()) {
    for (auto const& item : *array) deepest = std::max(deepest, depth_of(item));
    return deepest + 1;
  }
  if (auto const* const object = value.if_object()) {
    for (auto const& [key, item] : *object) deepest = std::max(deepest, depth_of(item));
    return deepest + 1;
  }
  return 0;
}

// An error is one sentence for people, which says where.
void require_told(std::string const& message) {
  bool const placed = message.starts_with("line ") && message.find(", column ") != message.npos;
  require(placed || message.starts_with("the file "));
}

void check_document(std::string_view name, std::string const& content) {
  auto const document = files::parse_document(name, content);
  if (!document) return require_told(document.error().message);
  require(depth_of(*document) <= describe::kDocumentDepthMax);
  if (describe::has_infinity(*document)) return;
  auto const written = describe::json_text(*document);
  require(describe::json_text(describe::parse_json(written)) == written);
}

void check_agent(std::string_view name, std::string const& content) {
  auto const agent = files::parse_agent(name, content);
  if (!agent) return require(!agent.error().message.empty());
  require(!agent->definition.name.empty() && !agent->definition.agent_type.empty());
}

void check_validation(std::string_view name, std::string const& content) {
  files::FileRecord file;
  file.original_filename = name;
  file.file_type = files::FileType::agent_configs;
  for (auto const* type : {"auto", "json", "yaml", "agent_config"}) {
    auto const told = files::validate(file, content, type);
    require(told.is_valid == told.errors.empty());
    require(describe::json_text(describe::parse_json(told.parsed_content)) == told.parsed_content);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  if (size == 0) return 0;
  std::string const content(reinterpret_cast<char const*>(data) + 1, size - 1);
  auto const name = kNames[data[0] % std::size(kNames)];
  check_document(name, content);
  check_agent(name, content);
  check_validation(name, content);
  return 0;
}
