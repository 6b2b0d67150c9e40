#include "files/validation.hpp"

#include <unistd.h>

#include <algorithm>

#include <boost/json/object.hpp>
#include <fmt/format.h>

#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "describe/json_text.hpp"
#include "describe/parse_json.hpp"
#include "describe/yaml.hpp"
#include "files/content.hpp"
#include "jobs/job_checks.hpp"

namespace subforge::files {
namespace {

constexpr std::size_t kNameToldBytes = 200;  // Of what a document calls a member.

namespace json = boost::json;

constexpr std::int64_t kNameLengthMax = 255;
constexpr std::int64_t kTypeLengthMax = 100;
constexpr std::string_view kDefaultType = "agent";

// A Markdown file with YAML before its text, between two lines of "---".
struct FrontMatter {
  std::string_view yaml;  // From the first "---" on, so that its lines are those of the file.
  std::string_view text;
};

// Up to LF, CR LF or CR.
std::string_view take_line(std::string_view& text) {
  auto const line = text.substr(0, text.find_first_of("\r\n"));
  auto const both = text.substr(line.size()).starts_with("\r\n");
  text.remove_prefix(std::min(line.size() + (both ? 2 : 1), text.size()));
  return line;
}

// Blanks may stand behind it.
bool is_mark(std::string_view line, std::string_view mark) {
  return line.starts_with(mark) && line.find_first_not_of(" \t", mark.size()) == line.npos;
}

Result<FrontMatter> split_markdown(std::string_view content) {
  auto rest = without_byte_order_mark(content);
  if (!is_mark(take_line(rest), "---")) {
    return fail(ErrorCode::invalid,
                "line 1, column 1: no YAML in front: the first line is not ---");
  }
  while (!rest.empty()) {
    auto const line = take_line(rest);
    if (is_mark(line, "---") || is_mark(line, "..."))
      return FrontMatter{{content.data(), line.data()}, rest};
  }
  return fail(ErrorCode::invalid, "line 1, column 1: the YAML in front has no end: no second ---");
}

// A value that YAML takes for text to the end of its line, but for what it holds.
bool is_broken_text(std::string_view value) {
  constexpr std::string_view kOthers = "\"'[]{}|>&*!#%@`,?-";
  if (value.empty() || kOthers.contains(value.front())) return false;
  return value.contains(": ") || value.contains(" #") || value.ends_with(':');
}

// Claude Code takes all of a line behind `key:` for its value, and writes descriptions with colons
// in them: they become what YAML would have them be. Lines stay where they are.
std::string with_quotes(std::string_view yaml) {
  std::string quoted;
  while (!yaml.empty()) {
    auto const line = take_line(yaml);
    auto const colon = line.find(": ");
    bool const has_key = colon != std::string_view::npos && colon > 0 &&
                         std::ranges::all_of(line.substr(0, colon), [](char c) {
                           return (c >= '0' && c <= '9') ||
                                  (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '_' ||
                                  c == '-';
                         });
    auto const value = has_key ? trim(line.substr(colon + 2)) : std::string_view();
    if (is_broken_text(value)) {
      quoted.append(line.substr(0, colon + 2));
      append_json_string(quoted, value);
    } else {
      quoted.append(line);
    }
    quoted.push_back('\n');
  }
  return quoted;
}

bool is_markdown(std::string_view name) { return extension_of(name) == ".md"; }

// The member that a document has its configuration in, if it is wrapped as the API shows agents.
json::key_value_pair const* wrapper_in(json::object const& document) {
  for (auto const* name : {"configuration", "config"}) {
    auto const* const found = document.find(name);
    if (found != document.end() && found->value().is_object()) return found;
  }
  return nullptr;
}

// A document as it was written.
struct Source {
  std::string_view text;
  bool is_json = false;
};

// Everything that the description finds wrong, each with its place.
std::vector<std::string> told(describe::Issues const& issues, json::object const& document,
                              Source const& source) {
  using Step = std::variant<std::string, std::int64_t>;
  auto const* const wrapper = wrapper_in(document);
  std::vector<std::vector<Step>> steps;
  for (auto const& issue : issues.list()) {
    auto& path = steps.emplace_back();
    auto const* const first =
        issue.loc.size() > 1 ? std::get_if<std::string>(&issue.loc[1]) : nullptr;
    bool const inside = wrapper != nullptr && first != nullptr && !document.contains(*first);
    if (inside) path.emplace_back(std::string(wrapper->key()));
    path.insert(path.end(), issue.loc.begin() + (issue.loc.empty() ? 0 : 1), issue.loc.end());
  }
  std::vector<describe::DocumentPath> const paths(steps.begin(), steps.end());
  auto const places = source.is_json ? describe::places_in_json(source.text, paths)
                                     : describe::places_in_document(source.text, paths);
  std::vector<std::string> all;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    std::string name;
    for (auto const& step : paths[i]) {
      auto const* const part = std::get_if<std::string>(&step);
      name += (name.empty() ? "" : ".") +
              (part != nullptr ? *part : std::to_string(std::get<std::int64_t>(step)));
    }
    if (name.size() > kNameToldBytes) name = jobs::clean_text(name, kNameToldBytes) + "…";
    all.push_back((places[i].empty() ? "" : places[i] + ": ") + (name.empty() ? "" : name + ": ") +
                  issues.list()[i].msg);
  }
  return all;
}

std::string missing_of(json::object const& document) {
  auto const* const wrapper = wrapper_in(document);
  std::string missing;
  for (auto const* name : {"model", "tools", "capabilities"}) {
    if (document.contains(name)) continue;
    if (wrapper != nullptr && wrapper->value().get_object().contains(name)) continue;
    missing.append(missing.empty() ? "" : ", ").append(name);
  }
  return missing;
}

// Claude Code writes lists of tools as one text with commas.
void spread_lists(json::object& document) {
  for (auto const* name : {"tools", "capabilities"}) {
    auto* const value = document.if_contains(name);
    if (value == nullptr || !value->is_string()) continue;
    json::array list;
    for (auto const item : split_list(value->get_string(), ',')) list.emplace_back(item);
    *value = std::move(list);
  }
}

// The first of these members that is a text with something in it; what is wrong with one of them is
// an issue.
std::string text_of(json::object const& document, std::initializer_list<char const*> names,
                    std::int64_t length_max, describe::Issues& issues) {
  describe::Where const body{nullptr, "body"};
  for (auto const* name : names) {
    auto const* const value = document.if_contains(name);
    if (value == nullptr || value->is_null()) continue;
    std::string text;
    describe::Bounds const bounds{
        .length_min = {}, .length_max = length_max, .least = {}, .most = {}};
    describe::Codec<std::string>::read(*value, text, bounds, {&body, std::string_view(name)},
                                       issues);
    if (auto const trimmed = trim(text); !trimmed.empty()) return std::string(trimmed);
  }
  return {};
}

Result<ParsedAgent> define(json::value const& document, Source const& source) {
  auto const* const given = document.if_object();
  if (given == nullptr) return fail(ErrorCode::invalid, "line 1, column 1: it is not an object");
  auto members = *given;
  if (auto const* const wrapper = wrapper_in(*given)) {
    for (auto const& [key, value] : wrapper->value().get_object()) members.emplace(key, value);
  }
  spread_lists(members);
  ParsedAgent parsed;
  auto& definition = parsed.definition;
  describe::Issues issues;
  domain::read_configuration(members, definition.configuration, issues);
  definition.name = text_of(members, {"name"}, kNameLengthMax, issues);
  definition.agent_type = text_of(members, {"agent_type", "type", "role"}, kTypeLengthMax, issues);
  auto description = text_of(members, {"description"}, kDocumentBytesMax, issues);
  if (!issues.list().empty()) {
    return fail(ErrorCode::invalid,
                fmt::format("{}", fmt::join(told(issues, *given, source), "; ")));
  }
  if (domain::to_json(definition.configuration).size() > domain::kConfigurationBytesMax) {
    return fail(ErrorCode::invalid, fmt::format("the configuration has more than {} bytes",
                                                domain::kConfigurationBytesMax));
  }
  if (definition.agent_type.empty()) definition.agent_type = kDefaultType;
  if (!description.empty()) definition.description = std::move(description);
  if (auto missing = missing_of(*given); !missing.empty()) {
    parsed.warnings.push_back("Missing recommended fields: " + missing);
  }
  return parsed;
}

}  // namespace

Result<std::string> read_document(int fd, std::int64_t size) {
  if (size > kDocumentBytesMax) {
    return fail(ErrorCode::too_large,
                fmt::format("the file is longer than the {} bytes that are read at most",
                            kDocumentBytesMax));
  }
  std::string content(static_cast<std::size_t>(size), '\0');
  bool const whole = ::pread(fd, content.data(), content.size(), 0) == static_cast<ssize_t>(size);
  if (!whole) return fail(ErrorCode::internal, "the file cannot be read");
  return content;
}

Result<json::value> parse_document(std::string_view name, std::string const& content) {
  if (!is_valid_utf8(content)) return fail(ErrorCode::invalid, "the file is not UTF-8 text");
  if (extension_of(name) == ".json") return describe::parse_json_text(content);
  if (!is_markdown(name)) return describe::parse_yaml_text(content);
  auto const parts = split_markdown(content);
  if (!parts) return std::unexpected(parts.error());
  auto strict = describe::parse_yaml_text(parts->yaml);
  if (strict) return strict;
  auto lenient = describe::parse_yaml_text(with_quotes(parts->yaml));
  return lenient ? std::move(lenient) : std::move(strict);
}

Result<ParsedAgent> parse_agent(std::string_view name, std::string const& content) {
  auto const document = parse_document(name, content);
  if (!document) return std::unexpected(document.error());
  Source source{content, extension_of(name) == ".json"};
  std::string_view instructions;
  if (is_markdown(name)) {
    auto const parts = split_markdown(content);
    source.text = parts->yaml;
    instructions = parts->text;
  }
  auto parsed = define(*document, source);
  if (!parsed) return parsed;
  auto& definition = parsed->definition;
  if (definition.name.empty()) {
    definition.name = std::string(name.substr(0, name.size() - extension_of(name).size()));
  }
  auto const begin = instructions.find_first_not_of(" \t\r\n");
  if (begin != std::string_view::npos && !definition.configuration.custom_instructions) {
    definition.configuration.custom_instructions = std::string(instructions.substr(begin));
  }
  return parsed;
}

Validation validate(FileRecord const& file, Result<std::string> const& content,
                    std::string_view type) {
  auto const& name = file.original_filename;
  auto const extension = extension_of(name);
  auto const asked = type;
  if (type == "auto") {
    if (extension == ".json") type = "json";
    if (extension == ".yaml" || extension == ".yml") type = "yaml";
    if (type == asked && file.file_type == FileType::agent_configs) type = "agent_config";
  }
  Validation result;
  if (type != "json" && type != "yaml" && type != "agent_config") return result;
  auto const wrong = [&](std::string_view what) {
    result.errors.push_back(what.starts_with("the file") ? "Validation error: " + std::string(what)
                                                         : std::string(what));
    return result;
  };
  if (!content) return wrong(content.error().message);
  auto const* const parsed_as = type == "json"   ? "x.json"
                                : type == "yaml" ? "x.yaml"
                                                 : name.c_str();
  auto const document = parse_document(parsed_as, *content);
  auto const form = extension_of(parsed_as) == ".json" ? "JSON" : "YAML";
  if (!document) {
    auto const& cause = document.error().message;
    return wrong(cause.starts_with("line") ? fmt::format("Invalid {}: {}", form, cause) : cause);
  }
  result.parsed_content = describe::json_text(*document);
  if (type == "agent_config") {
    auto agent = parse_agent(parsed_as, *content);
    if (!agent) return wrong(agent.error().message);
    result.warnings = std::move(agent->warnings);
  }
  result.is_valid = true;
  return result;
}

}  // namespace subforge::files
