#include "jobs/celery/result_meta.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/json_writer.hpp"
#include "base/text.hpp"
#include "describe/exact_json.hpp"
#include "describe/json_text.hpp"
#include "jobs/celery/python_json.hpp"

namespace subforge::jobs::celery {
namespace {

namespace json = boost::json;
using describe::text_member;

json::value parse_value(std::string_view text) {
  boost::system::error_code error;
  auto value = describe::parse_exact_json(text, error);
  return error ? json::value() : value;
}

// The arguments of an exception; one text may stand without a list around it.
std::string argument_list(json::value const* value) {
  if (value == nullptr || value->is_null()) return "[]";
  if (value->is_array()) return describe::json_text(*value);
  return "[" + describe::json_text(*value) + "]";
}

bool is_identifier(std::string_view text) {
  auto const letter = [](char c) {
    auto const lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || c == '_';
  };
  if (text.empty() || !letter(text.front())) return false;
  return std::ranges::all_of(text, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

// Those that every Python has; others would be looked for in vain.
constexpr std::array<std::string_view, 14> kBuiltins = {
    "Exception",   "ValueError",      "TypeError",       "RuntimeError",       "KeyError",
    "LookupError", "OSError",         "PermissionError", "TimeoutError",       "ConnectionError",
    "MemoryError", "ArithmeticError", "AssertionError",  "NotImplementedError"};

}  // namespace

std::string write_meta(ResultMeta const& meta, std::string_view log, bool offset) {
  constexpr std::size_t kUsualBytes = 256;  // Of all but the result.
  std::string text;
  text.reserve(kUsualBytes + meta.result.size());
  JsonWriter out(text);
  out.begin_object();
  out.member("status", meta.status);
  out.member_raw("result", meta.result);
  out.member_or_null("traceback", meta.traceback);
  out.member_raw("children", meta.children);
  if (meta.done_at) {
    out.member("date_done", offset ? time_text(*meta.done_at) : naive_time_text(*meta.done_at));
  } else {
    out.member_null("date_done");
  }
  if (!meta.group_id.empty()) out.member("group_id", meta.group_id);
  if (!meta.parent_id.empty()) out.member("parent_id", meta.parent_id);
  out.member("task_id", meta.task_id);
  if (!log.empty()) out.member("subforge_log", log);
  out.end_object();
  return text;
}

std::optional<ResultMeta> read_meta(std::string_view text) {
  auto value = parse_value(text);
  if (!value.is_object()) value = parse_value(standard_json(text));
  auto const* const object = value.if_object();
  if (object == nullptr) return std::nullopt;
  ResultMeta meta;
  meta.task_id = text_member(*object, "task_id");
  meta.status = text_member(*object, "status");
  if (meta.task_id.empty() || meta.status.empty()) return std::nullopt;
  if (auto const* const result = object->if_contains("result")) {
    meta.result = describe::json_text(*result);
  }
  if (auto const* const children = object->if_contains("children");
      children != nullptr && children->is_array()) {
    meta.children = describe::json_text(*children);
  }
  if (auto const traceback = text_member(*object, "traceback"); !traceback.empty()) {
    meta.traceback = traceback;
  }
  if (auto const done = text_member(*object, "date_done"); !done.empty()) {
    meta.done_at = Timestamp::parse(done);
  }
  meta.group_id = text_member(*object, "group_id");
  meta.parent_id = text_member(*object, "parent_id");
  meta.log = text_member(*object, "subforge_log");
  return meta;
}

std::string exception_json(Exception const& exception) {
  std::string text;
  JsonWriter out(text);
  out.begin_object();
  out.member("exc_type", exception.type);
  out.member_raw("exc_message", exception.args);
  out.member("exc_module", exception.module);
  out.end_object();
  return text;
}

std::optional<Exception> read_exception(std::string_view text) {
  auto const value = parse_value(text);
  auto const* const object = value.if_object();
  if (object == nullptr || text_member(*object, "exc_type").empty()) return std::nullopt;
  Exception exception;
  exception.type = text_member(*object, "exc_type");
  exception.module = text_member(*object, "exc_module");
  exception.args = argument_list(object->if_contains("exc_message"));
  return exception;
}

std::string exception_text(Exception const& exception) {
  auto const value = parse_value(exception.args);
  auto text = exception.type;
  auto const* const items = value.if_array();
  if (items == nullptr) return text;
  for (std::size_t i = 0; i < items->size(); ++i) {
    auto const& item = (*items)[i];
    text.append(i == 0 ? ": " : ", ");
    bool const plain = describe::is_text(item);
    text.append(plain ? std::string(item.get_string()) : python_repr(item));
  }
  return text;
}

std::string exception_repr(Exception const& exception) {
  auto arguments = python_tuple_repr(parse_value(exception.args));
  if (arguments.ends_with(",)")) arguments.replace(arguments.size() - 2, 2, ")");
  return exception.type + arguments;
}

Exception exception_of(std::string_view error) {
  auto const colon = error.find(": ");
  auto const name = error.substr(0, colon);
  bool const is_builtin = std::ranges::find(kBuiltins, name) != kBuiltins.end();
  // What only looks like a name stays part of the sentence.
  if (colon == std::string_view::npos || !is_identifier(name) || !is_builtin) {
    return exception("RuntimeError", error);
  }
  return exception(name, error.substr(colon + 2));
}

std::string children_json(std::vector<Child> const& children) {
  std::string text;
  JsonWriter out(text);
  auto const write_one = [&out](std::string_view id) {
    out.begin_array();
    out.begin_array();
    out.string(id);
    out.null();
    out.end_array();
    out.null();
    out.end_array();
  };
  out.begin_array();
  for (std::size_t i = 0; i < children.size(); ++i) {
    auto const& group = children[i].group;
    if (group.empty()) {
      write_one(children[i].id);
      continue;
    }
    out.begin_array();
    out.begin_array();
    out.string(group);
    out.null();
    out.end_array();
    out.begin_array();
    for (; i < children.size() && children[i].group == group; ++i) write_one(children[i].id);
    --i;
    out.end_array();
    out.end_array();
  }
  out.end_array();
  return text;
}

}  // namespace subforge::jobs::celery
