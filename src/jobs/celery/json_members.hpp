// Members of JSON objects as Celery's forms have them: what is missing or of another type is empty.
#pragma once

#include <string>
#include <string_view>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/json_writer.hpp"
#include "describe/json_text.hpp"

namespace subforge::jobs::celery {

// A copy in memory of its own, wherever the object was read into.
[[nodiscard]] inline boost::json::object object_member(boost::json::object const& of,
                                                       std::string_view name) {
  auto const* const value = of.if_contains(name);
  if (value == nullptr || !value->is_object()) return {};
  return boost::json::object(value->get_object(), boost::json::storage_ptr());
}

[[nodiscard]] inline boost::json::array array_member(boost::json::object const& of,
                                                     std::string_view name) {
  auto const* const value = of.if_contains(name);
  if (value == nullptr || !value->is_array()) return {};
  return boost::json::array(value->get_array(), boost::json::storage_ptr());
}

[[nodiscard]] inline std::string text_of(boost::json::object const& of, std::string_view name) {
  return std::string(describe::text_member(of, name));
}

inline void text_or_null(JsonWriter& out, std::string_view name, std::string_view text) {
  text.empty() ? out.member_null(name) : out.member(name, text);
}

}  // namespace subforge::jobs::celery
