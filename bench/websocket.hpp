// As much of RFC 6455 as the fan-out programs need. Written for them, and not shared with the
// server, which must not be checked by its own code.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace subforge::bench {

// The key of the example in section 1.3 and the answer to it: as every client sends this key, a
// server in bench/ needs no SHA-1.
inline constexpr std::string_view kHandshakeKey = "dGhlIHNhbXBsZSBub25jZQ==";
inline constexpr std::string_view kHandshakeAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

enum class Opcode : std::uint8_t { continuation, text, binary, close = 8, ping, pong };

struct Frame {
  std::size_t bytes = 0;  // Header and payload; 0: not complete yet.
  Opcode opcode = Opcode::continuation;
  bool is_final = false;
  std::span<char> payload;
};

// Reads the frame at the front of `data`, and unmasks it in place.
[[nodiscard]] Frame read_frame(std::span<char> data);

void append_frame_header(std::string& out, Opcode opcode, std::size_t payload_bytes);
// As a client has to send it: masked (section 5.3), always with the same mask.
void append_masked_frame(std::string& out, Opcode opcode, std::string_view payload);

// Messages are numbered by `seq-` and ten digits somewhere in their text.
inline constexpr std::string_view kNumberMark = "seq-";
inline constexpr std::size_t kNumberBytes = 14;  // With the mark.
[[nodiscard]] std::string number_text(std::int64_t number);

}  // namespace subforge::bench
