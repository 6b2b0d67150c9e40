// The chunked transfer coding (RFC 9112 section 7.1): an incremental decoder that yields the body
// in place, and the pieces for writing one. Chunk extensions and trailers are checked and
// discarded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "net/http_parser.hpp"

namespace subforge::net {

// All three are totals over one body, so that many tiny chunks cannot smuggle in more.
struct ChunkedLimits {
  std::uint64_t body_bytes_max = 1 << 20;    // Beyond: 413, as soon as a chunk announces it.
  std::uint32_t extension_bytes_max = 4096;  // Beyond: 400.
  std::uint32_t trailer_bytes_max = 8192;    // Beyond: 431.
};

class ChunkedDecoder {
 public:
  enum class Kind : std::uint8_t { need_more, data, done, error };

  struct Step {
    Kind kind;
    std::string_view data;  // Of the body; a view into the input. Never empty where kind is data.
    ParseError error{};
  };

  explicit ChunkedDecoder(ChunkedLimits const& limits) : limits_(limits) {}

  // Takes the next step, and what it took off the front of `input`. need_more comes with an empty
  // input. After done, `input` starts behind the body; done and error are final.
  [[nodiscard]] Step next(std::string_view& input);

  [[nodiscard]] std::uint64_t body_bytes() const { return body_bytes_; }  // Announced so far.

 private:
  enum class State : std::uint8_t {
    size_first,     // At the first digit of a chunk size.
    size,           // Behind a digit of it.
    extension,      // Between ';' and CR.
    size_lf,        // LF must follow.
    data,           // Inside a chunk.
    data_cr,        // Behind a chunk: CR, then LF must follow.
    data_lf,        //
    trailer_start,  // At the start of a line behind the last chunk.
    trailer_name,   // In the name of a trailer field.
    trailer_value,  // Behind its colon.
    trailer_lf,     // LF must follow.
    final_lf,       // LF must follow, and ends the body.
    done,
    failed,
  };

  // Null, or what is wrong with the byte. Every state but `data` looks at single bytes.
  [[nodiscard]] ParseError const* take(char c);
  [[nodiscard]] ParseError const* take_size_digit(char c);
  [[nodiscard]] ParseError const* take_size_end(char c);
  [[nodiscard]] ParseError const* take_trailer(char c);

  ChunkedLimits limits_;
  std::uint64_t chunk_bytes_ =
      0;  // Of the current chunk: its size while that is read, then the rest.
  std::uint64_t body_bytes_ = 0;
  std::uint32_t extension_bytes_ = 0;
  std::uint32_t trailer_bytes_ = 0;
  std::uint8_t size_digits_ = 0;
  State state_ = State::size_first;
  ParseError const* error_ = nullptr;
};

inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

// Appends `data` as one chunk; nothing if it is empty, since an empty chunk would end the body.
void append_chunk(std::string& out, std::string_view data);

// For data that is sent from where it lies: the size line before it. CRLF must follow the data,
// whose size must not be 0.
void append_chunk_header(std::string& out, std::size_t data_bytes);

}  // namespace subforge::net
