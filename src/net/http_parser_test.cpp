// Goal: well-formed heads are taken apart rightly, and everything ambiguous or malformed is refused
// with the status that belongs to it, whatever pieces the bytes come in. Method: tables of heads;
// the scanner gets each of them whole, cut in two at every byte, and byte by byte.
#include "net/http_parser.hpp"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/byte_scan.hpp"

namespace subforge::net {
namespace {

using ::testing::HasSubstr;

struct Scanned {
  std::size_t head_bytes = 0;  // 0: more is needed, or an error.
  int status = 0;              // Of the error.
  std::string reason;

  bool operator==(Scanned const&) const = default;
};

std::ostream& operator<<(std::ostream& out, Scanned const& scanned) {
  return out << scanned.head_bytes << " bytes, " << scanned.status << ' ' << scanned.reason;
}

// Feeds the scanner up to each of `ends` in turn, until it is content or refuses.
Scanned scan_up_to(std::string_view text, std::vector<std::size_t> const& ends,
                   HttpLimits const& limits) {
  HeadScanner scanner;
  for (auto const end : ends) {
    auto const result = scanner.scan(text.substr(0, end), limits);
    if (!result) {
      return {.status = result.error().status, .reason = std::string(result.error().reason)};
    }
    if (*result != 0) return {.head_bytes = *result, .status = 0, .reason = {}};
  }
  return {};
}

Scanned scan_in_all_ways(std::string_view text, HttpLimits const& limits) {
  auto const whole = scan_up_to(text, {text.size()}, limits);
  std::vector<std::size_t> every_byte;
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    every_byte.push_back(cut);
    EXPECT_EQ(scan_up_to(text, {cut, text.size()}, limits), whole) << "cut at " << cut;
  }
  EXPECT_EQ(scan_up_to(text, every_byte, limits), whole) << "byte by byte";
  return whole;
}

// The status that a request gets from the two steps together; 0 if it is accepted.
int status_of(std::string_view text, HttpLimits const& limits = {}) {
  auto const scanned = scan_in_all_ways(text, limits);
  RequestHead head;
  if (scanned.status != 0) {
    EXPECT_FALSE(parse_head(text, limits, head)) << "the parser alone is laxer than the scanner";
    return scanned.status;
  }
  EXPECT_NE(scanned.head_bytes, 0U) << "the head has no end";
  auto const parsed = parse_head(text.substr(0, scanned.head_bytes), limits, head);
  return parsed ? 0 : parsed.error().status;
}

std::string with_fields(std::string_view fields, std::string_view version = "1.1") {
  std::string text = "POST /x HTTP/";
  text.append(version).append("\r\nHost: a\r\n").append(fields).append("\r\n");
  return text;
}

// A request that must be accepted, together with the text that the views point into.
struct Parsed {
  explicit Parsed(std::string request) : text(std::move(request)) {
    auto const result = parse_head(text, HttpLimits{}, head);
    EXPECT_TRUE(result) << text << result.error().reason;
  }
  RequestHead const* operator->() const { return &head; }

  std::string text;
  RequestHead head;
};

TEST(HttpParser, TakesATypicalRequestApart) {
  Parsed const head(
      "GET /api/v2/agents/7?fields=name&x HTTP/1.1\r\n"
      "Host: localhost:8000\r\n"
      "User-Agent:curl/7.88.1\r\n"
      "accept: \t */*  \t\r\n"
      "AUTHORIZATION: Bearer abc\r\n"
      "X-Empty:\r\n"
      "If-None-Match: \"v1\"\r\n"
      "If-None-Match: \"v2\"\r\n"
      "\r\n");
  EXPECT_EQ(head->method, Method::get);
  EXPECT_EQ(head->method_text, "GET");
  EXPECT_EQ(head->target, "/api/v2/agents/7?fields=name&x");
  EXPECT_EQ(head->path, "/api/v2/agents/7");
  EXPECT_EQ(head->query, "fields=name&x");
  EXPECT_EQ(head->version_minor, 1);
  EXPECT_EQ(head->host, "localhost:8000");
  EXPECT_EQ(head->user_agent, "curl/7.88.1");
  EXPECT_EQ(head->accept, "*/*");
  EXPECT_EQ(head->authorization, "Bearer abc");
  EXPECT_EQ(head->if_none_match, "\"v1\"");
  EXPECT_EQ(head->cookie, "");
  EXPECT_TRUE(head->keep_alive);
  EXPECT_FALSE(head->chunked);
  EXPECT_FALSE(head->content_length);
  EXPECT_FALSE(head->upgrade_websocket);
  ASSERT_EQ(head->fields().size(), 7U);
  EXPECT_EQ(head->fields()[4].name, "X-Empty");
  EXPECT_EQ(head->fields()[4].value, "");
  EXPECT_EQ(head->find("authorization"), "Bearer abc");
  EXPECT_EQ(head->find("absent"), "");
}

TEST(HttpParser, NamesOfFieldsAreFoundInAnyCase) {
  struct Case {
    std::string_view name;
    std::string_view RequestSummary::* member;
  };
  for (auto const& [name, member] :
       std::initializer_list<Case>{{"Accept", &RequestSummary::accept},
                                   {"Accept-Encoding", &RequestSummary::accept_encoding},
                                   {"Authorization", &RequestSummary::authorization},
                                   {"Content-Type", &RequestSummary::content_type},
                                   {"Cookie", &RequestSummary::cookie},
                                   {"If-None-Match", &RequestSummary::if_none_match},
                                   {"Origin", &RequestSummary::origin},
                                   {"Traceparent", &RequestSummary::traceparent},
                                   {"User-Agent", &RequestSummary::user_agent},
                                   {"X-Request-ID", &RequestSummary::x_request_id}}) {
    for (bool const upper : {false, true}) {
      std::string field(name);
      for (char& c : field) c = static_cast<char>(upper ? std::toupper(c) : std::tolower(c));
      EXPECT_EQ(Parsed(with_fields(field + ": v\r\n")).head.*member, "v") << field;
      // A name that differs in its first, or in its last character only is another field.
      for (auto const at : {std::size_t{0}, field.size() - 1}) {
        auto other = field;
        other[at] = other[at] == 'q' ? 'z' : 'q';
        EXPECT_EQ(Parsed(with_fields(other + ": v\r\n")).head.*member, "") << other;
      }
    }
  }
}

TEST(HttpParser, Methods) {
  struct Case {
    std::string_view text;
    Method method;
  };
  for (auto const& [text, method] : std::initializer_list<Case>{{"GET", Method::get},
                                                                {"HEAD", Method::head},
                                                                {"POST", Method::post},
                                                                {"PUT", Method::put},
                                                                {"PATCH", Method::patch},
                                                                {"DELETE", Method::del},
                                                                {"OPTIONS", Method::options},
                                                                {"TRACE", Method::other},
                                                                {"get", Method::other},
                                                                {"M-SEARCH", Method::other}}) {
    std::string const request = std::string(text) + " / HTTP/1.1\r\nHost: a\r\n\r\n";
    Parsed const head(request);
    EXPECT_EQ(head->method, method) << text;
    EXPECT_EQ(head->method_text, text);
  }
}

TEST(HttpParser, TargetForms) {
  struct Case {
    std::string_view line, path, query, host;
  };
  for (auto const& [line, path, query, host] :
       std::initializer_list<Case>{{"GET /", "/", "", "field"},
                                   {"GET /?", "/", "", "field"},
                                   {"GET /a/b%20c?x=1?y/z", "/a/b%20c", "x=1?y/z", "field"},
                                   {"GET //x", "//x", "", "field"},
                                   {"GET /a{|}\"<>\\^`", "/a{|}\"<>\\^`", "", "field"},
                                   {"OPTIONS *", "*", "", "field"},
                                   {"GET http://other:80/a?b", "/a", "b", "other:80"},
                                   {"GET HTTP://other", "/", "", "other"},
                                   {"GET http://other?q", "/", "q", "other"},
                                   {"OPTIONS http://other:8001", "*", "", "other:8001"},
                                   {"OPTIONS http://other?q", "/", "q", "other"},
                                   {"GET http://[::1]:8000/a", "/a", "", "[::1]:8000"}}) {
    std::string const request = std::string(line) + " HTTP/1.1\r\nHost: field\r\n\r\n";
    Parsed const head(request);
    EXPECT_EQ(head->path, path) << line;
    EXPECT_EQ(head->query, query) << line;
    EXPECT_EQ(head->host, host) << line;
    EXPECT_EQ(head->target, line.substr(line.find(' ') + 1)) << line;
  }
}

TEST(HttpParser, RequestLines) {
  struct Case {
    std::string_view line;
    int status;
  };
  std::string const long_method(kMethodBytesMax + 1, 'M');
  for (auto const& [line, status] : std::vector<Case>{
           {"GET / HTTP/1.1", 0},
           {"GET / HTTP/1.0", 0},
           {"GET / HTTP/2.0", 505},
           {"PRI * HTTP/2.0", 505},
           {"GET / HTTP/0.9", 505},
           {"GET / HTTP/1", 400},
           {"GET / HTTP/11.1", 400},
           {"GET / HTTP/1.10", 400},
           {"GET / HTTP/1.1 ", 400},
           {"GET / http/1.1", 400},
           {"GET / HTTP/a.1", 400},
           {"GET / ", 400},
           {"GET /", 400},
           {"GET", 400},
           {"GET  / HTTP/1.1", 400},
           {"GET /  HTTP/1.1", 400},
           {"GET\t/ HTTP/1.1", 400},
           {"GET /\tHTTP/1.1", 400},
           {" GET / HTTP/1.1", 400},
           {"GE(T / HTTP/1.1", 400},
           {"G\xc3\x89T / HTTP/1.1", 400},
           {"GET /a b HTTP/1.1", 400},
           {"GET /a#b HTTP/1.1", 400},
           {"GET /\x7f HTTP/1.1", 400},
           {"GET /\x01 HTTP/1.1", 400},
           {"GET /caf\xc3\xa9 HTTP/1.1", 400},
           {std::string_view("GET /\0 HTTP/1.1", 15), 400},
           {"GET x HTTP/1.1", 400},
           {"GET ?x HTTP/1.1", 400},
           {"GET * HTTP/1.1", 400},
           {"OPTIONS ** HTTP/1.1", 400},
           {"GET https://a/ HTTP/1.1", 400},
           {"GET http:// HTTP/1.1", 400},
           {"GET http:///x HTTP/1.1", 400},
           {"GET http://user@a/ HTTP/1.1", 400},
           {"GET http://a:b/ HTTP/1.1", 400},
           {"GET ftp://a/ HTTP/1.1", 400},
           {"CONNECT a:443 HTTP/1.1", 501},
           {long_method, 400},
       }) {
    auto const request = std::string(line) + "\r\nHost: a\r\n\r\n";
    EXPECT_EQ(status_of(request), status) << line;
  }
  EXPECT_EQ(status_of(long_method + " / HTTP/1.1\r\nHost: a\r\n\r\n"), 501);
}

TEST(HttpParser, FieldLines) {
  struct Case {
    std::string_view lines;
    int status;
  };
  for (auto const& [lines, status] : std::vector<Case>{
           {"X-Any: a \t b\r\n", 0},
           {"X-Latin: caf\xe9\r\n", 0},
           {"!#$%&'*+-.^_`|~09azAZ: 1\r\n", 0},
           {"X: a:b::c\r\n", 0},
           {"X : a\r\n", 400},
           {"X\t: a\r\n", 400},
           {"X Y: a\r\n", 400},
           {": a\r\n", 400},
           {"X\r\n", 400},
           {"X(: a\r\n", 400},
           {"X\xc3\xa9: a\r\n", 400},
           {"X: a\r\n b\r\n", 400},
           {"X: a\r\n\tb\r\n", 400},
           {" X: a\r\n", 400},
           {"X: a\x01\r\n", 400},
           {"X: a\x7f\r\n", 400},
           {"X: a\x0b\r\n", 400},
           {std::string_view("X: a\0b\r\n", 8), 400},
           {"X: a\nY: b\r\n", 400},
           {"X: a\rYZ: b\r\n", 400},
           {"X: a\r\r\n", 400},
           {"X: a\n", 400},
           {"X\n: a\r\n", 400},
       }) {
    EXPECT_EQ(status_of(with_fields(lines)), status) << lines;
  }
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400);
}

TEST(HttpParser, Framing) {
  struct Case {
    std::string_view lines;
    int status;
    std::string_view version = "1.1";
  };
  for (auto const& [lines, status, version] : std::vector<Case>{
           {"Content-Length: 0\r\n", 0},
           {"Content-Length:\t 18446744073709551615 \r\n", 0},
           {"Content-Length: 18446744073709551616\r\n", 400},
           {"Content-Length: 99999999999999999999999\r\n", 400},
           {"Content-Length: +1\r\n", 400},
           {"Content-Length: -1\r\n", 400},
           {"Content-Length: 0x1\r\n", 400},
           {"Content-Length: 1 1\r\n", 400},
           {"Content-Length: 1.0\r\n", 400},
           {"Content-Length: 1;\r\n", 400},
           {"Content-Length:\r\n", 400},
           {"Content-Length: 3, 3\r\n", 400},
           {"Content-Length: 3\r\nContent-Length: 3\r\n", 400},
           {"Content-Length: 3\r\ncontent-length: 4\r\n", 400},
           {"Transfer-Encoding: chunked\r\n", 0},
           {"transfer-encoding: Chunked\r\n", 0},
           {"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 400},
           {"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400},
           {"Content-Length: 3\r\nTransfer-Encoding: xchunked\r\n", 400},
           {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400},
           {"Transfer-Encoding: chunked\r\n", 400, "1.0"},
           {"Transfer-Encoding: identity\r\n", 501},
           {"Transfer-Encoding: gzip, chunked\r\n", 501},
           {"Transfer-Encoding: chunked, chunked\r\n", 501},
           {"Transfer-Encoding: chunked,\r\n", 501},
           {"Transfer-Encoding: xchunked\r\n", 501},
           {"Transfer-Encoding: \"chunked\"\r\n", 501},
           {"Transfer-Encoding: chunked;q=1\r\n", 501},
           {"Transfer-Encoding:\r\n", 501},
           {"Transfer-Encoding: \x0b"
            "chunked\r\n",
            400},
           {"Transfer-Encoding : chunked\r\n", 400},
       }) {
    EXPECT_EQ(status_of(with_fields(lines, version)), status) << lines;
  }
  RequestHead head;
  EXPECT_TRUE(parse_head(with_fields("Content-Length: 0012\r\n"), HttpLimits{}, head));
  EXPECT_EQ(head.content_length, 12U);
  EXPECT_TRUE(parse_head(with_fields("Transfer-Encoding: CHUNKED\r\n"), HttpLimits{}, head));
  EXPECT_TRUE(head.chunked);
  EXPECT_FALSE(head.content_length) << "left over from the request before";
}

TEST(HttpParser, Hosts) {
  struct Case {
    std::string_view lines;
    int status;
    std::string_view version = "1.1";
  };
  for (auto const& [lines, status, version] : std::vector<Case>{
           {"Host: a\r\n", 0},
           {"HOST: my_host.example:65535\r\n", 0},
           {"Host: 127.0.0.1:\r\n", 0},
           {"Host: [::1]\r\n", 0},
           {"Host: [::ffff:1.2.3.4]:80\r\n", 0},
           {"Host: caf%C3%A9\r\n", 0},
           {"", 400},
           {"", 0, "1.0"},
           {"Host:\r\n", 400},
           {"Host: \r\n", 400, "1.0"},
           {"Host: a\r\nHost: a\r\n", 400},
           {"Host: a\r\nhost: b\r\n", 400, "1.0"},
           {"Host: a b\r\n", 400},
           {"Host: a/b\r\n", 400},
           {"Host: http://a\r\n", 400},
           {"Host: u@a\r\n", 400},
           {"Host: a:65536\r\n", 400},
           {"Host: a:-1\r\n", 400},
           {"Host: a:80:80\r\n", 400},
           {"Host: :80\r\n", 400},
           {"Host: ::1\r\n", 400},
           {"Host: [::1\r\n", 400},
           {"Host: []\r\n", 400},
           {"Host: [a]\r\n", 400},
           {"Host: [1.2.3.4]\r\n", 400},
           {"Host: [::g]\r\n", 400},
           {"Host: [::1]80\r\n", 400},
           {"Host: a%2\r\n", 400},
           {"Host: a%zz\r\n", 400},
           {"Host: caf\xc3\xa9\r\n", 400},
           {"Host: a?b\r\n", 400},
           {"Host: a#b\r\n", 400},
       }) {
    std::string text = "GET / HTTP/";
    text.append(version).append("\r\n").append(lines).append("\r\n");
    EXPECT_EQ(status_of(text), status) << lines;
  }
  // A target with an authority does not excuse a missing or a bad Host (RFC 9112 section 3.2).
  EXPECT_EQ(status_of("GET http://a/ HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET http://a/ HTTP/1.1\r\nHost: /\r\n\r\n"), 400);
}

TEST(HttpParser, KeepAlive) {
  struct Case {
    std::string_view version, lines;
    bool keep_alive;
  };
  for (auto const& [version, lines, keep_alive] : std::vector<Case>{
           {"1.1", "", true},
           {"1.0", "", false},
           {"1.0", "Connection: Keep-Alive\r\n", true},
           {"1.1", "Connection: CLOSE\r\n", false},
           {"1.1", "Connection: upgrade , close\r\n", false},
           {"1.1", "Connection: x\r\nConnection: close\r\n", false},
           {"1.1", "Connection: close\r\nConnection: keep-alive\r\n", false},
           {"1.1", "Connection: closed, ,\r\n", true},
           {"1.0", "Connection: ,,keep-alive,\r\n", true},
       }) {
    EXPECT_EQ(Parsed(with_fields(lines, version))->keep_alive, keep_alive)
        << version << ' ' << lines;
  }
}

TEST(HttpParser, Expectations) {
  EXPECT_TRUE(Parsed(with_fields("Expect: 100-Continue\r\n"))->expect_continue);
  EXPECT_FALSE(Parsed(with_fields("Expect: 100-continue\r\n", "1.0"))->expect_continue);
  EXPECT_EQ(status_of(with_fields("Expect: 200-ok\r\n")), 417);
  EXPECT_EQ(status_of(with_fields("Expect: 100-continue, x\r\n")), 417);
  EXPECT_EQ(status_of(with_fields("Expect:\r\n")), 417);
}

TEST(HttpParser, WebSocketUpgrades) {
  struct Case {
    std::string_view line, lines;
    bool upgrade;
  };
  for (auto const& [line, lines, upgrade] : std::vector<Case>{
           {"GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", true},
           {"GET / HTTP/1.1", "connection: keep-alive, upgrade\r\nupgrade: h2c, WebSocket\r\n",
            true},
           {"GET / HTTP/1.1", "Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
            true},
           {"GET / HTTP/1.1", "Upgrade: websocket\r\n", false},
           {"GET / HTTP/1.1", "Connection: Upgrade\r\n", false},
           {"GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket2\r\n", false},
           {"POST / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", false},
           {"GET / HTTP/1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n", false},
       }) {
    Parsed const head(std::string(line) + "\r\nHost: a\r\n" + std::string(lines) + "\r\n");
    EXPECT_EQ(head->upgrade_websocket, upgrade) << line << ' ' << lines;
  }
}

TEST(HttpParser, OneEmptyLineBeforeTheRequestIsTolerated) {
  std::string const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  EXPECT_EQ(status_of("\r\n" + request), 0);
  EXPECT_EQ(status_of("\r\n\r\n" + request), 400);
  EXPECT_EQ(status_of("\n" + request), 400);
}

TEST(HttpParser, WhatFollowsTheHeadIsLeftAlone) {
  std::string const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  auto const scanned = scan_in_all_ways(request + "\n\rGET / HTTP/1.1\r\n\r\n", HttpLimits{});
  EXPECT_EQ(scanned.head_bytes, request.size());
}

TEST(HttpParser, OnlyOneWholeHeadIsParsed) {
  RequestHead head;
  std::string const request = "GET / HTTP/1.0\r\nA: b\r\n\r\n";
  for (std::size_t bytes = 0; bytes < request.size(); ++bytes) {
    EXPECT_FALSE(parse_head(request.substr(0, bytes), HttpLimits{}, head)) << bytes;
  }
  EXPECT_TRUE(parse_head(request, HttpLimits{}, head));
  EXPECT_FALSE(parse_head(request + request, HttpLimits{}, head));
  EXPECT_FALSE(parse_head(request + "\r\n", HttpLimits{}, head));
}

TEST(HttpParser, LimitsAreExact) {
  HttpLimits const limits{.target_bytes_max = 10, .header_bytes_max = 60, .header_fields_max = 3};
  auto const target = [&](std::size_t bytes) {
    return status_of("GET /" + std::string(bytes - 1, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n",
                     limits);
  };
  EXPECT_EQ(target(10), 0);
  EXPECT_EQ(target(11), 414);
  EXPECT_EQ(target(100), 414);

  // "Host: a" 9 bytes, the blank line 2, "X: " and CRLF 5: 44 are left.
  auto const header = [&](std::size_t bytes) {
    return status_of("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(bytes, 'a') + "\r\n\r\n",
                     limits);
  };
  EXPECT_EQ(header(44), 0);
  EXPECT_EQ(header(45), 431);
  EXPECT_EQ(header(90), 431);

  std::string const two = "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n";
  EXPECT_EQ(status_of(two + "C: d\r\n\r\n", limits), 0);
  EXPECT_EQ(status_of(two + "C: d\r\nE: f\r\n\r\n", limits), 431);
}

TEST(HttpParser, MoreFieldsThanTheCapacityAreRefusedWhateverTheLimit) {
  std::string text = "GET / HTTP/1.0\r\n";
  for (std::size_t i = 0; i < kHeaderFieldsCapacity; ++i) text += "A: b\r\n";
  HttpLimits const limits{.header_fields_max = 1000};
  RequestHead head;
  EXPECT_TRUE(parse_head(text + "\r\n", limits, head));
  EXPECT_EQ(head.fields().size(), kHeaderFieldsCapacity);
  auto const result = parse_head(text + "A: b\r\n\r\n", limits, head);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().status, 431);
}

TEST(HttpParser, LimitsStrikeBeforeTheLineEnds) {
  HttpLimits const limits{.target_bytes_max = 10, .header_bytes_max = 60};
  auto const endless_target = "GET /" + std::string(60, 'a');
  EXPECT_EQ(scan_in_all_ways(endless_target, limits).status, 414);
  auto const endless_field = "GET / HTTP/1.1\r\nX: " + std::string(60, 'a');
  EXPECT_EQ(scan_in_all_ways(endless_field, limits).status, 431);
  // A bare LF behind the limit must not change the answer, nor may one before it.
  EXPECT_EQ(scan_in_all_ways(endless_field + "\n", limits).status, 431);
  EXPECT_EQ(scan_in_all_ways("GET / HTTP/1.1\r\nX\n" + endless_field, limits).status, 400);
}

TEST(HttpParser, TheScannerCountsExactly) {
  HttpLimits const limits{.target_bytes_max = 10, .header_bytes_max = 60};
  std::string const line = "GET / HTTP/1.1\r\n";
  std::size_t const line_bytes_max = 10 + kMethodBytesMax + 12;
  for (std::size_t bytes = 4; bytes < 100; ++bytes) {  // Of a line, or of all fields.
    bool const line_fits = bytes <= line_bytes_max;
    bool const fields_fit = bytes <= limits.header_bytes_max;
    auto const whole_line = std::string(bytes - 2, 'a') + "\r\n";
    EXPECT_EQ(scan_in_all_ways(whole_line, limits).status, line_fits ? 0 : 414) << bytes;
    auto const fields = std::string(bytes - 4, 'a') + "\r\n\r\n";
    EXPECT_EQ(scan_in_all_ways(line + fields, limits).status, fields_fit ? 0 : 431) << bytes;
    // Without an end the answer comes with the first byte that leaves no room for one.
    auto const endless = std::string(bytes, 'a');
    EXPECT_EQ(scan_in_all_ways(endless, limits).status, bytes < line_bytes_max ? 0 : 414) << bytes;
    EXPECT_EQ(scan_in_all_ways(line + endless, limits).status,
              bytes < limits.header_bytes_max ? 0 : 431)
        << bytes;
    for (std::string_view const bad : {"\n", "\rx"}) {
      auto const broken = std::string(bytes - bad.size(), 'a').append(bad);
      EXPECT_EQ(scan_in_all_ways(broken, limits).status, line_fits ? 400 : 414) << bytes;
      EXPECT_EQ(scan_in_all_ways(line + broken, limits).status, fields_fit ? 400 : 431) << bytes;
    }
  }
}

TEST(HttpParser, BareLineEndsAreRefusedAtOnce) {
  EXPECT_EQ(scan_in_all_ways("\r\n\r\n", HttpLimits{}).status, 400);
  EXPECT_EQ(scan_in_all_ways("GET / HTTP/1.1\nHost", HttpLimits{}).status, 400);
  EXPECT_EQ(scan_in_all_ways("GET / HTTP/1.1\rHost", HttpLimits{}).status, 400);
  EXPECT_EQ(scan_in_all_ways("GET / HTTP/1.1\r\nHost: a\r\n\rx", HttpLimits{}).status, 400);
  EXPECT_EQ(scan_in_all_ways("GET / HTTP/1.1\r\nHost: a\r\n\r", HttpLimits{}), Scanned{});
}

TEST(HttpParser, ReasonsNameWhatIsWrong) {
  RequestHead head;
  auto const reason_of = [&](std::string_view lines) {
    auto const result = parse_head(with_fields(lines), HttpLimits{}, head);
    return std::string(result ? "" : result.error().reason);
  };
  EXPECT_THAT(reason_of("X : a\r\n"), HasSubstr("before the colon"));
  EXPECT_THAT(reason_of(" b\r\n"), HasSubstr("starts with white space"));
  EXPECT_THAT(reason_of("Content-Length: 1\r\nContent-Length: 1\r\n"), HasSubstr("more than one"));
}

TEST(HttpParser, AScannerServesTheNextRequestAfterReset) {
  std::string const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  HeadScanner scanner;
  EXPECT_EQ(scanner.scan(request, HttpLimits{}), request.size());
  scanner.reset();
  EXPECT_EQ(scanner.scan(std::string_view(request).substr(0, 20), HttpLimits{}), 0U);
  EXPECT_EQ(scanner.scan(request, HttpLimits{}), request.size());
}

template <class Kind>
void expect_found_everywhere(char const* kind) {
  for (int value = 0; value < 256; ++value) {
    for (std::size_t length = 1; length <= 40; ++length) {
      for (std::size_t at : {std::size_t{0}, length / 2, length - 1}) {
        std::string text(length, 'a');
        text[at] = static_cast<char>(value);
        auto const expected = Kind::matches(static_cast<unsigned char>(value)) ? at : length;
        auto const* const found = find_first<Kind>(text.data(), text.data() + length);
        ASSERT_EQ(found - text.data(), static_cast<std::ptrdiff_t>(expected))
            << kind << ' ' << value << " at " << at << " of " << length;
      }
    }
  }
}

TEST(ByteScan, SixteenAtATimeAgreesWithOneAtATime) {
  expect_found_everywhere<LineBreak>("LineBreak");
  expect_found_everywhere<NotWordChar>("NotWordChar");
  expect_found_everywhere<NotFieldValue>("NotFieldValue");
  expect_found_everywhere<NotTarget>("NotTarget");
}

}  // namespace
}  // namespace subforge::net
