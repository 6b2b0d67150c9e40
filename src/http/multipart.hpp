// multipart/form-data (RFC 7578, RFC 2046 section 5.1): a parser of bodies that arrive piece by
// piece, and the same for one that is in memory as a whole.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace subforge::http {

inline constexpr std::size_t kPartsMax = 200;
inline constexpr std::size_t kPartHeaderBytesMax = 8192;
inline constexpr std::size_t kBoundaryBytesMax = 70;  // RFC 2046 section 5.1.1.

struct PartHeader {
  std::string name;
  std::optional<std::string> filename;
  std::string content_type;
};

// Yields the parts in place, as views into what it is given; holds no more than a header or a
// boundary. What it yields depends on the bytes alone, never on the pieces they come in, but for
// where data is cut.
// What parts the parts, as the client chose it; nothing where it is missing or malformed.
[[nodiscard]] std::optional<std::string> boundary_of(std::string_view content_type);

class MultipartParser {
 public:
  // Error: invalid, with a sentence that names what is wrong; of other types than
  // multipart/form-data too.
  [[nodiscard]] static Result<MultipartParser> of(std::string_view content_type);

  enum class Kind : std::uint8_t {
    need_more,  // The input is used up.
    part,       // A part begins; part() tells which.
    data,       // Some of its content, never empty.
    part_end,
    done,   // The last boundary. What comes behind it is skipped.
    error,  // error() tells what; final.
  };
  struct Step {
    Kind kind;
    std::string_view data = {};  // Until the next call.
  };

  // Takes the next step, and what it took off the front of `input`.
  [[nodiscard]] Step next(std::string_view& input);
  [[nodiscard]] PartHeader const& part() const { return part_; }
  [[nodiscard]] std::string const& error() const { return error_; }
  // Whether the content of a part is being read.
  [[nodiscard]] bool in_content() const { return state_ == State::content; }
  // After the end of the body. Error: invalid where it came too early.
  [[nodiscard]] Result<void> finish() const;

 private:
  enum class State : std::uint8_t {
    preamble,
    boundary,      // Behind one: "--", or the end of its line.
    last_dash,     // Behind the first of the two.
    boundary_lf,   //
    header,        //
    content,       //
    content_ends,  // Its boundary was found.
    epilogue,
    failed,
  };
  explicit MultipartParser(std::string_view boundary);

  // Content up to a boundary, or what is known to be none.
  [[nodiscard]] Step take_content(std::string_view& input);
  [[nodiscard]] bool take_held(std::string_view& input);
  [[nodiscard]] Step take_boundary(std::string_view& input);
  [[nodiscard]] Step take_header(std::string_view& input);
  [[nodiscard]] Step wrong(std::string what);

  State state_ = State::preamble;
  std::string delimiter_;  // CRLF, "--" and the boundary.
  // How much of the delimiter the input ended with. The CRLF of the first one may be missing.
  std::size_t held_ = 2;
  bool padded_ = false;  // White space stands behind the boundary.
  std::size_t parts_ = 0;
  std::string header_;
  PartHeader part_;
  std::string error_;
};

struct Part : PartHeader {
  std::string_view content;  // A view into the body.
};

// Error: invalid, with a sentence that names what is wrong.
[[nodiscard]] Result<std::vector<Part>> parse_multipart(std::string_view content_type,
                                                        std::string_view body);

}  // namespace subforge::http
