// Well-formed UTF-8 (RFC 3629; The Unicode Standard, table 3-7): no overlong forms, no surrogates,
// nothing above U+10FFFF. ASCII is passed over 16 bytes at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace subforge {

inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// Text as editors write it, without the mark that some of them put in front.
[[nodiscard]] constexpr std::string_view without_byte_order_mark(std::string_view text) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  return text;
}

[[nodiscard]] bool is_valid_utf8(std::string_view text);

// The text, or where it has more bytes its beginning and "...", cut between two characters.
[[nodiscard]] std::string shortened(std::string_view text, std::size_t bytes_max);

// The same check for text that arrives in pieces, which may split a character anywhere.
class Utf8Validator {
 public:
  // False from the first byte on that no well-formed continuation can repair.
  [[nodiscard]] bool feed(std::string_view bytes);

  // Whether what was fed so far ends between two characters. Text that ends elsewhere is cut off.
  [[nodiscard]] bool at_boundary() const { return missing_ == 0; }

 private:
  static constexpr std::uint8_t kBroken = 0xff;

  std::uint8_t missing_ = 0;  // Continuation bytes still to come, or kBroken for good.
  std::uint8_t lowest_ = 0;   // The bounds of the next one of them: the second byte of a character
  std::uint8_t highest_ = 0;  // may have tighter ones than the rest.
};

}  // namespace subforge
