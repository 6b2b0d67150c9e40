#include "http/content_coding.hpp"

#include <brotli/decode.h>

#include <array>

#include <gtest/gtest.h>
#include <zlib.h>

#include "net/http_server.hpp"
#include "runtime/blocking_pool.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::http {
namespace {

std::string unpack_gzip(std::string const& packed) {
  z_stream state{};
  EXPECT_EQ(::inflateInit2(&state, 15 + 16), Z_OK);
  std::string out(4U << 20, '\0');
  std::string input = packed;
  state.next_in = reinterpret_cast<Bytef*>(input.data());
  state.avail_in = static_cast<uInt>(input.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(::inflate(&state, Z_FINISH), Z_STREAM_END);
  out.resize(state.total_out);
  EXPECT_EQ(state.avail_in, 0U) << "something is behind the end";
  ::inflateEnd(&state);
  return out;
}

std::string unpack(std::string const& packed, Coding coding) {
  if (coding == Coding::gzip) return unpack_gzip(packed);
  std::string out(4U << 20, '\0');
  std::size_t size = out.size();
  EXPECT_EQ(
      ::BrotliDecoderDecompress(packed.size(), reinterpret_cast<std::uint8_t const*>(packed.data()),
                                &size, reinterpret_cast<std::uint8_t*>(out.data())),
      BROTLI_DECODER_RESULT_SUCCESS);
  out.resize(size);
  return out;
}

// Text with some repetition and some chance in it.
std::string sample(std::size_t bytes) {
  std::string text;
  std::uint64_t state = bytes + 1;
  while (text.size() < bytes) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    text += R"({"id":")" + std::to_string(state) + R"(","name":"agent"},)";
  }
  text.resize(bytes);
  return text;
}

TEST(ContentCoding, TheClientsWishesAreFollowed) {
  struct Case {
    char const* field;
    Coding coding;
  };
  constexpr auto kNone = Coding::identity;
  constexpr auto kGzip = Coding::gzip;
  constexpr auto kBrotli = Coding::brotli;
  for (auto const& [field, coding] : std::initializer_list<Case>{
           {"", kNone},
           {"gzip", kGzip},
           {"br", kBrotli},
           {"GZip", kGzip},
           {"x-gzip", kGzip},
           {"gzip, deflate, br, zstd", kBrotli},
           {"gzip;q=1.0, br;q=0.9", kGzip},
           {"gzip;q=0.5,br;q=0.50", kBrotli},
           {"gzip;q=0.001", kGzip},
           {"gzip;q=0", kNone},
           {"gzip;q=0.000", kNone},
           {"gzip; q=0.2 , br ; q=0.1", kGzip},
           {"*", kBrotli},
           {"*;q=0.5, br;q=0", kGzip},
           {"*;q=0", kNone},
           {"identity", kNone},
           {"identity, gzip;q=0.5", kNone},
           {"identity;q=0.5, gzip", kGzip},
           {"identity;q=0.5, gzip;q=0.5", kGzip},
           {"identity;q=0, *", kBrotli},
           {"deflate, compress", kNone},
           {"gzip;q=abc", kGzip},
           {"gzip;level=9", kGzip},
           {",,;,gzip;", kGzip},
           {"gzip2, brr", kNone},
       }) {
    EXPECT_EQ(choose_coding(field), coding) << field;
  }
  EXPECT_TRUE(accepts_gzip("br, gzip;q=0.1"));
  EXPECT_FALSE(accepts_gzip("br"));
}

TEST(ContentCoding, TextIsPackedEventStreamsAndBinariesAreNot) {
  for (auto const* type : {"application/json", "application/problem+json", "text/plain",
                           "text/plain; version=0.0.4; charset=utf-8", "text/html"}) {
    EXPECT_TRUE(is_packable(type)) << type;
  }
  for (auto const* type :
       {"text/event-stream", "text/event-stream; charset=utf-8", "image/png", "", "font/woff2"}) {
    EXPECT_FALSE(is_packable(type)) << type;
  }
}

class Codings : public testing::TestWithParam<Coding> {};
INSTANTIATE_TEST_SUITE_P(Each, Codings, testing::Values(Coding::gzip, Coding::brotli),
                         [](auto const& each) { return std::string(coding_name(each.param)); });

TEST_P(Codings, WhatWasPackedComesBack) {
  for (std::size_t const bytes : {0UL, 1UL, 1399UL, 1400UL, 16384UL, 100'000UL, 3'000'000UL}) {
    auto const text = sample(bytes);
    auto const packed = pack(text, GetParam());
    EXPECT_EQ(unpack(packed, GetParam()), text) << bytes;
    if (bytes >= kPackedBytesMin) EXPECT_LT(packed.size(), text.size() * 2 / 3) << bytes;
  }
}

TEST_P(Codings, PiecesMakeUpTheWhole) {
  auto const text = sample(200'000);
  Packer packer(GetParam());
  std::string out;
  for (std::size_t at = 0; at < text.size(); at += 7777) {
    packer.add(std::string_view(text).substr(at, 7777), Packer::End::more_follows, out);
  }
  packer.add({}, Packer::End::last, out);
  EXPECT_EQ(unpack(out, GetParam()), text);
}

class Pieces final : public net::BodySource {
 public:
  explicit Pieces(int count, bool fails) : count_(count), fails_(fails) {}
  Task<Result<bool>> next(std::string& out) override {
    if (fails_ && count_ == 1) co_return fail(ErrorCode::unavailable, "gone");
    out = sample(5000);
    co_return --count_ > 0;
  }

 private:
  int count_;
  bool fails_;
};

Task<Result<std::string>> all_of(net::BodySource& source) {
  std::string all;
  for (;;) {
    std::string piece;
    auto const more = co_await source.next(piece);
    if (!more) co_return std::unexpected(more.error());
    all += piece;
    if (!*more) co_return all;
  }
}

TEST_P(Codings, AStreamIsPackedWhileItIsMade) {
  EventLoop loop;
  BlockingPool pool(1, 10);
  auto const source = pack_stream(std::make_unique<Pieces>(9, false), GetParam(), pool);
  auto const all = block_on(loop, all_of(*source));
  ASSERT_TRUE(all);
  std::string expected;
  for (int i = 0; i < 9; ++i) expected += sample(5000);
  EXPECT_EQ(unpack(*all, GetParam()), expected);
}

TEST_P(Codings, AStreamThatBreaksOffStaysBroken) {
  EventLoop loop;
  BlockingPool pool(1, 10);
  auto const source = pack_stream(std::make_unique<Pieces>(3, true), GetParam(), pool);
  EXPECT_FALSE(block_on(loop, all_of(*source)));
}

TEST_P(Codings, ATextThatNeverChangesIsPackedOnce) {
  PackedText const text(sample(9000));
  EXPECT_EQ(text.as(Coding::identity), sample(9000));
  EXPECT_EQ(unpack(text.as(GetParam()), GetParam()), sample(9000));
}

}  // namespace
}  // namespace subforge::http
