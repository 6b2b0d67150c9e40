#include "describe/shape.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "base/text.hpp"
#include "describe/exact_json.hpp"

namespace subforge::describe {
namespace {

using boost::json::value;

struct Simple {
  std::string_view name;
  std::string_view type;    // Of its JSON Schema; empty: anything fits.
  std::string_view format;  // The same; empty: none.
  std::string_view words;   // "must be ...".
  bool (*holds)(value const&);
};

bool is_number(value const& what) { return what.is_number() || long_integer(what); }
bool has_nul(value const& what) {
  return what.is_string() && std::string_view(what.get_string()).contains('\0');
}
// PostgreSQL takes no text with U+0000.
bool is_storable_text(value const& what) { return is_text(what) && !has_nul(what); }

constexpr std::array<Simple, 9> kSimple{{
    {"text", "string", "", "text", &is_storable_text},
    {"number", "number", "", "a number", &is_number},
    {"integer", "integer", "", "a whole number",
     [](value const& what) { return what.is_int64() || what.is_uint64(); }},
    {"boolean", "boolean", "", "true or false", [](value const& what) { return what.is_bool(); }},
    {"time", "string", "date-time", "a time", &is_storable_text},
    {"id", "string", "uuid", "a UUID", &is_storable_text},
    {"object", "object", "", "an object", [](value const& what) { return what.is_object(); }},
    {"any", "", "", "anything", [](value const&) { return true; }},
    {"null", "null", "", "null", [](value const& what) { return what.is_null(); }},
}};

bool is_name(std::string_view word) { return !word.empty() && word[0] >= 'A' && word[0] <= 'Z'; }
bool is_object(std::string_view type) { return type.starts_with('{'); }
bool is_list(std::string_view type) { return type.starts_with('['); }
bool is_map(std::string_view type) { return type.starts_with("{*:"); }

// Cuts `text` off at the first `mark` that lies within no brackets.
std::string_view take_part(std::string_view& text, char mark) {
  int depth = 0;
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    char const c = text[at];
    if (c == mark && depth == 0) break;
    if (c == '[' || c == '{' || c == '(') ++depth;
    if (c == ']' || c == '}' || c == ')') --depth;
  }
  auto const part = text.substr(0, at);
  text.remove_prefix(std::min(at + 1, text.size()));
  return part;
}

std::string_view inside(std::string_view brackets) {
  return brackets.substr(1, brackets.size() - 2);
}

std::string_view type_of_map(std::string_view map) { return inside(map).substr(2); }

// Calls visit(one) for each of what `mark` separates.
template <class Visit>
void for_each_part(std::string_view text, char mark, Visit visit) {
  while (!text.empty()) visit(take_part(text, mark));
}

bool has_parts(std::string_view text, char mark) {
  auto rest = text;
  return take_part(rest, mark) != text;
}

struct Member {
  std::string_view name = {};
  std::string_view type = {};   // Empty: `texts`.
  std::string_view texts = {};  // It is one of these.
  std::string_view sentence = {};
  bool optional = false;
  bool others = false;  // It is "*".
};

Member parse_member(std::string_view text) {
  if (text == "*") return {.others = true};
  auto const end = text.find_first_of(":=?");
  if (end == std::string_view::npos) {
    throw std::logic_error("no member of a shape: " + std::string(text));
  }
  Member member{.name = text.substr(0, end)};
  auto rest = text.substr(end);
  if (rest.starts_with('?')) {
    member.optional = true;
    rest.remove_prefix(1);
  }
  bool const constant = rest.starts_with('=');
  rest.remove_prefix(1);
  if (rest.ends_with(')')) {
    auto const before = take_part(rest, '(');
    member.sentence = rest.substr(0, rest.size() - 1);
    rest = before;
  }
  (constant ? member.texts : member.type) = rest;
  return member;
}

Simple const& simple_type(std::string_view name) {
  for (auto const& row : kSimple) {
    if (row.name == name) return row;
  }
  throw std::logic_error("no type of a shape's member: " + std::string(name));
}

void write_type(JsonWriter& json, std::string_view type, std::string_view sentence = {});

void write_texts(JsonWriter& json, Member const& member) {
  json.begin_object();
  json.member("type", "string");
  if (has_parts(member.texts, '|')) {
    json.key("enum");
    json.begin_array();
    for_each_part(member.texts, '|', [&](std::string_view text) { json.string(text); });
    json.end_array();
  } else {
    json.member("const", member.texts);
  }
  if (!member.sentence.empty()) json.member("description", member.sentence);
  json.end_object();
}

void write_object_members(JsonWriter& json, std::string_view object) {
  json.member("type", "object");
  json.key("properties");
  json.begin_object();
  std::string required;
  bool others = false;
  for_each_part(object, ' ', [&](std::string_view text) {
    auto const member = parse_member(text);
    others |= member.others;
    if (member.others) return;
    json.key(member.name);
    if (member.type.empty()) {
      write_texts(json, member);
    } else {
      write_type(json, member.type, member.sentence);
    }
    if (member.optional) return;
    if (!required.empty()) required.push_back(',');
    append_json_string(required, member.name);
  });
  json.end_object();
  if (!required.empty()) json.member_raw("required", "[" + required + "]");
  if (others) json.member("additionalProperties", true);
}

void write_type_members(JsonWriter& json, std::string_view type) {
  if (has_parts(type, '|')) {
    json.key("anyOf");
    json.begin_array();
    for_each_part(type, '|', [&](std::string_view one) { write_type(json, one); });
    json.end_array();
  } else if (is_name(type)) {
    json.member("$ref", std::string("#/components/schemas/").append(type));
  } else if (is_map(type)) {
    json.member("type", "object");
    json.key("additionalProperties");
    write_type(json, type_of_map(type));
  } else if (is_object(type)) {
    write_object_members(json, inside(type));
  } else if (is_list(type)) {
    json.member("type", "array");
    json.key("items");
    write_type(json, inside(type));
  } else {
    auto const& simple = simple_type(type);
    if (!simple.type.empty()) json.member("type", simple.type);
    if (!simple.format.empty()) json.member("format", simple.format);
  }
}

void write_type(JsonWriter& json, std::string_view type, std::string_view sentence) {
  json.begin_object();
  write_type_members(json, type);
  if (!sentence.empty()) json.member("description", sentence);
  json.end_object();
}

bool holds(value const& what, std::string_view type) {
  if (has_parts(type, '|')) {
    bool any = false;
    for_each_part(type, '|', [&](std::string_view one) { any = any || holds(what, one); });
    return any;
  }
  if (is_name(type)) return what.is_object();
  if (is_map(type)) {
    return what.is_object() && std::ranges::all_of(what.get_object(), [&](auto const& member) {
             return holds(member.value(), type_of_map(type));
           });
  }
  if (is_object(type)) return what.is_object() && !find_fault(what.get_object(), inside(type));
  if (!is_list(type)) return simple_type(type).holds(what);
  return what.is_array() && std::ranges::all_of(what.get_array(), [&](value const& one) {
           return holds(one, inside(type));
         });
}

bool is_one_of(value const& what, std::string_view texts) {
  bool any = false;
  for_each_part(texts, '|', [&](std::string_view text) {
    any = any || (is_text(what) && what.get_string() == text);
  });
  return any;
}

// The one of a type's alternatives that says what an object holds; empty if there is not one.
std::string_view only_object_of(std::string_view type) {
  std::string_view found;
  int objects = 0;
  for_each_part(type, '|', [&](std::string_view one) {
    if (!is_object(one) && !is_name(one) && one != "object") return;
    ++objects;
    if (is_object(one) && !is_map(one)) found = one;
  });
  return objects == 1 ? found : std::string_view{};
}

std::string words_for(std::string_view type) {
  std::string words;
  for_each_part(type, '|', [&](std::string_view one) {
    if (!words.empty()) words += " or ";
    if (is_name(one) || is_object(one)) {
      words += "an object";
    } else if (is_list(one)) {
      words += "a list, each of it " + words_for(inside(one));
    } else {
      words += simple_type(one).words;
    }
  });
  return words;
}

std::string words_for_texts(std::string_view texts) {
  std::string words;
  for_each_part(texts, '|', [&](std::string_view text) {
    words.append(words.empty() ? "" : " or ").append(text);
  });
  return words;
}

}  // namespace

void write_shape(JsonWriter& json, Shape shape) {
  bool const is_type = !shape.empty() && shape.find_first_of(":=*") == Shape::npos;
  if (is_type) return write_type(json, shape);
  json.begin_object();
  if (has_parts(shape, ';')) {
    json.key("oneOf");
    json.begin_array();
    for_each_part(shape, ';', [&](std::string_view one) {
      json.begin_object();
      write_object_members(json, trim(one));
      json.end_object();
    });
    json.end_array();
  } else {
    write_object_members(json, shape);
  }
  json.end_object();
}

std::optional<ShapeFault> find_fault(boost::json::object const& object, Shape shape) {
  while (!shape.empty()) {
    auto const member = parse_member(take_part(shape, ' '));
    if (member.others) continue;
    auto const* const found = object.if_contains({member.name.data(), member.name.size()});
    std::string text(member.name);
    if (found == nullptr) {
      if (member.optional) continue;
      return ShapeFault{member.name, true, text + " is missing"};
    }
    bool const constant = member.type.empty();
    if (constant ? is_one_of(*found, member.texts) : holds(*found, member.type)) continue;
    auto const object_type = only_object_of(member.type);
    if (!object_type.empty() && found->is_object()) {
      auto within = find_fault(found->get_object(), inside(object_type));
      within->text.insert(0, text + ".");
      return within;
    }
    auto words = constant ? words_for_texts(member.texts) : words_for(member.type);
    if (has_nul(*found)) words += " without U+0000";
    return ShapeFault{member.name, false, text + " must be " + words};
  }
  return std::nullopt;
}

}  // namespace subforge::describe
