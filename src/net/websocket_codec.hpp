// WebSocket frames (RFC 6455 section 5): a decoder that is fed bytes as they arrive, and what it
// takes to write frames. No sockets, no handshake (see websocket_handshake.hpp). One extension: a
// decoder that is given an inflater takes compressed messages (RFC 7692), which the first reserved
// bit marks; all other reserved bits are refused.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/utf8.hpp"
#include "net/websocket_deflate.hpp"

namespace subforge::net {

enum class WsOpcode : std::uint8_t {
  continuation = 0,
  text = 1,
  binary = 2,
  close = 8,
  ping = 9,
  pong = 10,
};

// Whose side we are on. A server receives masked frames, a client unmasked ones.
enum class WsRole : std::uint8_t { server, client };

using WsMaskKey = std::array<std::uint8_t, 4>;

// Close codes (RFC 6455 section 7.4.1 and the registry it founded).
inline constexpr std::uint16_t kWsNormal = 1000;
inline constexpr std::uint16_t kWsGoingAway = 1001;
inline constexpr std::uint16_t kWsProtocolError = 1002;
inline constexpr std::uint16_t kWsNoCode = 1005;  // "The close frame had none": never sent.
inline constexpr std::uint16_t kWsInvalidText = 1007;
inline constexpr std::uint16_t kWsTooBig = 1009;
inline constexpr std::uint16_t kWsServiceRestart = 1012;
inline constexpr std::uint16_t kWsTryAgainLater = 1013;

// Whether a close frame may carry this code: those registered for it, and 3000 to 4999.
[[nodiscard]] constexpr bool is_sendable_close_code(unsigned code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
         (code >= 3000 && code <= 4999);
}

struct WsLimits {
  // Of one message, over all its fragments. Beyond: 1009, as soon as a frame's header announces it;
  // of a compressed one, as soon as so much of it is inflated. More than 2^32 - 1 counts as that.
  std::size_t message_bytes_max = 1 << 20;
};

struct WsEvent {
  enum class Kind : std::uint8_t {
    need_more,  // The input is used up.
    text,       // A whole message, well-formed UTF-8.
    binary,     // A whole message.
    ping,       // To be answered by a pong with the same payload.
    pong,
    close,  // The peer's last word: `close_code` (kWsNoCode if it gave none), payload = the reason.
    error,  // To be answered by a close frame with `close_code`; payload = a sentence saying why.
  };

  Kind kind = Kind::need_more;
  std::uint16_t close_code = 0;
  // Valid until the next call of this decoder, or of one with the same inflater, while the input
  // stays where it is.
  std::string_view payload;
};

// Decodes one direction of a connection. An unfragmented message that lies wholly in the input is
// yielded where it lies; only what is partial or fragmented is kept, and between messages nothing
// is. A compressed message is kept as it comes and inflated when it is complete, so that what an
// unfinished one costs is what its sender has sent.
class WsDecoder {
 public:
  // Without an inflater, which several decoders of one thread may share, messages come plain.
  explicit WsDecoder(WsLimits const& limits, WsRole role = WsRole::server,
                     WsInflater* inflater = nullptr);

  // Takes the next event off the front of `input`, which is unmasked in place: what was passed once
  // must not be passed again. Call it until it answers need_more. After close and error all further
  // input is dropped.
  [[nodiscard]] WsEvent next(std::span<char>& input);

  // Frames since the last call that are parts of a message which others follow; next() tells them
  // by no event.
  [[nodiscard]] std::size_t take_fragment_count() { return std::exchange(fragments_, 0); }

  // Memory held for a message that is not complete yet; 0 between messages.
  [[nodiscard]] std::size_t buffer_bytes() const { return kept_.capacity(); }

 private:
  static constexpr std::size_t kHeaderBytesMax = 14;

  enum class Phase : std::uint8_t { header, payload, finished };
  enum class Used : std::uint8_t { nothing, message, control, inflated };

  struct Failure {
    std::uint16_t close_code;
    std::string_view why;
  };
  struct Failures;  // All of them.

  void release_used();
  [[nodiscard]] Failure const* take_header(std::span<char>& input);
  [[nodiscard]] Failure const* check_start(std::uint8_t first, std::uint8_t second) const;
  [[nodiscard]] Failure const* begin_frame(std::uint8_t const* header);
  [[nodiscard]] WsEvent take_payload(std::span<char>& input);
  [[nodiscard]] WsEvent take_control(std::string_view part);
  [[nodiscard]] WsEvent take_data(std::string_view part);
  [[nodiscard]] WsEvent end_compressed(std::string_view payload);
  [[nodiscard]] WsEvent end_control(std::string_view payload);
  [[nodiscard]] WsEvent fail(Failure const& failure);
  void keep(std::string_view part);
  void forget_kept() { std::vector<char>().swap(kept_); }

  // Unmasked payload that waits for more: the message's fragments, and behind them at most a part
  // of one control frame that came in between. Owns no memory while it is empty.
  std::vector<char> kept_;
  WsInflater* inflater_;
  std::uint32_t message_bytes_max_;
  std::uint32_t frame_rest_ = 0;  // Payload bytes of the current frame that are yet to come.
  WsMaskKey mask_key_{};          // Turned so that it starts with the next byte's key.
  std::array<std::uint8_t, kHeaderBytesMax> header_;  // What came of a header that was cut off.
  std::uint8_t header_bytes_ = 0;
  std::uint8_t control_bytes_kept_ = 0;
  Utf8Validator utf8_;  // Over text payloads; every finished message leaves it at a boundary.
  WsOpcode frame_opcode_ = WsOpcode::continuation;
  WsOpcode message_opcode_ = WsOpcode::continuation;  // continuation: no message has been begun.
  bool frame_is_final_ = false;
  bool message_is_compressed_ = false;
  WsRole role_;
  Phase phase_ = Phase::header;
  Used used_ = Used::nothing;  // What of kept_ the last event pointed to.
  std::uint16_t fragments_ = 0;
};

// Every idle connection has one: keep it small.
static_assert(sizeof(WsDecoder) <= 72);

// XORs the bytes with the key, which starts at its first byte (RFC 6455 section 5.3). Masking and
// unmasking are the same.
void apply_mask(std::span<char> bytes, WsMaskKey key);

// The bytes before an unmasked payload: 2, 4 or 10.
inline constexpr std::size_t kWsFrameHeaderBytesMax = 10;
[[nodiscard]] constexpr std::size_t frame_header_bytes(std::uint64_t payload_bytes) {
  return payload_bytes < 126 ? 2 : payload_bytes < 65536 ? 4 : 10;
}

// How a payload stands for its message.
enum class WsCoding : std::uint8_t { plain, deflated };

// Writes the header of a whole, unmasked message or control frame to `out`, which has room for
// frame_header_bytes(payload_bytes); returns that number.
std::size_t write_frame_header(char* out, WsOpcode opcode, std::uint64_t payload_bytes,
                               WsCoding coding = WsCoding::plain);

void append_frame_header(std::string& out, WsOpcode opcode, std::uint64_t payload_bytes,
                         WsCoding coding = WsCoding::plain);
void append_frame(std::string& out, WsOpcode opcode, std::string_view payload,
                  WsCoding coding = WsCoding::plain);

// `code` is a sendable one, or kWsNoCode for a frame without code and reason. Of the reason as much
// is sent as fits into a control frame, cut between two characters.
void append_close_frame(std::string& out, std::uint16_t code, std::string_view reason = {});

// What a client sends: masked, and possibly one fragment of several. For tests and load generators.
struct WsClientFrame {
  WsOpcode opcode;
  std::string_view payload;
  WsMaskKey mask_key;
  bool final = true;
  WsCoding coding = WsCoding::plain;  // Of the message, said by its first frame.
};
void append_client_frame(std::string& out, WsClientFrame const& frame);

}  // namespace subforge::net
