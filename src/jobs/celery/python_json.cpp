#include "jobs/celery/python_json.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>

#include "base/utf8.hpp"
#include "describe/parse_json.hpp"

namespace subforge::jobs::celery {
namespace {

constexpr std::size_t kEscapeBytes = 6;  // \uXXXX
constexpr std::string_view kTooDeep = "\"(nested too deeply)\"";

// The code unit of an escape at `at`; 0 if there is none.
std::uint32_t unit_at(std::string_view text, std::size_t at) {
  if (at >= text.size() || !text.substr(at).starts_with("\\u")) return 0;
  auto const digits = text.substr(at + 2, 4);
  std::uint32_t unit = 0;
  auto const* const end = digits.data() + digits.size();
  auto const [stop, failure] = std::from_chars(digits.data(), end, unit, 16);
  return failure == std::errc{} && stop == end && digits.size() == 4 ? unit : 0;
}

bool is_first_half(std::uint32_t unit) { return unit >= 0xd800 && unit <= 0xdbff; }
bool is_second_half(std::uint32_t unit) { return unit >= 0xdc00 && unit <= 0xdfff; }

// Copies the string that begins at `at`; where it ends.
std::size_t copy_string(std::string_view text, std::size_t at, std::string& out) {
  out.push_back(text[at++]);
  while (at < text.size() && text[at] != '"') {
    std::size_t length = text[at] == '\\' ? 2 : 1;
    if (auto const unit = unit_at(text, at); unit != 0) {
      bool const pair = is_first_half(unit) && is_second_half(unit_at(text, at + kEscapeBytes));
      length = pair ? 2 * kEscapeBytes : kEscapeBytes;
      if (!pair && (is_first_half(unit) || is_second_half(unit))) {
        out.append("\\ufffd");
        at += length;
        continue;
      }
    }
    out.append(text.substr(at, length));
    at += length;
  }
  if (at < text.size()) out.push_back(text[at++]);
  return std::min(at, text.size());
}

// Behind the list or object that begins at `at`.
std::size_t end_of_nest(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  for (; at < text.size(); ++at) {
    char const c = text[at];
    if (c == '"') {
      for (++at; at < text.size() && text[at] != '"'; ++at) at += text[at] == '\\' ? 1 : 0;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if ((c == ']' || c == '}') && --depth == 0) {
      return at + 1;
    }
  }
  return text.size();
}

}  // namespace

std::string standard_json(std::string_view python) {
  constexpr std::array<std::string_view, 3> kNumbers = {"NaN", "Infinity", "-Infinity"};
  std::string clean;
  if (!is_valid_utf8(python)) {
    clean = python;
    std::ranges::replace_if(
        clean, [](char c) { return static_cast<unsigned char>(c) > 0x7f; }, '?');
    python = clean;
  }
  std::string out;
  out.reserve(python.size());
  std::size_t depth = 0;
  for (std::size_t at = 0; at < python.size();) {
    char const c = python[at];
    auto const rest = python.substr(at);
    auto const number =
        std::ranges::find_if(kNumbers, [rest](auto name) { return rest.starts_with(name); });
    if (number != kNumbers.end()) {
      out.append("\"").append(*number).append("\"");
      at += number->size();
    } else if (c == '"') {
      at = copy_string(python, at, out);
    } else if ((c == '[' || c == '{') && depth == describe::kOwnDocumentDepthMax) {
      out.append(kTooDeep);
      at = end_of_nest(python, at);
    } else {
      if (c == '[' || c == '{') ++depth;
      if ((c == ']' || c == '}') && depth > 0) --depth;
      out.push_back(c);
      ++at;
    }
  }
  return out;
}

}  // namespace subforge::jobs::celery
