#include "realtime/message_shape.hpp"

#include <array>
#include <stdexcept>

#include "base/text.hpp"

namespace subforge::realtime {
namespace {

using boost::json::value;

struct Simple {
  std::string_view name;
  std::string_view schema;  // Members of its JSON Schema.
  std::string_view words;   // "must be ...".
  bool (*holds)(value const&);
};

bool is_number(value const& what) { return what.is_number(); }
bool is_text(value const& what) { return what.is_string(); }

constexpr std::array<Simple, 9> kSimple{{
    {"text", R"("type":"string")", "text", &is_text},
    {"number", R"("type":"number")", "a number", &is_number},
    {"integer", R"("type":"integer")", "a whole number",
     [](value const& what) { return what.is_int64() || what.is_uint64(); }},
    {"boolean", R"("type":"boolean")", "true or false",
     [](value const& what) { return what.is_bool(); }},
    {"time", R"("type":"string","format":"date-time")", "a time", &is_text},
    {"id", R"("type":"string","format":"uuid")", "a UUID", &is_text},
    {"object", R"("type":"object")", "an object",
     [](value const& what) { return what.is_object(); }},
    {"any", "", "anything", [](value const&) { return true; }},
    {"null", R"("type":"null")", "null", [](value const& what) { return what.is_null(); }},
}};

bool is_name(std::string_view word) { return !word.empty() && word[0] >= 'A' && word[0] <= 'Z'; }

// Cuts `text` off at the first `mark` that lies within no brackets.
std::string_view take_part(std::string_view& text, char mark) {
  int depth = 0;
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    char const c = text[at];
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (c == mark && depth == 0) break;
  }
  auto const part = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return part;
}

std::string_view inside(std::string_view brackets) {
  return brackets.substr(1, brackets.size() - 2);
}

struct Member {
  std::string_view name = {};
  std::string_view type = {};  // Empty: `constant`.
  std::string_view constant = {};
  bool optional = false;
  bool others = false;  // It is "*".
};

Member parse_member(std::string_view text) {
  if (text == "*") return {.others = true};
  auto const end = text.find_first_of(":=?");
  if (end == std::string_view::npos) {
    throw std::logic_error("no member of a message: " + std::string(text));
  }
  Member member{.name = text.substr(0, end)};
  auto rest = text.substr(end);
  if (rest.starts_with('?')) {
    member.optional = true;
    rest.remove_prefix(1);
  }
  (rest.starts_with('=') ? member.constant : member.type) = rest.substr(1);
  return member;
}

Simple const& simple_type(std::string_view name) {
  for (auto const& row : kSimple) {
    if (row.name == name) return row;
  }
  throw std::logic_error("no type of a message's member: " + std::string(name));
}

void write_object(JsonWriter& json, std::string_view members);

void write_type(JsonWriter& json, std::string_view type) {
  if (auto rest = type; take_part(rest, '|') != type) {
    json.begin_object();
    json.key("anyOf");
    json.begin_array();
    for (rest = type; !rest.empty();) write_type(json, take_part(rest, '|'));
    json.end_array();
    json.end_object();
  } else if (is_name(type)) {
    json.begin_object();
    json.member("$ref", std::string("#/components/schemas/").append(type));
    json.end_object();
  } else if (type.starts_with('{')) {
    write_object(json, inside(type));
  } else if (type.starts_with('[')) {
    json.begin_object();
    json.member("type", "array");
    json.key("items");
    write_type(json, inside(type));
    json.end_object();
  } else {
    json.raw(std::string("{").append(simple_type(type).schema).append("}"));
  }
}

void write_object(JsonWriter& json, std::string_view members) {
  json.begin_object();
  json.member("type", "object");
  json.key("properties");
  json.begin_object();
  std::string required;
  bool others = false;
  while (!members.empty()) {
    auto const member = parse_member(take_part(members, ' '));
    others |= member.others;
    if (member.others) continue;
    json.key(member.name);
    if (member.type.empty()) {
      json.begin_object();
      json.member("const", member.constant);
      json.end_object();
    } else {
      write_type(json, member.type);
    }
    if (member.optional) continue;
    if (!required.empty()) required.push_back(',');
    append_json_string(required, member.name);
  }
  json.end_object();
  if (!required.empty()) json.member_raw("required", "[" + required + "]");
  if (others) json.member("additionalProperties", true);
  json.end_object();
}

bool holds(value const& what, std::string_view type) {
  if (auto rest = type; take_part(rest, '|') != type) {
    for (rest = type; !rest.empty();) {
      if (holds(what, take_part(rest, '|'))) return true;
    }
    return false;
  }
  if (is_name(type)) return what.is_object();
  if (type.starts_with('{')) {
    return what.is_object() && !find_fault(what.get_object(), inside(type));
  }
  if (!type.starts_with('[')) return simple_type(type).holds(what);
  return what.is_array() && std::ranges::all_of(what.get_array(), [&](value const& one) {
           return holds(one, inside(type));
         });
}

std::string words_for(std::string_view type) {
  if (auto rest = type; take_part(rest, '|') != type) {
    std::string words;
    for (rest = type; !rest.empty();) {
      if (!words.empty()) words += " or ";
      words += words_for(take_part(rest, '|'));
    }
    return words;
  }
  if (is_name(type) || type.starts_with('{')) return "an object";
  if (type.starts_with('[')) return "a list, each of it " + words_for(inside(type));
  return std::string(simple_type(type).words);
}

}  // namespace

void write_shape(JsonWriter& json, Shape shape) {
  if (is_name(shape) || shape == "any") return write_type(json, shape);
  auto rest = shape;
  if (take_part(rest, ';') == shape) return write_object(json, shape);
  json.begin_object();
  json.key("oneOf");
  json.begin_array();
  for (rest = shape; !rest.empty();) write_object(json, trim(take_part(rest, ';')));
  json.end_array();
  json.end_object();
}

std::optional<ShapeFault> find_fault(boost::json::object const& message, Shape shape) {
  while (!shape.empty()) {
    auto const member = parse_member(take_part(shape, ' '));
    if (member.others) continue;
    auto const* const found = message.if_contains({member.name.data(), member.name.size()});
    std::string text(member.name);
    if (found == nullptr) {
      if (member.optional) continue;
      return ShapeFault{member.name, true, text + " is missing"};
    }
    if (member.type.empty()) {
      if (found->is_string() && found->get_string() == member.constant) continue;
      return ShapeFault{member.name, false, text + " must be " + std::string(member.constant)};
    }
    if (holds(*found, member.type)) continue;
    if (auto rest = member.type;
        rest.starts_with('{') && take_part(rest, '|') == member.type && found->is_object()) {
      auto within = find_fault(found->get_object(), inside(member.type));
      within->text.insert(0, text + ".");
      return within;
    }
    return ShapeFault{member.name, false, text + " must be " + words_for(member.type)};
  }
  return std::nullopt;
}

}  // namespace subforge::realtime
