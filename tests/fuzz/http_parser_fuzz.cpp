// Any bytes as a stream of requests. Asserts that the outcome doesn't depend on how they are cut
// into pieces, that what is accepted is free of ambiguity and lies inside the input, and that
// writing it out again and parsing that gives the same.
#include <algorithm>
#include <string>

#include "net/chunked.hpp"
#include "net/http_parser.hpp"
#include "net/websocket_handshake.hpp"
#include "pieces.hpp"

namespace subforge::net {
namespace {

using fuzz::Pieces;
using fuzz::require;

struct Scanned {
  std::size_t head_bytes = 0;
  int status = 0;

  bool operator==(Scanned const&) const = default;
};

Scanned scan(std::string_view text, Pieces const& pieces, HttpLimits const& limits) {
  HeadScanner scanner;
  std::size_t received = 0;
  for (auto const piece : pieces) {
    received += piece.size();
    auto const result = scanner.scan(text.substr(0, received), limits);
    if (!result) return {.status = result.error().status};
    if (*result != 0) return {.head_bytes = *result};
  }
  return {};
}

struct Decoded {
  std::string body;
  ChunkedDecoder::Kind end = ChunkedDecoder::Kind::need_more;
  int status = 0;
  std::size_t used = 0;

  bool operator==(Decoded const&) const = default;
};

Decoded decode(Pieces const& pieces, ChunkedLimits const& limits) {
  using Kind = ChunkedDecoder::Kind;
  ChunkedDecoder decoder(limits);
  Decoded decoded;
  for (auto piece : pieces) {
    auto const whole = piece;
    auto step = decoder.next(piece);
    for (; step.kind == Kind::data; step = decoder.next(piece)) {
      require(step.data.data() >= whole.data() && !step.data.empty() &&
              step.data.data() + step.data.size() <= whole.data() + whole.size());
      decoded.body.append(step.data);
    }
    decoded.used += whole.size() - piece.size();
    decoded.end = step.kind;
    decoded.status = step.error.status;
    if (step.kind != Kind::need_more) break;
    require(piece.empty());
  }
  require(decoded.body.size() <= limits.body_bytes_max);
  return decoded;
}

void check_chunked(std::string_view text, ChunkedLimits const& limits) {
  auto const whole = decode({text}, limits);
  require(decode(fuzz::cut_at_every_byte(text), limits) == whole || text.empty());
  require(decode(fuzz::cut_at_random(text), limits) == whole || text.empty());
  if (whole.end != ChunkedDecoder::Kind::done) return;
  std::string again;
  append_chunk(again, whole.body);
  again.append(kLastChunk);
  require(decode({again}, limits).body == whole.body);
}

bool lies_in(std::string_view part, std::string_view whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_accepted(RequestHead const& head, std::string_view text) {
  for (auto const view : {head.method_text, head.target, head.query, head.host}) {
    require(lies_in(view, text));
  }
  for (auto const view :
       {head.accept, head.accept_encoding, head.authorization, head.content_type, head.cookie,
        head.if_none_match, head.origin, head.traceparent, head.user_agent, head.x_request_id}) {
    require(lies_in(view, text));
  }
  require(lies_in(head.path, text) || head.path == "/" || head.path == "*");
  require(head.path == "*" || head.path.starts_with('/'));
  require(!head.method_text.empty() && !head.target.empty());
  require(!(head.chunked && head.content_length));
  require(head.version_minor == 0 || head.version_minor == 1);
  require(head.version_minor == 0 || (!head.host.empty() && !head.find("host").empty()));
  require(std::ranges::none_of(head.target, [](char c) { return c <= ' ' || c == 0x7f; }));
  for (auto const& field : head.fields()) {
    require(lies_in(field.name, text) && lies_in(field.value, text) && !field.name.empty());
    require(std::ranges::all_of(field.name, is_token_char));
    require(field.value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos);
  }
}

void check_round_trip(RequestHead const& head, HttpLimits const& limits) {
  std::string text;
  text.append(head.method_text).append(" ").append(head.target).append(" HTTP/1.");
  text.append(std::to_string(head.version_minor)).append("\r\n");
  for (auto const& [name, value] : head.fields()) {
    text.append(name).append(":").append(value).append("\r\n");
  }
  text.append("\r\n");
  RequestHead again;
  require(scan(text, {text}, limits) == Scanned{.head_bytes = text.size()});
  require(parse_head(text, limits, again).has_value());
  require(again.method == head.method && again.path == head.path && again.query == head.query);
  require(again.host == head.host && again.content_length == head.content_length);
  require(again.chunked == head.chunked && again.keep_alive == head.keep_alive);
  require(again.expect_continue == head.expect_continue);
  require(again.upgrade_websocket == head.upgrade_websocket);
  require(std::ranges::equal(again.fields(), head.fields(), [](auto const& a, auto const& b) {
    return a.name == b.name && a.value == b.value;
  }));
}

void check_request(std::string_view text, HttpLimits const& limits) {
  auto const whole = scan(text, {text}, limits);
  require(scan(text, fuzz::cut_at_every_byte(text), limits) == whole);
  require(scan(text, fuzz::cut_at_random(text), limits) == whole);
  RequestHead head;
  // Nothing but what the scanner delimits may be taken for a head.
  require(!parse_head(text, limits, head) || whole.head_bytes == text.size());
  if (whole.head_bytes == 0) return;
  if (!parse_head(text.substr(0, whole.head_bytes), limits, head)) return;
  check_accepted(head, text);
  check_round_trip(head, limits);
  (void)validate_handshake(head);
  if (head.chunked) check_chunked(text.substr(whole.head_bytes), ChunkedLimits{});
}

}  // namespace
}  // namespace subforge::net

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace subforge::net;
  std::string_view const text(reinterpret_cast<char const*>(data), size);
  check_request(text, HttpLimits{});
  check_request(text, {.target_bytes_max = 12, .header_bytes_max = 80, .header_fields_max = 4});
  check_chunked(text, {.body_bytes_max = 40, .extension_bytes_max = 12, .trailer_bytes_max = 12});
  return 0;
}
