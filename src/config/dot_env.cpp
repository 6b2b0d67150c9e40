#include "config/dot_env.hpp"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "base/text.hpp"
#include "base/utf8.hpp"

namespace subforge::config {
namespace {

constexpr std::string_view kBlanks = " \t";

bool is_blank(char c) { return kBlanks.contains(c); }

bool is_nothing_or_comment(std::string_view rest) {
  rest = trim(rest);
  return rest.empty() || rest.starts_with('#');
}

char escaped(char c) {
  switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return c;
  }
}

// What stands between the quotes that `text` begins with; nothing if they do not end, or if more
// than a comment follows.
std::optional<std::string> quoted(std::string_view text) {
  char const quote = text.front();
  std::string value;
  for (std::size_t i = 1; i < text.size(); ++i) {
    char const c = text[i];
    if (c == quote) {
      if (!is_nothing_or_comment(text.substr(i + 1))) return std::nullopt;
      return value;
    }
    bool const escapes = quote == '"' && c == '\\' && i + 1 < text.size() &&
                         std::string_view("nrt\"\\$").contains(text[i + 1]);
    value.push_back(escapes ? escaped(text[++i]) : c);
  }
  return std::nullopt;
}

// `text` is all that follows the equals sign, since a # begins a comment only after a blank.
std::string_view unquoted(std::string_view text) {
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '#' && is_blank(text[i - 1])) return trim(text.substr(0, i));
  }
  return trim(text);
}

bool is_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return c == '_' || (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
  });
}

// False if the line is none of a comment, nothing, and NAME=value.
bool read_line(std::string_view line, std::map<std::string, std::string>& values) {
  line = trim(line);
  if (is_nothing_or_comment(line)) return true;
  if (line.starts_with("export") && line.size() > 6 && is_blank(line[6]))
    line = trim(line.substr(6));
  auto const equals = line.find('=');
  if (equals == std::string_view::npos) return false;
  auto const name = trim(line.substr(0, equals));
  if (!is_name(name)) return false;

  auto const rest = line.substr(equals + 1);
  auto const begin = trim(rest);
  if (begin.starts_with('"') || begin.starts_with('\'')) {
    auto value = quoted(begin);
    if (!value) return false;
    values.insert_or_assign(std::string(name), std::move(*value));
  } else {
    values.insert_or_assign(std::string(name), std::string(unquoted(rest)));
  }
  return true;
}

}  // namespace

DotEnv parse_dot_env(std::string_view text) {
  DotEnv found;
  text = without_byte_order_mark(text);
  for (std::size_t number = 1; !text.empty(); ++number) {
    auto const end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    // The line itself is not shown: it may hold a secret.
    if (!read_line(line, found.values)) {
      found.warnings.push_back(fmt::format(
          "Line {} of .env is left out: it is not NAME=value with quotes that end", number));
    }
  }
  return found;
}

}  // namespace subforge::config
