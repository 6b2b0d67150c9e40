// Uploads that are gone on with: where they stand, whatever happens in between.
#include "files/resumable.hpp"

#include <filesystem>

#include <gtest/gtest.h>

#include "store/temporary_folder_test.hpp"

namespace subforge::files {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kHours = 2;
constexpr std::int64_t kMicrosPerHour = 3'600'000'000;

TEST(UploadMetadata, HoldsNamesWithValues) {
  auto const values = parse_upload_metadata("filename YS50eHQ=, empty,tags eA==");
  ASSERT_TRUE(values.has_value());
  EXPECT_EQ(*values, (std::map<std::string, std::string>{
                         {"filename", "a.txt"}, {"empty", ""}, {"tags", "x"}}));
  EXPECT_TRUE(parse_upload_metadata("").value().empty());
}

TEST(UploadMetadata, RefusesWhatIsNotBase64) {
  for (auto const* field : {"a ???", "a YQ", "a YQ=== ", "a x,a x", "a eA==,a eA=="}) {
    EXPECT_FALSE(parse_upload_metadata(field).has_value()) << field;
  }
}

class ResumableTest : public testing::Test {
 protected:
  ResumableTest() {
    EXPECT_TRUE(blobs_.open().has_value());
    EXPECT_TRUE(uploads_.open().has_value());
  }

  std::string begin(std::int64_t length) {
    ResumablePlan plan;
    plan.owner = "ann";
    plan.filename = "a.txt";
    plan.length = length;
    plan.tags = {"x"};
    auto made = uploads_.create(std::move(plan));
    EXPECT_TRUE(made.has_value());
    return made->id;
  }

  // Where it stands; -1 where there is none.
  [[nodiscard]] std::int64_t offset(std::string const& id) const {
    auto const found = uploads_.find(id);
    return found ? found->offset : -1;
  }

  void add(std::string const& id, std::string_view bytes) {
    auto upload = uploads_.go_on(id, offset(id));
    ASSERT_TRUE(upload.has_value()) << upload.error().message;
    EXPECT_TRUE((*upload)->write(bytes).has_value());
    EXPECT_TRUE((*upload)->finish().has_value());
  }

  [[nodiscard]] fs::path path(std::string const& id) const {
    return folder_.path() / "resumable" / id;
  }

  store::TemporaryFolder folder_;
  BlobStore blobs_{folder_.path().string(), 0};
  ResumableUploads uploads_{blobs_, kHours};
};

TEST_F(ResumableTest, StandsWhereItsBytesEnd) {
  auto const id = begin(10);
  EXPECT_EQ(offset(id), 0);
  add(id, "abc");
  EXPECT_EQ(offset(id), 3);
  auto const found = uploads_.find(id);
  EXPECT_EQ(found->plan.owner, "ann");
  EXPECT_EQ(found->plan.tags, std::vector<std::string>{"x"});
  auto const stale = uploads_.go_on(id, 2);
  ASSERT_FALSE(stale.has_value());
  EXPECT_EQ(stale.error().code, ErrorCode::stale);
}

TEST_F(ResumableTest, IsGoneOnWithByOneAtATime) {
  auto const id = begin(10);
  auto const one = uploads_.go_on(id, 0);
  ASSERT_TRUE(one.has_value());
  auto const other = uploads_.go_on(id, 0);
  ASSERT_FALSE(other.has_value());
  EXPECT_EQ(other.error().code, ErrorCode::conflict);
}

TEST_F(ResumableTest, TakesNoMoreThanWasAnnounced) {
  auto const id = begin(3);
  auto const upload = uploads_.go_on(id, 0);
  ASSERT_TRUE(upload.has_value());
  auto const more = (*upload)->write("abcd");
  ASSERT_FALSE(more.has_value());
  EXPECT_EQ(more.error().code, ErrorCode::too_large);
}

TEST_F(ResumableTest, TakesBackWhatFailsItsChecksum) {
  auto const id = begin(10);
  add(id, "abc");
  {
    auto const upload = uploads_.go_on(id, 3);
    ASSERT_TRUE(upload.has_value());
    ASSERT_TRUE((*upload)->digest_by("sha1").has_value());
    ASSERT_TRUE((*upload)->write("abc").has_value());
    EXPECT_EQ((*upload)->digest(), "qZk+NkcGgWq6PiVxeFDCbJzQ2J0=");
    (*upload)->undo();
    EXPECT_FALSE((*upload)->digest_by("crc32").has_value());
  }
  EXPECT_EQ(offset(id), 3);
}

TEST_F(ResumableTest, LastByteCountsOnceTheFileIsStored) {
  auto const id = begin(3);
  add(id, "abc");
  EXPECT_EQ(offset(id), 2);
  auto upload = uploads_.go_on(id, 2);
  ASSERT_TRUE(upload.has_value());
  ASSERT_TRUE((*upload)->write("d").has_value());
  EXPECT_TRUE((*upload)->whole());
  auto file = uploads_.complete(std::move(*upload));
  ASSERT_TRUE(file.has_value()) << file.error().message;
  EXPECT_EQ(file->record.original_filename, "a.txt");
  EXPECT_EQ(file->record.mime_type, "text/plain");
  EXPECT_EQ(file->blob->size(), 3);
  // While it is being stored nobody else has it, and afterwards it is open what became of it.
  EXPECT_FALSE(uploads_.go_on(id, 2).has_value());
  ASSERT_TRUE(file->blob->keep("one", std::nullopt).has_value());
  auto const open = uploads_.find(id);
  ASSERT_FALSE(open.has_value());
  EXPECT_EQ(open.error().code, ErrorCode::unavailable);
  EXPECT_EQ(uploads_.remove_stored(), 0);
  // It could not be stored after all.
  file->blob.reset();
  EXPECT_EQ(offset(id), 2);
}

TEST_F(ResumableTest, WhatWasStoredBeforeACrashIsRemoved) {
  auto const id = begin(1);
  add(id, "a");
  fs::create_hard_link(path(id), folder_.path() / "stored");
  EXPECT_EQ(offset(id), -1);
  EXPECT_FALSE(uploads_.go_on(id, 0).has_value());
  EXPECT_EQ(uploads_.remove_expired(Timestamp::now()), 0);
  EXPECT_EQ(uploads_.remove_stored(), 1);
  EXPECT_TRUE(fs::is_empty(folder_.path() / "resumable"));
  EXPECT_EQ(fs::file_size(folder_.path() / "stored"), 1U);
}

TEST_F(ResumableTest, PlanOfWhatIsGoneIsRemoved) {
  auto const gone = begin(1);
  auto const open = begin(1);
  fs::remove(path(gone));
  EXPECT_EQ(uploads_.remove_expired(Timestamp::now()), 1);
  EXPECT_FALSE(fs::exists(path(gone).string() + ".plan"));
  EXPECT_EQ(offset(open), 0);
}

TEST_F(ResumableTest, IsOverAfterItsTime) {
  auto const id = begin(10);
  add(id, "abc");
  auto now = Timestamp::now();
  EXPECT_EQ(uploads_.remove_expired(now), 0);
  now.micros += kHours * kMicrosPerHour + 1'000'000;
  EXPECT_EQ(uploads_.remove_expired(now), 1);
  EXPECT_EQ(offset(id), -1);
  EXPECT_TRUE(fs::is_empty(folder_.path() / "resumable"));
}

TEST_F(ResumableTest, CountsForItsOwnerFromItsBeginning) {
  ResumableUploads few(blobs_, kHours, {.of_all = 4, .of_user = 3});
  auto const make = [&](std::string owner, std::int64_t length,
                        std::optional<std::int64_t> bytes_max = {}) {
    ResumablePlan plan;
    plan.owner = std::move(owner);
    plan.filename = "a.txt";
    plan.length = length;
    auto made = few.create(std::move(plan), bytes_max);
    return made ? made->id : made.error().message;
  };
  auto const one = make("ann", 60, 100);
  EXPECT_EQ(few.announced_bytes("ann"), 60);
  EXPECT_EQ(few.announced_bytes("bob"), 0);
  EXPECT_EQ(make("ann", 41, 100), "Storage quota exceeded by what is under way");
  make("ann", 40, 100);
  make("ann", 1);
  EXPECT_EQ(make("ann", 1), "Too many uploads are under way");
  make("bob", 1, 1);
  EXPECT_EQ(make("eve", 1), "Too many uploads are under way");
  few.remove(one);
  EXPECT_EQ(few.announced_bytes("ann"), 41);
  // What another process has made counts as well.
  EXPECT_EQ(uploads_.announced_bytes("ann"), 41);
  EXPECT_EQ(make("eve", 5).size(), 2 * kResumableIdBytes);
}

TEST_F(ResumableTest, IsGoneForWhoGoesOnOnceItIsRemoved) {
  auto const id = begin(3);
  auto upload = uploads_.go_on(id, 0);
  ASSERT_TRUE(upload.has_value());
  ASSERT_TRUE((*upload)->write("abc").has_value());
  uploads_.remove(id);
  auto const finished = (*upload)->finish();
  ASSERT_FALSE(finished.has_value());
  EXPECT_EQ(finished.error().code, ErrorCode::not_found);
  // Or just before it gets its name.
  auto const later = begin(3);
  auto other = uploads_.go_on(later, 0);
  ASSERT_TRUE(other.has_value());
  ASSERT_TRUE((*other)->write("abc").has_value());
  auto const file = uploads_.complete(std::move(*other));
  ASSERT_TRUE(file.has_value());
  uploads_.remove(later);
  auto const kept = file->blob->keep("one", std::nullopt);
  ASSERT_FALSE(kept.has_value());
  EXPECT_EQ(kept.error().code, ErrorCode::not_found);
}

TEST_F(ResumableTest, KnowsNoOtherNames) {
  for (auto const* id : {"", "..", "../incoming/x", "00000000000000000000000000000000",
                         "0000000000000000000000000000000g"}) {
    EXPECT_EQ(offset(id), -1) << id;
    EXPECT_FALSE(uploads_.go_on(id, 0).has_value()) << id;
    uploads_.remove(id);
  }
}

}  // namespace
}  // namespace subforge::files
