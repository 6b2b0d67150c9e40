#include "api/file_download.hpp"

#include <algorithm>
#include <ctime>
#include <limits>

#include <fmt/format.h>

#include "base/random.hpp"
#include "base/text.hpp"
#include "pipeline/exchange.hpp"

namespace subforge::api {
namespace {

using http::Response;
using net::FileBody;

constexpr std::size_t kEtagDigits = 32;
constexpr std::int64_t kMicrosPerSecond = 1'000'000;

// A number that is too large for its type is beyond the end of every file.
std::optional<std::uint64_t> digits(std::string_view text) {
  bool const plain =
      !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  if (!plain) return std::nullopt;
  return parse_number<std::uint64_t>(text).value_or(std::numeric_limits<std::uint64_t>::max());
}

// One of "5-9", "5-", "-5"; nothing if it is malformed. A length of 0: beyond the end.
std::optional<ByteRange> parse_range(std::string_view text, std::uint64_t size) {
  auto const dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  auto const first_text = trim(text.substr(0, dash));
  auto const last_text = trim(text.substr(dash + 1));
  if (first_text.empty()) {
    auto const suffix = digits(last_text);
    if (!suffix) return std::nullopt;
    auto const length = std::min(*suffix, size);
    return ByteRange{size - length, length};
  }
  auto const first = digits(first_text);
  if (!first) return std::nullopt;
  auto last = size - 1;
  if (!last_text.empty()) {
    auto const given = digits(last_text);
    if (!given || *given < *first) return std::nullopt;
    last = std::min(*given, size - 1);
  }
  if (*first >= size) return ByteRange{};
  return ByteRange{*first, last - *first + 1};
}

std::string content_range(ByteRange const& range, std::uint64_t size) {
  return fmt::format("bytes {}-{}/{}", range.first, range.first + range.length - 1, size);
}

// Whether a range of what the client has is a range of what is here.
bool same_version(std::string_view if_range, std::string_view etag, std::int64_t modified) {
  return if_range.empty() || if_range == etag || parse_http_date(if_range) == modified;
}

// Whether the client wants but what it knows, and it is that no more (RFC 9110 section 13.2.2).
bool is_other(http::Request const& request, std::string_view etag, std::int64_t modified) {
  if (!request.if_match.empty()) {
    auto const tags = split_list(request.if_match, ',');
    return trim(request.if_match) != "*" && std::ranges::find(tags, etag) == tags.end();
  }
  auto const since = parse_http_date(request.field("if-unmodified-since"));
  return since && modified > *since;
}

std::vector<FileBody::Piece> in_parts(std::vector<ByteRange> const& ranges, std::uint64_t size,
                                      std::string_view mime_type, std::string_view boundary) {
  std::vector<FileBody::Piece> pieces;
  for (auto const& range : ranges) {
    pieces.push_back({fmt::format("\r\n--{}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
                                  boundary, mime_type, content_range(range, size)),
                      range.first, range.length});
  }
  pieces.push_back({fmt::format("\r\n--{}--\r\n", boundary)});
  return pieces;
}

// What came from outside, and is never a page of ours.
Response content_response(std::string_view filename, std::string_view mime_type) {
  Response response;
  response.packable = false;
  response.content_type = mime_type;
  response.fields = {{"Content-Disposition", attachment(filename)},
                     {"Cache-Control", "private, no-cache"},
                     // Even if somebody makes a browser show it: no script, no form, no origin.
                     {"Content-Security-Policy", "sandbox; default-src 'none'"},
                     {"Cross-Origin-Resource-Policy", "same-origin"}};
  return response;
}

}  // namespace

std::expected<std::vector<ByteRange>, RangeRefusal> parse_ranges(std::string_view field,
                                                                 std::uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  if (!equal_ignoring_case(field.substr(0, kUnit.size()), kUnit)) {
    return std::unexpected(RangeRefusal::ignored);
  }
  std::vector<ByteRange> ranges;
  std::uint64_t total = 0;
  auto const parts = split_list(field.substr(kUnit.size()), ',');
  if (parts.empty() || parts.size() > kRangesMax) return std::unexpected(RangeRefusal::ignored);
  for (auto const part : parts) {
    auto const range = parse_range(part, size);
    if (!range) return std::unexpected(RangeRefusal::ignored);
    if (range->length == 0) continue;
    ranges.push_back(*range);
    total += range->length;
  }
  if (ranges.empty()) return std::unexpected(RangeRefusal::unsatisfiable);
  // Ranges that lie upon each other ask for more than there is.
  if (total > size) return std::unexpected(RangeRefusal::ignored);
  return ranges;
}

std::string attachment(std::string_view filename) {
  std::string plain;
  std::string encoded;
  bool simple = true;
  for (char const c : filename) {
    auto const byte = static_cast<unsigned char>(c);
    bool const printable = byte >= 0x20 && byte < 0x7f;
    simple = simple && printable;
    if (c == '"' || c == '\\') plain.push_back('\\');
    // What a quoted name with them means, browsers do not agree on (RFC 6266 appendix D).
    simple = simple && c != '"' && c != '\\' && c != '%';
    // One mark for each character, not for each of its bytes.
    if (printable) plain.push_back(c);
    else if ((byte & 0xc0U) != 0x80U) plain.push_back('_');
    bool const bare = (byte >= '0' && byte <= '9') ||
                      (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '.' || c == '-' ||
                      c == '_';
    bare ? encoded.push_back(c) : void(encoded += fmt::format("%{:02X}", byte));
  }
  auto field = "attachment; filename=\"" + plain + "\"";
  if (!simple) field += "; filename*=utf-8''" + encoded;
  return field;
}

std::string http_date(Timestamp at) {
  std::time_t const time = at.micros / 1'000'000;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[40];
  // The C locale's names are the English ones that RFC 9110 asks for.
  return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

std::optional<std::int64_t> parse_http_date(std::string_view text) {
  constexpr char const* kForms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                    "%a %b %e %H:%M:%S %Y"};
  std::string const whole(text);
  for (auto const* form : kForms) {
    std::tm parts{};
    auto const* const end = ::strptime(whole.c_str(), form, &parts);
    if (end != nullptr && *end == '\0') return ::timegm(&parts);
  }
  return std::nullopt;
}

Response download_response(http::Request const& request, files::FileRecord const& file,
                           files::Descriptor content, BlockingPool& pool) {
  auto const size = static_cast<std::uint64_t>(file.file_size);
  auto const modified = file.uploaded_at.micros / kMicrosPerSecond;
  auto response = content_response(file.original_filename, file.mime_type);
  response.etag = "\"" + file.sha256.substr(0, kEtagDigits) + "\"";
  response.fields.emplace_back("Last-Modified", http_date(file.uploaded_at));
  response.fields.emplace_back("Accept-Ranges", "bytes");
  if (is_other(request, response.etag, modified)) {
    return Response::problem(412, "The file is not the one that is asked for");
  }
  auto const since = parse_http_date(request.field("if-modified-since"));
  if (request.if_none_match.empty() && since && modified <= *since) {
    response.status = 304;
    return response;
  }
  auto const range = request.field("range");
  // Only GET has parts (RFC 9110 section 14.2). What the client has already is not sent in parts
  // either.
  bool const in_parts_asked = !range.empty() && request.method == net::Method::get &&
                              !pipeline::matches_etag(request.if_none_match, response.etag, "") &&
                              same_version(request.field("if-range"), response.etag, modified);
  auto const ranges =
      in_parts_asked ? parse_ranges(range, size) : std::unexpected(RangeRefusal::ignored);
  if (!ranges && ranges.error() == RangeRefusal::unsatisfiable) {
    return Response::problem(416, "The file has no such range")
        .with("Content-Range", fmt::format("bytes */{}", size));
  }
  std::vector<FileBody::Piece> pieces;
  if (!ranges) {
    pieces.push_back({{}, 0, size});
  } else if (ranges->size() == 1) {
    response.status = 206;
    response.fields.emplace_back("Content-Range", content_range(ranges->front(), size));
    pieces.push_back({{}, ranges->front().first, ranges->front().length});
  } else {
    auto const boundary = random_token(18);
    response.status = 206;
    response.content_type = "multipart/byteranges; boundary=" + boundary;
    pieces = in_parts(*ranges, size, file.mime_type, boundary);
  }
  response.file = std::make_unique<FileBody>(content.release(), std::move(pieces), pool);
  return response;
}

Response thumbnail_response(files::ShownThumbnail shown) {
  auto const ending = shown.mime_type == "image/png" ? ".png" : ".jpg";
  auto response =
      content_response("thumbnail-" + shown.file.original_filename + ending, shown.mime_type);
  // It changes with its image, or with how it is made, which hardly leaves its length as it was.
  response.etag =
      fmt::format("\"{}-{:x}\"", shown.file.sha256.substr(0, kEtagDigits), shown.bytes.size());
  response.body = std::move(shown.bytes);
  return response;
}

}  // namespace subforge::api
