#include "net/chunked.hpp"

#include <algorithm>
#include <charconv>

#include "base/text.hpp"
#include "net/byte_scan.hpp"

namespace subforge::net {
namespace {

constexpr ParseError kBadSize{400, "A chunk size is not a plain hexadecimal number."};
constexpr ParseError kLongSize{400, "A chunk size has more than 16 digits."};
constexpr ParseError kAfterSize{400, "A chunk size is followed by neither CRLF nor an extension."};
constexpr ParseError kBadExtension{400, "A chunk extension holds a control character."};
constexpr ParseError kLongExtensions{400, "The chunk extensions are too long."};
constexpr ParseError kNoLf{400, "A CR in the chunked body's framing is not followed by LF."};
constexpr ParseError kNoChunkEnd{400, "A chunk is not followed by CRLF."};
constexpr ParseError kBodyTooLong{413, "The request body is too long."};
constexpr ParseError kBadTrailer{400, "A trailer field is malformed."};
constexpr ParseError kLongTrailers{431, "The trailer fields are too long."};

constexpr std::uint8_t kSizeDigitsMax = 16;  // What 64 bits hold.

bool is_control(char c) { return NotFieldValue::matches(static_cast<unsigned char>(c)); }

}  // namespace

ChunkedDecoder::Step ChunkedDecoder::next(std::string_view& input) {
  while (!input.empty() && state_ != State::done && state_ != State::failed) {
    if (state_ == State::data) {
      auto const bytes = std::min<std::uint64_t>(chunk_bytes_, input.size());
      auto const data = input.substr(0, bytes);
      input.remove_prefix(bytes);
      chunk_bytes_ -= bytes;
      if (chunk_bytes_ == 0) state_ = State::data_cr;
      return {.kind = Kind::data, .data = data};
    }
    error_ = take(input.front());
    if (error_ != nullptr) state_ = State::failed;
    else input.remove_prefix(1);
  }
  if (state_ == State::done) return {.kind = Kind::done, .data = {}};
  if (state_ == State::failed) return {.kind = Kind::error, .data = {}, .error = *error_};
  return {.kind = Kind::need_more, .data = {}};
}

ParseError const* ChunkedDecoder::take(char c) {
  switch (state_) {
    case State::size_first:
      size_digits_ = 0;
      state_ = State::size;
      return hex_value(c) < 0 ? &kBadSize : take_size_digit(c);
    case State::size: return hex_value(c) < 0 ? take_size_end(c) : take_size_digit(c);
    case State::extension:
      if (c == '\r') state_ = State::size_lf;
      else if (is_control(c)) return &kBadExtension;
      return ++extension_bytes_ > limits_.extension_bytes_max ? &kLongExtensions : nullptr;
    case State::size_lf:
      if (c != '\n') return &kNoLf;
      state_ = chunk_bytes_ == 0 ? State::trailer_start : State::data;
      return nullptr;
    case State::data_cr: state_ = State::data_lf; return c == '\r' ? nullptr : &kNoChunkEnd;
    case State::data_lf: state_ = State::size_first; return c == '\n' ? nullptr : &kNoChunkEnd;
    default: return take_trailer(c);
  }
}

ParseError const* ChunkedDecoder::take_size_digit(char c) {
  if (++size_digits_ > kSizeDigitsMax) return &kLongSize;
  chunk_bytes_ = chunk_bytes_ << 4 | static_cast<std::uint64_t>(hex_value(c));
  return nullptr;
}

ParseError const* ChunkedDecoder::take_size_end(char c) {
  if (c != '\r' && c != ';') return &kAfterSize;
  if (chunk_bytes_ > limits_.body_bytes_max - body_bytes_) return &kBodyTooLong;
  body_bytes_ += chunk_bytes_;
  state_ = c == ';' ? State::extension : State::size_lf;
  return nullptr;
}

ParseError const* ChunkedDecoder::take_trailer(char c) {
  if (state_ == State::final_lf) {
    if (c != '\n') return &kNoLf;
    state_ = State::done;
    return nullptr;
  }
  if (state_ == State::trailer_start && c == '\r') {
    state_ = State::final_lf;
    return nullptr;
  }
  if (++trailer_bytes_ > limits_.trailer_bytes_max) return &kLongTrailers;
  switch (state_) {
    case State::trailer_start:
      state_ = State::trailer_name;
      return is_token_char(c) ? nullptr : &kBadTrailer;
    case State::trailer_name:
      if (c == ':') state_ = State::trailer_value;
      else if (!is_token_char(c)) return &kBadTrailer;
      return nullptr;
    case State::trailer_value:
      if (c == '\r') state_ = State::trailer_lf;
      else if (is_control(c)) return &kBadTrailer;
      return nullptr;
    default:  // trailer_lf
      state_ = State::trailer_start;
      return c == '\n' ? nullptr : &kNoLf;
  }
}

void append_chunk_header(std::string& out, std::size_t data_bytes) {
  char digits[kSizeDigitsMax];
  auto const [end, error] = std::to_chars(digits, digits + sizeof digits, data_bytes, 16);
  out.append(digits, end);
  out.append("\r\n");
}

void append_chunk(std::string& out, std::string_view data) {
  if (data.empty()) return;
  append_chunk_header(out, data.size());
  out.append(data);
  out.append("\r\n");
}

}  // namespace subforge::net
