// The files of the pages in the browser, which are part of the program: web/CMakeLists.txt lists
// them, and the build makes the table.
#pragma once

#include <span>
#include <string_view>

namespace subforge::web {

struct Asset {
  std::string_view path;  // Where it is served, "/app/app.js"; a page has no ending.
  std::string_view content_type;
  std::string_view bytes;
  std::string_view gzip_bytes;  // The same, packed (RFC 1952).
  std::string_view hash;        // 16 hexadecimal digits that change with the bytes.
};

[[nodiscard]] std::span<Asset const> assets();

}  // namespace subforge::web
