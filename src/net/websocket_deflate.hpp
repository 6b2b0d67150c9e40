// The payloads of compressed WebSocket messages (permessage-deflate, RFC 7692 section 7.2), each
// message by itself: neither side refers to earlier messages ("no context takeover"), so one
// compressor and one decompressor serve all connections of a loop, and a message that is compressed
// once serves all its receivers. Who agreed to what is in websocket_handshake.hpp.
#pragma once

#include <cstddef>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/once.hpp"

namespace subforge::net {

class WsInflater {
 public:
  enum class Failure {
    damaged,  // This is no deflated message.
    too_big,  // The message is longer than allowed.
  };

  WsInflater();
  ~WsInflater();
  WsInflater(WsInflater const&) = delete;
  WsInflater& operator=(WsInflater const&) = delete;

  // The message behind a whole payload, good until the next call or release(). However much a few
  // bytes may stand for, no more than `message_bytes_max` of it are kept in memory.
  [[nodiscard]] std::expected<std::string_view, Failure> inflate(std::string_view payload,
                                                                 std::size_t message_bytes_max);
  // Gives memory back that only big messages need.
  void release();

 private:
  struct Stream;
  std::optional<Failure> take(std::string_view part, std::size_t message_bytes_max);

  std::unique_ptr<Stream> stream_;  // Made for the first message.
  std::vector<char> message_;       // Its first message_bytes_ are the message.
  std::size_t message_bytes_ = 0;
};

class WsDeflater {
 public:
  WsDeflater();
  ~WsDeflater();
  WsDeflater(WsDeflater const&) = delete;
  WsDeflater& operator=(WsDeflater const&) = delete;

  // The payload for this message, good until the next call; nothing if that would not be shorter.
  [[nodiscard]] std::optional<std::string_view> deflate(std::string_view message);

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;  // Made for the first message.
  std::vector<char> payload_;
};

// The payload of a message that several loops send: whichever needs it first deflates it, the
// others wait for that.
class WsDeflatedOnce {
 public:
  // Always of the same message.
  [[nodiscard]] std::optional<std::string_view> payload(std::string_view message,
                                                        WsDeflater& deflater) const;

 private:
  mutable Once made_;
  mutable std::optional<std::string> payload_;
};

}  // namespace subforge::net
