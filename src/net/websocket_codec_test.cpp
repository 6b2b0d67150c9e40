// Goal: the decoder yields what RFC 6455 says a stream of frames means, and fails with the right
// close code otherwise, whatever pieces the bytes come in; the encoders write what the decoder
// reads. Method: a table of streams, each decoded whole, cut in two at every byte, and byte by
// byte.
#include "net/websocket_codec.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace subforge::net {
namespace {

using Kind = WsEvent::Kind;

constexpr WsMaskKey kKey = {0x37, 0xfa, 0x21, 0x3d};

struct Event {
  Kind kind;
  std::string payload;  // Not compared for errors: their text is for people.
  unsigned close_code = 0;

  bool operator==(Event const& other) const {
    return kind == other.kind && close_code == other.close_code &&
           (kind == Kind::error || payload == other.payload);
  }
};

std::ostream& operator<<(std::ostream& out, Event const& event) {
  return out << static_cast<int>(event.kind) << ' ' << event.close_code << " \""
             << event.payload.substr(0, 60) << "\" of " << event.payload.size();
}

Event text(std::string payload) { return {Kind::text, std::move(payload)}; }
Event binary(std::string payload) { return {Kind::binary, std::move(payload)}; }
Event ping(std::string payload) { return {Kind::ping, std::move(payload)}; }
Event pong(std::string payload) { return {Kind::pong, std::move(payload)}; }
Event closed(unsigned code, std::string reason = "") {
  return {Kind::close, std::move(reason), code};
}
Event error(unsigned code) { return {Kind::error, "", code}; }

class Feeder {
 public:
  explicit Feeder(WsLimits const& limits, WsRole role, WsInflater* inflater = nullptr)
      : decoder_(limits, role, inflater) {}

  // Passes a copy that is exactly as long as the piece, so that a sanitizer sees every overrun.
  void feed(std::string_view piece) {
    std::vector<char> bytes(piece.begin(), piece.end());
    std::span<char> input(bytes);
    while (true) {
      auto const event = decoder_.next(input);
      if (event.kind == Kind::need_more) break;
      events.push_back({event.kind, std::string(event.payload), event.close_code});
    }
    EXPECT_TRUE(input.empty());
  }

  std::vector<Event> events;

 private:
  WsDecoder decoder_;
};

std::vector<Event> decode(std::vector<std::string_view> const& pieces, WsLimits const& limits,
                          WsRole role, WsInflater* inflater = nullptr) {
  Feeder feeder(limits, role, inflater);
  for (auto const piece : pieces) feeder.feed(piece);
  return feeder.events;
}

std::vector<Event> decode_in_all_ways(std::string_view stream, WsLimits const& limits = {},
                                      WsRole role = WsRole::server,
                                      WsInflater* inflater = nullptr) {
  auto const whole = decode({stream}, limits, role, inflater);
  std::vector<std::string_view> bytes;
  for (std::size_t cut = 0; cut < stream.size(); ++cut) {
    bytes.push_back(stream.substr(cut, 1));
    EXPECT_EQ(decode({stream.substr(0, cut), stream.substr(cut)}, limits, role, inflater), whole)
        << "cut at " << cut;
  }
  EXPECT_EQ(decode(bytes, limits, role, inflater), whole) << "byte by byte";
  return whole;
}

// One masked frame with any first byte: FIN and reserved bits in the upper half, opcode below.
std::string frame(unsigned first, std::string_view payload, WsMaskKey key = kKey) {
  std::string out;
  append_client_frame(
      out, {.opcode = static_cast<WsOpcode>(first & 15), .payload = payload, .mask_key = key});
  out[0] = static_cast<char>(first);
  return out;
}

std::string bytes(std::initializer_list<unsigned> values) {
  std::string out;
  for (auto const value : values) out.push_back(static_cast<char>(value));
  return out;
}

std::string close_payload(unsigned code, std::string_view reason = "") {
  return bytes({code >> 8, code & 255}).append(reason);
}

TEST(WebSocketCodec, Messages) {
  struct Case {
    std::string stream;
    std::vector<Event> events;
  };
  std::string const long_text(125, 'x');
  std::string const longer_text(126, 'y');
  std::string const text_300 = std::string(299, 'z') + "\n";
  for (auto const& [stream, events] : std::vector<Case>{
           // RFC 6455 section 5.7.
           {bytes({0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}),
            {text("Hello")}},
           {bytes({0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58}),
            {pong("Hello")}},
           {frame(0x81, ""), {text("")}},
           {frame(0x82, ""), {binary("")}},
           {frame(0x82, std::string("\x00\xff\x80", 3)), {binary(std::string("\x00\xff\x80", 3))}},
           {frame(0x81, long_text), {text(long_text)}},
           {frame(0x81, longer_text), {text(longer_text)}},
           {frame(0x81, "a") + frame(0x82, "b") + frame(0x81, text_300),
            {text("a"), binary("b"), text(text_300)}},
           {frame(0x01, "Hel") + frame(0x80, "lo"), {text("Hello")}},
           {frame(0x02, "Hel") + frame(0x00, "l") + frame(0x80, "o"), {binary("Hello")}},
           {frame(0x01, "") + frame(0x00, "") + frame(0x80, ""), {text("")}},
           {frame(0x01, "") + frame(0x80, "abc"), {text("abc")}},
           {frame(0x01, "abc") + frame(0x80, ""), {text("abc")}},
           {frame(0x01, "Hel") + frame(0x89, "p1") + frame(0x00, "l") + frame(0x89, "") +
                frame(0x8a, "p2") + frame(0x80, "o"),
            {ping("p1"), ping(""), pong("p2"), text("Hello")}},
           {frame(0x89, long_text), {ping(long_text)}},
           {frame(0x81, "κόσμε 🙂"), {text("κόσμε 🙂")}},
           // A character across two fragments.
           {frame(0x01, "\xf0\x9f") + frame(0x89, "\xff") + frame(0x80, "\x99\x82"),
            {ping("\xff"), text("🙂")}},
       }) {
    EXPECT_EQ(decode_in_all_ways(stream), events);
  }
}

TEST(WebSocketCodec, Closes) {
  struct Case {
    std::string stream;
    std::vector<Event> events;
  };
  for (auto const& [stream, events] : std::vector<Case>{
           {frame(0x88, ""), {closed(kWsNoCode)}},
           {frame(0x88, close_payload(1000)), {closed(1000)}},
           {frame(0x88, close_payload(1001, "bye 🙂")), {closed(1001, "bye 🙂")}},
           {frame(0x88, close_payload(1000, std::string(123, 'r'))),
            {closed(1000, std::string(123, 'r'))}},
           {frame(0x01, "unfinished") + frame(0x88, close_payload(1000)), {closed(1000)}},
           // Nothing counts after a close, be it nonsense.
           {frame(0x88, "") + frame(0x81, "late") + "\xff\xff\xff", {closed(kWsNoCode)}},
           {frame(0x88, "x"), {error(1002)}},
           {frame(0x88, close_payload(1000, "\xff")), {error(1007)}},
           {frame(0x88, close_payload(1000, "\xe2\x82")), {error(1007)}},
       }) {
    EXPECT_EQ(decode_in_all_ways(stream), events);
  }
}

TEST(WebSocketCodec, CloseCodes) {
  for (unsigned code = 0; code <= 0xffff; ++code) {
    bool const valid = (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) ||
                       (code >= 3000 && code <= 4999);
    auto const events = decode({frame(0x88, close_payload(code))}, WsLimits{}, WsRole::server);
    ASSERT_EQ(events, std::vector{valid ? closed(code) : error(1002)}) << code;
  }
}

TEST(WebSocketCodec, ProtocolErrors) {
  struct Case {
    char const* what;
    std::string stream;
    unsigned close_code = 1002;
  };
  std::vector<Case> cases = {
      {"unmasked", bytes({0x81, 0x01, 'a'})},
      {"unmasked and empty", bytes({0x81, 0x00})},
      {"reserved bit 1", frame(0xc1, "a")},
      {"reserved bit 2", frame(0xa1, "a")},
      {"reserved bit 3", frame(0x91, "a")},
      {"reserved bit on a control frame", frame(0xc9, "a")},
      {"fragmented ping", frame(0x09, "a")},
      {"fragmented close", frame(0x08, "")},
      {"ping of 126 bytes", frame(0x89, std::string(126, 'a'))},
      {"pong with a 64-bit length", bytes({0x8a, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 0})},
      {"close of 126 bytes", frame(0x88, close_payload(1000, std::string(124, 'a')))},
      {"continuation of nothing", frame(0x80, "a")},
      {"continuation of a finished message", frame(0x81, "a") + frame(0x80, "b")},
      {"text in a text", frame(0x01, "a") + frame(0x81, "b")},
      {"binary in a text", frame(0x01, "a") + frame(0x02, "b")},
      {"16-bit length for 125", bytes({0x82, 0xfe, 0, 125, 1, 2, 3, 4}) + std::string(125, 'a')},
      {"16-bit length for 0", bytes({0x82, 0xfe, 0, 0, 1, 2, 3, 4})},
      {"64-bit length for 65535", bytes({0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4})},
      {"highest bit of a length", bytes({0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4})},
      {"longest length", bytes({0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4}),
       1009},
      {"bad text", frame(0x81, "a\xff"), 1007},
      {"text that is cut off", frame(0x81, "a\xe2\x82"), 1007},
      {"surrogate across fragments", frame(0x01, "\xed") + frame(0x80, "\xa0\x80"), 1007},
      {"cut off at the end of fragments", frame(0x01, "\xe2") + frame(0x80, "\x82"), 1007},
      {"bad text before the bad frame", frame(0x01, "\xff") + frame(0x81, ""), 1007},
  };
  std::string const masked_empty = bytes({0x80, 1, 2, 3, 4});
  for (unsigned const opcode : {3U, 4U, 5U, 6U, 7U, 11U, 12U, 13U, 14U, 15U}) {
    cases.push_back({"reserved opcode", bytes({0x80 | opcode}) + masked_empty});
  }
  for (auto const& [what, stream, close_code] : cases) {
    auto const events = decode_in_all_ways(stream);
    ASSERT_FALSE(events.empty()) << what;
    EXPECT_EQ(events.back(), error(close_code)) << what;
    // An error is final, and what was good before it has been yielded.
    EXPECT_EQ(decode_in_all_ways(stream + frame(0x81, "late")), events) << what;
    auto const good_first = decode_in_all_ways(frame(0x89, "p") + stream);
    ASSERT_EQ(good_first.size(), events.size() + 1) << what;
    EXPECT_EQ(good_first.front(), ping("p")) << what;
  }
}

// How many bytes of the stream it takes until an error is found.
std::size_t bytes_until_error(std::string_view stream, WsLimits const& limits = {}) {
  Feeder feeder(limits, WsRole::server);
  for (std::size_t at = 0; at < stream.size(); ++at) {
    feeder.feed(stream.substr(at, 1));
    if (!feeder.events.empty() && feeder.events.back().kind == Kind::error) return at + 1;
  }
  return 0;
}

TEST(WebSocketCodec, ErrorsAreFoundEarly) {
  EXPECT_EQ(bytes_until_error(frame(0x83, "abc")), 2U);
  EXPECT_EQ(bytes_until_error(bytes({0x81, 0x05})), 2U);
  EXPECT_EQ(bytes_until_error(frame(0x89, std::string(126, 'a'))), 2U);
  // The third byte of the text is hopeless, although the fourth is yet to come.
  EXPECT_EQ(bytes_until_error(frame(0x81, "a\xf4\x90\x80\x80z")), 6 + 3U);
  EXPECT_EQ(bytes_until_error(frame(0x01, "ok") + frame(0x00, "\xc0 and so on")), 8 + 6 + 1U);
  EXPECT_EQ(bytes_until_error(frame(0x82, std::string(11, 'a')), {.message_bytes_max = 10}), 6U);
}

TEST(WebSocketCodec, MessageLimitIsExactAndOverAllFragments) {
  WsLimits const limits{.message_bytes_max = 200};
  std::string const most(200, 'a');
  EXPECT_EQ(decode_in_all_ways(frame(0x82, most), limits), std::vector{binary(most)});
  EXPECT_EQ(decode_in_all_ways(frame(0x82, most + "a"), limits), std::vector{error(1009)});
  auto const first = frame(0x02, most.substr(0, 150));
  EXPECT_EQ(decode_in_all_ways(first + frame(0x80, most.substr(150)), limits),
            std::vector{binary(most)});
  EXPECT_EQ(decode_in_all_ways(first + frame(0x00, std::string(51, 'a')), limits),
            std::vector{error(1009)});
  // Control frames do not count.
  auto const ping_frame = frame(0x89, std::string(125, 'p'));
  EXPECT_EQ(decode_in_all_ways(first + ping_frame + frame(0x80, most.substr(150)), limits),
            (std::vector{ping(std::string(125, 'p')), binary(most)}));
  EXPECT_EQ(decode_in_all_ways(frame(0x82, ""), {.message_bytes_max = 0}), std::vector{binary("")});
}

TEST(WebSocketCodec, LengthsAroundTheThreeForms) {
  for (std::size_t const size : {125U, 126U, 127U, 65535U, 65536U, 70000U}) {
    std::string payload(size, 'a');
    for (std::size_t i = 0; i < size; ++i) payload[i] = static_cast<char>('a' + i % 23);
    std::string const stream = frame(0x81, payload);
    EXPECT_EQ(stream.size(), frame_header_bytes(size) + 4 + size);
    EXPECT_EQ(decode({stream}, WsLimits{}, WsRole::server), std::vector{text(payload)});
    for (std::size_t const cut : {std::size_t{1}, std::size_t{5}, size / 2, size - 1}) {
      EXPECT_EQ(
          decode({std::string_view(stream).substr(0, cut), std::string_view(stream).substr(cut)},
                 WsLimits{}, WsRole::server),
          std::vector{text(payload)});
    }
  }
}

TEST(WebSocketCodec, WholeMessagesAreYieldedWhereTheyLie) {
  std::string stream = frame(0x82, "first") + frame(0x81, "second") + frame(0x89, "third");
  std::span<char> input(stream);
  WsDecoder decoder(WsLimits{});
  for (std::size_t const at : {6U, 6U + 5U + 6U, 6U + 5U + 6U + 6U + 6U}) {
    EXPECT_EQ(decoder.next(input).payload.data(), stream.data() + at);
  }
  EXPECT_EQ(decoder.next(input).kind, Kind::need_more);
  EXPECT_TRUE(input.empty());
}

TEST(WebSocketCodec, MemoryIsHeldOnlyForWhatHasArrived) {
  WsDecoder decoder(WsLimits{});
  auto const feed = [&](std::string piece) {
    std::span<char> input(piece);
    while (decoder.next(input).kind != Kind::need_more) {
    }
    return decoder.buffer_bytes();
  };
  EXPECT_EQ(feed(frame(0x81, "whole")), 0U);
  auto const big = frame(0x82, std::string(1 << 20, 'a'));
  EXPECT_EQ(feed(big.substr(0, 14)), 0U) << "a header alone bought memory";
  EXPECT_LE(feed(big.substr(14, 1000)), 2000U);
  EXPECT_LE(feed(big.substr(1014, 9000)), 20000U);
  EXPECT_EQ(feed(big.substr(10014)), 0U) << "memory was kept between messages";

  EXPECT_GT(feed(frame(0x01, "begun")), 0U);
  EXPECT_GT(feed(frame(0x89, "ping")), 0U);
  EXPECT_EQ(feed(frame(0x80, "ended")), 0U);
  auto const ping_frame = frame(0x89, "ping");
  EXPECT_GT(feed(ping_frame.substr(0, 8)), 0U);
  EXPECT_EQ(feed(ping_frame.substr(8)), 0U);
  EXPECT_GT(feed(frame(0x01, "begun")), 0U);
  EXPECT_EQ(feed(frame(0x81, "unlawful")), 0U) << "memory was kept after an error";
}

TEST(WebSocketCodec, MaskIsUndoneAtEveryAlignmentAndLength) {
  for (std::size_t offset = 0; offset < 9; ++offset) {
    for (std::size_t size = 0; size < 70; ++size) {
      std::string buffer(offset + size + 1, 'x');
      for (std::size_t i = 0; i < size; ++i) buffer[offset + i] = static_cast<char>(i * 7);
      apply_mask(std::span(buffer).subspan(offset, size), kKey);
      for (std::size_t i = 0; i < size; ++i) {
        auto const expected = static_cast<unsigned char>((i * 7 & 255) ^ kKey[i % 4]);
        ASSERT_EQ(static_cast<unsigned char>(buffer[offset + i]), expected) << size << ' ' << i;
      }
      ASSERT_EQ(buffer.back(), 'x');
    }
  }
}

TEST(WebSocketCodec, ServerFramesAreReadByAClient) {
  std::string stream;
  append_frame(stream, WsOpcode::text, "Hello");
  EXPECT_EQ(stream, bytes({0x81, 0x05}) + "Hello");  // RFC 6455 section 5.7.
  std::string const payload_300(300, 'b');
  append_frame(stream, WsOpcode::binary, payload_300);
  std::string const payload_65536(65536, 'c');
  append_frame(stream, WsOpcode::binary, payload_65536);
  append_frame(stream, WsOpcode::ping, "p");
  append_close_frame(stream, 1012, "restart");
  EXPECT_EQ(decode({stream}, WsLimits{}, WsRole::client),
            (std::vector{text("Hello"), binary(payload_300), binary(payload_65536), ping("p"),
                         closed(1012, "restart")}));
  EXPECT_EQ(decode_in_all_ways(frame(0x81, "a"), {}, WsRole::client), std::vector{error(1002)});
}

TEST(WebSocketCodec, HeadersAreAsLongAsSaid) {
  for (std::uint64_t const size : {0ULL, 125ULL, 126ULL, 65535ULL, 65536ULL, 1ULL << 40}) {
    char header[kWsFrameHeaderBytesMax];
    EXPECT_EQ(write_frame_header(header, WsOpcode::binary, size), frame_header_bytes(size));
  }
  std::string header;
  append_frame_header(header, WsOpcode::binary, 0x0102030405);
  EXPECT_EQ(header, bytes({0x82, 127, 0, 0, 0, 1, 2, 3, 4, 5}));
}

TEST(WebSocketCodec, CloseFramesKeepTheReasonWithinBounds) {
  auto const sent = [](std::uint16_t code, std::string_view reason) {
    std::string stream;
    append_close_frame(stream, code, reason);
    return decode_in_all_ways(stream, {}, WsRole::client);
  };
  EXPECT_EQ(sent(kWsNoCode, "ignored"), std::vector{closed(kWsNoCode)});
  EXPECT_EQ(sent(4401, ""), std::vector{closed(4401)});
  EXPECT_EQ(sent(1000, std::string(124, 'a')), std::vector{closed(1000, std::string(123, 'a'))});
  EXPECT_EQ(sent(1000, std::string(122, 'a') + "é"),
            std::vector{closed(1000, std::string(122, 'a'))});
  EXPECT_EQ(sent(1000, std::string(121, 'a') + "éé"),
            std::vector{closed(1000, std::string(121, 'a') + "é")});
}

// --- Compressed messages (RFC 7692)

std::string deflated(std::string_view message) {
  WsDeflater deflater;
  return std::string(deflater.deflate(message).value());
}

std::vector<Event> decode_compressed(std::string_view stream, WsLimits const& limits = {}) {
  WsInflater inflater;
  return decode_in_all_ways(stream, limits, WsRole::server, &inflater);
}

TEST(WebSocketCodec, CompressedMessages) {
  std::string const long_text = std::string(300, 'a') + "κόσμε";
  auto const payload = deflated(long_text);
  struct Case {
    std::string stream;
    std::vector<Event> events;
  };
  for (auto const& [stream, events] : std::vector<Case>{
           {frame(0xc1, payload), {text(long_text)}},
           {frame(0xc2, payload), {binary(long_text)}},
           // Only the first fragment says it, wherever the payload is cut.
           {frame(0x41, payload.substr(0, 3)) + frame(0x80, payload.substr(3)), {text(long_text)}},
           {frame(0x41, "") + frame(0x00, payload) + frame(0x80, ""), {text(long_text)}},
           {frame(0x41, payload.substr(0, 3)) + frame(0x89, "p") + frame(0x80, payload.substr(3)),
            {ping("p"), text(long_text)}},
           // Message by message, plain or not.
           {frame(0x81, "a") + frame(0xc1, payload) + frame(0x01, "b") + frame(0x80, "c") +
                frame(0xc1, payload),
            {text("a"), text(long_text), text("bc"), text(long_text)}},
           {frame(0xc1, bytes({0})), {text("")}},
           {frame(0xc2, bytes({2, 0})), {binary("")}},
       }) {
    EXPECT_EQ(decode_compressed(stream), events);
  }
}

TEST(WebSocketCodec, ErrorsOfCompressedMessages) {
  auto const payload = deflated(std::string(300, 'a'));
  struct Case {
    char const* what;
    std::string stream;
    unsigned close_code = 1002;
  };
  for (auto const& [what, stream, close_code] : std::vector<Case>{
           {"on a ping", frame(0xc9, "")},
           {"on a close frame", frame(0xc8, "")},
           {"on a continuation",
            frame(0x41, payload.substr(0, 3)) + frame(0xc0, payload.substr(3))},
           {"with the second bit", frame(0xe1, payload)},
           {"with the third bit", frame(0xd1, payload)},
           {"on a reserved opcode", frame(0xc3, payload)},
           {"cut off", frame(0xc1, payload.substr(0, 3)), 1007},
           {"nothing at all", frame(0xc1, ""), 1007},
           {"bad text", frame(0xc1, deflated(std::string(300, 'a') + "\xff")), 1007},
           {"text cut off", frame(0xc1, deflated(std::string(300, 'a') + "\xe2\x82")), 1007},
       }) {
    EXPECT_EQ(decode_compressed(stream + frame(0x81, "late")), std::vector{error(close_code)})
        << what;
  }
  EXPECT_EQ(decode_in_all_ways(frame(0xc1, payload)), std::vector{error(1002)}) << "not agreed on";
}

TEST(WebSocketCodec, TheLimitOfCompressedMessagesIsOnWhatTheyStandFor) {
  WsLimits const limits{.message_bytes_max = 2000};
  auto const most = frame(0xc2, deflated(std::string(2000, 'a')));
  EXPECT_EQ(decode_compressed(most, limits), std::vector{binary(std::string(2000, 'a'))});
  auto const more = frame(0xc2, deflated(std::string(2001, 'a')));
  EXPECT_EQ(decode_compressed(more, limits), std::vector{error(1009)});
  // Stored blocks make it longer: 2,000 bytes in blocks of 100 have 20 heads of 5 bytes.
  std::string stored;
  for (int i = 0; i < 20; ++i) stored += bytes({0, 100, 0, 155, 255}) + std::string(100, 'b');
  EXPECT_EQ(decode_compressed(frame(0xc2, stored + bytes({0})), limits),
            std::vector{binary(std::string(2000, 'b'))});
  EXPECT_EQ(bytes_until_error(frame(0xc2, std::string(2315, 'x')), limits), 2U) << "not agreed on";
  WsInflater inflater;
  Feeder feeder(limits, WsRole::server, &inflater);
  feeder.feed(frame(0xc2, std::string(2315, 'x')).substr(0, 8));
  EXPECT_EQ(feeder.events, std::vector{error(1009)}) << "its head says enough";
}

TEST(WebSocketCodec, CompressedMessagesLeaveNoMemoryBehind) {
  WsInflater inflater;
  WsDecoder decoder(WsLimits{}, WsRole::server, &inflater);
  auto const feed = [&](std::string piece) {
    std::span<char> input(piece);
    while (decoder.next(input).kind != Kind::need_more) {
    }
    return decoder.buffer_bytes();
  };
  auto const stream = frame(0xc2, deflated(std::string(1 << 20, 'a')));
  EXPECT_EQ(feed(stream), 0U);
  auto const kept = feed(stream.substr(0, stream.size() - 1));
  EXPECT_GT(kept, 0U);
  EXPECT_LE(kept, stream.size()) << "an unfinished message is kept as it came";
  EXPECT_EQ(feed(stream.substr(stream.size() - 1)), 0U);
}

TEST(WebSocketCodec, DeflatedFramesAreReadByAClient) {
  std::string stream;
  auto const payload = deflated(std::string(300, 'a'));
  append_frame(stream, WsOpcode::text, payload, WsCoding::deflated);
  EXPECT_EQ(stream.front(), '\xc1');
  WsInflater inflater;
  EXPECT_EQ(decode({stream}, WsLimits{}, WsRole::client, &inflater),
            std::vector{text(std::string(300, 'a'))});
}

}  // namespace
}  // namespace subforge::net
