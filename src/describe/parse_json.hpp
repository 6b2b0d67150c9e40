// JSON text as values (RFC 8259). All of SubForge reads JSON through here: Boost.JSON 1.81 rounds
// one decimal fraction in a few to a neighbour of the nearest double, and what a client sent must
// come back as it was sent.
#pragma once

#include <cstddef>
#include <string_view>

#include <boost/json/storage_ptr.hpp>
#include <boost/json/value.hpp>
#include <boost/system/error_code.hpp>

#include "base/result.hpp"

namespace subforge::describe {

// Arrays and objects within one another in what a client sends.
inline constexpr std::size_t kDocumentDepthMax = 64;
// The same in our own text, which puts what clients sent into frames of its own.
inline constexpr std::size_t kOwnDocumentDepthMax = 2 * kDocumentDepthMax;

struct JsonLimits {
  std::size_t depth_max = kOwnDocumentDepthMax;
  // A whole number beyond 64 bits, which would be rounded, is an error: json::error::not_exact.
  bool whole_numbers_exact = false;
};

// The one value that the text holds. Numbers are the doubles nearest to them; one beyond the
// largest is infinity, so that whoever reads the value can tell which member it is. On an error the
// value is null, and `used`, if wanted, is how far the text was understood.
[[nodiscard]] boost::json::value parse_json(std::string_view text, boost::system::error_code& error,
                                            JsonLimits limits = {},
                                            boost::json::storage_ptr storage = {},
                                            std::size_t* used = nullptr);

// Text that was checked before, such as a column of our own. Throws boost::system::system_error
// if it is no JSON after all.
[[nodiscard]] boost::json::value parse_json(std::string_view text);

// What an error repeats of a key.
inline constexpr std::size_t kToldKeyBytesMax = 100;

// A document that somebody wrote: keys that are given twice are errors too. Errors: invalid, with a
// sentence that gives line and column.
[[nodiscard]] Result<boost::json::value> parse_json_text(std::string_view text);

}  // namespace subforge::describe
