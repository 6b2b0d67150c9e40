// What Redis answers (RESP2), as values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace subforge::redis {

struct Reply {
  enum class Kind : std::uint8_t { null, status, error, integer, text, list };

  Kind kind = Kind::null;
  std::string text;          // Of a status, an error or a text.
  std::int64_t integer = 0;  // Of an integer.
  std::vector<Reply> items;  // Of a list.

  [[nodiscard]] bool is_null() const { return kind == Kind::null; }
  [[nodiscard]] bool is_error() const { return kind == Kind::error; }
  [[nodiscard]] bool is_text() const { return kind == Kind::text; }
  [[nodiscard]] bool is_list() const { return kind == Kind::list; }
  // The first word of an error: NOSCRIPT, LOADING, ERR ...
  [[nodiscard]] std::string_view error_word() const {
    return std::string_view(text).substr(0, text.find(' '));
  }

  friend bool operator==(Reply const&, Reply const&) = default;
};

}  // namespace subforge::redis
