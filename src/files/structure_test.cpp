// Contents that are built as they have to be, and those that only begin so.
#include "files/structure.hpp"

#include <algorithm>

#include <gtest/gtest.h>

namespace subforge::files {
namespace {

template <class Look>
auto look_at(std::string const& content, Look look) {
  auto const read = [&](std::int64_t offset, std::size_t bytes) {
    return content.substr(std::min(static_cast<std::size_t>(offset), content.size()), bytes);
  };
  return look(Bytes{static_cast<std::int64_t>(content.size()), read});
}

// The content is whole, and no part of it is, nor more than it.
void expect_whole_only(std::string const& content, bool (*look)(Bytes const&)) {
  EXPECT_TRUE(look_at(content, look));
  for (std::size_t bytes = 0; bytes < content.size(); ++bytes) {
    EXPECT_FALSE(look_at(content.substr(0, bytes), look)) << bytes;
  }
  EXPECT_FALSE(look_at(content + '\0', look));
}

TEST(Structure, ImagesEndWhereTheySay) {
  std::string const png_head("\x89PNG\r\n\x1a\n\0\0\0\1IHDRx....", 21);
  std::string const png_end("\0\0\0\0IEND....", 12);
  expect_whole_only(png_head + png_end, &is_whole_png);
  EXPECT_FALSE(look_at(png_head + png_end + png_end, &is_whole_png));
  EXPECT_FALSE(look_at(png_head + "garbage that is no chunk" + png_end, &is_whole_png));
  std::string const gif("GIF89a\2\0\3\0\x80\0\0\0\0\0\0\0\0!\xfe\1x\0,\0\0\0\0\2\0\3\0\0\2\2..\0;",
                        40);
  expect_whole_only(gif, &is_whole_gif);
  EXPECT_FALSE(look_at("GIF89a/*\1*/=1;alert(1);", &is_whole_gif));
  std::string const jpeg("\xff\xd8\xff\xe0\0\3x\xff\xda\0\2a\xff\0b\xff\xd0z\xff\xd9", 20);
  expect_whole_only(jpeg, &is_whole_jpeg);
  // Cameras put a smaller picture behind it, and say so.
  auto const announced = jpeg.substr(0, 2) + std::string("\xff\xe2\0\7MPF\0.", 9) + jpeg.substr(2);
  EXPECT_TRUE(look_at(announced + jpeg, &is_whole_jpeg));
  EXPECT_TRUE(look_at(announced + jpeg + jpeg, &is_whole_jpeg));
  EXPECT_FALSE(look_at(announced + jpeg + "x", &is_whole_jpeg));
  EXPECT_FALSE(look_at(jpeg + jpeg, &is_whole_jpeg));
  EXPECT_FALSE(look_at(jpeg + announced, &is_whole_jpeg));
  EXPECT_FALSE(look_at(jpeg + "<script>\xff\xd9", &is_whole_jpeg));
}

TEST(Structure, LargeContentsAreReadInBlocks) {
  std::string png("\x89PNG\r\n\x1a\n", 8);
  for (int i = 0; i < 20'000; ++i) png += std::string("\0\0\0\2tEXtab....", 14);
  png += std::string("\0\0\0\0IEND....", 12);
  EXPECT_TRUE(look_at(png, &is_whole_png));
  std::string const jpeg("\xff\xd8\xff\xda\0\2", 6);
  EXPECT_TRUE(look_at(jpeg + std::string(300'000, 'x') + "\xff\xd9", &is_whole_jpeg));
  EXPECT_FALSE(look_at(jpeg + std::string(300'000, 'x'), &is_whole_jpeg));
}

TEST(Structure, SvgIsWhatHasItAsItsRoot) {
  for (auto const* text :
       {"<svg/>", "<svg width='1'>", "\xef\xbb\xbf <s:svg/>", "<?xml?><!-- <x> --><svg>",
        "<!DOCTYPE svg><svg>", "<!DOCTYPE svg [<!ENTITY a ']>'> <!-- ' -->]> <svg>"}) {
    EXPECT_TRUE(has_svg_root(text)) << text;
  }
  for (auto const* text : {"", "<svg", "svg", "<svgx>", "<html><svg>", "x<svg>", "<!-- <svg>",
                           "<!DOCTYPE html><svg>", "<!DOCTYPE svg", "<?xml <svg>"}) {
    EXPECT_FALSE(has_svg_root(text)) << text;
  }
}

TEST(Structure, ArchivesAreFoundAnywhere) {
  for (std::size_t const before : {0UL, 1UL, 262'139UL, 262'144UL, 262'150UL, 600'000UL}) {
    std::string const content(before, 'x');
    EXPECT_EQ(look_at(content + "7z\xbc\xaf\x27\x1c", &archive_inside), "7z") << before;
    EXPECT_EQ(look_at(content + "Rar!\x1a\x07.", &archive_inside), "RAR") << before;
    EXPECT_EQ(look_at(content + "Rar!", &archive_inside), "") << before;
  }
}

TEST(Structure, AnEndMarkWithoutADirectoryIsNoZip) {
  auto const ends = [](std::string const& content) {
    return look_at(content, [&](Bytes const& bytes) { return ends_as_zip(bytes, content); });
  };
  std::string const entry = "PK\1\2" + std::string(46, '.');
  auto const mark = [](char bytes, char offset) {
    std::string end = "PK\5\6" + std::string(18, '\0');
    end[12] = bytes;
    end[16] = offset;
    return end;
  };
  EXPECT_TRUE(ends(mark(0, 0)));
  EXPECT_TRUE(ends("some text" + entry + mark(50, 0)));
  EXPECT_TRUE(ends(entry + "more" + mark(9, 0)));
  EXPECT_TRUE(ends(entry + mark(50, 0) + "behind it"));
  EXPECT_FALSE(ends("some text" + mark(9, 0)));
  EXPECT_FALSE(ends(entry + mark(50, 0).substr(0, 21)));
}

}  // namespace
}  // namespace subforge::files
