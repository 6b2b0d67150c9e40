#include "http/multipart.hpp"

#include <algorithm>

#include "base/text.hpp"
#include "base/utf8.hpp"

namespace subforge::http {
namespace {

constexpr std::string_view kMissingEnd = "The multipart body lacks its last boundary";

struct NamedValue {
  std::string_view name;
  std::string value;
};

// A quoted string at the front of `text`; the escapes are undone that browsers make, so that the
// backslashes of a path stay. Nothing where it has no end.
std::optional<std::string> take_quoted(std::string_view& text) {
  std::string value;
  text.remove_prefix(1);
  while (!text.empty()) {
    char c = text.front();
    text.remove_prefix(1);
    if (c == '"') return value;
    if (c == '\\' && !text.empty() && (text[0] == '"' || text[0] == '\\')) {
      c = text.front();
      text.remove_prefix(1);
    }
    value.push_back(c);
  }
  return std::nullopt;
}

// The parameters behind the first semicolon, like name="x" or name=x, up to a malformed one.
std::vector<NamedValue> parameters(std::string_view field) {
  std::vector<NamedValue> all;
  for (auto at = field.find(';'); at != std::string_view::npos; at = field.find(';')) {
    field.remove_prefix(at + 1);
    auto const equals = field.find('=');
    if (equals == std::string_view::npos) break;
    auto const name = trim(field.substr(0, equals));
    field.remove_prefix(equals + 1);
    field.remove_prefix(std::min(field.find_first_not_of(" \t"), field.size()));
    if (field.starts_with('"')) {
      auto value = take_quoted(field);
      if (!value) break;
      all.push_back({name, std::move(*value)});
    } else {
      auto const end = std::min(field.find(';'), field.size());
      all.push_back({name, std::string(trim(field.substr(0, end)))});
      field.remove_prefix(end);
    }
  }
  return all;
}

// An extended value like UTF-8'en'%e2%82%ac (RFC 8187 section 3.2).
std::optional<std::string> extended_value(std::string_view text) {
  auto const charset_end = text.find('\'');
  if (charset_end == std::string_view::npos) return std::nullopt;
  auto const language_end = text.find('\'', charset_end + 1);
  bool const known = equal_ignoring_case(text.substr(0, charset_end), "utf-8");
  if (!known || language_end == std::string_view::npos) return std::nullopt;
  return percent_decode(text.substr(language_end + 1), PlusSign::literal);
}

bool is_control(char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; }

// Reads Content-Disposition; what is wrong with it, or nothing.
std::string_view read_disposition(std::string_view value, PartHeader& part, bool& named) {
  if (!equal_ignoring_case(trim(value.substr(0, value.find(';'))), "form-data")) {
    return "A part's Content-Disposition is not form-data";
  }
  std::optional<std::string> extended;
  for (auto& [name, text] : parameters(value)) {
    if (equal_ignoring_case(name, "name")) {
      if (std::exchange(named, true)) return "A part has two names";
      part.name = std::move(text);
    } else if (equal_ignoring_case(name, "filename")) {
      if (part.filename) return "A part has two file names";
      part.filename = std::move(text);
    } else if (equal_ignoring_case(name, "filename*")) {
      if (extended) return "A part has two file names";
      extended = extended_value(text);
      if (!extended) return "A part's file name is malformed";
    }
  }
  if (extended) part.filename = std::move(extended);
  return {};
}

// One line of a part's header; what is wrong with it, or nothing.
std::string_view read_line(std::string_view line, PartHeader& part, bool& placed, bool& named) {
  auto const colon = line.find(':');
  if (colon == std::string_view::npos || std::ranges::any_of(line, is_control)) {
    return "A part has a malformed header line";
  }
  auto const field = trim(line.substr(0, colon));
  auto const value = trim(line.substr(colon + 1));
  if (equal_ignoring_case(field, "content-type")) {
    if (!part.content_type.empty()) return "A part has two types";
    part.content_type = value;
    if (equal_ignoring_case(value.substr(0, 10), "multipart/")) return "A part is multipart itself";
  } else if (equal_ignoring_case(field, "content-transfer-encoding")) {
    bool const plain = equal_ignoring_case(value, "binary") || equal_ignoring_case(value, "8bit") ||
                       equal_ignoring_case(value, "7bit");
    if (!plain) return "A part has a transfer encoding, which forms have not";
  } else if (equal_ignoring_case(field, "content-disposition")) {
    if (std::exchange(placed, true)) return "A part has two Content-Dispositions";
    return read_disposition(value, part, named);
  }
  return {};
}

Result<PartHeader> read_header(std::string_view lines) {
  PartHeader part;
  bool placed = false;
  bool named = false;
  while (!lines.empty()) {
    auto const line = lines.substr(0, lines.find("\r\n"));
    lines.remove_prefix(line.size() + 2);
    if (auto const what = read_line(line, part, placed, named); !what.empty()) {
      return fail(ErrorCode::invalid, std::string(what));
    }
  }
  if (!named) return fail(ErrorCode::invalid, "A part has no name");
  if (!is_valid_utf8(part.name) || (part.filename && !is_valid_utf8(*part.filename))) {
    return fail(ErrorCode::invalid, "A part's name is not UTF-8");
  }
  return part;
}

}  // namespace

MultipartParser::MultipartParser(std::string_view boundary)
    : delimiter_(std::string("\r\n--").append(boundary)) {}

Result<MultipartParser> MultipartParser::of(std::string_view content_type) {
  auto const type = trim(content_type.substr(0, content_type.find(';')));
  if (!equal_ignoring_case(type, "multipart/form-data")) {
    return fail(ErrorCode::invalid, "Send the file as multipart/form-data");
  }
  if (auto const boundary = boundary_of(content_type)) return MultipartParser(*boundary);
  return fail(ErrorCode::invalid, "The multipart boundary is missing or malformed");
}

std::optional<std::string> boundary_of(std::string_view content_type) {
  for (auto const& [name, value] : parameters(content_type)) {
    if (!equal_ignoring_case(name, "boundary")) continue;
    if (value.empty() || value.size() > kBoundaryBytesMax) break;
    return std::string(value);
  }
  return std::nullopt;
}

MultipartParser::Step MultipartParser::wrong(std::string what) {
  error_ = std::move(what);
  state_ = State::failed;
  return {Kind::error};
}

MultipartParser::Step MultipartParser::next(std::string_view& input) {
  while (!input.empty() || state_ == State::content_ends || state_ == State::failed) {
    Step step{Kind::need_more};
    switch (state_) {
      case State::preamble:
      case State::content: step = take_content(input); break;
      case State::boundary:
      case State::last_dash:
      case State::boundary_lf: step = take_boundary(input); break;
      case State::header: step = take_header(input); break;
      case State::content_ends: state_ = State::boundary; return {Kind::part_end};
      case State::epilogue: input = {}; break;
      case State::failed: return {Kind::error};
    }
    if (step.kind != Kind::need_more) return step;
  }
  return {Kind::need_more};
}

// Goes on with a delimiter that the input before ended with part of. It has a CR only at its
// beginning, so that where it does not go on, none of what was held can begin another one. True if
// what was held turned out to be content.
bool MultipartParser::take_held(std::string_view& input) {
  auto const wanted = std::string_view(delimiter_).substr(held_);
  auto const size = std::min(wanted.size(), input.size());
  if (!input.starts_with(wanted.substr(0, size))) return true;
  held_ += size;
  input.remove_prefix(size);
  if (held_ == delimiter_.size()) {
    held_ = 0;
    state_ = state_ == State::content ? State::content_ends : State::boundary;
  }
  return false;
}

MultipartParser::Step MultipartParser::take_content(std::string_view& input) {
  bool const counts = state_ == State::content;
  if (held_ > 0) {
    if (!take_held(input)) return {Kind::need_more};
    auto const held = std::string_view(delimiter_).substr(0, std::exchange(held_, 0));
    if (counts) return {Kind::data, held};
  }
  auto const found = input.find(delimiter_);
  auto content = input.substr(0, found);
  if (found != std::string_view::npos) {
    input.remove_prefix(found + delimiter_.size());
    state_ = counts ? State::content_ends : State::boundary;
  } else {
    // What may be the beginning of a delimiter waits for the rest of it.
    auto const tail = content.substr(content.size() - std::min(content.size(), delimiter_.size()));
    if (auto const cr = tail.rfind('\r'); cr != std::string_view::npos) {
      auto const rest = tail.substr(cr);
      if (delimiter_.starts_with(rest)) {
        held_ = rest.size();
        content.remove_suffix(held_);
      }
    }
    input = {};
  }
  if (!counts || content.empty()) return {Kind::need_more};
  return {Kind::data, content};
}

MultipartParser::Step MultipartParser::take_boundary(std::string_view& input) {
  char const c = input.front();
  input.remove_prefix(1);
  switch (state_) {
    case State::last_dash:
      if (c != '-') break;
      state_ = State::epilogue;
      return {Kind::done};
    case State::boundary_lf:
      if (c != '\n') break;
      if (++parts_ > kPartsMax) return wrong("The multipart body has too many parts");
      state_ = State::header;
      header_.clear();
      return {Kind::need_more};
    default: {
      bool const padding = c == ' ' || c == '\t';
      if (c == '\r') state_ = State::boundary_lf;
      if (c == '-' && !padded_) state_ = State::last_dash;
      padded_ = padding;
      if (padding || state_ != State::boundary) return {Kind::need_more};
    }
  }
  return wrong("The multipart body has a malformed boundary");
}

MultipartParser::Step MultipartParser::take_header(std::string_view& input) {
  auto const before = header_.size();
  header_.append(input.substr(0, kPartHeaderBytesMax - before));
  bool const bare = header_.starts_with("\r\n");  // No fields at all.
  auto const end = bare ? 0 : header_.find("\r\n\r\n", before - std::min<std::size_t>(before, 3));
  if (end == std::string::npos) {
    if (header_.size() >= kPartHeaderBytesMax) return wrong("A part's header has no end");
    input = {};
    return {Kind::need_more};
  }
  input.remove_prefix(end + (bare ? 2 : 4) - before);
  auto part = read_header(std::string_view(header_).substr(0, bare ? 0 : end + 2));
  if (!part) return wrong(std::move(part.error().message));
  part_ = std::move(*part);
  header_.clear();
  state_ = State::content;
  return {Kind::part};
}

Result<void> MultipartParser::finish() const {
  switch (state_) {
    case State::epilogue: return {};
    case State::failed: return fail(ErrorCode::invalid, error_);
    case State::preamble: return fail(ErrorCode::invalid, "The multipart body has no boundary");
    case State::header: return fail(ErrorCode::invalid, "A part's header has no end");
    default: return fail(ErrorCode::invalid, std::string(kMissingEnd));
  }
}

Result<std::vector<Part>> parse_multipart(std::string_view content_type, std::string_view body) {
  auto parser = MultipartParser::of(content_type);
  if (!parser) return std::unexpected(parser.error());
  std::vector<Part> parts;
  auto const* start = body.data();
  for (;;) {
    auto const step = parser->next(body);
    switch (step.kind) {
      case MultipartParser::Kind::part:
        start = body.data();
        parts.push_back({parser->part(), {}});
        break;
      case MultipartParser::Kind::data:
        // The pieces follow each other in the body.
        parts.back().content = {start, parts.back().content.size() + step.data.size()};
        break;
      case MultipartParser::Kind::part_end:
      case MultipartParser::Kind::done: break;
      case MultipartParser::Kind::error: return fail(ErrorCode::invalid, parser->error());
      case MultipartParser::Kind::need_more:
        if (auto whole = parser->finish(); !whole) return std::unexpected(whole.error());
        return parts;
    }
  }
}

}  // namespace subforge::http
