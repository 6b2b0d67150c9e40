#include "http/multipart.hpp"

#include "base/text.hpp"
#include "base/utf8.hpp"

namespace subforge::http {
namespace {

std::unexpected<Error> wrong(std::string message) {
  return fail(ErrorCode::invalid, std::move(message));
}

// The value of a parameter like name="x" or name=x; backslash escapes are undone in quotes.
std::optional<std::string> parameter(std::string_view field, std::string_view name) {
  for (auto at = field.find(';'); at != std::string_view::npos;) {
    auto rest = field.substr(at + 1);
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
    auto const equals = rest.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    auto const found = trim(rest.substr(0, equals));
    rest.remove_prefix(equals + 1);
    std::string value;
    if (rest.starts_with('"')) {
      rest.remove_prefix(1);
      bool closed = false;
      while (!rest.empty()) {
        char c = rest.front();
        rest.remove_prefix(1);
        if (c == '"') {
          closed = true;
          break;
        }
        bool const escape = c == '\\' && !rest.empty() && (rest[0] == '"' || rest[0] == '\\');
        if (escape) {
          c = rest.front();
          rest.remove_prefix(1);
        }
        value.push_back(c);
      }
      if (!closed) return std::nullopt;
    } else {
      auto const end = std::min(rest.find(';'), rest.size());
      value = trim(rest.substr(0, end));
      rest.remove_prefix(end);
    }
    if (equal_ignoring_case(found, name)) return value;
    auto const next = rest.find(';');
    if (next == std::string_view::npos) return std::nullopt;
    field = rest;
    at = next;
  }
  return std::nullopt;
}

// Reads the part's header lines off the front of `text`, up to and including the blank line.
Result<Part> read_header(std::string_view& text) {
  Part part;
  bool named = false;
  auto const end = text.substr(0, kPartHeaderBytesMax).find("\r\n\r\n");
  bool const no_fields = text.starts_with("\r\n");
  if (!no_fields && end == std::string_view::npos) return wrong("A part's header has no end");
  auto lines = no_fields ? std::string_view{} : text.substr(0, end + 2);
  text.remove_prefix(no_fields ? 2 : end + 4);
  while (!lines.empty()) {
    auto const line = lines.substr(0, lines.find("\r\n"));
    lines.remove_prefix(line.size() + 2);
    auto const colon = line.find(':');
    if (colon == std::string_view::npos) return wrong("A part has a malformed header line");
    auto const field = trim(line.substr(0, colon));
    auto const value = trim(line.substr(colon + 1));
    if (equal_ignoring_case(field, "content-type")) part.content_type = value;
    if (!equal_ignoring_case(field, "content-disposition")) continue;
    if (!equal_ignoring_case(trim(value.substr(0, value.find(';'))), "form-data")) {
      return wrong("A part's Content-Disposition is not form-data");
    }
    if (auto name = parameter(value, "name")) {
      part.name = std::move(*name);
      named = true;
    }
    part.filename = parameter(value, "filename");
  }
  if (!named) return wrong("A part has no name");
  if (!is_valid_utf8(part.name) || (part.filename && !is_valid_utf8(*part.filename))) {
    return wrong("A part's name is not UTF-8");
  }
  return part;
}

}  // namespace

Result<std::vector<Part>> parse_multipart(std::string_view content_type, std::string_view body) {
  auto const type = trim(content_type.substr(0, content_type.find(';')));
  if (!equal_ignoring_case(type, "multipart/form-data")) {
    return wrong("Send the file as multipart/form-data");
  }
  auto const boundary = parameter(content_type, "boundary");
  // RFC 2046 section 5.1.1: 1 to 70 characters.
  if (!boundary || boundary->empty() || boundary->size() > 70) {
    return wrong("The multipart boundary is missing or malformed");
  }
  auto const delimiter = "\r\n--" + *boundary;
  std::vector<Part> parts;
  std::string_view rest = body;
  if (rest.starts_with(std::string_view(delimiter).substr(2))) {
    rest.remove_prefix(delimiter.size() - 2);
  } else {
    auto const first = rest.find(delimiter);  // Behind a preamble.
    if (first == std::string_view::npos) return wrong("The multipart body has no boundary");
    rest.remove_prefix(first + delimiter.size());
  }
  for (;;) {
    if (rest.starts_with("--")) return parts;
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
    if (!rest.starts_with("\r\n")) return wrong("The multipart body has a malformed boundary");
    rest.remove_prefix(2);
    if (parts.size() >= kPartsMax) return wrong("The multipart body has too many parts");
    auto part = read_header(rest);
    if (!part) return std::unexpected(part.error());
    auto const end = rest.find(delimiter);
    if (end == std::string_view::npos) return wrong("The multipart body lacks its last boundary");
    part->content = rest.substr(0, end);
    rest.remove_prefix(end + delimiter.size());
    parts.push_back(std::move(*part));
  }
}

}  // namespace subforge::http
