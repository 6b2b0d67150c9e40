#include "net/http_parser.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/text.hpp"
#include "net/byte_scan.hpp"

namespace subforge::net {
namespace {

constexpr ParseError kBareCr{400, "A CR is not followed by LF."};
constexpr ParseError kBareLf{400, "A line ends with LF alone instead of CRLF."};
constexpr ParseError kEmptyLines{400, "More than one empty line comes before the request line."};
constexpr ParseError kUnterminated{400, "The head does not end with its first empty line."};
constexpr ParseError kTargetTooLong{414, "The request target is too long."};
constexpr ParseError kFieldsTooLong{431, "The header fields are too long in total."};
constexpr ParseError kTooManyFields{431, "There are too many header fields."};
constexpr ParseError kBadMethod{400, "The method is not a token followed by one space."};
constexpr ParseError kMethodTooLong{501, "The method is longer than any that is known."};
constexpr ParseError kConnect{501, "CONNECT is not supported: this server is no proxy."};
constexpr ParseError kTargetChar{400, "The request target holds a character that must be encoded."};
constexpr ParseError kFragment{400, "The request target has a fragment."};
constexpr ParseError kNoVersion{400, "The request line does not end with an HTTP version."};
constexpr ParseError kVersion{505, "Only HTTP/1 is spoken here."};
constexpr ParseError kTargetForm{400, "The request target is neither a path nor an http URL."};
constexpr ParseError kAsterisk{400, "The target '*' is for OPTIONS alone."};
constexpr ParseError kAuthority{400, "The host in the request target is malformed."};
constexpr ParseError kNoHost{400, "HTTP/1.1 requires the Host header."};
constexpr ParseError kSecondHost{400, "There is more than one Host header."};
constexpr ParseError kBadHost{400, "The Host header is malformed."};
constexpr ParseError kObsFold{400, "A header line starts with white space."};
constexpr ParseError kSpaceInName{400, "White space stands before the colon of a header field."};
constexpr ParseError kBadName{400, "The name of a header field is not a token."};
constexpr ParseError kNoColon{400, "A header line has no colon."};
constexpr ParseError kBadValue{400, "The value of a header field has a control character."};
constexpr ParseError kBadLength{400, "Content-Length is not a plain number."};
constexpr ParseError kSecondLength{400, "There is more than one Content-Length header."};
constexpr ParseError kSecondCoding{400, "There is more than one Transfer-Encoding header."};
constexpr ParseError kBothFramings{400, "Content-Length and Transfer-Encoding exclude each other."};
constexpr ParseError kCodingOnOld{400, "HTTP/1.0 has no Transfer-Encoding."};
constexpr ParseError kUnknownCoding{501, "The only known transfer coding is chunked."};
constexpr ParseError kExpectation{417, "The only known expectation is 100-continue."};

enum CharClass : std::uint8_t { kToken = 1, kRegName = 2, kIpLiteral = 4 };

constexpr std::array<std::uint8_t, 256> kCharClasses = [] {
  std::array<std::uint8_t, 256> classes{};
  auto const add = [&](std::string_view chars, CharClass kind) {
    for (char const c : chars) classes[static_cast<unsigned char>(c)] |= kind;
  };
  constexpr std::string_view kAlphanumeric =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  add(kAlphanumeric, kToken);
  add("!#$%&'*+-.^_`|~", kToken);  // RFC 9110 section 5.6.2.
  add(kAlphanumeric, kRegName);
  add("-._~%!$&'()*+,;=", kRegName);  // RFC 3986 section 3.2.2.
  add("0123456789ABCDEFabcdef:.", kIpLiteral);
  return classes;
}();

bool is_of(char c, CharClass kind) {
  return (kCharClasses[static_cast<unsigned char>(c)] & kind) != 0;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_hex_digit(char c) { return hex_value(c) >= 0; }

// Whether `name`, which consists of token characters and is as long as the literal, equals it in
// any case. Setting the case bit maps no other token character onto a letter, a digit or '-'.
template <std::size_t N>
bool same_name(char const* name, char const (&lowercase)[N]) {
  constexpr std::size_t kLength = N - 1;
  auto const differ = [&]<class Word>(Word, std::size_t at) {
    Word a;
    Word b;
    std::memcpy(&a, name + at, sizeof a);
    std::memcpy(&b, lowercase + at, sizeof b);
    return (a | static_cast<Word>(0x2020202020202020)) ^ b;
  };
  if constexpr (kLength >= 8) {
    std::uint64_t difference = differ(std::uint64_t{}, kLength - 8);
    for (std::size_t at = 0; at + 8 < kLength; at += 8) difference |= differ(std::uint64_t{}, at);
    return difference == 0;
  } else {
    static_assert(kLength >= 4);
    return (differ(std::uint32_t{}, 0) | differ(std::uint32_t{}, kLength - 4)) == 0;
  }
}

bool is_port(std::string_view text) {
  if (text.empty()) return true;  // RFC 3986 section 3.2.3 allows "host:".
  auto const port = is_digit(text.front()) ? parse_number<std::uint16_t>(text) : std::nullopt;
  return port.has_value();
}

// host [":" port] as RFC 3986 section 3.2 has it, with a host and without user information.
bool is_authority(std::string_view text) {
  if (text.starts_with('[')) {
    auto const close = text.find(']');
    if (close == std::string_view::npos || close < 3) return false;
    auto const inside = text.substr(1, close - 1);
    auto const after = text.substr(close + 1);
    return std::ranges::all_of(inside, [](char c) { return is_of(c, kIpLiteral); }) &&
           inside.contains(':') &&
           (after.empty() || (after.front() == ':' && is_port(after.substr(1))));
  }
  auto const colon = text.find(':');
  auto const host = text.substr(0, colon);
  if (host.empty()) return false;
  for (std::size_t i = 0; i < host.size(); ++i) {
    if (!is_of(host[i], kRegName)) return false;
    if (host[i] != '%') continue;
    if (host.size() - i < 3 || !is_hex_digit(host[i + 1]) || !is_hex_digit(host[i + 2])) {
      return false;
    }
  }
  return colon == std::string_view::npos || is_port(text.substr(colon + 1));
}

Method method_of(std::string_view text) {
  switch (text.size()) {
    case 3: return text == "GET" ? Method::get : text == "PUT" ? Method::put : Method::other;
    case 4: return text == "POST" ? Method::post : text == "HEAD" ? Method::head : Method::other;
    case 5: return text == "PATCH" ? Method::patch : Method::other;
    case 6: return text == "DELETE" ? Method::del : Method::other;
    case 7: return text == "OPTIONS" ? Method::options : Method::other;
    default: return Method::other;
  }
}

template <class Visitor>
void for_each_list_item(std::string_view list, Visitor visit) {
  while (!list.empty()) {
    auto const comma = std::min(list.find(','), list.size());
    visit(trim(list.substr(0, comma)));
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

}  // namespace

bool is_token_char(char c) { return is_of(c, kToken); }

std::expected<std::size_t, ParseError> HeadScanner::scan(std::string_view input,
                                                         HttpLimits const& limits) {
  constexpr std::size_t kAroundTarget = kMethodBytesMax + std::string_view("  HTTP/1.1\r\n").size();
  char const* const begin = input.data();
  char const* const end = begin + input.size();
  while (true) {
    // The first byte too many decides; a break of the rules at or behind it does not count, so that
    // the answer is the same whether or not the bytes behind have arrived already.
    auto const limit = fields_start_ == 0 ? line_start_ + kAroundTarget + limits.target_bytes_max
                                          : fields_start_ + limits.header_bytes_max;
    auto const too_long = std::unexpected(fields_start_ == 0 ? kTargetTooLong : kFieldsTooLong);
    auto const at = static_cast<std::size_t>(find_first<LineBreak>(begin + scanned_, end) - begin);
    scanned_ = at;
    if (at == input.size() || (input[at] == '\r' && at + 1 == input.size())) {
      if (input.size() >= limit) return too_long;
      return 0;
    }
    if (input[at] == '\n') return at >= limit ? too_long : std::unexpected(kBareLf);
    if (at + 1 >= limit) return too_long;
    if (input[at + 1] != '\n') return std::unexpected(kBareCr);
    bool const empty_line = at == line_start_;
    scanned_ = at + 2;
    line_start_ = scanned_;
    if (empty_line && fields_start_ != 0) return scanned_;
    if (!empty_line && fields_start_ == 0) fields_start_ = scanned_;
    if (empty_line && at != 0) return std::unexpected(kEmptyLines);
  }
}

std::string_view RequestHead::find(std::string_view lowercase_name) const {
  for (auto const& field : fields()) {
    if (equal_ignoring_case(field.name, lowercase_name)) return field.value;
  }
  return {};
}

// Walks over one head. Every step returns the error that it met, or null.
class HeadParser {
 public:
  HeadParser(std::string_view head, HttpLimits const& limits, RequestHead& out)
      : at_(head.data()), end_(at_ + head.size()), limits_(limits), out_(out) {
    static_cast<RequestSummary&>(out_) = {};
    out_.field_count_ = 0;
  }

  ParseError const* run();

 private:
  ParseError const* request_line();
  ParseError const* version();
  ParseError const* target();
  ParseError const* absolute_target(std::string_view after_scheme);
  ParseError const* field_line();
  ParseError const* note(HeaderField const& field);
  ParseError const* conclude();
  void note_connection(std::string_view value);
  void note_upgrade(std::string_view value);

  char const* at_;
  char const* end_;
  HttpLimits const& limits_;
  RequestHead& out_;

  std::optional<std::string_view> host_field_;
  std::optional<std::string_view> transfer_encoding_;
  bool target_has_host_ = false;
  bool connection_close_ = false;
  bool connection_keep_alive_ = false;
  bool connection_upgrade_ = false;
  bool upgrade_to_websocket_ = false;
};

ParseError const* HeadParser::run() {
  // From here on every search for the end of a line finds one, so none needs a bound of its own.
  if (!std::string_view(at_, end_).ends_with("\r\n\r\n")) return &kUnterminated;
  if (std::string_view(at_, end_).starts_with("\r\n")) at_ += 2;
  if (auto const* error = request_line()) return error;
  if (static_cast<std::size_t>(end_ - at_) > limits_.header_bytes_max) return &kFieldsTooLong;
  while (*at_ != '\r') {
    if (auto const* error = field_line()) return error;
  }
  if (at_[1] != '\n') return &kBareCr;
  if (at_ + 2 != end_) return &kUnterminated;
  return conclude();
}

ParseError const* HeadParser::request_line() {
  char const* const method = at_;
  while (is_of(*at_, kToken)) ++at_;
  if (at_ == method || *at_ != ' ') return &kBadMethod;
  out_.method_text = {method, at_};
  if (out_.method_text.size() > kMethodBytesMax) return &kMethodTooLong;
  out_.method = method_of(out_.method_text);
  char const* const target_start = ++at_;
  at_ = find_first<NotTarget>(at_, end_);
  out_.target = {target_start, at_};
  if (out_.target.size() > limits_.target_bytes_max) return &kTargetTooLong;
  if (*at_ == '#') return &kFragment;
  if (*at_ == '\r') return &kNoVersion;
  if (*at_ != ' ') return &kTargetChar;
  ++at_;
  if (auto const* error = version()) return error;
  if (out_.method_text == "CONNECT") return &kConnect;
  return target();
}

ParseError const* HeadParser::version() {
  constexpr std::string_view kName = "HTTP/";
  constexpr auto kBytes = std::string_view("HTTP/1.1\r\n").size();
  if (static_cast<std::size_t>(end_ - at_) < kBytes) return &kNoVersion;
  std::string_view const text(at_, kBytes);
  bool const well_formed = text.starts_with(kName) && is_digit(text[5]) && text[6] == '.' &&
                           is_digit(text[7]) && text.ends_with("\r\n");
  if (!well_formed) return &kNoVersion;
  if (text[5] != '1') return &kVersion;
  // A higher minor version is answered as the highest that is known (RFC 9110 section 2.5).
  out_.version_minor = std::min(text[7] - '0', 1);
  at_ += kBytes;
  return nullptr;
}

ParseError const* HeadParser::target() {
  auto const text = out_.target;
  if (text.starts_with('/')) {
    auto const question = std::min(text.find('?'), text.size());
    out_.path = text.substr(0, question);
    out_.query = text.substr(std::min(question + 1, text.size()));
    return nullptr;
  }
  if (text == "*") {
    out_.path = text;
    return out_.method == Method::options ? nullptr : &kAsterisk;
  }
  constexpr std::string_view kScheme = "http://";
  if (!equal_ignoring_case(text.substr(0, kScheme.size()), kScheme)) return &kTargetForm;
  return absolute_target(text.substr(kScheme.size()));
}

ParseError const* HeadParser::absolute_target(std::string_view after_scheme) {
  auto const host_end = std::min(after_scheme.find_first_of("/?"), after_scheme.size());
  out_.host = after_scheme.substr(0, host_end);
  if (!is_authority(out_.host)) return &kAuthority;
  target_has_host_ = true;
  auto const rest = after_scheme.substr(host_end);
  auto const question = std::min(rest.find('?'), rest.size());
  out_.path = rest.substr(0, question);
  out_.query = rest.substr(std::min(question + 1, rest.size()));
  if (out_.path.empty()) {  // RFC 9112 section 3.2.4 for OPTIONS, RFC 9110 section 4.2.3 else.
    out_.path = out_.method == Method::options && rest.empty() ? "*" : "/";
  }
  return nullptr;
}

ParseError const* HeadParser::field_line() {
  char const* const name = at_;
  at_ = find_first<NotWordChar>(at_, end_);
  while (is_of(*at_, kToken)) ++at_;
  if (*at_ != ':' || at_ == name) {
    if (*at_ == ' ' || *at_ == '\t') return at_ == name ? &kObsFold : &kSpaceInName;
    if (*at_ == '\r' || *at_ == '\n') return &kNoColon;
    return &kBadName;
  }
  HeaderField field{.name = {name, at_}, .value = {}};
  ++at_;
  while (*at_ == ' ' || *at_ == '\t') ++at_;
  char const* const value = at_;
  at_ = find_first<NotFieldValue>(at_, end_);
  if (*at_ != '\r') return *at_ == '\n' ? &kBareLf : &kBadValue;
  if (at_[1] != '\n') return &kBareCr;
  char const* value_end = at_;
  while (value_end != value && (value_end[-1] == ' ' || value_end[-1] == '\t')) --value_end;
  field.value = {value, value_end};
  at_ += 2;
  if (out_.field_count_ == std::min(limits_.header_fields_max, kHeaderFieldsCapacity)) {
    return &kTooManyFields;
  }
  out_.fields_[out_.field_count_++] = field;
  return note(field);
}

// Remembers what the connection or most handlers need. The length picks the one or few names that a
// field can have, so that an unknown one costs next to nothing.
ParseError const* HeadParser::note(HeaderField const& field) {
  auto const is = [name = field.name.data()](auto const& literal) {
    return same_name(name, literal);
  };
  auto const keep_first = [&](std::string_view& slot) {
    if (slot.data() == nullptr) slot = field.value;
    return nullptr;
  };
  switch (field.name.size()) {
    case 4:
      if (!is("host")) return nullptr;
      if (host_field_) return &kSecondHost;
      host_field_ = field.value;
      return is_authority(field.value) ? nullptr : &kBadHost;
    case 6:
      if (is("accept")) return keep_first(out_.accept);
      if (is("cookie")) return keep_first(out_.cookie);
      if (is("origin")) return keep_first(out_.origin);
      if (!is("expect")) return nullptr;
      out_.expect_continue = equal_ignoring_case(field.value, "100-continue");
      return out_.expect_continue ? nullptr : &kExpectation;
    case 7:
      if (is("upgrade")) note_upgrade(field.value);
      return nullptr;
    case 10:
      if (is("user-agent")) return keep_first(out_.user_agent);
      if (is("connection")) note_connection(field.value);
      return nullptr;
    case 11: return is("traceparent") ? keep_first(out_.traceparent) : nullptr;
    case 12:
      if (is("content-type")) return keep_first(out_.content_type);
      return is("x-request-id") ? keep_first(out_.x_request_id) : nullptr;
    case 13:
      if (is("authorization")) return keep_first(out_.authorization);
      return is("if-none-match") ? keep_first(out_.if_none_match) : nullptr;
    case 14:
      if (!is("content-length")) return nullptr;
      if (out_.content_length) return &kSecondLength;
      out_.content_length = parse_number<std::uint64_t>(field.value);
      return out_.content_length ? nullptr : &kBadLength;
    case 15: return is("accept-encoding") ? keep_first(out_.accept_encoding) : nullptr;
    case 17:
      if (!is("transfer-encoding")) return nullptr;
      if (transfer_encoding_) return &kSecondCoding;
      transfer_encoding_ = field.value;
      return nullptr;
    default: return nullptr;
  }
}

void HeadParser::note_connection(std::string_view value) {
  for_each_list_item(value, [this](std::string_view option) {
    connection_close_ |= equal_ignoring_case(option, "close");
    connection_keep_alive_ |= equal_ignoring_case(option, "keep-alive");
    connection_upgrade_ |= equal_ignoring_case(option, "upgrade");
  });
}

void HeadParser::note_upgrade(std::string_view value) {
  for_each_list_item(value, [this](std::string_view protocol) {
    upgrade_to_websocket_ |= equal_ignoring_case(protocol, "websocket");
  });
}

// What only all fields together tell.
ParseError const* HeadParser::conclude() {
  bool const is_1_1 = out_.version_minor == 1;
  if (is_1_1 && !host_field_) return &kNoHost;
  if (host_field_ && !target_has_host_) out_.host = *host_field_;
  if (transfer_encoding_) {
    if (out_.content_length) return &kBothFramings;
    if (!is_1_1) return &kCodingOnOld;
    if (!equal_ignoring_case(*transfer_encoding_, "chunked")) return &kUnknownCoding;
    out_.chunked = true;
  }
  out_.keep_alive = !connection_close_ && (is_1_1 || connection_keep_alive_);
  out_.expect_continue &= is_1_1;  // RFC 9110 section 10.1.1.
  out_.upgrade_websocket =
      is_1_1 && out_.method == Method::get && connection_upgrade_ && upgrade_to_websocket_;
  return nullptr;
}

std::expected<void, ParseError> parse_head(std::string_view head, HttpLimits const& limits,
                                           RequestHead& out) {
  if (auto const* error = HeadParser(head, limits, out).run()) return std::unexpected(*error);
  return {};
}

}  // namespace subforge::net
