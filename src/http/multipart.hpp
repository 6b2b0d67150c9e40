// multipart/form-data (RFC 7578, RFC 2046 section 5.1) of a body that is in memory as a whole.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace subforge::http {

inline constexpr std::size_t kPartsMax = 100;
inline constexpr std::size_t kPartHeaderBytesMax = 8192;

struct Part {
  std::string name;
  std::optional<std::string> filename;
  std::string content_type;
  std::string_view content;  // A view into the body.
};

// Error: invalid, with a sentence that names what is wrong.
[[nodiscard]] Result<std::vector<Part>> parse_multipart(std::string_view content_type,
                                                        std::string_view body);

}  // namespace subforge::http
