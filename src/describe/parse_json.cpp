#include "describe/parse_json.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/value_stack.hpp>
#include <boost/system/system_error.hpp>
#include <fmt/format.h>

#include "base/utf8.hpp"
#include "describe/exact_json.hpp"

namespace subforge::describe {
namespace {

namespace json = boost::json;
using Error = boost::system::error_code;

double nearest_double(double rounded, json::string_view text) {
  double nearest = 0;
  auto const* const end = text.data() + text.size();
  auto const [stop, failure] = std::from_chars(text.data(), end, nearest);
  // Too small for a double is zero, and too large infinity; `rounded` is that already.
  return failure == std::errc{} && stop == end ? nearest : rounded;
}

// A whole number beyond 64 bits is kept as a text that begins with a byte that no UTF-8 has, and so
// no text that was read.
constexpr std::string_view kLongInteger = "\xff";

bool is_whole(std::string_view number) {
  return number.find_first_of(".eE") == std::string_view::npos;
}

// Builds the value as the parser reports its parts; see boost::json::basic_parser for the calls.
// The text is given in one piece, so a number always comes whole.
struct Builder {
  static constexpr std::size_t max_object_size = json::object::max_size();
  static constexpr std::size_t max_array_size = json::array::max_size();
  static constexpr std::size_t max_key_size = json::string::max_size();
  static constexpr std::size_t max_string_size = json::string::max_size();

  // Room for what most documents need while they are read.
  alignas(json::value) std::array<unsigned char, 2'048> room{};
  json::value_stack stack{{}, room.data(), room.size()};
  // What becomes of a whole number beyond 64 bits.
  enum class Whole { nearest_double, digits, error } whole = Whole::nearest_double;

  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) { return true; }
  bool on_object_end(std::size_t members, Error&) {
    stack.push_object(members);
    return true;
  }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(std::size_t elements, Error&) {
    stack.push_array(elements);
    return true;
  }
  bool on_key_part(json::string_view text, std::size_t, Error&) {
    stack.push_chars(text);
    return true;
  }
  bool on_key(json::string_view text, std::size_t, Error&) {
    stack.push_key(text);
    return true;
  }
  bool on_string_part(json::string_view text, std::size_t, Error&) {
    stack.push_chars(text);
    return true;
  }
  bool on_string(json::string_view text, std::size_t, Error&) {
    stack.push_string(text);
    return true;
  }
  bool on_number_part(json::string_view, Error&) { return true; }
  bool on_int64(std::int64_t number, json::string_view, Error&) {
    stack.push_int64(number);
    return true;
  }
  bool on_uint64(std::uint64_t number, json::string_view, Error&) {
    stack.push_uint64(number);
    return true;
  }
  bool on_double(double rounded, json::string_view text, Error& error) {
    if (whole == Whole::nearest_double || !is_whole(text)) {
      stack.push_double(nearest_double(rounded, text));
    } else if (whole == Whole::digits) {
      stack.push_chars(kLongInteger);
      stack.push_string(text);
    } else {
      error = json::error::not_exact;
      return false;
    }
    return true;
  }
  bool on_bool(bool value, Error&) {
    stack.push_bool(value);
    return true;
  }
  bool on_null(Error&) {
    stack.push_null();
    return true;
  }
  bool on_comment_part(json::string_view, Error&) { return true; }
  bool on_comment(json::string_view, Error&) { return true; }
};

// Stops at the first key that its object has already, and at a number that would not be read as it
// was written: one that no double can hold, or a whole one beyond 64 bits, which would be rounded.
struct DocumentCheck {
  static constexpr std::size_t max_object_size = json::object::max_size();
  static constexpr std::size_t max_array_size = json::array::max_size();
  static constexpr std::size_t max_key_size = json::string::max_size();
  static constexpr std::size_t max_string_size = json::string::max_size();

  std::vector<std::unordered_set<std::string>> objects;  // Those that are open.
  std::string key;
  bool number = false;  // It stopped at one.

  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) {
    objects.emplace_back();
    return true;
  }
  bool on_object_end(std::size_t, Error&) {
    objects.pop_back();
    return true;
  }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(std::size_t, Error&) { return true; }
  bool on_key_part(json::string_view text, std::size_t, Error&) {
    key.append(text);
    return true;
  }
  bool on_key(json::string_view text, std::size_t, Error& error) {
    key.append(text);
    if (!objects.back().insert(key).second) {
      error = json::error::syntax;
      return false;
    }
    key.clear();
    return true;
  }
  bool on_string_part(json::string_view, std::size_t, Error&) { return true; }
  bool on_string(json::string_view, std::size_t, Error&) { return true; }
  bool on_number_part(json::string_view, Error&) { return true; }
  bool on_int64(std::int64_t, json::string_view, Error&) { return true; }
  bool on_uint64(std::uint64_t, json::string_view, Error&) { return true; }
  bool on_double(double rounded, json::string_view text, Error& error) {
    if (!is_whole(text) && std::isfinite(nearest_double(rounded, text))) return true;
    number = true;
    error = json::error::syntax;
    return false;
  }
  bool on_bool(bool, Error&) { return true; }
  bool on_null(Error&) { return true; }
  bool on_comment_part(json::string_view, Error&) { return true; }
  bool on_comment(json::string_view, Error&) { return true; }
};

std::string placed(std::string_view text, std::size_t used, std::string_view what) {
  auto const before = text.substr(0, used);
  auto const line = std::ranges::count(before, '\n') + 1;
  auto const last_newline = before.rfind('\n');
  auto const column = last_newline == std::string_view::npos ? used : used - last_newline - 1;
  return fmt::format("line {}, column {}: {}", line, column + 1, what);
}

// Where the key begins whose last quote stands at `end`.
std::size_t begin_of_key(std::string_view text, std::size_t end) {
  for (auto at = end; at-- > 0;) {
    if (text[at] != '"') continue;
    auto const before = text.substr(0, at);
    auto const escapes = before.size() - (before.find_last_not_of('\\') + 1);
    if (escapes % 2 == 0) return at;
  }
  return end;
}

std::size_t begin_of_number(std::string_view text, std::size_t end) {
  return text.substr(0, end).find_last_not_of("+-.0123456789eE") + 1;
}

}  // namespace

namespace {

json::value parse(std::string_view text, Error& error, JsonLimits limits, json::storage_ptr storage,
                  std::size_t* used, Builder::Whole whole) {
  json::parse_options options;
  options.max_depth = limits.depth_max;
  json::basic_parser<Builder> parser(options);
  parser.handler().stack.reset(std::move(storage));
  parser.handler().whole = whole;
  error.clear();
  auto const taken = parser.write_some(false, text.data(), text.size(), error);
  if (used != nullptr) *used = taken;
  if (!error && taken < text.size()) error = json::error::extra_data;
  if (error) return nullptr;
  return parser.handler().stack.release();
}

}  // namespace

json::value parse_json(std::string_view text, Error& error, JsonLimits limits,
                       json::storage_ptr storage, std::size_t* used) {
  auto const whole =
      limits.whole_numbers_exact ? Builder::Whole::error : Builder::Whole::nearest_double;
  return parse(text, error, limits, std::move(storage), used, whole);
}

json::value parse_exact_json(std::string_view text, Error& error, JsonLimits limits,
                             json::storage_ptr storage) {
  return parse(text, error, limits, std::move(storage), nullptr, Builder::Whole::digits);
}

std::optional<std::string_view> long_integer(json::value const& value) {
  auto const* const text = value.if_string();
  if (text == nullptr || !std::string_view(*text).starts_with(kLongInteger)) return std::nullopt;
  return std::string_view(*text).substr(kLongInteger.size());
}

bool is_text(json::value const& value) { return value.is_string() && !long_integer(value); }

json::value parse_json(std::string_view text) {
  Error error;
  auto value = parse_json(text, error);
  if (error) throw boost::system::system_error(error);
  return value;
}

Result<json::value> parse_json_text(std::string_view text) {
  text = without_byte_order_mark(text);
  Error error;
  std::size_t used = 0;
  auto value = parse_json(text, error, {.depth_max = kDocumentDepthMax}, {}, &used);
  if (error) return fail(ErrorCode::invalid, placed(text, used, error.message()));
  json::parse_options options;
  options.max_depth = kDocumentDepthMax;
  json::basic_parser<DocumentCheck> check(options);
  auto const stopped = check.write_some(false, text.data(), text.size(), error);
  if (!error) return value;
  auto const& found = check.handler();
  if (found.number) {
    return fail(ErrorCode::invalid,
                placed(text, begin_of_number(text, stopped), "a number is too large"));
  }
  return fail(ErrorCode::invalid, placed(text, begin_of_key(text, stopped),
                                         fmt::format("the key '{}' is given twice",
                                                     shortened(found.key, kToldKeyBytesMax))));
}

}  // namespace subforge::describe
