// How each type of a described field reads and writes JSON, and what its OpenAPI schema says.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/value.hpp>

#include "base/json_writer.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "describe/issues.hpp"

namespace subforge::describe {

// A JSON object kept as its text: stored and sent on without being taken apart.
struct JsonText {
  std::string text = "{}";
  friend bool operator==(JsonText const&, JsonText const&) = default;
};

// The same for a JSON list, and for any JSON value at all.
struct JsonList {
  std::string text = "[]";
  friend bool operator==(JsonList const&, JsonList const&) = default;
};
struct JsonValue {
  std::string text = "null";
  friend bool operator==(JsonValue const&, JsonValue const&) = default;
};

// A member that may be absent from the body, which differs from null: `given` tells.
template <class T>
struct Given {
  bool given = false;
  T value{};
};

struct Bounds {
  std::optional<std::int64_t> length_min = {};
  std::optional<std::int64_t> length_max = {};
  std::optional<double> least = {};
  std::optional<double> most = {};
  std::optional<double> above = {};  // Greater than this, which itself is too little.
};

// Limits for what arrives inside lists and maps, where a field's own bounds do not reach.
inline constexpr std::int64_t kListItemsMax = 1000;

// The text of a value, for echoing it in an issue.
[[nodiscard]] std::string input_text(boost::json::value const& value);

// An enumeration is described by a function found beside it:
//   constexpr auto names_of(Status) -> std::array<std::pair<Status, std::string_view>, N>
template <class T>
concept DescribedEnum = std::is_enum_v<T> && requires(T value) { names_of(value); };

template <DescribedEnum E>
[[nodiscard]] constexpr std::string_view to_text(E value) {
  for (auto const& [known, name] : names_of(value)) {
    if (known == value) return name;
  }
  return {};
}

template <DescribedEnum E>
[[nodiscard]] constexpr std::optional<E> from_text(std::string_view text) {
  for (auto const& [known, name] : names_of(E{})) {
    if (name == text) return known;
  }
  return std::nullopt;
}

template <DescribedEnum E>
[[nodiscard]] std::vector<std::string> enum_names() {
  std::vector<std::string> all;
  for (auto const& [value, name] : names_of(E{})) all.emplace_back(name);
  return all;
}

// read() returns false after adding at least one issue.
template <class T>
struct Codec;

// What the schema of a type says in answers. Of most it is that of bodies without bounds; a record
// has all its members there.
template <class T>
void write_answer_schema(JsonWriter& json) {
  if constexpr (requires { Codec<T>::answer_schema(json); }) {
    Codec<T>::answer_schema(json);
  } else {
    Codec<T>::schema(json, {});
  }
}

template <>
struct Codec<std::string> {
  static bool read(boost::json::value const& in, std::string& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, std::string const& value) { json.string(value); }
  static void schema(JsonWriter& json, Bounds const& bounds);
};

template <>
struct Codec<std::int64_t> {
  static bool read(boost::json::value const& in, std::int64_t& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, std::int64_t value) { json.integer(value); }
  static void schema(JsonWriter& json, Bounds const& bounds);
};

template <>
struct Codec<double> {
  static bool read(boost::json::value const& in, double& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, double value) { json.number(value); }
  static void schema(JsonWriter& json, Bounds const& bounds);
};

template <>
struct Codec<bool> {
  static bool read(boost::json::value const& in, bool& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, bool value) { json.boolean(value); }
  static void schema(JsonWriter& json, Bounds const& bounds);
};

template <>
struct Codec<Uuid> {
  static bool read(boost::json::value const& in, Uuid& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, Uuid const& value) { json.uuid(value); }
  static void schema(JsonWriter& json, Bounds const& bounds);
};

template <>
struct Codec<Timestamp> {
  static bool read(boost::json::value const& in, Timestamp& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, Timestamp value) { json.timestamp(value); }
  static void schema(JsonWriter& json, Bounds const& bounds);
};

template <>
struct Codec<JsonText> {
  static bool read(boost::json::value const& in, JsonText& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, JsonText const& value) { json.raw(value.text); }
  static void schema(JsonWriter& json, Bounds const& bounds);
};

template <>
struct Codec<JsonList> {
  static bool read(boost::json::value const& in, JsonList& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, JsonList const& value) { json.raw(value.text); }
  static void schema(JsonWriter& json, Bounds const& bounds);
};

template <>
struct Codec<JsonValue> {
  static bool read(boost::json::value const& in, JsonValue& out, Bounds const& bounds,
                   Where const& where, Issues& issues);
  static void write(JsonWriter& json, JsonValue const& value) { json.raw(value.text); }
  static void schema(JsonWriter&, Bounds const&) {}  // Anything fits.
};

template <>
struct Codec<std::vector<std::string>> {
  static bool read(boost::json::value const& in, std::vector<std::string>& out,
                   Bounds const& bounds, Where const& where, Issues& issues);
  static void write(JsonWriter& json, std::vector<std::string> const& value);
  static void schema(JsonWriter& json, Bounds const& bounds);
};

template <>
struct Codec<std::map<std::string, std::string>> {
  static bool read(boost::json::value const& in, std::map<std::string, std::string>& out,
                   Bounds const& bounds, Where const& where, Issues& issues);
  static void write(JsonWriter& json, std::map<std::string, std::string> const& value);
  static void schema(JsonWriter& json, Bounds const& bounds);
};

// The part of an enumeration's codec that does not depend on which one it is.
bool read_enum_text(boost::json::value const& in, std::string_view& out, std::string_view pattern,
                    Where const& where, Issues& issues);
void add_pattern_issue(std::string_view text, std::string_view pattern, Where const& where,
                       Issues& issues);

template <DescribedEnum E>
[[nodiscard]] std::string enum_pattern() {
  std::string pattern = "^(";
  for (auto const& [value, name] : names_of(E{})) {
    if (pattern.size() > 2) pattern += '|';
    pattern += name;
  }
  return pattern + ")$";
}

template <DescribedEnum E>
struct Codec<E> {
  static bool read(boost::json::value const& in, E& out, Bounds const&, Where const& where,
                   Issues& issues) {
    std::string_view text;
    if (!read_enum_text(in, text, enum_pattern<E>(), where, issues)) return false;
    auto const value = from_text<E>(text);
    if (!value) {
      add_pattern_issue(text, enum_pattern<E>(), where, issues);
      return false;
    }
    out = *value;
    return true;
  }
  static void write(JsonWriter& json, E value) { json.string(to_text(value)); }
  static void schema(JsonWriter& json, Bounds const&) {
    json.member("type", "string");
    json.key("enum");
    json.begin_array();
    for (auto const& [value, name] : names_of(E{})) json.string(name);
    json.end_array();
  }
};

// Writes {"anyOf": [schema, null]} around what `inner` writes.
void begin_nullable(JsonWriter& json);
void end_nullable(JsonWriter& json);

template <class T>
struct Codec<std::optional<T>> {
  static bool read(boost::json::value const& in, std::optional<T>& out, Bounds const& bounds,
                   Where const& where, Issues& issues) {
    if (in.is_null()) {
      out.reset();
      return true;
    }
    return Codec<T>::read(in, out.emplace(), bounds, where, issues);
  }
  static void write(JsonWriter& json, std::optional<T> const& value) {
    if (value) {
      Codec<T>::write(json, *value);
    } else {
      json.null();
    }
  }
  static void schema(JsonWriter& json, Bounds const& bounds) {
    begin_nullable(json);
    Codec<T>::schema(json, bounds);
    end_nullable(json);
  }
  static void answer_schema(JsonWriter& json) {
    begin_nullable(json);
    write_answer_schema<T>(json);
    end_nullable(json);
  }
};

template <class T>
struct Codec<Given<T>> {
  static bool read(boost::json::value const& in, Given<T>& out, Bounds const& bounds,
                   Where const& where, Issues& issues) {
    out.given = true;
    return Codec<T>::read(in, out.value, bounds, where, issues);
  }
  static void write(JsonWriter& json, Given<T> const& value) { Codec<T>::write(json, value.value); }
  static void schema(JsonWriter& json, Bounds const& bounds) { Codec<T>::schema(json, bounds); }
};

}  // namespace subforge::describe
