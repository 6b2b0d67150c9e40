#include "http/multipart.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace subforge::http {
namespace {

using testing::HasSubstr;

constexpr std::string_view kType = "multipart/form-data; boundary=xyz";

// A whole body of one part that is called "f".
std::string body_of(std::string_view content, std::string_view boundary = "xyz") {
  auto const line = "--" + std::string(boundary);
  return line + "\r\nContent-Disposition: form-data; name=f\r\n\r\n" + std::string(content) +
         "\r\n" + line + "--\r\n";
}

std::string error_of(std::string_view type, std::string_view body) {
  auto const parts = parse_multipart(type, body);
  EXPECT_FALSE(parts.has_value()) << body;
  if (parts) return {};
  EXPECT_EQ(parts.error().code, ErrorCode::invalid);
  return parts.error().message;
}

// The first part of a body whose only part has this Content-Disposition.
Part part_with(std::string const& disposition) {
  auto const body = "--xyz\r\nContent-Disposition: " + disposition + "\r\n\r\nx\r\n--xyz--";
  auto parts = parse_multipart(kType, body);
  EXPECT_TRUE(parts.has_value()) << disposition << ": " << parts.error().message;
  if (!parts || parts->size() != 1) return {};
  auto part = parts->front();
  part.content = {};  // A view into what ends here.
  return part;
}

TEST(Multipart, ReadsPartsInOrder) {
  std::string const body =
      "preamble\r\n--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n"
      "--xyz \t\r\ncontent-disposition:form-data; filename=\"b.txt\"; name=b\r\n"
      "CONTENT-TYPE:  text/plain \r\nX-Other: y\r\n\r\n\r\ntwo\r\n\r\n--xyz--\r\nepilogue";
  auto const parts = parse_multipart(kType, body);
  ASSERT_TRUE(parts.has_value()) << parts.error().message;
  ASSERT_EQ(parts->size(), 2U);
  EXPECT_EQ((*parts)[0].name, "a");
  EXPECT_EQ((*parts)[0].filename, std::nullopt);
  EXPECT_EQ((*parts)[0].content, "one");
  EXPECT_EQ((*parts)[1].name, "b");
  EXPECT_EQ((*parts)[1].filename, "b.txt");
  EXPECT_EQ((*parts)[1].content_type, "text/plain");
  EXPECT_EQ((*parts)[1].content, "\r\ntwo\r\n");
}

TEST(Multipart, TakesNoPartsAndEmptyContent) {
  auto const none = parse_multipart(kType, "--xyz--");
  ASSERT_TRUE(none.has_value());
  EXPECT_TRUE(none->empty());
  auto const body = body_of("");
  auto const empty = parse_multipart(kType, body);
  ASSERT_TRUE(empty.has_value()) << empty.error().message;
  EXPECT_EQ(empty->front().content, "");
}

TEST(Multipart, KeepsContentThatOnlyLooksLikeABoundary) {
  for (std::string_view const content :
       {"--xyz", "a\n--xyz\nb", "a\r--xyz\rb", "\r\n-xyz", "\r\n--xy", "\r\n--XYZ\r\n", "\r\n--",
        "--xyz--", "\r\r\n --xyz", "\r", "\n", "\r\n"}) {
    auto const body = body_of(content);
    auto const parts = parse_multipart(kType, body);
    ASSERT_TRUE(parts.has_value()) << content << ": " << parts.error().message;
    ASSERT_EQ(parts->size(), 1U) << content;
    EXPECT_EQ(parts->front().content, content);
  }
}

TEST(Multipart, KeepsBinaryContent) {
  std::string content;
  for (int i = 0; i < 256; ++i) content.push_back(static_cast<char>(i));
  auto const body = body_of(content);
  auto const parts = parse_multipart(kType, body);
  ASSERT_TRUE(parts.has_value()) << parts.error().message;
  EXPECT_EQ(parts->front().content, content);
}

// A boundary that begins with another one: the shorter one must not end the longer one's parts.
TEST(Multipart, RefusesALineThatContinuesTheBoundary) {
  auto const body = body_of("a\r\n--xyzw\r\nb");
  EXPECT_THAT(error_of(kType, body), HasSubstr("malformed boundary"));
}

TEST(Multipart, FindsTheBoundaryInTheContentType) {
  for (std::string_view const type :
       {"multipart/form-data; boundary=xyz", "Multipart/Form-Data;boundary=xyz",
        "multipart/form-data; charset=utf-8; boundary=\"xyz\"",
        "multipart/form-data ; BOUNDARY = xyz ; other=1",
        R"(multipart/form-data; note="; boundary=no"; boundary=xyz)"}) {
    auto const body = body_of("x");
    auto const parts = parse_multipart(type, body);
    ASSERT_TRUE(parts.has_value()) << type << ": " << parts.error().message;
    EXPECT_EQ(parts->size(), 1U);
  }
}

TEST(Multipart, RefusesOtherTypesAndBadBoundaries) {
  auto const body = body_of("x");
  for (std::string_view const type :
       {"", "text/plain", "multipart/mixed; boundary=xyz", "multipart/form-datax; boundary=xyz"}) {
    EXPECT_THAT(error_of(type, body), HasSubstr("multipart/form-data")) << type;
  }
  for (std::string_view const type :
       {"multipart/form-data", "multipart/form-data; boundary", "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"xyz", "multipart/form-data; boundary=\"\""}) {
    EXPECT_THAT(error_of(type, body), HasSubstr("boundary is missing or malformed")) << type;
  }
}

TEST(Multipart, TakesBoundariesOfUpTo70Characters) {
  std::string const longest(70, 'b');
  auto const body = body_of("x", longest);
  EXPECT_TRUE(parse_multipart("multipart/form-data; boundary=" + longest, body).has_value());
  auto const longer = body_of("x", longest + "b");
  EXPECT_THAT(error_of("multipart/form-data; boundary=" + longest + "b", longer),
              HasSubstr("malformed"));
}

// Every beginning of a good body that stops before its last boundary is refused, none crashes.
TEST(Multipart, RefusesTruncatedBodies) {
  auto const body = body_of("some\r\ncontent");
  auto const whole = body.size() - std::string_view("\r\n").size();
  for (std::size_t size = 0; size < whole; ++size) {
    auto const message = error_of(kType, std::string_view(body).substr(0, size));
    EXPECT_FALSE(message.empty()) << size;
  }
  EXPECT_TRUE(parse_multipart(kType, std::string_view(body).substr(0, whole)).has_value());
}

TEST(Multipart, UndoesQuoting) {
  EXPECT_EQ(part_with(R"(form-data; name="a \"b\" \\ c;d=e")").name, R"(a "b" \ c;d=e)");
  // Browsers send a Windows path's backslashes as they are.
  EXPECT_EQ(part_with(R"(form-data; name=f; filename="C:\dir\x.txt")").filename, R"(C:\dir\x.txt)");
  EXPECT_EQ(part_with(R"(form-data; name=f; filename="a; name=g")").name, "f");
  EXPECT_EQ(part_with(R"(form-data; name=f; filename="")").filename, "");
  EXPECT_EQ(part_with("form-data; name=\"\xC3\xA4\"").name, "\xC3\xA4");
  // RFC 7578 section 4.2 forbids the extended form here, but some clients send it beside the other.
  EXPECT_EQ(part_with("form-data; name=f; filename=a; filename*=UTF-8''%C3%A4%20b").filename,
            "\xC3\xA4 b");
}

TEST(Multipart, RefusesPartsWithoutAUsableName) {
  auto const with_header = [](std::string_view header) {
    return "--xyz\r\n" + std::string(header) + "\r\n\r\nx\r\n--xyz--";
  };
  for (std::string_view const header :
       {"Content-Type: text/plain", "Content-Disposition: form-data",
        "Content-Disposition: form-data; name=\"f", "Content-Disposition: form-data; filename=x"}) {
    EXPECT_THAT(error_of(kType, with_header(header)), HasSubstr("no name")) << header;
  }
  EXPECT_THAT(error_of(kType, "--xyz\r\n\r\nx\r\n--xyz--"), HasSubstr("no name"));
  EXPECT_THAT(error_of(kType, with_header("Content-Disposition: attachment; name=f")),
              HasSubstr("not form-data"));
  EXPECT_THAT(error_of(kType, with_header("Content-Disposition form-data")),
              HasSubstr("malformed header"));
  EXPECT_THAT(error_of(kType, with_header("Content-Disposition: form-data; name=\"\xFF\"")),
              HasSubstr("UTF-8"));
  EXPECT_THAT(
      error_of(kType, with_header("Content-Disposition: form-data; name=f; filename=\"\xC3\"")),
      HasSubstr("UTF-8"));
}

TEST(Multipart, RefusesHeadersThatCanBeReadInTwoWays) {
  auto const refusal = [](std::string const& header) {
    return error_of(kType, "--xyz\r\n" + header + "\r\n\r\nx\r\n--xyz--");
  };
  std::string const good = "Content-Disposition: form-data; name=f";
  EXPECT_THAT(refusal(good + "; name=g"), HasSubstr("two names"));
  EXPECT_THAT(refusal(good + "; filename=a; filename=b"), HasSubstr("two file names"));
  EXPECT_THAT(refusal(good + "\r\n" + good), HasSubstr("two Content-Dispositions"));
  EXPECT_THAT(refusal(good + "\r\nContent-Type: a/b\r\nContent-Type: c/d"), HasSubstr("two types"));
  EXPECT_THAT(refusal(good + "\r\nContent-Type: Multipart/mixed; boundary=q"),
              HasSubstr("multipart itself"));
  EXPECT_THAT(refusal(good + "\r\nContent-Transfer-Encoding: base64"),
              HasSubstr("transfer encoding"));
  EXPECT_THAT(refusal(good + "; filename*=latin1''x"), HasSubstr("malformed"));
  EXPECT_THAT(refusal(good + "; filename*=UTF-8''%zz"), HasSubstr("malformed"));
  EXPECT_THAT(refusal(good + std::string("; filename=\"a\0b\"", 16)), HasSubstr("malformed"));
  EXPECT_THAT(refusal(good + "\nX: y"), HasSubstr("malformed"));
}

// What a parser that is given pieces yields, with neighbouring data put together.
std::string steps_of(std::string_view body, std::size_t piece) {
  auto parser = MultipartParser::of(kType);
  std::string told;
  bool in_data = false;
  for (std::size_t at = 0; at < body.size(); at += piece) {
    auto input = body.substr(at, piece);
    for (bool more = true; more;) {
      auto const step = parser->next(input);
      if (step.kind == MultipartParser::Kind::data) {
        told += (std::exchange(in_data, true) ? "" : "data ") + std::string(step.data);
        continue;
      }
      if (step.kind != MultipartParser::Kind::need_more) in_data = false;
      switch (step.kind) {
        case MultipartParser::Kind::part: told += "|part " + parser->part().name + "|"; break;
        case MultipartParser::Kind::part_end: told += "|end|"; break;
        case MultipartParser::Kind::done: told += "|done|"; break;
        case MultipartParser::Kind::error: return told + "|error " + parser->error();
        default: more = false;
      }
    }
  }
  auto const whole = parser->finish();
  return told + (whole ? "" : "|" + whole.error().message);
}

TEST(Multipart, TheSplitOfBytesMakesNoDifference) {
  std::string const part = "\r\n--xyz\r\nContent-Disposition: form-data; name=f\r\n\r\n";
  for (std::string const& body :
       {"pre" + part +
            "a\r\n--xy\r\n--xyz \r\nContent-Disposition: form-data; name=g\r\n\r\n"
            "\r\r\n--x\r\n\r\n--xyz--epilogue\r\n--xyz\r\n",
        part + "\r\n--xyz--", part + "\r\n--xyz-", part + "\r\n--xyz -", part + "abc",
        part + "\r\n--xyz\r\nbad\r\n\r\n", std::string("--xyz--"), std::string("nothing")}) {
    auto const whole = steps_of(body, body.size());
    for (std::size_t piece = 1; piece < body.size(); ++piece) {
      EXPECT_EQ(steps_of(body, piece), whole) << piece << ": " << body;
    }
  }
}

TEST(Multipart, LimitsTheHeaderOfAPart) {
  auto const with_filler = [](std::size_t bytes) {
    return "--xyz\r\nContent-Disposition: form-data; name=f\r\nX: " + std::string(bytes, 'x') +
           "\r\n\r\nc\r\n--xyz--";
  };
  // What the header has besides the filler, the blank line included.
  auto const fixed =
      std::string_view("Content-Disposition: form-data; name=f\r\nX: \r\n\r\n").size();
  auto const most = with_filler(kPartHeaderBytesMax - fixed);
  EXPECT_TRUE(parse_multipart(kType, most).has_value());
  EXPECT_THAT(error_of(kType, with_filler(kPartHeaderBytesMax - fixed + 1)),
              HasSubstr("header has no end"));
}

TEST(Multipart, LimitsTheNumberOfParts) {
  std::string body;
  for (std::size_t i = 0; i < kPartsMax; ++i) {
    body += "--xyz\r\nContent-Disposition: form-data; name=f\r\n\r\nx\r\n";
  }
  auto const most = body + "--xyz--";
  auto const parts = parse_multipart(kType, most);
  ASSERT_TRUE(parts.has_value()) << parts.error().message;
  EXPECT_EQ(parts->size(), kPartsMax);
  auto const more = body + body_of("x");
  EXPECT_THAT(error_of(kType, more), HasSubstr("too many parts"));
}

}  // namespace
}  // namespace subforge::http
