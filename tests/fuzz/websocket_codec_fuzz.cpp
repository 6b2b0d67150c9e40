// Any bytes as what a client, or a server, sends, with and without compression. Asserts that the
// events don't depend on how the bytes are cut into pieces, that they are what an independent,
// simple reading of RFC 6455 and RFC 7692 gives, and that encoding the messages and decoding that
// gives the same messages.
#include <optional>
#include <string>
#include <vector>

#include <zlib.h>

#include "base/utf8.hpp"
#include "net/websocket_codec.hpp"
#include "pieces.hpp"

namespace subforge::net {
namespace {

using fuzz::Pieces;
using fuzz::require;
using Kind = WsEvent::Kind;

struct Event {
  Kind kind;
  unsigned close_code;
  std::string payload;  // Empty for errors.

  bool operator==(Event const&) const = default;
};

using Events = std::vector<Event>;

// How the streams of one run are to be read.
struct Reading {
  WsLimits limits;
  WsRole role;
  bool compression;
};

Events decode(Pieces const& pieces, Reading const& reading) {
  static WsInflater inflater;  // What one message leaves in it must not show in the next.
  auto const& limits = reading.limits;
  WsDecoder decoder(limits, reading.role, reading.compression ? &inflater : nullptr);
  Events events;
  static fuzz::Guarded guarded;
  for (auto const piece : pieces) {
    auto input = guarded.copy(piece);
    while (true) {
      auto const event = decoder.next(input);
      if (event.kind == Kind::need_more) break;
      bool const failed = event.kind == Kind::error;
      events.push_back({event.kind, event.close_code, std::string(failed ? "" : event.payload)});
    }
    require(input.empty());
    require(decoder.buffer_bytes() <= 2 * (limits.message_bytes_max + 4096));
  }
  return events;
}

struct Unpacked {
  unsigned close_code = 0;  // Of the failure.
  std::string message = {};
};

// Byte by byte, with a decompressor of its own.
Unpacked unpack(std::string const& payload, std::size_t message_bytes_max) {
  // Making one takes longer than most payloads.
  static z_stream state = [] {
    z_stream made{};
    require(::inflateInit2(&made, -15) == Z_OK);
    return made;
  }();
  require(::inflateReset(&state) == Z_OK);
  std::string input = payload + std::string("\0\0\xff\xff", 4);
  Unpacked unpacked;
  int outcome = Z_OK;
  int stopped_at = 0;
  state.next_in = reinterpret_cast<Bytef*>(input.data());
  state.avail_in = static_cast<uInt>(input.size());
  do {
    if (outcome == Z_STREAM_END) ::inflateReset(&state);
    Bytef byte = 0;
    state.next_out = &byte;
    state.avail_out = 1;
    outcome = ::inflate(&state, Z_NO_FLUSH);
    if (outcome != Z_BUF_ERROR) stopped_at = state.data_type;
    if (state.avail_out == 0) unpacked.message.push_back(static_cast<char>(byte));
    if (unpacked.message.size() > message_bytes_max) unpacked.close_code = 1009;
  } while (unpacked.close_code == 0 &&
           (outcome == Z_OK || (outcome == Z_STREAM_END && state.avail_in > 0)));
  bool const whole = outcome == Z_BUF_ERROR && state.avail_in == 0 && stopped_at == 128;
  if (unpacked.close_code == 0 && !whole) unpacked.close_code = 1007;
  return unpacked;
}

// Reads whole frames from the start of the stream, as the RFC tells it, with everything copied.
// Text is only checked when its message is complete, so a stream that ends in broken text is not
// judged.
class Reference {
 public:
  Reference(std::string_view stream, Reading const& reading)
      : stream_(stream),
        limits_(reading.limits),
        role_(reading.role),
        compression_(reading.compression) {}

  Events read() {
    while (!ended_ && frame()) {
    }
    return events_;
  }

 private:
  bool fail(unsigned close_code) {
    events_.push_back({Kind::error, close_code, ""});
    ended_ = true;
    return false;
  }

  // False at the end of what can be read.
  bool frame() {
    if (stream_.size() < 2) return false;
    unsigned const first = byte(0);
    unsigned const second = byte(1);
    bool const final = (first & 0x80) != 0;
    unsigned const opcode = first & 0x0f;
    bool const masked = (second & 0x80) != 0;
    bool const control = opcode >= 8;
    bool const may_be_packed = compression_ && (opcode == 1 || opcode == 2);
    if ((first & (may_be_packed ? 0x30 : 0x70)) != 0 || masked != (role_ == WsRole::server))
      return fail(1002);
    if (opcode > 10 || (opcode > 2 && opcode < 8)) return fail(1002);
    if (control && (!final || (second & 0x7f) > 125)) return fail(1002);
    if (!control && (opcode == 0) != in_message_) return fail(1002);
    std::size_t const extra = (second & 0x7f) == 127 ? 8 : (second & 0x7f) == 126 ? 2 : 0;
    std::size_t const header = 2 + extra + (masked ? 4 : 0);
    if (stream_.size() < header) return false;
    std::uint64_t length = second & 0x7f;
    if (extra != 0) length = 0;
    for (std::size_t i = 0; i < extra; ++i) length = length * 256 + byte(2 + i);
    if (extra == 2 && length < 126) return fail(1002);
    if (extra == 8 && (length < 65536 || length > INT64_MAX)) return fail(1002);
    if (!control && opcode != 0) is_packed_ = (first & 0x40) != 0;
    auto const most = limits_.message_bytes_max;
    std::uint64_t const payload_most = is_packed_ ? most + most / 8 + 64 : most;
    if (!control && message_.size() + length > payload_most) return fail(1009);
    std::string payload(stream_.substr(header, length));
    for (std::size_t i = 0; masked && i < payload.size(); ++i) {
      payload[i] = static_cast<char>(payload[i] ^ stream_[2 + extra + i % 4]);
    }
    if (!control && opcode != 0) is_text_ = opcode == 1;
    if (!control && is_text_ && !is_packed_ && !could_become_text(message_ + payload))
      return fail(1007);
    if (payload.size() < length) return false;
    stream_.remove_prefix(header + payload.size());
    return control ? end_control(opcode, payload) : end_data(final, payload);
  }

  bool end_data(bool final, std::string const& payload) {
    message_ += payload;
    in_message_ = !final;
    if (!final) return true;
    if (is_packed_) {
      auto unpacked = unpack(message_, limits_.message_bytes_max);
      if (unpacked.close_code != 0) return fail(unpacked.close_code);
      message_ = std::move(unpacked.message);
    }
    if (is_text_ && !is_valid_utf8(message_)) return fail(1007);
    events_.push_back({is_text_ ? Kind::text : Kind::binary, 0, message_});
    message_.clear();
    return true;
  }

  bool end_control(unsigned opcode, std::string const& payload) {
    if (opcode != 8) {
      events_.push_back({opcode == 9 ? Kind::ping : Kind::pong, 0, payload});
      return true;
    }
    if (payload.size() == 1) return fail(1002);
    unsigned code = kWsNoCode;
    std::string reason;
    if (!payload.empty()) {
      code = static_cast<unsigned char>(payload[0]) * 256U + static_cast<unsigned char>(payload[1]);
      reason = payload.substr(2);
      if (!is_sendable_close_code(code)) return fail(1002);
      if (!is_valid_utf8(reason)) return fail(1007);
    }
    events_.push_back({Kind::close, code, reason});
    ended_ = true;
    return false;
  }

  // Whether some continuation makes this well-formed: at most a last character is cut off.
  static bool could_become_text(std::string const& text) {
    if (is_valid_utf8(text)) return true;
    for (std::string_view const tail :
         {"\x80", "\x80\x80", "\xa0\x80", "\x80\x80\x80", "\x90\x80\x80"}) {
      if (is_valid_utf8(text + std::string(tail))) return true;
    }
    return false;
  }

  unsigned byte(std::size_t at) const { return static_cast<unsigned char>(stream_[at]); }

  std::string_view stream_;
  WsLimits limits_;
  WsRole role_;
  Events events_;
  std::string message_;
  bool const compression_;
  bool is_text_ = false;
  bool is_packed_ = false;
  bool in_message_ = false;
  bool ended_ = false;
};

WsOpcode opcode_of(Kind kind) {
  switch (kind) {
    case Kind::text: return WsOpcode::text;
    case Kind::binary: return WsOpcode::binary;
    case Kind::ping: return WsOpcode::ping;
    default: return WsOpcode::pong;
  }
}

void check_round_trip(Events events, WsLimits const& limits) {
  static WsDeflater deflater;
  if (!events.empty() && events.back().kind == Kind::error) events.pop_back();
  if (events.empty()) return;
  std::string from_server;
  std::string from_client;
  std::string packed_from_server;
  for (auto const& [kind, close_code, payload] : events) {
    if (kind == Kind::close) {
      append_close_frame(from_server, static_cast<std::uint16_t>(close_code), payload);
      continue;
    }
    append_frame(from_server, opcode_of(kind), payload);
    auto const packed =
        kind == Kind::text || kind == Kind::binary ? deflater.deflate(payload) : std::nullopt;
    append_frame(packed_from_server, opcode_of(kind), packed.value_or(payload),
                 packed ? WsCoding::deflated : WsCoding::plain);
    auto const key = static_cast<std::uint8_t>(payload.size() * 31);
    append_client_frame(from_client, {.opcode = opcode_of(kind),
                                      .payload = payload,
                                      .mask_key = {key, 0, 0xff, static_cast<std::uint8_t>(~key)}});
  }
  require(decode({from_server}, {limits, WsRole::client, false}) == events);
  if (!events.empty() && events.back().kind == Kind::close) events.pop_back();
  require(decode({from_client}, {limits, WsRole::server, false}) == events);
  require(decode({packed_from_server}, {limits, WsRole::client, true}) == events);
}

void check(std::string_view stream, Reading const& reading) {
  auto const whole = decode({stream}, reading);
  require(decode(fuzz::cut_at_every_byte(stream), reading) == whole);
  require(decode(fuzz::cut_at_random(stream), reading) == whole);
  require(Reference(stream, reading).read() == whole);
  check_round_trip(whole, reading.limits);
}

}  // namespace
}  // namespace subforge::net

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  using namespace subforge::net;
  std::string_view const stream(reinterpret_cast<char const*>(data), size);
  for (bool const compression : {false, true}) {
    check(stream, {WsLimits{}, WsRole::server, compression});
    check(stream, {{.message_bytes_max = 40}, WsRole::server, compression});
    check(stream, {WsLimits{}, WsRole::client, compression});
  }
  return 0;
}
