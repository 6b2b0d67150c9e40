#include "describe/yaml.hpp"

#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include "base/text.hpp"
#include "describe/parse_json.hpp"

namespace subforge::describe {
namespace {

namespace json = boost::json;

struct Refused {
  std::string message;
};

[[noreturn]] void refuse(YAML::Mark const& mark, std::string_view what) {
  throw Refused{fmt::format("line {}, column {}: {}", mark.line + 1, mark.column + 1, what)};
}

std::optional<double> special_float(std::string_view text) {
  auto const lower = to_lower(text);
  if (lower == ".inf" || lower == "+.inf") return std::numeric_limits<double>::infinity();
  if (lower == "-.inf") return -std::numeric_limits<double>::infinity();
  if (lower == ".nan") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

// A plain (unquoted) scalar by the core schema.
json::value plain_scalar(YAML::Node const& node) {
  std::string const& text = node.Scalar();
  if (text == "~" || text == "null" || text == "Null" || text == "NULL" || text.empty()) {
    return nullptr;
  }
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (text.starts_with("+-")) return json::value(text);  // One sign is a number's, two are text.
  bool const digits = text.find_first_not_of("+-0123456789") == std::string::npos;
  std::string_view const unsigned_text =
      text.starts_with('+') ? std::string_view(text).substr(1) : std::string_view(text);
  if (digits) {
    if (auto const whole = parse_number<std::int64_t>(unsigned_text)) return *whole;
  }
  if (special_float(text)) refuse(node.Mark(), "JSON has no infinity and no NaN");
  if (text.find_first_not_of("+-0123456789.eE") == std::string::npos) {
    if (auto const real = parse_number<double>(unsigned_text); real && std::isfinite(*real)) {
      return *real;
    }
  }
  return json::value(text);
}

json::value convert(YAML::Node const& node, std::size_t depth, std::size_t& nodes) {
  if (depth > kDocumentDepthMax) refuse(node.Mark(), "nested too deeply");
  if (++nodes > kDocumentNodesMax) refuse(node.Mark(), "too many values after expanding aliases");
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null: return nullptr;
    case YAML::NodeType::Scalar:
      // Quoted, or tagged !!str: text whatever it looks like.
      return node.Tag() == "!" || node.Tag() == "tag:yaml.org,2002:str" ? json::value(node.Scalar())
                                                                        : plain_scalar(node);
    case YAML::NodeType::Sequence: {
      json::array list;
      for (auto const& item : node) list.push_back(convert(item, depth + 1, nodes));
      return list;
    }
    case YAML::NodeType::Map: {
      json::object object;
      for (auto const& member : node) {
        if (!member.first.IsScalar()) refuse(member.first.Mark(), "a key must be text");
        auto const& key = member.first.Scalar();
        if (object.contains(key)) {
          refuse(member.first.Mark(), fmt::format("the key '{}' is given twice", key));
        }
        object.emplace(key, convert(member.second, depth + 1, nodes));
      }
      return object;
    }
  }
  return nullptr;
}

}  // namespace

Result<json::value> parse_yaml_text(std::string_view text) {
  try {
    auto const documents = YAML::LoadAll(std::string(text));
    if (documents.size() > 1) return fail(ErrorCode::invalid, "the file holds several documents");
    if (documents.empty()) return json::value(nullptr);
    std::size_t nodes = 0;
    return convert(documents.front(), 0, nodes);
  } catch (Refused const& refused) {
    return fail(ErrorCode::invalid, refused.message);
  } catch (YAML::Exception const& error) {
    return fail(ErrorCode::invalid, fmt::format("line {}, column {}: {}", error.mark.line + 1,
                                                error.mark.column + 1, error.msg));
  }
}

std::string place_in_document(std::string_view text, DocumentPath path) {
  try {
    auto node = YAML::Load(std::string(text));
    for (auto const& step : path) {
      YAML::Node next;
      if (auto const* name = std::get_if<std::string>(&step); name != nullptr && node.IsMap()) {
        next.reset(node[*name]);
      } else if (auto const* index = std::get_if<std::int64_t>(&step);
                 index != nullptr && node.IsSequence()) {
        next.reset(node[static_cast<std::size_t>(*index)]);
      }
      if (!next.IsDefined() || next.Mark().is_null()) break;
      node.reset(next);
    }
    return fmt::format("line {}, column {}", node.Mark().line + 1, node.Mark().column + 1);
  } catch (YAML::Exception const&) {
    return {};
  }
}

}  // namespace subforge::describe
