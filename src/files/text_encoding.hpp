// Texts that are not UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace subforge::files {

// The text in UTF-8. What is none is read as Windows-1252, which most editors of that time wrote
// and which has the letters of ISO 8859-1.
[[nodiscard]] std::string to_utf8(std::string_view text);

}  // namespace subforge::files
