// Contents on the disk: what stays, what is shared, what a crash leaves.
#include "files/blob_store.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>

#include "base/time.hpp"
#include "runtime/shared_core_test.hpp"
#include "store/temporary_folder_test.hpp"

namespace subforge::files {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSha256OfAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

// Bytes of the file that the disk has not got yet, by cachestat(2), which Debian 12's C library has
// no declaration for. Nothing where the kernel (before 6.5) or the file system cannot tell.
std::optional<std::int64_t> bytes_not_on_disk(int fd) {
  struct {
    std::uint64_t offset, length;
  } range{};
  struct {
    std::uint64_t cached, dirty, under_way, evicted, recently_evicted;
  } found{};
  constexpr long kCachestat = 451;
  struct statfs system{};
  if (::fstatfs(fd, &system) != 0 || system.f_type == TMPFS_MAGIC) return std::nullopt;
  if (::syscall(kCachestat, fd, &range, &found, 0) != 0) return std::nullopt;
  return static_cast<std::int64_t>(found.dirty + found.under_way) * ::sysconf(_SC_PAGESIZE);
}

class BlobStoreTest : public testing::Test {
 protected:
  BlobStoreTest() { EXPECT_TRUE(store_.open().has_value()); }

  [[nodiscard]] std::unique_ptr<IncomingBlob> receive(std::string_view content) {
    auto blob = store_.create();
    EXPECT_TRUE(blob.has_value());
    EXPECT_TRUE((*blob)->write(content).has_value());
    EXPECT_TRUE((*blob)->finish());
    return std::move(*blob);
  }

  // All files, by their paths below the folder.
  [[nodiscard]] std::vector<std::string> files() const {
    std::vector<std::string> all;
    for (auto const& entry : fs::recursive_directory_iterator(folder_.path())) {
      if (entry.is_regular_file()) all.push_back(fs::relative(entry.path(), folder_.path()));
    }
    return all;
  }

  [[nodiscard]] fs::path path(std::string_view file_id) const {
    return folder_.path() / "ba" / (std::string(kSha256OfAbc) + "." + std::string(file_id));
  }

  store::TemporaryFolder folder_;
  BlobStore store_{folder_.path().string(), 0};
};

TEST_F(BlobStoreTest, WhatComesInGoesToTheDiskMeanwhile) {
  // Where the tests are built there is a disk.
  store::TemporaryFolder const folder{fs::current_path()};
  BlobStore on_disk{folder.path().string(), 0};
  ASSERT_TRUE(on_disk.open().has_value());
  auto blob = on_disk.create();
  ASSERT_TRUE(blob.has_value());
  std::string const block(256U << 10, 'x');
  for (int i = 0; i < 64; ++i) {
    ASSERT_TRUE((*blob)->write(block).has_value());
    auto const waiting = bytes_not_on_disk((*blob)->descriptor());
    if (!waiting) GTEST_SKIP() << "nobody can tell here what is on the disk";
    ASSERT_LE(*waiting, kFlushBytes);
  }
}

TEST_F(BlobStoreTest, WhatComesInLetsCommitsPass) {
  DiskTurns turns;
  store_.let_pass(turns);
  auto blob = store_.create();
  ASSERT_TRUE(blob.has_value());
  auto const commit = turns.go_first();
  auto const begin = monotonic_ns();
  ASSERT_TRUE((*blob)->write(std::string(kFlushBytes, 'x')).has_value());
  auto const written = monotonic_ns();
  ASSERT_TRUE((*blob)->finish().has_value());
  ASSERT_TRUE((*blob)->keep("id", std::nullopt).has_value());
  constexpr auto kLetPassNs = DiskTurns::kLetPassMsMax * 1'000'000;
  EXPECT_GE(written - begin, kLetPassNs);
  // The rest of it, a new folder, and the name in that.
  EXPECT_GE(monotonic_ns() - written, 3 * kLetPassNs);
}

TEST(ContentDigestsTest, WhoHashesLetsOthersInAgainAndAgain) {
  constexpr int kTurns = 256;
  std::string const content(kTurns * (32U << 10), 'x');
  ContentDigests digests;
  auto const turns = turns_of_another([&] { digests.update(content); }, kTurns / 2);
  if (!turns) GTEST_SKIP() << "it cannot be told here";
  EXPECT_GE(*turns, kTurns / 2);
}

TEST_F(BlobStoreTest, DigestsAreThoseOfAllPieces) {
  auto blob = store_.create();
  ASSERT_TRUE(blob.has_value());
  for (auto const* piece : {"a", "", "bc"}) EXPECT_TRUE((*blob)->write(piece).has_value());
  EXPECT_TRUE((*blob)->finish());
  EXPECT_EQ((*blob)->size(), 3);
  EXPECT_EQ((*blob)->sha256(), kSha256OfAbc);
  EXPECT_EQ((*blob)->md5(), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_FALSE((*blob)->has_nul());
  EXPECT_TRUE(receive(std::string("a\0b", 3))->has_nul());
}

TEST_F(BlobStoreTest, PiecesOfAnySizeAreWrittenWhole) {
  auto blob = store_.create();
  ASSERT_TRUE(blob.has_value());
  std::string content;
  for (std::size_t const size :
       {1U, 65'535U, 1U, 262'144U, 100U, 65'435U, 131'072U, 0U, 300'000U, 7U}) {
    std::string piece(size, '\0');
    for (std::size_t i = 0; i < size; ++i) piece[i] = static_cast<char>((content.size() + i) % 251);
    ASSERT_TRUE((*blob)->write(piece).has_value());
    content += piece;
  }
  ASSERT_TRUE((*blob)->finish().has_value());
  EXPECT_EQ((*blob)->size(), std::ssize(content));
  std::string stored(content.size() + 1, '\0');
  auto const got = ::pread((*blob)->descriptor(), stored.data(), stored.size(), 0);
  ASSERT_EQ(got, std::ssize(content));
  stored.pop_back();
  EXPECT_TRUE(stored == content);
}

TEST_F(BlobStoreTest, WhatIsNotCommittedLeavesNothing) {
  (void)receive("abc");
  EXPECT_TRUE(receive("abc")->keep("one", std::nullopt).has_value());
  EXPECT_TRUE(files().empty());
}

TEST_F(BlobStoreTest, WhatIsCommittedStays) {
  {
    auto const blob = receive("abc");
    ASSERT_TRUE(blob->keep("one", std::nullopt).has_value());
    blob->commit();
  }
  EXPECT_EQ(files(), std::vector<std::string>{fs::relative(path("one"), folder_.path())});
  EXPECT_TRUE(store_.read({std::string(kSha256OfAbc), "one"}).has_value());
  EXPECT_EQ(store_.names_in(0xba), std::vector<BlobName>({{std::string(kSha256OfAbc), "one"}}));
  store_.remove({std::string(kSha256OfAbc), "one"});
  auto const gone = store_.read({std::string(kSha256OfAbc), "one"});
  ASSERT_FALSE(gone.has_value());
  EXPECT_EQ(gone.error().code, ErrorCode::not_found);
}

TEST_F(BlobStoreTest, WhatMayHaveARowStays) {
  {
    auto const blob = receive("abc");
    ASSERT_TRUE(blob->keep("one", std::nullopt).has_value());
    blob->leave();
  }
  EXPECT_EQ(files(), std::vector<std::string>{fs::relative(path("one"), folder_.path())});
}

TEST_F(BlobStoreTest, EqualContentsShareTheirBytes) {
  std::optional<std::string> twin;
  for (auto const* id : {"one", "two"}) {
    auto const blob = receive("abc");
    ASSERT_TRUE(blob->keep(id, twin).has_value());
    blob->commit();
    twin = id;
  }
  EXPECT_EQ(fs::hard_link_count(path("one")), 2U);
  store_.remove({std::string(kSha256OfAbc), "one"});
  EXPECT_TRUE(store_.read({std::string(kSha256OfAbc), "two"}).has_value());
  // A twin that is gone by now is not missed.
  auto const blob = receive("abc");
  EXPECT_TRUE(blob->keep("three", "one").has_value());
}

TEST_F(BlobStoreTest, SweepsOnlyWhatNobodyReceives) {
  std::ofstream(folder_.path() / "incoming" / "abandoned") << "x";
  auto const blob = receive("abc");
  EXPECT_EQ(store_.remove_abandoned(), 1);
  EXPECT_TRUE(fs::exists(blob->path()));
  ASSERT_TRUE(blob->keep("one", std::nullopt).has_value());
  // It is about to get its row.
  EXPECT_FALSE(store_.claim({std::string(kSha256OfAbc), "one"}).has_value());
}

TEST_F(BlobStoreTest, LeavesRoomOnTheDisk) {
  BlobStore const full(folder_.path().string(), std::numeric_limits<std::int64_t>::max());
  auto const room = full.check_room(1);
  ASSERT_FALSE(room.has_value());
  EXPECT_EQ(room.error().code, ErrorCode::unavailable);
  EXPECT_TRUE(store_.check_room(1).has_value());
}

TEST_F(BlobStoreTest, WhatWasAdoptedStaysWithItsOwnerUntilItIsCommitted) {
  auto const from = folder_.path() / "own";
  auto const adopt = [&] {
    auto blob = store_.adopt(from, Descriptor(::open(from.c_str(), O_RDWR | O_CLOEXEC)));
    EXPECT_TRUE(blob.has_value());
    return std::move(*blob);
  };
  std::ofstream(from) << "abc";
  EXPECT_EQ(adopt()->sha256(), kSha256OfAbc);
  EXPECT_TRUE(adopt()->keep("one", std::nullopt).has_value());
  EXPECT_EQ(files(), std::vector<std::string>{"own"});
  {
    auto const blob = adopt();
    ASSERT_TRUE(blob->keep("one", std::nullopt).has_value());
    blob->commit();
  }
  EXPECT_FALSE(fs::exists(from));
  EXPECT_TRUE(fs::exists(path("one")));
}

}  // namespace
}  // namespace subforge::files
