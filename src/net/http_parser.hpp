// The head of an HTTP/1.x request (RFC 9110, RFC 9112): finding its end while bytes arrive, and
// taking it apart into views without copying. Nothing is guessed: what two readers could delimit in
// two ways (the raw material of request smuggling) is an error, and the connection must close.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string_view>

namespace subforge::net {

struct HeaderField {
  std::string_view name;   // As sent.
  std::string_view value;  // Without the white space around it.
};

enum class Method : std::uint8_t { get, head, post, put, patch, del, options, other };

inline constexpr std::size_t kHeaderFieldsCapacity = 100;
inline constexpr std::size_t kMethodBytesMax = 32;

struct HttpLimits {
  std::size_t target_bytes_max = 8192;   // Beyond: 414.
  std::size_t header_bytes_max = 32768;  // All field lines and the blank line. Beyond: 431.
  std::size_t header_fields_max = kHeaderFieldsCapacity;  // Beyond this or the capacity: 431.
};

// Why a request is refused: the status to answer with (400, 413, 414, 417, 426, 431, 501 or 505)
// and a fixed sentence that is safe to show.
struct ParseError {
  int status;
  std::string_view reason;
};

// Finds the end of a head in bytes that arrive piece by piece; every byte is looked at once. The
// outcome depends on the bytes alone, never on the pieces they came in.
class HeadScanner {
 public:
  // `input` is everything received of this request so far, what earlier calls saw included. Returns
  // the head's length, blank line included; 0 while that has not arrived; or an error as soon as no
  // further byte can mend it: a CR or LF alone, a request line (414) or fields (431) too long.
  [[nodiscard]] std::expected<std::size_t, ParseError> scan(std::string_view input,
                                                            HttpLimits const& limits);

  // Makes it ready for the next request.
  void reset() { *this = HeadScanner(); }

 private:
  std::size_t scanned_ = 0;       // Bytes that need no second look.
  std::size_t line_start_ = 0;    // Of the line being scanned.
  std::size_t fields_start_ = 0;  // Of the first field line; 0 before the request line has ended.
};

// What is known about a request from its head. All views point into the head that was parsed,
// except that `path` is the literal "/" (or "*" for OPTIONS) where an absolute-form target has
// none.
struct RequestSummary {
  Method method = Method::other;
  bool chunked = false;          // The body comes in chunks; else it has `content_length` bytes.
  bool keep_alive = false;       // The client can reuse the connection.
  bool expect_continue = false;  // It waits for 100 Continue before it sends the body.
  bool upgrade_websocket =
      false;              // GET, HTTP/1.1 and both Upgrade headers; see validate_handshake.
  int version_minor = 1;  // Of HTTP/1.x: 0 or 1.
  std::optional<std::uint64_t> content_length;

  std::string_view method_text;  // Case-sensitive, as sent.
  std::string_view target;       // As sent: origin-form, absolute-form or "*".
  std::string_view path;         // Raw: not percent-decoded.
  std::string_view query;        // Raw, without the '?'.

  // The values of fields that most requests are asked for; the first where a field is repeated,
  // empty where it is absent. `host` is the target's authority where the target has one.
  std::string_view host;
  std::string_view accept;
  std::string_view accept_encoding;
  std::string_view authorization;
  std::string_view content_type;
  std::string_view cookie;
  std::string_view if_none_match;
  std::string_view origin;
  std::string_view traceparent;
  std::string_view user_agent;
  std::string_view x_request_id;
};

// Meant to be reused: parsing allocates nothing. Not copied, since that would move 3 kB.
class RequestHead : public RequestSummary {
 public:
  RequestHead() = default;
  RequestHead(RequestHead const&) = delete;
  RequestHead& operator=(RequestHead const&) = delete;

  // All fields, in the order sent.
  [[nodiscard]] std::span<HeaderField const> fields() const {
    return std::span(fields_).first(field_count_);
  }

  // The first value of that name, or empty.
  [[nodiscard]] std::string_view find(std::string_view lowercase_name) const;

 private:
  friend class HeadParser;

  std::size_t field_count_ = 0;
  std::array<HeaderField, kHeaderFieldsCapacity> fields_;
};

// Parses one whole head as HeadScanner delimits it. After an error `out` holds nothing to rely on.
[[nodiscard]] std::expected<void, ParseError> parse_head(std::string_view head,
                                                         HttpLimits const& limits,
                                                         RequestHead& out);

// The name of a header field (a token, RFC 9110 section 5.6.2) consists of these.
[[nodiscard]] bool is_token_char(char c);

}  // namespace subforge::net
