// One upload as it comes in pieces: what it becomes, and where it is stopped.
#include "files/upload.hpp"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "store/temporary_folder_test.hpp"

namespace subforge::files {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string part(std::string_view name, std::string_view content, std::string_view filename = {}) {
  auto text = "--b\r\nContent-Disposition: form-data; name=" + std::string(name);
  if (!filename.empty()) text += "; filename=\"" + std::string(filename) + "\"";
  return text + "\r\n\r\n" + std::string(content) + "\r\n";
}

class UploadTest : public testing::Test {
 protected:
  UploadTest() { EXPECT_TRUE(blobs_.open().has_value()); }

  Result<std::vector<NewFile>> receive(std::string_view body, std::size_t piece = 7) {
    Upload upload(blobs_, FileType::data_files, {.file_bytes_max = 100, .files_max = 2},
                  *http::MultipartParser::of("multipart/form-data; boundary=b"));
    for (; !body.empty(); body.remove_prefix(std::min(piece, body.size()))) {
      if (auto taken = upload.take(body.substr(0, piece)); !taken) {
        return std::unexpected(taken.error());
      }
    }
    if (auto whole = upload.finish(); !whole) return std::unexpected(whole.error());
    return upload.take_files();
  }

  [[nodiscard]] std::string error_of(std::string_view body) {
    auto const files = receive(body);
    EXPECT_FALSE(files.has_value()) << body;
    EXPECT_TRUE(fs::is_empty(folder_.path() / "incoming"));
    return files ? std::string() : files.error().message;
  }

  store::TemporaryFolder folder_;
  BlobStore blobs_{folder_.path().string(), 0};
};

TEST_F(UploadTest, GivesEveryFileWhatTheFormSaysOfAll) {
  auto const body = part("files", "one", "x/a.txt") + part("tags", "a, b,a") +
                    part("files", "two", "b.csv") + part("metadata", R"({"k": 1})") + "--b--";
  for (std::size_t const piece : {1U, 7U, 1000U}) {
    auto const files = receive(body, piece);
    ASSERT_TRUE(files.has_value()) << files.error().message;
    ASSERT_EQ(files->size(), 2U);
    EXPECT_EQ((*files)[0].record.original_filename, "a.txt");
    EXPECT_EQ((*files)[1].record.mime_type, "text/csv");
    EXPECT_EQ((*files)[1].blob->size(), 3);
    for (auto const& file : *files) {
      EXPECT_EQ(file.record.tags, (std::vector<std::string>{"a", "b"}));
      EXPECT_EQ(file.record.metadata.text, R"({"k":1})");
    }
  }
}

TEST_F(UploadTest, StopsWhereALimitIsCrossed) {
  auto const file = part("files", "x", "a.txt");
  EXPECT_TRUE(receive(part("files", std::string(100, 'x'), "a.txt") + "--b--").has_value());
  EXPECT_THAT(error_of(part("files", std::string(101, 'x'), "a.txt")), HasSubstr("too large"));
  EXPECT_THAT(error_of(file + file + file), HasSubstr("Too many files. Maximum allowed: 2"));
  EXPECT_THAT(error_of(file + part("tags", std::string(kFieldBytesMax + 1, 'x'))),
              HasSubstr("longer than"));
  EXPECT_THAT(error_of(file + part("files", "x", "a.exe")), HasSubstr("'a.exe'"));
  EXPECT_THAT(error_of(file), HasSubstr("lacks its last boundary"));
}

TEST_F(UploadTest, NeedsAFile) {
  auto const none = receive(part("tags", "a") + "--b--");
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code, ErrorCode::bad_reference);
}

TEST(UploadFields, AreChecked) {
  EXPECT_EQ(parse_tags(" a,,b ,a").value(), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(parse_tags("\xff").has_value());
  EXPECT_FALSE(parse_tags(std::string("a\0b", 3)).has_value());
  EXPECT_FALSE(parse_tags(std::string(kTagBytesMax + 1, 'x')).has_value());
  EXPECT_EQ(parse_metadata("").value().text, describe::JsonText{}.text);
  for (auto const* text : {"[]", "1", "{", "{\"a\":1,\"a\":2}", "{\"a\":1e999}", "\xff"}) {
    EXPECT_FALSE(parse_metadata(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace subforge::files
