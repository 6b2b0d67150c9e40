#include "net/body_stream.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "net/http_connection.hpp"

namespace subforge::net {

BodyStream::BodyStream(HttpServer& server, std::uint64_t connection_id,
                       std::optional<std::uint64_t> length, std::uint64_t bytes_max,
                       bool continue_owed)
    : server_(server),
      connection_id_(connection_id),
      length_(length),
      decoder_({.body_bytes_max = bytes_max}),
      continue_owed_(continue_owed) {}

void BodyStream::wait(std::size_t at_least, std::coroutine_handle<> handle) {
  at_least_ = std::min(at_least, kBlockBytes);
  waiting_ = handle;
  if (!std::exchange(continue_owed_, false) || received_ > 0) return;
  // Not now: answers to earlier requests may be under construction.
  server_.loop().post([&server = server_, id = connection_id_] {
    if (auto* const connection = server.find(id)) connection->send_continue();
  });
}

BodyStream::Outcome BodyStream::take(std::string& block) {
  block.clear();
  // What came before is the handler's all the same: some can go on with it.
  if (error_ && block_.empty()) return std::unexpected(*error_);
  block.swap(block_);
  if (auto* const connection = open() ? server_.find(connection_id_) : nullptr) {
    connection->resume_body();
  }
  return !block.empty();
}

void BodyStream::feed(std::string_view& input) {
  while (open() && !input.empty() && has_room()) {
    auto const room = kBlockBytes - block_.size();
    if (length_) {
      auto const bytes = std::min<std::uint64_t>({room, *length_ - received_, input.size()});
      block_.append(input.substr(0, bytes));
      input.remove_prefix(bytes);
      received_ += bytes;
      complete_ = received_ == *length_;
      continue;
    }
    auto piece = input.substr(0, room);  // What it decodes to is no longer.
    auto const before = piece.size();
    auto const step = decoder_.next(piece);
    input.remove_prefix(before - piece.size());
    received_ += before - piece.size();
    block_.append(step.data);
    complete_ = step.kind == ChunkedDecoder::Kind::done;
    if (step.kind == ChunkedDecoder::Kind::error) error_ = step.error;
  }
}

std::ptrdiff_t BodyStream::receive(int fd) {
  auto const before = block_.size();
  auto const room = std::min<std::uint64_t>(kBlockBytes - before, *length_ - received_);
  std::ptrdiff_t got = 0;
  block_.reserve(kBlockBytes);
  block_.resize_and_overwrite(before + room, [&](char* bytes, std::size_t) {
    got = ::recv(fd, bytes + before, room, 0);
    return before + static_cast<std::size_t>(std::max<std::ptrdiff_t>(got, 0));
  });
  if (got > 0) received_ += static_cast<std::uint64_t>(got);
  complete_ = received_ == *length_;
  return got;
}

void BodyStream::break_off(ParseError const& error) {
  if (open()) error_ = error;
}

void BodyStream::wake() {
  if (waiting_ && has(at_least_)) std::exchange(waiting_, {}).resume();
}

bool BodyStream::starved(std::uint64_t bytes) {
  auto const came = received_ - std::exchange(received_before_, received_);
  return waiting_ && came < bytes;
}

}  // namespace subforge::net
