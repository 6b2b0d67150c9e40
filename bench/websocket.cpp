#include "websocket.hpp"

#include <fmt/format.h>

namespace subforge::bench {

namespace {

constexpr std::array<char, 4> kMask{0x37, static_cast<char>(0xfa), 0x21, 0x3d};
constexpr std::size_t kMaskedBit = 0x80;

std::size_t read_big_endian(std::span<char const> bytes) {
  std::size_t value = 0;
  for (char const byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

void append_header(std::string& out, Opcode opcode, std::size_t payload_bytes, std::size_t masked) {
  auto const append = [&out](std::size_t byte) { out += static_cast<char>(byte); };
  append(0x80 | static_cast<std::size_t>(opcode));
  std::size_t const length_bytes = payload_bytes < 126 ? 0 : payload_bytes <= 0xffff ? 2 : 8;
  append(masked | (length_bytes == 0 ? payload_bytes : length_bytes == 2 ? 126 : 127));
  for (std::size_t left = length_bytes; left > 0; --left) {
    append(payload_bytes >> (8 * (left - 1)) & 0xff);
  }
}

}  // namespace

Frame read_frame(std::span<char> data) {
  if (data.size() < 2) return {};
  auto const first = static_cast<unsigned char>(data[0]);
  auto const second = static_cast<unsigned char>(data[1]);
  std::size_t payload_bytes = second & 0x7f;
  std::size_t at = 2;
  if (payload_bytes >= 126) {
    std::size_t const length_bytes = payload_bytes == 126 ? 2 : 8;
    if (data.size() < at + length_bytes) return {};
    payload_bytes = read_big_endian(data.subspan(at, length_bytes));
    at += length_bytes;
  }
  bool const is_masked = (second & kMaskedBit) != 0;
  std::size_t const mask_at = at;
  if (is_masked) at += kMask.size();
  if (data.size() < at || data.size() - at < payload_bytes) return {};
  auto const payload = data.subspan(at, payload_bytes);
  if (is_masked) {
    for (std::size_t index = 0; index < payload_bytes; ++index) {
      payload[index] = static_cast<char>(payload[index] ^ data[mask_at + index % kMask.size()]);
    }
  }
  return {at + payload_bytes, static_cast<Opcode>(first & 0x0f), (first & 0x80) != 0, payload};
}

void append_frame_header(std::string& out, Opcode opcode, std::size_t payload_bytes) {
  append_header(out, opcode, payload_bytes, 0);
}

void append_masked_frame(std::string& out, Opcode opcode, std::string_view payload) {
  append_header(out, opcode, payload.size(), kMaskedBit);
  out.append(kMask.data(), kMask.size());
  for (std::size_t index = 0; index < payload.size(); ++index) {
    out += static_cast<char>(payload[index] ^ kMask[index % kMask.size()]);
  }
}

std::string number_text(std::int64_t number) {
  return fmt::format("{}{:010}", kNumberMark, number);
}

}  // namespace subforge::bench
