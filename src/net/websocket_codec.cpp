#include "net/websocket_codec.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>
#include <utility>

namespace subforge::net {
namespace {

constexpr std::uint8_t kFinal = 0x80;
constexpr std::uint8_t kReservedBits = 0x70;
constexpr std::uint8_t kCompressed = 0x40;  // The first reserved bit (RFC 7692 section 6).
constexpr std::uint8_t kOpcodeBits = 0x0f;
constexpr std::uint8_t kMasked = 0x80;
constexpr std::uint8_t kLengthBits = 0x7f;
constexpr std::uint8_t kLength16 = 126;  // Two bytes of length follow.
constexpr std::uint8_t kLength64 = 127;  // Eight do.
constexpr std::size_t kControlBytesMax = 125;

// A message this small gets its memory at once; memory for a bigger one is given as its bytes come,
// so that announcing much costs the other side as much as us.
constexpr std::size_t kReserveAtOnceBytes = 4096;

// A message of n bytes that cannot be compressed is a little longer when it is: by 5 bytes for
// every block, whose size is the sender's choice.
std::uint64_t compressed_bytes_max(std::uint64_t message_bytes_max) {
  return message_bytes_max + message_bytes_max / 8 + 64;
}

bool is_control(WsOpcode opcode) { return static_cast<std::uint8_t>(opcode) >= 8; }

bool is_known(std::uint8_t opcode) { return opcode <= 2 || (opcode >= 8 && opcode <= 10); }

std::size_t length_bytes(std::uint8_t second) {
  auto const length = second & kLengthBits;
  return length == kLength64 ? 8 : length == kLength16 ? 2 : 0;
}

std::size_t header_bytes(std::uint8_t second) {
  return 2 + length_bytes(second) + ((second & kMasked) != 0 ? sizeof(WsMaskKey) : 0);
}

std::uint8_t first_byte(WsOpcode opcode, bool final, WsCoding coding) {
  return static_cast<std::uint8_t>(static_cast<std::uint8_t>(opcode) | (final ? kFinal : 0) |
                                   (coding == WsCoding::deflated ? kCompressed : 0));
}

// Writes the first byte and the length; `mask_bit` is kMasked or 0.
std::size_t write_header(char* out, std::uint8_t first, std::uint8_t mask_bit,
                         std::uint64_t payload_bytes) {
  auto const bytes = frame_header_bytes(payload_bytes);
  auto const length = bytes == 2   ? static_cast<std::uint8_t>(payload_bytes)
                      : bytes == 4 ? kLength16
                                   : kLength64;
  out[0] = static_cast<char>(first);
  out[1] = static_cast<char>(mask_bit | length);
  for (std::size_t at = bytes; at > 2; payload_bytes >>= 8) {
    out[--at] = static_cast<char>(payload_bytes & 0xff);
  }
  return bytes;
}

}  // namespace

struct WsDecoder::Failures {
  static constexpr Failure kReserved{kWsProtocolError, "A reserved bit is set."};
  static constexpr Failure kOpcode{kWsProtocolError, "The opcode is reserved."};
  static constexpr Failure kUnmasked{kWsProtocolError, "A client's frame is not masked."};
  static constexpr Failure kMaskedByServer{kWsProtocolError, "A server's frame is masked."};
  static constexpr Failure kCutControl{kWsProtocolError, "A control frame is fragmented."};
  static constexpr Failure kLongControl{kWsProtocolError, "A control frame is too long."};
  static constexpr Failure kNothingToContinue{kWsProtocolError, "There is no message to continue."};
  static constexpr Failure kUnfinished{kWsProtocolError, "The message before is not finished."};
  static constexpr Failure kNotMinimal{kWsProtocolError, "A length is not in its shortest form."};
  static constexpr Failure kTopBit{kWsProtocolError, "A length has its highest bit set."};
  static constexpr Failure kTooBig{kWsTooBig, "The message is too big."};
  static constexpr Failure kInflate{kWsInvalidText, "A compressed message is damaged."};
  static constexpr Failure kText{kWsInvalidText, "A text message is not valid UTF-8."};
  static constexpr Failure kHalfCode{kWsProtocolError, "A close frame holds half a code."};
  static constexpr Failure kCloseCode{kWsProtocolError, "The close code may not be sent."};
  static constexpr Failure kReason{kWsInvalidText, "The reason for closing is not valid UTF-8."};
};

WsDecoder::WsDecoder(WsLimits const& limits, WsRole role, WsInflater* inflater)
    : inflater_(inflater),
      message_bytes_max_(static_cast<std::uint32_t>(std::min<std::size_t>(
          limits.message_bytes_max, std::numeric_limits<std::uint32_t>::max()))),
      role_(role) {}

WsEvent WsDecoder::next(std::span<char>& input) {
  release_used();
  while (phase_ != Phase::finished) {
    if (phase_ == Phase::header) {
      if (auto const* failure = take_header(input)) return fail(*failure);
      if (phase_ == Phase::header) return {};
    }
    auto const event = take_payload(input);
    if (event.kind != WsEvent::Kind::need_more) return event;
    if (phase_ == Phase::payload) return {};
  }
  forget_kept();
  input = {};
  return {};
}

void WsDecoder::release_used() {
  auto const used = std::exchange(used_, Used::nothing);
  if (used == Used::nothing) return;
  if (used == Used::inflated) return inflater_->release();
  auto const bytes = used == Used::message ? kept_.size() : control_bytes_kept_;
  kept_.resize(kept_.size() - bytes);
  if (kept_.empty()) forget_kept();
  control_bytes_kept_ = 0;
}

WsDecoder::Failure const* WsDecoder::take_header(std::span<char>& input) {
  if (header_bytes_ == 0 && input.size() >= 2) {
    auto const bytes = header_bytes(static_cast<std::uint8_t>(input[1]));
    if (input.size() >= bytes) {
      auto const* const header = reinterpret_cast<std::uint8_t const*>(input.data());
      input = input.subspan(bytes);
      return begin_frame(header);
    }
  }
  while (!input.empty()) {
    header_[header_bytes_++] = static_cast<std::uint8_t>(input.front());
    input = input.subspan(1);
    if (header_bytes_ < 2) continue;
    if (auto const* failure = check_start(header_[0], header_[1])) return failure;
    if (header_bytes_ == header_bytes(header_[1])) {
      header_bytes_ = 0;
      return begin_frame(header_.data());
    }
  }
  return nullptr;
}

// What the first two bytes alone tell.
WsDecoder::Failure const* WsDecoder::check_start(std::uint8_t first, std::uint8_t second) const {
  auto const code = static_cast<std::uint8_t>(first & kOpcodeBits);
  auto const opcode = static_cast<WsOpcode>(code);
  bool const begins_message = opcode == WsOpcode::text || opcode == WsOpcode::binary;
  auto const meaningful = inflater_ != nullptr && begins_message ? kCompressed : 0;
  if ((first & kReservedBits & ~meaningful) != 0) return &Failures::kReserved;
  if (!is_known(code)) return &Failures::kOpcode;
  bool const masked = (second & kMasked) != 0;
  if (masked && role_ == WsRole::client) return &Failures::kMaskedByServer;
  if (!masked && role_ == WsRole::server) return &Failures::kUnmasked;
  if (is_control(opcode)) {
    if ((first & kFinal) == 0) return &Failures::kCutControl;
    return (second & kLengthBits) > kControlBytesMax ? &Failures::kLongControl : nullptr;
  }
  bool const in_message = message_opcode_ != WsOpcode::continuation;
  if (opcode == WsOpcode::continuation) return in_message ? nullptr : &Failures::kNothingToContinue;
  return in_message ? &Failures::kUnfinished : nullptr;
}

WsDecoder::Failure const* WsDecoder::begin_frame(std::uint8_t const* header) {
  if (auto const* failure = check_start(header[0], header[1])) return failure;
  std::uint64_t payload_bytes = header[1] & kLengthBits;
  auto const extra = length_bytes(header[1]);
  if (extra != 0) {
    payload_bytes = 0;
    for (std::size_t i = 0; i < extra; ++i) payload_bytes = payload_bytes << 8 | header[2 + i];
    if (payload_bytes >> 63 != 0) return &Failures::kTopBit;
    if (frame_header_bytes(payload_bytes) != 2 + extra) return &Failures::kNotMinimal;
  }
  auto const opcode = static_cast<WsOpcode>(header[0] & kOpcodeBits);
  if (!is_control(opcode)) {
    if (opcode != WsOpcode::continuation) {
      message_opcode_ = opcode;
      message_is_compressed_ = (header[0] & kCompressed) != 0;
    }
    std::uint64_t const most =
        message_is_compressed_ ? compressed_bytes_max(message_bytes_max_) : message_bytes_max_;
    if (payload_bytes > most - kept_.size()) return &Failures::kTooBig;
  }
  if (role_ == WsRole::server) std::memcpy(mask_key_.data(), header + 2 + extra, mask_key_.size());
  frame_opcode_ = opcode;
  frame_is_final_ = (header[0] & kFinal) != 0;
  frame_rest_ = static_cast<std::uint32_t>(payload_bytes);
  phase_ = Phase::payload;
  return nullptr;
}

WsEvent WsDecoder::take_payload(std::span<char>& input) {
  auto const part = input.first(std::min<std::size_t>(frame_rest_, input.size()));
  input = input.subspan(part.size());
  frame_rest_ -= static_cast<std::uint32_t>(part.size());
  if (frame_rest_ == 0) phase_ = Phase::header;
  if (role_ == WsRole::server) {
    apply_mask(part, mask_key_);
    if (frame_rest_ != 0) {
      std::ranges::rotate(mask_key_, mask_key_.begin() + part.size() % mask_key_.size());
    }
  }
  std::string_view const unmasked(part.data(), part.size());
  return is_control(frame_opcode_) ? take_control(unmasked) : take_data(unmasked);
}

WsEvent WsDecoder::take_control(std::string_view part) {
  if (control_bytes_kept_ == 0 && frame_rest_ == 0) return end_control(part);
  keep(part);
  control_bytes_kept_ = static_cast<std::uint8_t>(control_bytes_kept_ + part.size());
  if (frame_rest_ != 0) return {};
  used_ = Used::control;
  std::string_view const kept(kept_.data(), kept_.size());
  return end_control(kept.substr(kept.size() - control_bytes_kept_));
}

WsEvent WsDecoder::take_data(std::string_view part) {
  bool const is_text = message_opcode_ == WsOpcode::text && !message_is_compressed_;
  if (is_text && !utf8_.feed(part)) return fail(Failures::kText);
  if (frame_rest_ != 0 || !frame_is_final_) {
    bool const is_fragment = frame_rest_ == 0;
    if (is_fragment && fragments_ < std::numeric_limits<std::uint16_t>::max()) ++fragments_;
    keep(part);
    return {};
  }
  if (is_text && !utf8_.at_boundary()) return fail(Failures::kText);
  if (!kept_.empty()) {
    keep(part);
    part = {kept_.data(), kept_.size()};
    used_ = Used::message;
  }
  if (message_is_compressed_) return end_compressed(part);
  message_opcode_ = WsOpcode::continuation;
  return {.kind = is_text ? WsEvent::Kind::text : WsEvent::Kind::binary, .payload = part};
}

// RFC 7692 names no close code for damaged payloads. 1007, "not consistent with the type of the
// message", is what Node's ws says; the websockets of Python says 1002.
WsEvent WsDecoder::end_compressed(std::string_view payload) {
  auto const message = inflater_->inflate(payload, message_bytes_max_);
  if (!message) {
    bool const too_big = message.error() == WsInflater::Failure::too_big;
    return fail(too_big ? Failures::kTooBig : Failures::kInflate);
  }
  bool const is_text = std::exchange(message_opcode_, WsOpcode::continuation) == WsOpcode::text;
  if (is_text && !is_valid_utf8(*message)) {
    inflater_->release();
    return fail(Failures::kText);
  }
  forget_kept();
  used_ = Used::inflated;
  return {.kind = is_text ? WsEvent::Kind::text : WsEvent::Kind::binary, .payload = *message};
}

WsEvent WsDecoder::end_control(std::string_view payload) {
  if (frame_opcode_ == WsOpcode::ping) return {.kind = WsEvent::Kind::ping, .payload = payload};
  if (frame_opcode_ == WsOpcode::pong) return {.kind = WsEvent::Kind::pong, .payload = payload};
  WsEvent event{.kind = WsEvent::Kind::close, .close_code = kWsNoCode, .payload = {}};
  if (payload.size() == 1) return fail(Failures::kHalfCode);
  if (payload.size() >= 2) {
    event.close_code = static_cast<std::uint16_t>(static_cast<unsigned char>(payload[0]) << 8 |
                                                  static_cast<unsigned char>(payload[1]));
    event.payload = payload.substr(2);
    if (!is_sendable_close_code(event.close_code)) return fail(Failures::kCloseCode);
    if (!is_valid_utf8(event.payload)) return fail(Failures::kReason);
  }
  phase_ = Phase::finished;
  return event;
}

WsEvent WsDecoder::fail(Failure const& failure) {
  phase_ = Phase::finished;
  used_ = Used::nothing;
  forget_kept();
  return {.kind = WsEvent::Kind::error, .close_code = failure.close_code, .payload = failure.why};
}

void WsDecoder::keep(std::string_view part) {
  auto const bytes = kept_.size() + part.size();
  if (bytes > kept_.capacity()) {
    auto const announced = bytes + frame_rest_;
    kept_.reserve(announced <= kReserveAtOnceBytes
                      ? announced
                      : std::min(announced, std::max(bytes, 2 * kept_.capacity())));
  }
  kept_.insert(kept_.end(), part.begin(), part.end());
}

void apply_mask(std::span<char> bytes, WsMaskKey key) {
  // Copied to and fro by memcpy, this loop works at any alignment, and compilers widen it further.
  std::uint64_t wide_key;
  for (std::size_t at = 0; at < sizeof wide_key; at += key.size()) {
    std::memcpy(reinterpret_cast<char*>(&wide_key) + at, key.data(), key.size());
  }
  char* const data = bytes.data();
  std::size_t at = 0;
  for (; bytes.size() - at >= sizeof wide_key; at += sizeof wide_key) {
    std::uint64_t word;
    std::memcpy(&word, data + at, sizeof word);
    word ^= wide_key;
    std::memcpy(data + at, &word, sizeof word);
  }
  for (; at < bytes.size(); ++at) {
    data[at] = static_cast<char>(data[at] ^ static_cast<char>(key[at % key.size()]));
  }
}

std::size_t write_frame_header(char* out, WsOpcode opcode, std::uint64_t payload_bytes,
                               WsCoding coding) {
  return write_header(out, first_byte(opcode, true, coding), 0, payload_bytes);
}

void append_frame_header(std::string& out, WsOpcode opcode, std::uint64_t payload_bytes,
                         WsCoding coding) {
  char header[kWsFrameHeaderBytesMax];
  out.append(header, write_frame_header(header, opcode, payload_bytes, coding));
}

void append_frame(std::string& out, WsOpcode opcode, std::string_view payload, WsCoding coding) {
  append_frame_header(out, opcode, payload.size(), coding);
  out.append(payload);
}

void append_close_frame(std::string& out, std::uint16_t code, std::string_view reason) {
  if (code == kWsNoCode) {
    append_frame_header(out, WsOpcode::close, 0);
    return;
  }
  assert(is_sendable_close_code(code));
  if (reason.size() > kControlBytesMax - 2) {
    auto end = kControlBytesMax - 2;
    while (end > 0 && (static_cast<unsigned char>(reason[end]) & 0xc0) == 0x80) --end;
    reason = reason.substr(0, end);
  }
  append_frame_header(out, WsOpcode::close, 2 + reason.size());
  out.push_back(static_cast<char>(code >> 8));
  out.push_back(static_cast<char>(code & 0xff));
  out.append(reason);
}

void append_client_frame(std::string& out, WsClientFrame const& frame) {
  char header[kWsFrameHeaderBytesMax];
  auto const first = first_byte(frame.opcode, frame.final, frame.coding);
  out.append(header, write_header(header, first, kMasked, frame.payload.size()));
  out.append(reinterpret_cast<char const*>(frame.mask_key.data()), frame.mask_key.size());
  auto const start = out.size();
  out.append(frame.payload);
  apply_mask(std::span(out).subspan(start), frame.mask_key);
}

}  // namespace subforge::net
