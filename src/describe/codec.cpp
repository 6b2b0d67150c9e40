#include "describe/codec.hpp"

#include <cmath>

#include <fmt/format.h>

#include "base/text.hpp"
#include "describe/json_text.hpp"

namespace subforge::describe {
namespace {

namespace json = boost::json;

bool wrong(Where const& where, Issues& issues, char const* type, std::string msg,
           json::value const& in) {
  issues.add(where, type, std::move(msg), input_text(in));
  return false;
}

std::string ctx_of(char const* name, double limit) {
  // Whole numbers are shown as such; that is how they were declared.
  if (limit == std::floor(limit)) {
    return fmt::format(R"({{"{}":{}}})", name, static_cast<std::int64_t>(limit));
  }
  return fmt::format(R"({{"{}":{}}})", name, limit);
}

std::string plain(double limit) {
  return limit == std::floor(limit) ? fmt::format("{}", static_cast<std::int64_t>(limit))
                                    : fmt::format("{}", limit);
}

bool check_range(double value, Bounds const& bounds, Where const& where, Issues& issues,
                 json::value const& in) {
  if (bounds.least && value < *bounds.least) {
    issues.add(where, "greater_than_equal",
               "Input should be greater than or equal to " + plain(*bounds.least), input_text(in),
               ctx_of("ge", *bounds.least));
    return false;
  }
  if (bounds.above && value <= *bounds.above) {
    issues.add(where, "greater_than", "Input should be greater than " + plain(*bounds.above),
               input_text(in), ctx_of("gt", *bounds.above));
    return false;
  }
  if (bounds.most && value > *bounds.most) {
    issues.add(where, "less_than_equal",
               "Input should be less than or equal to " + plain(*bounds.most), input_text(in),
               ctx_of("le", *bounds.most));
    return false;
  }
  return true;
}

// Characters, as a person counts them: code points, not bytes.
std::int64_t code_points(std::string_view text) {
  std::int64_t count = 0;
  for (char const c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
  return count;
}

bool check_length(std::string_view text, Bounds const& bounds, Where const& where, Issues& issues,
                  json::value const& in) {
  if (bounds.length_min && code_points(text) < *bounds.length_min) {
    auto const least = *bounds.length_min;
    issues.add(
        where, "string_too_short",
        fmt::format("String should have at least {} character{}", least, least == 1 ? "" : "s"),
        input_text(in), fmt::format(R"({{"min_length":{}}})", least));
    return false;
  }
  if (bounds.length_max && code_points(text) > *bounds.length_max) {
    auto const most = *bounds.length_max;
    issues.add(where, "string_too_long",
               fmt::format("String should have at most {} character{}", most, most == 1 ? "" : "s"),
               input_text(in), fmt::format(R"({{"max_length":{}}})", most));
    return false;
  }
  return true;
}

// Not every database can store U+0000 in text, so none is let in.
bool check_no_nul(std::string_view text, Where const& where, Issues& issues) {
  if (text.find('\0') == std::string_view::npos) return true;
  issues.add(where, "value_error", "Value error, text must not contain the character U+0000",
             input_text(json::string(text)));
  return false;
}

// A number that no double can hold was parsed as infinity and would silently become null.
bool check_finite(json::value const& value, Where const& where, Issues& issues) {
  if (auto const* real = value.if_double()) {
    if (std::isfinite(*real)) return true;
    issues.add(where, "finite_number", "Input should be a finite number", "null");
    return false;
  }
  bool good = true;
  if (auto const* list = value.if_array()) {
    for (std::size_t i = 0; i < list->size(); ++i) {
      Where const item{&where, static_cast<std::int64_t>(i)};
      good = check_finite((*list)[i], item, issues) && good;
    }
  } else if (auto const* object = value.if_object()) {
    for (auto const& member : *object) {
      Where const item{&where, std::string_view(member.key())};
      good = check_finite(member.value(), item, issues) && good;
    }
  }
  return good;
}

void schema_range(JsonWriter& out, Bounds const& bounds) {
  if (bounds.least) out.member("minimum", *bounds.least);
  if (bounds.above) out.member("exclusiveMinimum", *bounds.above);
  if (bounds.most) out.member("maximum", *bounds.most);
}

}  // namespace

std::string input_text(json::value const& value) {
  // A large input is not worth serialising only to be left out.
  if (auto const* text = value.if_string(); text && text->size() > Issues::kInputBytesMax)
    return {};
  if (auto const* list = value.if_array(); list && list->size() > 100) return {};
  if (auto const* object = value.if_object(); object && object->size() > 100) return {};
  return json_text(value);
}

bool Codec<std::string>::read(json::value const& in, std::string& out, Bounds const& bounds,
                              Where const& where, Issues& issues) {
  auto const* text = in.if_string();
  if (text == nullptr) {
    return wrong(where, issues, "string_type", "Input should be a valid string", in);
  }
  std::string_view const view = *text;
  if (!check_length(view, bounds, where, issues, in)) return false;
  if (!check_no_nul(view, where, issues)) return false;
  out = view;
  return true;
}

void Codec<std::string>::schema(JsonWriter& out, Bounds const& bounds) {
  out.member("type", "string");
  if (bounds.length_min) out.member("minLength", *bounds.length_min);
  if (bounds.length_max) out.member("maxLength", *bounds.length_max);
}

bool Codec<std::int64_t>::read(json::value const& in, std::int64_t& out, Bounds const& bounds,
                               Where const& where, Issues& issues) {
  if (auto const* whole = in.if_int64()) {
    out = *whole;
  } else if (in.is_uint64()) {
    return wrong(where, issues, "int_parsing_size", "Input should fit into 64 bits", in);
  } else if (auto const* real = in.if_double()) {
    if (*real != std::floor(*real) || std::fabs(*real) > 9.0e15) {
      return wrong(where, issues, "int_from_float",
                   "Input should be a valid integer, got a number with a fractional part", in);
    }
    out = static_cast<std::int64_t>(*real);
  } else if (in.is_string()) {
    return wrong(where, issues, "int_parsing",
                 "Input should be a valid integer, unable to parse string as an integer", in);
  } else {
    return wrong(where, issues, "int_type", "Input should be a valid integer", in);
  }
  return check_range(static_cast<double>(out), bounds, where, issues, in);
}

void Codec<std::int64_t>::schema(JsonWriter& out, Bounds const& bounds) {
  out.member("type", "integer");
  schema_range(out, bounds);
}

bool Codec<double>::read(json::value const& in, double& out, Bounds const& bounds,
                         Where const& where, Issues& issues) {
  if (auto const* whole = in.if_int64()) {
    out = static_cast<double>(*whole);
  } else if (auto const* natural = in.if_uint64()) {
    out = static_cast<double>(*natural);
  } else if (auto const* real = in.if_double()) {
    if (!std::isfinite(*real)) {
      return wrong(where, issues, "finite_number", "Input should be a finite number", in);
    }
    out = *real;
  } else if (in.is_string()) {
    return wrong(where, issues, "float_parsing",
                 "Input should be a valid number, unable to parse string as a number", in);
  } else {
    return wrong(where, issues, "float_type", "Input should be a valid number", in);
  }
  return check_range(out, bounds, where, issues, in);
}

void Codec<double>::schema(JsonWriter& out, Bounds const& bounds) {
  out.member("type", "number");
  schema_range(out, bounds);
}

bool Codec<bool>::read(json::value const& in, bool& out, Bounds const&, Where const& where,
                       Issues& issues) {
  auto const* value = in.if_bool();
  if (value == nullptr) {
    return wrong(where, issues, "bool_type", "Input should be a valid boolean", in);
  }
  out = *value;
  return true;
}

void Codec<bool>::schema(JsonWriter& out, Bounds const&) { out.member("type", "boolean"); }

bool Codec<Uuid>::read(json::value const& in, Uuid& out, Bounds const&, Where const& where,
                       Issues& issues) {
  auto const* text = in.if_string();
  if (text == nullptr)
    return wrong(where, issues, "uuid_type", "UUID input should be a string", in);
  auto const id = Uuid::parse(std::string_view(*text));
  if (!id) return wrong(where, issues, "uuid_parsing", "Input should be a valid UUID", in);
  out = *id;
  return true;
}

void Codec<Uuid>::schema(JsonWriter& out, Bounds const&) {
  out.member("type", "string");
  out.member("format", "uuid");
}

bool Codec<Timestamp>::read(json::value const& in, Timestamp& out, Bounds const&,
                            Where const& where, Issues& issues) {
  auto const* text = in.if_string();
  if (text == nullptr) {
    return wrong(where, issues, "datetime_type", "Input should be a valid datetime", in);
  }
  auto const at = Timestamp::parse(std::string_view(*text));
  if (!at) return wrong(where, issues, "datetime_parsing", "Input should be a valid datetime", in);
  out = *at;
  return true;
}

void Codec<Timestamp>::schema(JsonWriter& out, Bounds const&) {
  out.member("type", "string");
  out.member("format", "date-time");
}

bool Codec<JsonText>::read(json::value const& in, JsonText& out, Bounds const&, Where const& where,
                           Issues& issues) {
  if (!in.is_object()) {
    return wrong(where, issues, "dict_type", "Input should be a valid dictionary", in);
  }
  if (!check_finite(in, where, issues)) return false;
  out.text = json_text(in);
  return true;
}

void Codec<JsonText>::schema(JsonWriter& out, Bounds const&) {
  out.member("type", "object");
  out.member("additionalProperties", true);
}

bool Codec<JsonList>::read(json::value const& in, JsonList& out, Bounds const&, Where const& where,
                           Issues& issues) {
  auto const* list = in.if_array();
  if (list == nullptr) return wrong(where, issues, "list_type", "Input should be a valid list", in);
  if (static_cast<std::int64_t>(list->size()) > kListItemsMax) {
    return wrong(where, issues, "too_long",
                 fmt::format("List should have at most {} items", kListItemsMax), in);
  }
  if (!check_finite(in, where, issues)) return false;
  out.text = json_text(in);
  return true;
}

void Codec<JsonList>::schema(JsonWriter& out, Bounds const&) {
  out.member("type", "array");
  out.member_raw("items", "{}");
}

bool Codec<JsonValue>::read(json::value const& in, JsonValue& out, Bounds const&,
                            Where const& where, Issues& issues) {
  if (!check_finite(in, where, issues)) return false;
  out.text = json_text(in);
  return true;
}

// Bounds of lengths are those of each text.
bool Codec<std::vector<std::string>>::read(json::value const& in, std::vector<std::string>& out,
                                           Bounds const& bounds, Where const& where,
                                           Issues& issues) {
  auto const* list = in.if_array();
  if (list == nullptr) return wrong(where, issues, "list_type", "Input should be a valid list", in);
  if (static_cast<std::int64_t>(list->size()) > kListItemsMax) {
    return wrong(where, issues, "too_long",
                 fmt::format("List should have at most {} items", kListItemsMax), in);
  }
  out.clear();
  out.reserve(list->size());
  bool good = true;
  for (std::size_t i = 0; i < list->size(); ++i) {
    Where const item{&where, static_cast<std::int64_t>(i)};
    std::string text;
    if (Codec<std::string>::read((*list)[i], text, bounds, item, issues)) {
      out.push_back(std::move(text));
    } else {
      good = false;
    }
  }
  return good;
}

void Codec<std::vector<std::string>>::write(JsonWriter& out,
                                            std::vector<std::string> const& value) {
  out.begin_array();
  for (auto const& text : value) out.string(text);
  out.end_array();
}

void Codec<std::vector<std::string>>::schema(JsonWriter& out, Bounds const& bounds) {
  out.member("type", "array");
  out.key("items");
  out.begin_object();
  Codec<std::string>::schema(out, bounds);
  out.end_object();
  out.member("maxItems", kListItemsMax);
}

bool Codec<std::map<std::string, std::string>>::read(json::value const& in,
                                                     std::map<std::string, std::string>& out,
                                                     Bounds const&, Where const& where,
                                                     Issues& issues) {
  auto const* object = in.if_object();
  if (object == nullptr) {
    return wrong(where, issues, "dict_type", "Input should be a valid dictionary", in);
  }
  out.clear();
  bool good = true;
  for (auto const& member : *object) {
    Where const item{&where, std::string_view(member.key())};
    std::string text;
    if (Codec<std::string>::read(member.value(), text, {}, item, issues)) {
      out.insert_or_assign(std::string(member.key()), std::move(text));
    } else {
      good = false;
    }
  }
  return good;
}

void Codec<std::map<std::string, std::string>>::write(
    JsonWriter& out, std::map<std::string, std::string> const& value) {
  out.begin_object();
  for (auto const& [name, text] : value) out.member(name, text);
  out.end_object();
}

void Codec<std::map<std::string, std::string>>::schema(JsonWriter& out, Bounds const&) {
  out.member("type", "object");
  out.member_raw("additionalProperties", R"({"type":"string"})");
}

bool read_enum_text(json::value const& in, std::string_view& out, std::string_view pattern,
                    Where const& where, Issues& issues) {
  auto const* text = in.if_string();
  if (text == nullptr) {
    return wrong(where, issues, "string_type",
                 fmt::format("Input should be a valid string matching '{}'", pattern), in);
  }
  out = *text;
  return true;
}

void add_pattern_issue(std::string_view text, std::string_view pattern, Where const& where,
                       Issues& issues) {
  std::string input;
  append_json_string(input, text);
  std::string ctx = "{\"pattern\":";
  append_json_string(ctx, pattern);
  issues.add(where, "string_pattern_mismatch",
             fmt::format("String should match pattern '{}'", pattern), std::move(input), ctx + "}");
}

void begin_nullable(JsonWriter& out) {
  out.key("anyOf");
  out.begin_array();
  out.begin_object();
}

void end_nullable(JsonWriter& out) {
  out.end_object();
  out.raw(R"({"type":"null"})");
  out.end_array();
}

}  // namespace subforge::describe
