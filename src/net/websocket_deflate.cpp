#include "net/websocket_deflate.hpp"

#include <algorithm>
#include <new>

#include <zlib.h>

namespace subforge::net {
namespace {

// Raw deflate without zlib's own header, with the largest window.
constexpr int kWindowBits = -15;
// Envelopes of a kilobyte shrink by half at every level; the lowest takes half the time of zlib's
// default, and a small table is quicker to clear before each message.
constexpr int kLevel = 1;
constexpr int kMemoryLevel = 6;

// What a sender leaves out at the end of a payload, and a receiver puts back (section 7.2.1).
constexpr std::string_view kTail("\x00\x00\xff\xff", 4);

constexpr std::size_t kFirstBytes = 4096;
constexpr std::size_t kKeptBufferMax = 64U << 10;  // Of either buffer, between messages.

// zlib reads through a pointer that is not const, and counts in 32 bits; payloads are bounded by
// WsLimits, whose numbers have 32 bits as well.
void set_input(z_stream& stream, std::string_view bytes) {
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
}

void set_output(z_stream& stream, char* to, std::size_t bytes) {
  stream.next_out = reinterpret_cast<Bytef*>(to);
  stream.avail_out = static_cast<uInt>(bytes);
}

void give_back(std::vector<char>& buffer) {
  if (buffer.capacity() > kKeptBufferMax) std::vector<char>().swap(buffer);
}

}  // namespace

// --- WsInflater

struct WsInflater::Stream {
  Stream() {
    if (::inflateInit2(&state, kWindowBits) != Z_OK) throw std::bad_alloc();
  }
  ~Stream() { ::inflateEnd(&state); }
  Stream(Stream const&) = delete;
  Stream& operator=(Stream const&) = delete;

  // Whether what was read last ended a block with its last bit, so that nothing is pending.
  [[nodiscard]] bool between_blocks() const {
    constexpr int kBlockEnded = 128;
    constexpr int kBitsLeft = 63;
    return (state.data_type & (kBlockEnded | kBitsLeft)) == kBlockEnded;
  }

  z_stream state{};
};

WsInflater::WsInflater() = default;
WsInflater::~WsInflater() = default;

std::expected<std::string_view, WsInflater::Failure> WsInflater::inflate(
    std::string_view payload, std::size_t message_bytes_max) {
  if (stream_ == nullptr) {
    stream_ = std::make_unique<Stream>();
  } else {
    ::inflateReset(&stream_->state);
  }
  message_bytes_ = 0;
  auto failure = take(payload, message_bytes_max);
  if (!failure) failure = take(kTail, message_bytes_max);
  // The tail is an empty block. Unless it was read as that, and ended with its last bit, the
  // payload broke off in the middle of something.
  if (!failure && !stream_->between_blocks()) failure = Failure::damaged;
  if (!failure) return std::string_view(message_.data(), message_bytes_);
  release();
  return std::unexpected(*failure);
}

std::optional<WsInflater::Failure> WsInflater::take(std::string_view part,
                                                    std::size_t message_bytes_max) {
  auto& state = stream_->state;
  set_input(state, part);
  while (true) {
    if (message_bytes_ == message_.size()) {
      // One byte more than allowed tells a message that is too long from one that just fits.
      auto const most = message_bytes_max + 1;
      if (message_bytes_ >= most) return Failure::too_big;
      message_.resize(std::clamp(2 * message_.size(), std::min(kFirstBytes, most), most));
    }
    auto const room = message_.size() - message_bytes_;
    set_output(state, message_.data() + message_bytes_, room);
    int const outcome = ::inflate(&state, Z_SYNC_FLUSH);
    message_bytes_ += room - state.avail_out;
    if (message_bytes_ > message_bytes_max) return Failure::too_big;
    if (outcome == Z_MEM_ERROR) throw std::bad_alloc();
    // A final block ends a deflate stream but not the message (section 7.2.3.4).
    if (outcome == Z_STREAM_END && state.avail_in > 0) {
      ::inflateReset(&state);
      continue;
    }
    if (outcome != Z_OK && outcome != Z_BUF_ERROR && outcome != Z_STREAM_END) {
      return Failure::damaged;
    }
    bool const used_up = state.avail_in == 0 && stream_->between_blocks();
    if (used_up || state.avail_out > 0) return std::nullopt;
  }
}

void WsInflater::release() { give_back(message_); }

// --- WsDeflater

struct WsDeflater::Stream {
  Stream() {
    int const made =
        ::deflateInit2(&state, kLevel, Z_DEFLATED, kWindowBits, kMemoryLevel, Z_DEFAULT_STRATEGY);
    if (made != Z_OK) throw std::bad_alloc();
  }
  ~Stream() { ::deflateEnd(&state); }
  Stream(Stream const&) = delete;
  Stream& operator=(Stream const&) = delete;

  z_stream state{};
};

WsDeflater::WsDeflater() = default;
WsDeflater::~WsDeflater() = default;

std::optional<std::string_view> WsDeflater::deflate(std::string_view message) {
  if (stream_ == nullptr) {
    stream_ = std::make_unique<Stream>();
  } else {
    ::deflateReset(&stream_->state);
  }
  give_back(payload_);
  // With room for no more than the message, what would not be shorter does not fit.
  auto const room = message.size() + kTail.size();
  if (payload_.size() < room) payload_.resize(room);
  auto& state = stream_->state;
  set_input(state, message);
  set_output(state, payload_.data(), room);
  if (::deflate(&state, Z_SYNC_FLUSH) != Z_OK || state.avail_out == 0) return std::nullopt;
  return std::string_view(payload_.data(), room - state.avail_out - kTail.size());
}

// --- WsDeflatedOnce

std::optional<std::string_view> WsDeflatedOnce::payload(std::string_view message,
                                                        WsDeflater& deflater) const {
  made_.call([&] {
    if (auto const made = deflater.deflate(message)) payload_.emplace(*made);
  });
  return payload_;
}

}  // namespace subforge::net
