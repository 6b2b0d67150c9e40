// The body of a request on its way to a handler that takes it piece by piece, on the loop's own
// thread. What has arrived waits in one block while the handler works on the one before; when the
// block is full the connection stops reading, so that a body holds two blocks whatever its size.
#pragma once

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "net/chunked.hpp"
#include "net/http_parser.hpp"

namespace subforge::net {

class HttpServer;

class BodyStream {
 public:
  static constexpr std::size_t kBlockBytes = 256U << 10;

  // True: there is a piece; false: the body has ended.
  using Outcome = std::expected<bool, ParseError>;

  // `length` is that of the body where it does not come in chunks.
  BodyStream(HttpServer& server, std::uint64_t connection_id, std::optional<std::uint64_t> length,
             std::uint64_t bytes_max, bool continue_owed);
  BodyStream(BodyStream const&) = delete;
  BodyStream& operator=(BodyStream const&) = delete;

  // co_await next(block, n) puts the next piece in place of what `block` holds: n bytes or more (n
  // up to kBlockBytes), or what is left. Errors: what is wrong with the framing, 408 where the
  // client is too slow, 400 where it is gone; after all that came before. One at a time.
  auto next(std::string& block, std::size_t at_least = 1) {
    struct Awaiter {
      BodyStream& stream;
      std::string& block;
      std::size_t at_least;
      [[nodiscard]] bool await_ready() const { return stream.has(at_least); }
      void await_suspend(std::coroutine_handle<> handle) { stream.wait(at_least, handle); }
      Outcome await_resume() { return stream.take(block); }
    };
    return Awaiter{*this, block, at_least};
  }

  // On the loop's thread: what has not come is not wanted any more. Whoever waits for it hears the
  // error.
  void give_up(ParseError const& error) {
    if (!open()) return;
    break_off(error);
    wake();
  }

  // Of the body, where the client said it beforehand.
  [[nodiscard]] std::optional<std::uint64_t> length() const { return length_; }

 private:
  friend class HttpConnection;

  [[nodiscard]] bool has(std::size_t bytes) const {
    return error_ || complete_ || block_.size() >= bytes;
  }
  void wait(std::size_t at_least, std::coroutine_handle<> handle);
  [[nodiscard]] Outcome take(std::string& block);

  // What follows is for the connection.
  [[nodiscard]] bool open() const { return !complete_ && !error_; }
  [[nodiscard]] bool has_room() const { return block_.size() < kBlockBytes; }
  // Takes off the front of `input` what belongs to the body and finds room.
  void feed(std::string_view& input);
  // recv() straight into the block, for a body whose length is known.
  [[nodiscard]] std::ptrdiff_t receive(int fd);
  void break_off(ParseError const& error);
  // Resumes the handler if what it waits for is there.
  void wake();
  // Whether the handler has waited in vain since this was asked last: less than `bytes` came.
  [[nodiscard]] bool starved(std::uint64_t bytes);

  HttpServer& server_;
  std::uint64_t const connection_id_;
  std::optional<std::uint64_t> const length_;
  std::uint64_t received_ = 0;
  std::uint64_t received_before_ = 0;  // When the client's pace was looked at last.
  ChunkedDecoder decoder_;
  bool continue_owed_;  // The client waits for 100 Continue.
  bool complete_ = false;
  std::optional<ParseError> error_;
  std::string block_;
  std::size_t at_least_ = 0;
  std::coroutine_handle<> waiting_;
};

}  // namespace subforge::net
