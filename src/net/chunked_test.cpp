// Goal: the decoder yields exactly the body, stops exactly behind it, and refuses every malformed
// or oversized piece, whatever pieces the bytes come in. Method: a table of encoded bodies, each
// decoded whole, cut in two at every byte, and byte by byte.
#include "net/chunked.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace subforge::net {
namespace {

using StepKind = ChunkedDecoder::Kind;

struct Decoded {
  std::string body;
  StepKind end = StepKind::need_more;
  int status = 0;
  std::size_t rest = 0;  // Bytes that were left behind the body.

  bool operator==(Decoded const&) const = default;
};

std::ostream& operator<<(std::ostream& out, Decoded const& decoded) {
  return out << '"' << decoded.body << "\" end " << static_cast<int>(decoded.end) << " status "
             << decoded.status << " rest " << decoded.rest;
}

Decoded decode(std::vector<std::string_view> const& pieces, ChunkedLimits const& limits) {
  ChunkedDecoder decoder(limits);
  Decoded decoded;
  for (auto piece : pieces) {
    if (decoded.end != StepKind::need_more) {
      decoded.rest += piece.size();
      continue;
    }
    while (true) {
      auto const step = decoder.next(piece);
      if (step.kind == StepKind::data) {
        EXPECT_FALSE(step.data.empty());
        decoded.body.append(step.data);
        continue;
      }
      decoded.end = step.kind;
      decoded.status = step.error.status;
      if (step.kind == StepKind::need_more) EXPECT_TRUE(piece.empty());
      break;
    }
    decoded.rest += piece.size();
  }
  if (decoded.end == StepKind::error) {
    decoded.rest = 0;  // Nobody reads on behind an error, nor uses the body.
    decoded.body.clear();
  }
  return decoded;
}

Decoded dechunk_in_all_ways(std::string_view text, ChunkedLimits const& limits = {}) {
  auto const whole = decode({text}, limits);
  std::vector<std::string_view> bytes;
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    bytes.push_back(text.substr(cut, 1));
    EXPECT_EQ(decode({text.substr(0, cut), text.substr(cut)}, limits), whole) << "cut at " << cut;
  }
  EXPECT_EQ(decode(bytes, limits), whole) << "byte by byte";
  return whole;
}

TEST(Chunked, Bodies) {
  struct Case {
    std::string_view text, body;
    std::size_t rest = 0;
  };
  for (auto const& [text, body, rest] : std::vector<Case>{
           {"0\r\n\r\n", ""},
           {"5\r\nhello\r\n0\r\n\r\n", "hello"},
           {"5\r\nhello\r\n6\r\n world\r\n00\r\n\r\n", "hello world"},
           {"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"},
           {"0000000000000003\r\nabc\r\n0\r\n\r\n", "abc"},
           {"2\r\n\r\n\r\n0\r\n\r\n", "\r\n"},
           {"3;name=value;other=\"quoted; text\"\r\nabc\r\n0;last\r\n\r\n", "abc"},
           {"3;\r\nabc\r\n0\r\n\r\n", "abc"},
           {"1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n", "a"},
           {"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "a", 16},
           {"1\r\na\r\n0\r\nX: y\r\n\r\n0\r\n\r\n", "a", 5},
       }) {
    auto const decoded = dechunk_in_all_ways(text);
    EXPECT_EQ(decoded, (Decoded{std::string(body), StepKind::done, 0, rest})) << text;
  }
}

TEST(Chunked, Refusals) {
  struct Case {
    std::string_view text;
    int status = 400;
  };
  for (auto const& [text, status] : std::vector<Case>{
           {"\r\n"},
           {"x\r\n"},
           {"-1\r\n"},
           {"+1\r\n"},
           {"0x1\r\n"},
           {" 1\r\n"},
           {"1 \r\na\r\n"},
           {"1\t\r\na\r\n"},
           {"1 ;a\r\na\r\n"},
           {";a\r\n"},
           {"1\na\n0\n\n"},
           {"1\r\ra"},
           {"1\r\nab\r\n"},
           {"1\r\na\n0\r\n\r\n"},
           {"1\r\na\r0\r\n\r\n"},
           {"1\r\na0\r\n\r\n"},
           {"00000000000000001\r\na\r\n"},
           {"fffffffffffffffff\r\n"},
           {"ffffffffffffffff\r\n", 413},
           {"1;a\nb\r\n"},
           {"1;a\rb\r\n"},
           {"1;a\x01\r\n"},
           {"0\r\n\n"},
           {"0\r\n\rx"},
           {"0\r\nX : y\r\n\r\n"},
           {"0\r\n: y\r\n\r\n"},
           {"0\r\nX\r\n\r\n"},
           {"0\r\n X: y\r\n\r\n"},
           {"0\r\nX: y\r\n z\r\n\r\n"},
           {"0\r\nX: y\nZ: z\r\n\r\n"},
           {"0\r\nX: y\rZ: z\r\n\r\n"},
           {"0\r\nX: \x7f\r\n\r\n"},
       }) {
    auto const decoded = dechunk_in_all_ways(text);
    EXPECT_EQ(decoded.end, StepKind::error) << text;
    EXPECT_EQ(decoded.status, status) << text;
  }
}

TEST(Chunked, LimitsAreExactTotals) {
  ChunkedLimits const limits{
      .body_bytes_max = 4, .extension_bytes_max = 6, .trailer_bytes_max = 12};
  EXPECT_EQ(dechunk_in_all_ways("2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", limits).body, "abcd");
  EXPECT_EQ(dechunk_in_all_ways("2\r\nab\r\n3\r\n", limits).status, 413);
  EXPECT_EQ(dechunk_in_all_ways("5\r\n", limits).status, 413);
  // An extension's bytes are those behind its first ';', the CR included.
  EXPECT_EQ(dechunk_in_all_ways("1;ab\r\na\r\n1;ab\r\nb\r\n0\r\n\r\n", limits).body, "ab");
  EXPECT_EQ(dechunk_in_all_ways("1;ab\r\na\r\n1;abc\r\nb\r\n0\r\n\r\n", limits).status, 400);
  EXPECT_EQ(dechunk_in_all_ways("0\r\nA: b\r\nC: d\r\n\r\n", limits).end, StepKind::done);
  EXPECT_EQ(dechunk_in_all_ways("0\r\nA: b\r\nC: de\r\n\r\n", limits).status, 431);
}

TEST(Chunked, CutOffBodiesNeedMore) {
  std::string_view const text = "5;x\r\nhello\r\n0\r\nX: y\r\n\r\n";
  for (std::size_t bytes = 0; bytes < text.size(); ++bytes) {
    EXPECT_EQ(dechunk_in_all_ways(text.substr(0, bytes)).end, StepKind::need_more) << bytes;
  }
}

TEST(Chunked, DataIsYieldedInPlaceAndOutcomesAreFinal) {
  std::string_view const text = "5\r\nhello\r\n0\r\n\r\nrest";
  auto input = text;
  ChunkedDecoder decoder(ChunkedLimits{});
  auto const step = decoder.next(input);
  EXPECT_EQ(step.data.data(), text.data() + 3);
  EXPECT_EQ(decoder.body_bytes(), 5U);
  EXPECT_EQ(decoder.next(input).kind, StepKind::done);
  EXPECT_EQ(decoder.next(input).kind, StepKind::done);
  EXPECT_EQ(input, "rest");

  ChunkedDecoder broken(ChunkedLimits{});
  std::string_view bad = "x";
  EXPECT_EQ(broken.next(bad).kind, StepKind::error);
  std::string_view good = "0\r\n\r\n";
  EXPECT_EQ(broken.next(good).kind, StepKind::error);
}

TEST(Chunked, EncodesWhatItDecodes) {
  std::string out;
  append_chunk(out, "");
  EXPECT_EQ(out, "");
  append_chunk(out, "hello");
  append_chunk(out, std::string(300, 'x'));
  append_chunk_header(out, 26);
  EXPECT_EQ(out, "5\r\nhello\r\n12c\r\n" + std::string(300, 'x') + "\r\n1a\r\n");
  out += std::string(26, 'y') + "\r\n";
  out += kLastChunk;
  EXPECT_EQ(decode({out}, ChunkedLimits{}).body,
            "hello" + std::string(300, 'x') + std::string(26, 'y'));
}

}  // namespace
}  // namespace subforge::net
