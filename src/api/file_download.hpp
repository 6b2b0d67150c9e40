// The answer that a file is: whole or in parts (RFC 9110 section 14), never shown as a page of
// ours.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "files/blob_store.hpp"
#include "files/files.hpp"
#include "http/request.hpp"
#include "http/response.hpp"
#include "runtime/blocking_pool.hpp"

namespace subforge::api {

// More ranges than these are no use to a reader: the whole is sent instead.
inline constexpr std::size_t kRangesMax = 16;

struct ByteRange {
  std::uint64_t first = 0;
  std::uint64_t length = 0;
  friend bool operator==(ByteRange const&, ByteRange const&) = default;
};

enum class RangeRefusal : std::uint8_t {
  ignored,        // No range that is understood: the whole.
  unsatisfiable,  // 416.
};

// The parts of a content of `size` bytes that a Range field asks for.
[[nodiscard]] std::expected<std::vector<ByteRange>, RangeRefusal> parse_ranges(
    std::string_view field, std::uint64_t size);

// The name as RFC 6266 wants it, in a form for each kind of reader.
[[nodiscard]] std::string attachment(std::string_view filename);

[[nodiscard]] std::string http_date(Timestamp at);
// Any of the three forms that RFC 9110 knows, in seconds since 1970; nothing for what is no date.
[[nodiscard]] std::optional<std::int64_t> parse_http_date(std::string_view text);

[[nodiscard]] http::Response download_response(http::Request const& request,
                                               files::FileRecord const& file,
                                               files::Descriptor content, BlockingPool& pool);
[[nodiscard]] http::Response thumbnail_response(files::ShownThumbnail shown);

}  // namespace subforge::api
