// Goal: payloads are what RFC 7692 says, in both directions, and no payload, however made, costs
// more memory than a message may have. Method: the RFC's own examples, whatever zlib makes at every
// level and window, and payloads that are damaged or far too long.
#include "net/websocket_deflate.hpp"

#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <zlib.h>

namespace subforge::net {
namespace {

using Failure = WsInflater::Failure;
constexpr std::size_t kMax = 1 << 20;

std::mt19937 random_number;  // The same numbers in every run.

std::string packed(std::initializer_list<unsigned> values) {
  std::string out;
  for (auto const value : values) out.push_back(static_cast<char>(value));
  return out;
}

// As another implementation would.
std::string pack(std::string_view message, int level = 6, int window_bits = 15,
                 int strategy = Z_DEFAULT_STRATEGY) {
  z_stream state{};
  EXPECT_EQ(deflateInit2(&state, level, Z_DEFLATED, -window_bits, 8, strategy), Z_OK);
  std::string out(message.size() * 2 + 1000, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(message.data()));
  state.avail_in = static_cast<uInt>(message.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&state, Z_SYNC_FLUSH), Z_OK);
  out.resize(out.size() - state.avail_out);
  deflateEnd(&state);
  EXPECT_TRUE(out.ends_with(packed({0, 0, 0xff, 0xff})));
  out.resize(out.size() - 4);
  return out;
}

// Words in an order that differs from message to message.
std::string prose(std::size_t size) {
  std::string text;
  while (text.size() < size) {
    text.append("word").append(std::to_string(random_number() % 1000)).append(" ");
  }
  text.resize(size);
  return text;
}

std::string noise(std::size_t size) {
  std::string text(size, '\0');
  for (auto& byte : text) byte = static_cast<char>(random_number());
  return text;
}

TEST(WebSocketDeflate, TheExamplesOfTheStandard) {
  WsInflater inflater;
  for (auto const& payload : {
           packed({0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}),                          // 7.2.3.1
           packed({0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00}),  // 7.2.3.3
           packed({0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}),                    // 7.2.3.4
           packed({0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07,
                   0x00}),  // 7.2.3.5
       }) {
    EXPECT_EQ(inflater.inflate(payload, kMax), "Hello");
  }
  EXPECT_EQ(inflater.inflate(packed({0x00}), kMax), "");        // 7.2.3.6
  EXPECT_EQ(inflater.inflate(packed({0x02, 0x00}), kMax), "");  // With fixed codes instead.
}

TEST(WebSocketDeflate, ReadsWhateverZlibWrites) {
  WsInflater inflater;
  for (auto const size : {0U, 1U, 300U, 4096U, 4097U, 70'000U, 300'000U}) {
    for (auto const& message : {prose(size), noise(size), std::string(size, 'x')}) {
      for (int const level : {0, 1, 6, 9}) {
        ASSERT_EQ(inflater.inflate(pack(message, level), kMax), message) << size << ' ' << level;
      }
      for (int const window_bits : {9, 12}) {
        ASSERT_EQ(inflater.inflate(pack(message, 6, window_bits), kMax), message) << size;
      }
      ASSERT_EQ(inflater.inflate(pack(message, 6, 15, Z_FIXED), kMax), message) << size;
    }
  }
}

TEST(WebSocketDeflate, WhatIsDeflatedInflatesToTheSame) {
  WsInflater inflater;
  WsDeflater deflater;
  for (auto const size : {200U, 1000U, 40'000U, 3U << 20}) {
    auto const message = prose(size);
    auto const payload = deflater.deflate(message);
    ASSERT_TRUE(payload);
    EXPECT_LT(payload->size(), size);
    // Each by itself: the order does not matter, and an inflater that has seen none reads it.
    EXPECT_EQ(WsInflater().inflate(*payload, size), message);
    EXPECT_EQ(inflater.inflate(*payload, size), message);
  }
}

TEST(WebSocketDeflate, WhatWouldNotBeShorterIsNotDeflated) {
  WsDeflater deflater;
  for (auto const size : {0U, 1U, 4U, 100U, 1000U, 100'000U}) {
    EXPECT_FALSE(deflater.deflate(noise(size))) << size;
  }
  EXPECT_TRUE(deflater.deflate(prose(1000))) << "a failure left something behind";
}

TEST(WebSocketDeflate, DamagedPayloadsAreTold) {
  WsInflater inflater;
  auto const good = pack(prose(5000));
  for (auto const& payload : {
           std::string(),  // Not even an empty block.
           good.substr(0, good.size() - 1),
           good.substr(0, good.size() / 2),
           packed({0x06}),  // A block of the reserved kind.
           packed({0xff, 0xff, 0xff}),
           packed({0x00, 0x05, 0x00, 0xfb, 0xff, 0x48}),  // Lengths that contradict each other.
           packed({0x63, 0x00, 0x02, 0x00}),              // Refers to what was never sent.
           packed({0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}),  // A final block, and nothing after.
           packed({0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07}),
       }) {
    EXPECT_EQ(inflater.inflate(payload, kMax), std::unexpected(Failure::damaged)) << payload.size();
    EXPECT_EQ(inflater.inflate(good, kMax).value().size(), 5000U) << "damage was remembered";
  }
}

TEST(WebSocketDeflate, TheLimitIsExact) {
  WsInflater inflater;
  for (auto const size : {0U, 1U, 4095U, 4096U, 100'000U}) {
    auto const payload = pack(std::string(size, 'x'));
    EXPECT_EQ(inflater.inflate(payload, size).value().size(), size);
    if (size == 0) continue;
    EXPECT_EQ(inflater.inflate(payload, size - 1), std::unexpected(Failure::too_big)) << size;
  }
}

TEST(WebSocketDeflate, SeveralThreadsShareOnePayload) {
  auto const message = prose(1000);
  auto const dense = noise(1000);
  WsDeflatedOnce shared;
  WsDeflatedOnce not_shorter;
  std::vector<std::string_view> payloads(4);
  {
    std::vector<std::jthread> threads;
    for (auto& payload : payloads) {
      threads.emplace_back([&] {
        WsDeflater deflater;
        payload = shared.payload(message, deflater).value();
        EXPECT_FALSE(not_shorter.payload(dense, deflater));
      });
    }
  }
  for (auto const payload : payloads) {
    EXPECT_EQ(payload.data(), payloads.front().data()) << "deflated twice";
  }
  EXPECT_EQ(WsInflater().inflate(payloads.front(), kMax), message);
}

// The tail as the contents of a block is no message anybody means, but one outcome it must have,
// whatever the buffer is like: zlib forgets where it stopped when it is called once more.
TEST(WebSocketDeflate, ABufferThatIsJustFullChangesNothing) {
  for (std::size_t const size : {4000U, 4091U, 4092U, 4093U, 8188U}) {
    WsInflater inflater;
    // Behind the head of a block, which is where payloads end, the length of one that is not empty.
    auto const payload = pack(std::string(size, 'x')) + packed({4, 0, 0xfb, 0xff});
    auto const message = inflater.inflate(payload, kMax);
    ASSERT_TRUE(message) << size;
    EXPECT_EQ(message->size(), size + 4);
    EXPECT_TRUE(message->ends_with(packed({0, 0, 0xff, 0xff})));
  }
}

TEST(WebSocketDeflate, FinalBlocksMayFollowEachOther) {
  WsInflater inflater;
  std::string payload;
  std::string message;
  for (int i = 0; i < 1000; ++i) {
    payload += packed({0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00});
    message += "Hello";
  }
  EXPECT_EQ(inflater.inflate(payload + packed({0}), kMax), message);
}

}  // namespace
}  // namespace subforge::net
