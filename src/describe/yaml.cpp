#include "describe/yaml.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <sstream>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "base/text.hpp"
#include "base/utf8.hpp"
#include "describe/parse_json.hpp"

namespace subforge::describe {
namespace {

namespace json = boost::json;

struct Refused {
  YAML::Mark mark;
  std::string what;
};

constexpr std::string_view kKeyMustBeText = "a key must be text";

[[noreturn]] void refuse(YAML::Mark const& mark, std::string_view what) {
  throw Refused{mark, std::string(what)};
}

std::unexpected<subforge::Error> refused_at(YAML::Mark const& mark, std::string_view what) {
  return fail(ErrorCode::invalid,
              fmt::format("line {}, column {}: {}", mark.line + 1, mark.column + 1, what));
}

// A line may end with CR alone, which yaml-cpp 0.7 takes for a character.
std::string with_line_feeds(std::string_view text) {
  std::string lines(text);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i] == '\r' && !text.substr(i + 1).starts_with('\n')) lines[i] = '\n';
  }
  return lines;
}

// The text from the place on that the parser tells.
std::string_view text_behind(std::string_view text, YAML::Mark const& mark) {
  for (int line = 0; line < mark.line; ++line) {
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  }
  return text.substr(std::min(static_cast<std::size_t>(mark.column), text.size()));
}

// The length of the text in quotes that this begins with; all of it if these are never closed.
std::size_t quoted_length(std::string_view text) {
  char const quote = text.front();
  for (std::size_t i = 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || !text.substr(i + 1).starts_with('\'')) return i + 1;
      ++i;
    }
  }
  return std::string_view::npos;
}

// The parser says of a bracket that is never closed that a list or a map is a key: what is wrong
// with it in truth, or nothing if it is closed.
std::string_view fault_of_brackets(std::string_view text) {
  std::size_t depth = 0;
  char before = '[';  // The last one that is no blank.
  for (std::size_t i = 0; i < text.size(); ++i) {
    char const c = text[i];
    bool const blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    bool const begins = std::string_view("[{,:?").contains(before);
    if (c == '[' || c == '{') {
      if (++depth > kDocumentDepthMax) return "nested too deeply";
    } else if (c == ']' || c == '}') {
      if (--depth == 0) return {};
    } else if (begins && (c == '"' || c == '\'')) {
      auto const length = quoted_length(text.substr(i));
      if (length > text.size()) break;
      i += length - 1;
    } else if (c == '#' && i > 0 && std::string_view(" \t\r\n").contains(text[i - 1])) {
      i = std::min(text.find('\n', i), text.size());
      continue;
    }
    if (!blank) before = c;
  }
  return "this is never closed";
}

std::optional<double> special_float(std::string_view text) {
  auto const lower = to_lower(text);
  if (lower == ".inf" || lower == "+.inf") return std::numeric_limits<double>::infinity();
  if (lower == "-.inf") return -std::numeric_limits<double>::infinity();
  if (lower == ".nan") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

// yaml-cpp 0.7 writes the escapes \N (next line, U+0085) and \_ (no-break space, U+00A0) as one
// byte each, which is no UTF-8. All else is whole characters, as the file was.
std::string as_utf8(std::string const& text) {
  if (is_valid_utf8(text)) return text;
  std::string whole;
  int rest = 0;  // Of the character, in bytes.
  for (char const c : text) {
    auto const byte = static_cast<unsigned char>(c);
    bool const begins = rest == 0;
    if (begins && (byte == 0x85 || byte == 0xa0)) {
      whole += '\xc2';
    } else if (begins) {
      rest = byte < 0x80 ? 0 : byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    } else {
      --rest;
    }
    whole += c;
  }
  return whole;
}

constexpr std::string_view kDigits = "0123456789";
constexpr std::string_view kTooLarge = "a number is too large";

// How many digits it begins with, which are taken off.
std::size_t take_digits(std::string_view& text) {
  auto const count = std::min(text.find_first_not_of(kDigits), text.size());
  text.remove_prefix(count);
  return count;
}

bool take_sign(std::string_view& text) {
  bool const there = text.starts_with('+') || text.starts_with('-');
  if (there) text.remove_prefix(1);
  return there;
}

// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
bool is_decimal(std::string_view text) {
  take_sign(text);
  auto digits = take_digits(text);
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    digits += take_digits(text);
  }
  if (digits == 0 || text.empty()) return digits > 0;
  if (ascii_lower(text.front()) != 'e') return false;
  text.remove_prefix(1);
  take_sign(text);
  return take_digits(text) > 0 && text.empty();
}

// Whole numbers are kept to their last digit, or refused.
json::value decimal(YAML::Mark const& mark, std::string const& text) {
  auto const without_plus = std::string_view(text).substr(text.starts_with('+') ? 1 : 0);
  if (without_plus.find_first_of(".eE") == std::string_view::npos) {
    if (auto const whole = parse_number<std::int64_t>(without_plus)) return *whole;
    if (auto const whole = parse_number<std::uint64_t>(without_plus)) return *whole;
    refuse(mark, kTooLarge);
  }
  // Of one beyond them it tells that it is too large, or next to nothing.
  auto const real = parse_number<double>(without_plus);
  double const nearest = real ? *real : std::strtod(text.c_str(), nullptr);
  if (!std::isfinite(nearest)) refuse(mark, kTooLarge);
  return nearest;
}

// "0o17" and "0x1f" of the core schema.
bool is_octal_or_hexadecimal(std::string_view text) {
  auto const digits = text.substr(std::min<std::size_t>(text.size(), 2));
  if (digits.empty()) return false;
  if (text.starts_with("0o")) return digits.find_first_not_of("01234567") == digits.npos;
  return text.starts_with("0x") &&
         digits.find_first_not_of("0123456789abcdefABCDEF") == digits.npos;
}

json::value octal_or_hexadecimal(YAML::Mark const& mark, std::string_view text) {
  std::uint64_t value = 0;
  auto const* const end = text.data() + text.size();
  int const base = text[1] == 'x' ? 16 : 8;
  if (std::from_chars(text.data() + 2, end, value, base).ec != std::errc{}) {
    refuse(mark, kTooLarge);
  }
  if (std::in_range<std::int64_t>(value)) return static_cast<std::int64_t>(value);
  return value;
}

// A plain (unquoted) scalar by the core schema.
json::value plain_scalar(YAML::Mark const& mark, std::string const& text) {
  if (text == "~" || text == "null" || text == "Null" || text == "NULL" || text.empty()) {
    return nullptr;
  }
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (is_decimal(text)) return decimal(mark, text);
  if (special_float(text)) refuse(mark, "JSON has no infinity and no NaN");
  if (is_octal_or_hexadecimal(text)) return octal_or_hexadecimal(mark, text);
  return json::value(text);
}

// Builds the value as the parser goes through the text: no tree of nodes in between, which would
// need a multiple of the memory, and a limit ends the work where it is crossed.
class YamlBuilder final : public YAML::EventHandler {
 public:
  using Mark = YAML::Mark;
  using Style = YAML::EmitterStyle::value;

  [[nodiscard]] json::value take() { return std::move(root_); }
  // Where the last one begins.
  [[nodiscard]] Mark const& last_scalar() const { return last_scalar_; }

  void OnDocumentStart(Mark const& mark) override {
    if (std::exchange(begun_, true)) refuse(mark, "the file holds several documents");
  }
  void OnDocumentEnd() override {}

  void OnNull(Mark const& mark, YAML::anchor_t anchor) override {
    add(mark, anchor, {.size = {.nodes = 1}});
  }

  void OnScalar(Mark const& mark, std::string const& tag, YAML::anchor_t anchor,
                std::string const& written) override {
    last_scalar_ = mark;
    auto const text = as_utf8(written);
    // Quoted, or tagged !!str: text whatever it looks like. So are keys, which are no values.
    bool const key = awaits_key();
    bool const quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    auto value = key || quoted ? json::value(text) : plain_scalar(mark, text);
    Size const size{.nodes = key ? 0U : 1U, .bytes = text.size()};
    add(mark, anchor, {std::move(value), text, size, key && !quoted && text == "<<"});
  }

  void OnAlias(Mark const& mark, YAML::anchor_t anchor) override {
    auto const found = anchors_.find(anchor);
    if (found == anchors_.end()) refuse(mark, "a node holds itself");
    // Before it is copied.
    require_room(mark, found->second.size);
    add(mark, 0, found->second);
  }

  void OnSequenceStart(Mark const& mark, std::string const&, YAML::anchor_t anchor,
                       Style) override {
    open(mark, anchor, json::array());
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(Mark const& mark, std::string const&, YAML::anchor_t anchor, Style) override {
    open(mark, anchor, json::object());
  }
  void OnMapEnd() override { close(); }

 private:
  struct Size {
    std::size_t nodes = 0;
    std::size_t bytes = 0;  // Of texts.
    std::size_t depth = 0;
  };
  struct Node {
    json::value value = nullptr;
    std::optional<std::string> text = {};  // Of a scalar, as it was written.
    Size size = {};
    bool merges = false;  // The key "<<", unquoted.
  };
  struct Frame {
    Node node;
    Mark mark;
    YAML::anchor_t anchor = 0;
    std::optional<std::string> key = {};    // Whose value comes next.
    bool merges = false;                    // What comes next is merged,
    std::vector<json::object> merged = {};  // as these are at the end.
  };

  [[nodiscard]] bool awaits_key() const {
    return !frames_.empty() && frames_.back().node.value.is_object() && !frames_.back().key;
  }

  void require_room(Mark const& mark, Size const& more) const {
    if (frames_.size() + more.depth > kDocumentDepthMax) refuse(mark, "nested too deeply");
    if (total_.nodes + more.nodes > kDocumentNodesMax) {
      refuse(mark, "too many values after expanding aliases");
    }
    if (total_.bytes + more.bytes > kDocumentTextBytesMax) {
      refuse(mark, "too much text after expanding aliases");
    }
  }

  void open(Mark const& mark, YAML::anchor_t anchor, json::value value) {
    if (awaits_key()) refuse(mark, kKeyMustBeText);
    Size const size{.nodes = 1, .depth = 1};
    require_room(mark, size);
    total_.nodes += 1;
    frames_.push_back({{std::move(value), {}, size}, mark, anchor});
  }

  void close() {
    auto frame = std::move(frames_.back());
    frames_.pop_back();
    for (auto const& more : frame.merged) {
      auto& whole = frame.node.value.get_object();
      for (auto const& [name, value] : more) whole.emplace(name, value);
    }
    keep(frame.mark, frame.anchor, frame.node);
    place(frame.mark, std::move(frame.node));
  }

  void add(Mark const& mark, YAML::anchor_t anchor, Node node) {
    require_room(mark, node.size);
    total_.nodes += node.size.nodes;
    total_.bytes += node.size.bytes;
    keep(mark, anchor, node);
    place(mark, std::move(node));
  }

  // What an alias may name. Anchors within one another copy what they hold several times, so that
  // this has its limit too.
  void keep(Mark const& mark, YAML::anchor_t anchor, Node const& node) {
    if (anchor == 0) return;
    anchored_.nodes += node.size.nodes;
    anchored_.bytes += node.size.bytes;
    if (anchored_.nodes > kDocumentNodesMax || anchored_.bytes > kDocumentTextBytesMax) {
      refuse(mark, "too much within anchors");
    }
    anchors_.insert_or_assign(anchor, node);
  }

  // Puts what is whole where it belongs.
  void place(Mark const& mark, Node node) {
    if (frames_.empty()) {
      root_ = std::move(node.value);
      return;
    }
    auto& frame = frames_.back();
    auto& parent = frame.node;
    auto& key = frame.key;
    parent.size.nodes += node.size.nodes;
    parent.size.bytes += node.size.bytes;
    parent.size.depth = std::max(parent.size.depth, node.size.depth + 1);
    if (auto* const list = parent.value.if_array()) {
      list->push_back(std::move(node.value));
    } else if (std::exchange(frame.merges, false)) {
      key.reset();
      merge(mark, std::move(node.value));
    } else if (key) {
      parent.value.get_object().emplace(*std::exchange(key, std::nullopt), std::move(node.value));
    } else if (!node.text) {
      refuse(mark, kKeyMustBeText);
    } else if (parent.value.get_object().contains(*node.text) ||
               (node.merges && !frame.merged.empty())) {
      auto const told = shortened(*node.text, kToldKeyBytesMax);
      refuse(mark, fmt::format("the key '{}' is given twice", told));
    } else {
      frame.merges = node.merges;
      key = std::move(node.text);
    }
  }

  // Keys of one map, or of several, for a map that has none of that name itself: of the first that
  // has one (https://yaml.org/type/merge.html, which YAML 1.2 left out and files go on using).
  void merge(Mark const& mark, json::value value) {
    auto& merged = frames_.back().merged;
    if (value.is_object()) {
      merged.push_back(std::move(value.get_object()));
      return;
    }
    auto* const list = value.if_array();
    if (list == nullptr) refuse(mark, "'<<' merges a map or a list of maps");
    for (auto& one : *list) {
      if (!one.is_object()) refuse(mark, "'<<' merges a map or a list of maps");
      merged.push_back(std::move(one.get_object()));
    }
  }

  bool begun_ = false;
  Mark last_scalar_;
  json::value root_;
  std::vector<Frame> frames_;  // From the outermost list or object inwards.
  std::unordered_map<YAML::anchor_t, Node> anchors_;
  Size total_;
  Size anchored_;
};

// Follows paths through the text, all of them in one go, and notes where what they lead to begins.
class PlaceFinder final : public YAML::EventHandler {
 public:
  using Mark = YAML::Mark;
  using Style = YAML::EmitterStyle::value;

  explicit PlaceFinder(std::span<DocumentPath const> paths)
      : paths_(paths), places_(paths.size()) {}

  [[nodiscard]] std::vector<std::string> take() { return std::move(places_); }

  void OnDocumentStart(Mark const&) override {}
  void OnDocumentEnd() override {}
  void OnNull(Mark const& mark, YAML::anchor_t) override { pass(mark, {}); }
  void OnAlias(Mark const& mark, YAML::anchor_t) override { pass(mark, {}); }
  void OnScalar(Mark const& mark, std::string const&, YAML::anchor_t,
                std::string const& text) override {
    pass(mark, as_utf8(text));
  }
  void OnSequenceStart(Mark const& mark, std::string const&, YAML::anchor_t, Style) override {
    auto reached = pass(mark, {});
    frames_.push_back({false, std::move(reached)});
  }
  void OnSequenceEnd() override { frames_.pop_back(); }
  void OnMapStart(Mark const& mark, std::string const&, YAML::anchor_t, Style) override {
    auto reached = pass(mark, {});
    frames_.push_back({true, std::move(reached)});
  }
  void OnMapEnd() override { frames_.pop_back(); }

 private:
  using Paths = std::vector<std::size_t>;  // By their numbers.
  struct Frame {
    bool map;
    Paths reached;  // Those that lead here.
    std::int64_t index = 0;
    std::optional<std::string> key = {};
  };

  // A key, or a value: then those paths that lead to it.
  Paths pass(Mark const& mark, std::string_view text) {
    Paths reached;
    if (frames_.empty()) {
      for (std::size_t i = 0; i < paths_.size(); ++i) reached.push_back(i);
    } else if (auto& frame = frames_.back(); frame.map && !frame.key) {
      frame.key = text;
      return reached;
    } else {
      for (auto const i : frame.reached) {
        if (leads_here(frame, paths_[i])) reached.push_back(i);
      }
      frame.key.reset();
      ++frame.index;
    }
    for (auto const i : reached) {
      places_[i] = fmt::format("line {}, column {}", mark.line + 1, mark.column + 1);
    }
    return reached;
  }

  [[nodiscard]] bool leads_here(Frame const& frame, DocumentPath path) const {
    if (path.size() < frames_.size()) return false;
    auto const& step = path[frames_.size() - 1];
    auto const* const name = std::get_if<std::string>(&step);
    if (frame.map) return name != nullptr && *name == *frame.key;
    return name == nullptr && std::get<std::int64_t>(step) == frame.index;
  }

  std::span<DocumentPath const> const paths_;
  std::vector<std::string> places_;
  std::vector<Frame> frames_;
};

// Goes through JSON that is known to be right, and tells a finder what YAML's parser would.
class JsonReader {
 public:
  JsonReader(std::string_view text, PlaceFinder& finder) : text_(text), finder_(finder) {}

  void read() {
    while (at_ < text_.size()) {
      auto const mark = mark_here();
      switch (text_[at_]) {
        case '{': finder_.OnMapStart(mark, {}, 0, YAML::EmitterStyle::Flow); break;
        case '[': finder_.OnSequenceStart(mark, {}, 0, YAML::EmitterStyle::Flow); break;
        case '}': finder_.OnMapEnd(); break;
        case ']': finder_.OnSequenceEnd(); break;
        case '"': finder_.OnScalar(mark, {}, 0, take_string()); continue;
        case ' ':
        case '\t':
        case '\r':
        case ',':
        case ':': break;
        case '\n':
          ++line_;
          line_begin_ = at_ + 1;
          break;
        default: finder_.OnScalar(mark, {}, 0, take_word()); continue;
      }
      ++at_;
    }
  }

 private:
  [[nodiscard]] YAML::Mark mark_here() const {
    YAML::Mark mark;
    mark.line = line_;
    mark.column = static_cast<int>(at_ - line_begin_);
    return mark;
  }

  std::string take_string() {
    auto end = at_ + 1;
    while (end < text_.size() && text_[end] != '"') end += text_[end] == '\\' ? 2 : 1;
    auto const quoted = text_.substr(at_, end + 1 - at_);
    at_ = end + 1;
    boost::system::error_code error;
    auto const value = parse_json(quoted, error);
    return value.is_string() ? std::string(value.get_string()) : std::string();
  }

  // A number, true, false or null.
  std::string take_word() {
    auto const end = std::min(text_.find_first_of(" \t\r\n,:]}", at_), text_.size());
    std::string word(text_.substr(at_, end - at_));
    at_ = end;
    return word;
  }

  std::string_view const text_;
  PlaceFinder& finder_;
  std::size_t at_ = 0;
  int line_ = 0;
  std::size_t line_begin_ = 0;
};

}  // namespace

Result<json::value> parse_yaml_text(std::string_view text) {
  // With a NUL the parser could take it for another encoding.
  if (!is_valid_utf8(text) || text.find('\0') != std::string_view::npos) {
    return fail(ErrorCode::invalid, "the file is not UTF-8 text");
  }
  // Whether a list or a map in brackets is a key, the parser knows at its end, and keeps all of it
  // until then: some hundred bytes for each of these.
  if (std::ranges::count_if(text, [](char c) { return c == '[' || c == '{' || c == ','; }) >
      static_cast<std::ptrdiff_t>(kDocumentNodesMax)) {
    return fail(ErrorCode::invalid, "too many brackets and commas");
  }
  YamlBuilder builder;
  auto const lines = with_line_feeds(without_byte_order_mark(text));
  try {
    std::istringstream input(lines);
    YAML::Parser parser(input);
    // Ends with the second document at the latest, as the builder refuses it.
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (Refused const& refused) {
    auto const behind = text_behind(lines, refused.mark);
    bool const bracket = behind.starts_with('[') || behind.starts_with('{');
    auto const fault =
        bracket && refused.what == kKeyMustBeText ? fault_of_brackets(behind) : std::string_view();
    return refused_at(refused.mark, fault.empty() ? refused.what : fault);
  } catch (YAML::Exception const& error) {
    return refused_at(error.mark, error.msg);
  }
  // That the text has an end is enough for the parser, if a line ends before it.
  auto const last = text_behind(lines, builder.last_scalar());
  bool const quoted = last.starts_with('"') || last.starts_with('\'');
  if (quoted && quoted_length(last) > last.size()) {
    return refused_at(builder.last_scalar(), "these quotes are never closed");
  }
  return builder.take();
}

std::vector<std::string> places_in_document(std::string_view text,
                                            std::span<DocumentPath const> paths) {
  PlaceFinder finder(paths);
  try {
    std::istringstream input(with_line_feeds(text));
    YAML::Parser(input).HandleNextDocument(finder);
  } catch (YAML::Exception const&) {
    // What was found before it stands.
  }
  return finder.take();
}

std::vector<std::string> places_in_json(std::string_view text,
                                        std::span<DocumentPath const> paths) {
  PlaceFinder finder(paths);
  JsonReader(without_byte_order_mark(text), finder).read();
  return finder.take();
}

}  // namespace subforge::describe
