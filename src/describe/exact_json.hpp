// JSON text as values that keep whole numbers beyond 64 bits, as Python has them: of what others
// are to get as it came.
#pragma once

#include <optional>
#include <string_view>

#include "describe/parse_json.hpp"

namespace subforge::describe {

// As parse_json(), but such a number keeps its digits, and the folds of json_text.hpp write them.
// It is no number to whoever asks the value, and has no text either: see long_integer().
[[nodiscard]] boost::json::value parse_exact_json(std::string_view text,
                                                  boost::system::error_code& error,
                                                  JsonLimits limits = {},
                                                  boost::json::storage_ptr storage = {});

// The digits of such a number; nothing if the value is any other. Good as long as the value.
[[nodiscard]] std::optional<std::string_view> long_integer(boost::json::value const& value);

// Whether the value is a text, and not such a number.
[[nodiscard]] bool is_text(boost::json::value const& value);

}  // namespace subforge::describe
