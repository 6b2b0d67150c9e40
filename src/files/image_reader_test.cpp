#include "files/image_reader.hpp"

#include <png.h>

#include <memory>

#include <gtest/gtest.h>

#include "files/image_process.hpp"
#include "files/image_writer.hpp"
#include "files/shrinker.hpp"

namespace subforge::files {
namespace {

Result<ImageFacts> read(std::string bytes) {
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> const file(::fmemopen(bytes.data(), bytes.size(), "rb"));
  return read_image(file.get());
}

Picture picture_of(std::int64_t width, std::int64_t height, auto pixel) {
  Picture picture{{width, height}, {}};
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) picture.pixels.push_back(pixel(x, y));
  }
  return picture;
}

std::string png_of(Picture const& picture, int interlace) {
  std::string bytes;
  auto* png = ::png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  auto* info = ::png_create_info_struct(png);
  ::png_set_write_fn(
      png, &bytes,
      [](png_structp to, png_bytep data, png_size_t count) {
        static_cast<std::string*>(::png_get_io_ptr(to))
            ->append(reinterpret_cast<char const*>(data), count);
      },
      nullptr);
  ::png_set_IHDR(png, info, static_cast<png_uint_32>(picture.size.width),
                 static_cast<png_uint_32>(picture.size.height), 8, PNG_COLOR_TYPE_RGB_ALPHA,
                 interlace, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  std::vector<png_bytep> rows;
  for (std::int64_t y = 0; y < picture.size.height; ++y) {
    auto const* const row = picture.pixels.data() + y * picture.size.width;
    rows.push_back(reinterpret_cast<png_bytep>(const_cast<Pixel*>(row)));
  }
  ::png_set_rows(png, info, rows.data());
  ::png_write_png(png, info, PNG_TRANSFORM_IDENTITY, nullptr);
  ::png_destroy_write_struct(&png, &info);
  return bytes;
}

Pixel many(std::int64_t x, std::int64_t y) {
  return {static_cast<std::uint8_t>(x * 7), static_cast<std::uint8_t>(y * 5),
          static_cast<std::uint8_t>(x * y), static_cast<std::uint8_t>(x + y)};
}

// What a picture with these pixels becomes.
std::string small_png(Picture const& picture) {
  Shrinker shrinker(picture.size);
  for (std::int64_t y = 0; y < picture.size.height; ++y) {
    auto const width = static_cast<std::size_t>(picture.size.width);
    shrinker.add(y, 0, 1,
                 std::span(picture.pixels).subspan(static_cast<std::size_t>(y) * width, width));
  }
  return write_picture(shrinker.picture())->bytes;
}

TEST(Shrinker, EachPixelIsTheMeanOfThoseItStandsFor) {
  Shrinker shrinker({512, 1});
  std::vector<Pixel> row(512, Pixel{10, 20, 30, 255});
  for (std::size_t x = 1; x < row.size(); x += 2) row[x] = {30, 40, 50, 255};
  shrinker.add(0, 0, 1, row);
  auto const small = shrinker.picture();
  EXPECT_EQ(small.size.width, 256);
  EXPECT_EQ(small.size.height, 1);
  for (auto const& pixel : small.pixels) EXPECT_EQ(pixel, (Pixel{20, 30, 40, 255}));
  EXPECT_TRUE(small.opaque());
}

TEST(Shrinker, ColoursThatCannotBeSeenCountForNothing) {
  Shrinker shrinker({512, 2});
  std::vector<Pixel> const seen(512, Pixel{200, 0, 0, 255});
  std::vector<Pixel> const unseen(512, Pixel{0, 255, 255, 0});
  shrinker.add(0, 0, 1, seen);
  shrinker.add(1, 0, 1, unseen);
  shrinker.add(2, 0, 1, unseen);    // Outside.
  shrinker.add(0, 500, 9, unseen);  // So is most of this.
  auto const small = shrinker.picture();
  EXPECT_EQ(small.pixels[0], (Pixel{200, 0, 0, 128}));
  EXPECT_FALSE(small.opaque());
}

TEST(Shrinker, SmallOnesAndLongOnesKeepTheirForm) {
  for (auto const& [full, small] : {std::pair(ImageSize{3, 2}, ImageSize{3, 2}),
                                    std::pair(ImageSize{256, 256}, ImageSize{256, 256}),
                                    std::pair(ImageSize{1'000, 500}, ImageSize{256, 128}),
                                    std::pair(ImageSize{2, 65'535}, ImageSize{1, 256})}) {
    auto const size = Shrinker(full).picture().size;
    EXPECT_EQ(size.width, small.width);
    EXPECT_EQ(size.height, small.height);
  }
}

TEST(Shrinker, TurnsAsCamerasNoteIt) {
  // a b c
  // d e f
  auto const picture = picture_of(3, 2, [](auto x, auto y) {
    return Pixel{static_cast<std::uint8_t>('a' + 3 * y + x), 0, 0, 255};
  });
  std::string const expected[] = {"abcdef", "cbafed", "fedcba", "defabc",
                                  "adbecf", "daebfc", "fcebda", "cfbead"};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    auto const upright = turned(picture, orientation);
    std::string seen;
    for (auto const& pixel : upright.pixels) seen.push_back(static_cast<char>(pixel.red));
    EXPECT_EQ(seen, expected[orientation - 1]) << orientation;
    EXPECT_EQ(upright.size.width, orientation >= 5 ? 2 : 3);
  }
  EXPECT_EQ(turned(picture, 99).size.width, 3);
}

TEST(ImageReader, APngInterlacedOrNotIsTheSame) {
  for (auto const& [width, height] :
       std::vector<std::pair<int, int>>{{1, 1}, {3, 2}, {7, 9}, {300, 40}, {5, 700}}) {
    auto const picture = picture_of(width, height, &many);
    auto const expected = small_png(picture);
    for (int const interlace : {PNG_INTERLACE_NONE, PNG_INTERLACE_ADAM7}) {
      auto const facts = read(png_of(picture, interlace));
      ASSERT_TRUE(facts) << facts.error().message;
      EXPECT_EQ(facts->format, "png");
      EXPECT_EQ(facts->size.width, width);
      EXPECT_EQ(facts->size.height, height);
      EXPECT_EQ(facts->thumbnail.bytes, expected) << width << " x " << height;
    }
  }
}

TEST(ImageReader, AnOpaquePictureBecomesAJpegThatIsReadAgain) {
  auto const picture = picture_of(900, 600, [](auto x, auto) {
    return Pixel{static_cast<std::uint8_t>(x < 450 ? 250 : 10), 100, 50, 255};
  });
  auto const jpeg = write_picture(picture);
  ASSERT_TRUE(jpeg);
  EXPECT_EQ(jpeg->mime_type, "image/jpeg");
  auto const facts = read(jpeg->bytes);
  ASSERT_TRUE(facts) << facts.error().message;
  EXPECT_EQ(facts->format, "jpeg");
  EXPECT_EQ(facts->size.width, 900);
  EXPECT_EQ(facts->warning, "");
  EXPECT_EQ(facts->thumbnail.size.width, 256);
  EXPECT_EQ(facts->thumbnail.size.height, 170);
  auto const cut = read(jpeg->bytes.substr(0, jpeg->bytes.size() / 2));
  ASSERT_TRUE(cut);  // Shown as far as it goes, and told.
  EXPECT_NE(cut->warning, "");
}

TEST(ImageReader, EveryCutAndEveryTurnedBitEndsWell) {
  auto const picture = picture_of(40, 30, &many);
  auto opaque = picture;
  for (auto& pixel : opaque.pixels) pixel.alpha = 255;
  for (auto const& whole : {png_of(picture, PNG_INTERLACE_ADAM7), write_picture(opaque)->bytes}) {
    for (std::size_t length = 0; length < whole.size(); length += 7)
      (void)read(whole.substr(0, length + 1));
    for (std::size_t at = 0; at < whole.size(); ++at) {
      auto changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ (1 << (at % 8)));
      auto const facts = read(changed);
      if (facts) EXPECT_TRUE(parse_image_reply(image_reply(facts)));
    }
  }
}

TEST(ImageReader, SizesBeyondTheLimitAreRefusedBeforeAnythingIsUnpacked) {
  auto const small = png_of(picture_of(2, 2, &many), PNG_INTERLACE_NONE);
  auto const with_size = [&](std::string_view size) {
    return small.substr(0, 16) + std::string(size) + small.substr(24);
  };
  // The checksum of its header does not fit any more, which is found first.
  EXPECT_FALSE(read(with_size(std::string_view("\x7f\xff\xff\xff\0\0\0\1", 8))));
  auto const gif = std::string("GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff;", 20);
  auto const refused = read(gif);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("65535 x 65535 pixels"), std::string::npos)
      << refused.error().message;
  EXPECT_EQ(read("hello").error().message, "it is neither a PNG nor a JPEG nor a GIF");
}

TEST(ImageReader, ARepeatedReplyIsTheSame) {
  auto const facts = read(png_of(picture_of(30, 20, &many), PNG_INTERLACE_NONE));
  ASSERT_TRUE(facts);
  auto const again = parse_image_reply(image_reply(facts));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->thumbnail.bytes, facts->thumbnail.bytes);
  EXPECT_EQ(again->size.width, 30);
  auto const error = parse_image_reply(image_reply(fail(ErrorCode::invalid, "it is damaged")));
  EXPECT_EQ(error.error().message, "it is damaged");
  EXPECT_EQ(error.error().code, ErrorCode::invalid);
}

}  // namespace
}  // namespace subforge::files
