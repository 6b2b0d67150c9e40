// JSON values as text, in the one form this program writes: numbers stay what they were sent as, as
// far as a double can tell (0.7 is not turned into 7E-1).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/json/fwd.hpp>

namespace subforge::describe {

void append_json(std::string& out, boost::json::value const& value);
[[nodiscard]] std::string json_text(boost::json::value const& value);
[[nodiscard]] std::string json_text(boost::json::object const& object);

// Whether a number in it was beyond the range of a double when it was read; no JSON can tell it.
[[nodiscard]] bool has_infinity(boost::json::value const& value);

// The text that the object has under this name; empty where it has none. Good as long as the
// object.
[[nodiscard]] std::string_view text_member(boost::json::object const& object,
                                           std::string_view name);

// A JSON list of texts without escapes, which is what most stored lists are; nothing if it is
// anything else. Much cheaper than a parser.
[[nodiscard]] std::optional<std::vector<std::string>> parse_plain_list(std::string_view text);

}  // namespace subforge::describe
