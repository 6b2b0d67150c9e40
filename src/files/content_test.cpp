// What a file is, by its name, by what is said of it, and by what is in it.
#include "files/content.hpp"

#include <ctime>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "files/blob_store.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::files {
namespace {

using testing::HasSubstr;

std::string const kGif("GIF89a\x02\0\x03\0\x80\0\0\0\0\0\xff\xff\xff;", 20);

TEST(Content, CutsPathsOffNames) {
  for (auto const* sent : {"a.txt", "/etc/a.txt", "../../a.txt", "C:\\x\\a.txt", "x/..\\a.txt"}) {
    EXPECT_EQ(clean_name(sent).value_or(""), "a.txt") << sent;
  }
  EXPECT_EQ(clean_name("größe.txt").value_or(""), "größe.txt");
  EXPECT_TRUE(clean_name(std::string(kNameBytesMax, 'x')).has_value());
}

TEST(Content, RefusesWhatCannotBeAName) {
  std::string const nul("a\0.txt", 6);
  for (auto const& sent : {std::string(), std::string("."), std::string("a/.."), std::string("a/"),
                           nul, std::string("a\n.txt"), std::string("\x7f"),
                           std::string("\xff.txt"), std::string(kNameBytesMax + 1, 'x')}) {
    EXPECT_FALSE(clean_name(sent).has_value()) << sent;
  }
}

TEST(Content, KnowsExtensionsOfEachType) {
  EXPECT_EQ(extension_of("a.TXT"), ".txt");
  EXPECT_EQ(extension_of("a.tar.gz"), ".gz");
  EXPECT_EQ(extension_of(".hidden"), "");
  EXPECT_EQ(extension_of("none"), "");
  EXPECT_TRUE(check_extension("a.JSON", FileType::agent_configs).has_value());
  EXPECT_TRUE(check_extension("a.json", FileType::data_files).has_value());
  auto const refused = check_extension("a.exe", FileType::images);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message,
            "extension '.exe' is not allowed for images. Allowed: .png, .jpg, .jpeg, .gif, .svg");
}

TEST(Content, HoldsDeclaredTypesAgainstNames) {
  for (auto const* declared :
       {"", "application/octet-stream", "text/plain", "TEXT/Plain; charset=x"}) {
    EXPECT_TRUE(check_declared("a.txt", declared).has_value()) << declared;
  }
  EXPECT_FALSE(check_declared("a.txt", "text/html").has_value());
  EXPECT_FALSE(check_declared("a.png", "image/jpeg").has_value());
}

TEST(Content, ReadsSizesOfImages) {
  auto const gif = image_size(kGif);
  ASSERT_TRUE(gif.has_value());
  EXPECT_EQ(gif->width, 2);
  EXPECT_EQ(gif->height, 3);
  std::string const png("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\1\0\0\0\0\x05", 24);
  ASSERT_TRUE(image_size(png).has_value());
  EXPECT_EQ(image_size(png)->width, 256);
  EXPECT_EQ(image_size(png)->height, 5);
  std::string const jpeg("\xff\xd8\xff\xe0\0\x04xx\xff\xff\xc0\0\x11\x08\0\x03\0\x02\x03", 19);
  ASSERT_TRUE(image_size(jpeg).has_value());
  EXPECT_EQ(image_size(jpeg)->width, 2);
  EXPECT_EQ(image_size(jpeg)->height, 3);
}

TEST(Content, TellsNoSizeOfDamagedImages) {
  std::string const png("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\1\0\0\0\0\x05", 24);
  std::string const jpeg("\xff\xd8\xff\xe0\0\x04xx\xff\xff\xc0\0\x11\x08\0\x03\0\x02\x03", 19);
  for (auto const& whole : {kGif.substr(0, 10), png, jpeg}) {
    for (std::size_t bytes = 0; bytes + 1 < whole.size(); ++bytes) {
      EXPECT_FALSE(image_size(whole.substr(0, bytes)).has_value()) << bytes;
    }
  }
  EXPECT_FALSE(image_size("text").has_value());
  // Segments that point nowhere, or to themselves.
  EXPECT_FALSE(image_size("\xff\xd8\xff" + std::string(5000, '\xff')).has_value());
  EXPECT_FALSE(
      image_size(std::string("\xff\xd8\xff\xe0\0\0", 6) + std::string(100, '\0')).has_value());
}

class InspectTest : public testing::Test {
 protected:
  InspectTest() { EXPECT_TRUE(store_.open().has_value()); }

  [[nodiscard]] Result<Content> look(std::string_view name, std::string_view content) {
    auto blob = store_.create();
    if (!blob) return std::unexpected(blob.error());
    EXPECT_TRUE((*blob)->write(content).has_value());
    EXPECT_TRUE((*blob)->finish());
    return inspect(**blob, name);
  }

  store::TemporaryFolder folder_;
  BlobStore store_{folder_.path().string(), 0};
};

TEST_F(InspectTest, ServesFilesAsWhatTheyAre) {
  EXPECT_EQ(look("a.csv", "a,b\n1,2\n").value_or(Content{}).mime_type, "text/csv");
  EXPECT_EQ(look("a.txt", "").value_or(Content{}).mime_type, "text/plain");
  EXPECT_EQ(look("a.json", "{}").value_or(Content{}).mime_type, "application/json");
  auto const image = look("a.gif", kGif);
  ASSERT_TRUE(image.has_value());
  ASSERT_TRUE(image->image.has_value());
  EXPECT_EQ(image->image->height, 3);
}

TEST_F(InspectTest, SaysWhyAContentIsRefused) {
  auto const why = [&](std::string_view name, std::string_view content) {
    auto const seen = look(name, content);
    EXPECT_FALSE(seen.has_value()) << name;
    return seen ? std::string() : seen.error().message;
  };
  EXPECT_THAT(why("a.png", kGif), HasSubstr("image/gif, not PNG"));
  EXPECT_THAT(why("a.gif", kGif + "more"), HasSubstr("behind its end"));
  EXPECT_THAT(why("a.gif", kGif + "%PDF-1.4 ;"), HasSubstr("PDF as well"));
  EXPECT_THAT(why("a.txt", "<html>"), HasSubstr("HTML"));
  EXPECT_THAT(why("a.svg", "text"), HasSubstr("not SVG"));
  EXPECT_THAT(why("a.svg", "<html><svg/></html>"), HasSubstr("not SVG"));
  EXPECT_THAT(why("a.gif", kGif + "\x7f" + "ELF;"), HasSubstr("behind its end"));
  EXPECT_THAT(why("a.gif", kGif + "Rar!\x1a\x07;"), HasSubstr("RAR archive as well"));
  // What closes an archive may have a comment that looks like it, or is long.
  std::string const end = std::string("PK\5\6") + std::string(16, '\0');
  EXPECT_THAT(why("a.txt", end + std::string("\6\0PK\5\6..", 8)), HasSubstr("ZIP"));
  EXPECT_THAT(why("a.txt", end + "\xff\xff" + std::string(0xffff, 'x')), HasSubstr("ZIP"));
  // Far from what is looked at: the content was seen whole as it came.
  EXPECT_THAT(why("a.txt", std::string(500'000, 'x') + '\0' + std::string(500'000, 'x')),
              HasSubstr("not text"));
}

TEST(Content, ATextOfEmptyLinesCostsLittleMoreThanAnother) {
  auto const ticks_of = [](std::string const& text) {
    auto const read = [&](std::int64_t offset, std::size_t bytes) {
      return text.substr(std::min(static_cast<std::size_t>(offset), text.size()), bytes);
    };
    Sample const sample{text, text, {std::ssize(text), read}, false};
    (void)inspect(sample, "a.txt");  // What the first one makes ready.
    auto least = std::numeric_limits<std::clock_t>::max();
    for (int i = 0; i < 5; ++i) {
      auto const before = std::clock();
      EXPECT_TRUE(inspect(sample, "a.txt"));
      least = std::min(least, std::clock() - before);
    }
    return least;
  };
  std::string words;
  while (words.size() < 60'000) words += "some words and a number like 5\n";
  std::string const lines(60'000, '\n');
  // What looked at each empty line anew took thousands of times as long; what a busy machine adds
  // is far less.
  EXPECT_LT(ticks_of(lines), 64 * ticks_of(words) + CLOCKS_PER_SEC / 100);
}

}  // namespace
}  // namespace subforge::files
