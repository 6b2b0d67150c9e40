#include "describe/json_text.hpp"

#include <algorithm>
#include <cmath>

#include <boost/json/value.hpp>

#include "base/json_writer.hpp"
#include "describe/exact_json.hpp"

namespace subforge::describe {
namespace {

namespace json = boost::json;

void write(JsonWriter& out, json::value const& value);

void write_object(JsonWriter& out, json::object const& object) {
  out.begin_object();
  for (auto const& member : object) {
    out.key(std::string_view(member.key()));
    write(out, member.value());
  }
  out.end_object();
}

// Recursion is bounded by the depth that parsing allows.
void write(JsonWriter& out, json::value const& value) {
  switch (value.kind()) {
    case json::kind::null: out.null(); break;
    case json::kind::bool_: out.boolean(value.get_bool()); break;
    case json::kind::int64: out.integer(value.get_int64()); break;
    case json::kind::uint64: out.raw(std::to_string(value.get_uint64())); break;
    case json::kind::double_: out.number(value.get_double()); break;
    case json::kind::string:
      if (auto const digits = long_integer(value)) {
        out.raw(*digits);
      } else {
        out.string(std::string_view(value.get_string()));
      }
      break;
    case json::kind::array:
      out.begin_array();
      for (auto const& item : value.get_array()) write(out, item);
      out.end_array();
      break;
    case json::kind::object: write_object(out, value.get_object()); break;
  }
}

}  // namespace

void append_json(std::string& out, json::value const& value) {
  JsonWriter writer(out);
  write(writer, value);
}

std::string json_text(json::value const& value) {
  std::string text;
  append_json(text, value);
  return text;
}

std::string json_text(json::object const& object) {
  std::string text;
  JsonWriter writer(text);
  write_object(writer, object);
  return text;
}

// Recursion is bounded by the depth that parsing allows.
bool has_infinity(json::value const& value) {
  if (auto const* const number = value.if_double()) return std::isinf(*number);
  if (auto const* const list = value.if_array()) return std::ranges::any_of(*list, has_infinity);
  if (auto const* const object = value.if_object()) {
    return std::ranges::any_of(*object,
                               [](auto const& member) { return has_infinity(member.value()); });
  }
  return false;
}

std::string_view text_member(json::object const& object, std::string_view name) {
  auto const* const value = object.if_contains({name.data(), name.size()});
  if (value == nullptr || !is_text(*value)) return {};
  return std::string_view(value->get_string());
}

std::optional<std::vector<std::string>> parse_plain_list(std::string_view text) {
  std::vector<std::string> list;
  if (text == "[]") return list;
  if (text.size() < 4 || !text.starts_with("[\"") || !text.ends_with("\"]")) return std::nullopt;
  if (text.find('\\') != std::string_view::npos) return std::nullopt;
  list.reserve(static_cast<std::size_t>(std::ranges::count(text, ',')) + 1);
  for (text = text.substr(2, text.size() - 4);;) {
    auto const end = text.find('"');
    list.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return list;
    text.remove_prefix(end);
    if (!text.starts_with("\",\"")) return std::nullopt;
    text.remove_prefix(3);
  }
}

}  // namespace subforge::describe
