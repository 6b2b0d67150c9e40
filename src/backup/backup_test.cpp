// Backups of a real store, restored and damaged.
#include "backup/backup.hpp"

#include <fstream>
#include <set>

#include <gtest/gtest.h>

#include "backup/catalog.hpp"
#include "backup/restore.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::backup {
namespace {

namespace fs = std::filesystem;
using store::Session;
using store::TestStore;
using store::Transaction;

constexpr int kManyRows = 2'000;

class BackupTest : public testing::Test {
 protected:
  BackupTest() {
    fs::create_directories(folder_.path() / "source");
    fs::create_directories(files());
    store_ = std::make_unique<TestStore>(folder_.path() / "source");
    options_.folder = folder_.path() / "backups";
    options_.sources.push_back(
        {"uploads", files(),
         [this](Session&) -> Task<Result<std::vector<ListedFile>>> { co_return listed_; }});
    write(files() / "a/one", "first");
    write(files() / "two", std::string(600'000, 'x'));
    publish(kManyRows);
  }

  [[nodiscard]] fs::path files() const { return folder_.path() / "uploads"; }
  static void write(fs::path const& path, std::string const& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  void publish(int count) {
    auto work = [&](Transaction& transaction) -> Task<Result<void>> {
      for (int i = 0; i < count; ++i) {
        store::Event event;
        event.kind = "test.happened";
        event.subject = "test:" + std::to_string(i);
        event.audience = store::Audience::everybody({"tests"});
        event.payload = R"({"text":"some words that take their place","number":)" +
                        std::to_string(i * 7919) + "}";
        auto const done = co_await transaction.publish(std::move(event));
        if (!done) co_return std::unexpected(done.error());
      }
      co_return {};
    };
    ASSERT_TRUE(store_->run(store_->store().write(work)));
  }
  Result<BackupDone> take(BackupKind kind) {
    return store_->run(take_backup(store_->store(), pool_, kind, options_,
                                   [](double, std::string_view) { return true; }));
  }
  // All that a store has, but for what differs by intent.
  static std::map<std::string, std::string> contents(TestStore& store) {
    std::map<std::string, std::string> sums;
    auto read = [&](Session& session) -> Task<Result<void>> {
      auto const tables = co_await store::read_tables(session);
      if (!tables) co_return std::unexpected(tables.error());
      for (auto const& table : *tables) {
        store::RowsChecksum sum;
        store::Cells last;
        for (;;) {
          auto batch = co_await store::read_rows(session, table, last);
          if (!batch) co_return std::unexpected(batch.error());
          for (auto const& row : batch->rows) {
            if (table.name != "meta") sum.add(row);
          }
          if (!batch->more) break;
          last = batch->rows.back();
        }
        sums[table.name] = std::to_string(sum.rows()) + ":" + sum.text();
      }
      co_return {};
    };
    EXPECT_TRUE(store.run(store.store().read(store::ReadCost::whole, read)));
    return sums;
  }
  // Restores into a new store and folder.
  std::unique_ptr<TestStore> restored(fs::path const& manifest) {
    auto const restore = Restore::open(manifest);
    EXPECT_TRUE(restore) << restore.error().message;
    if (!restore) return nullptr;
    auto const verified = restore->verify(quiet_);
    EXPECT_TRUE(verified) << verified.error().message;
    auto const place = folder_.path() / ("restored" + std::to_string(++restored_));
    fs::create_directories(place);
    auto target = std::make_unique<TestStore>(place);
    auto const loaded = target->run(restore->load(target->store(), quiet_));
    EXPECT_TRUE(loaded) << loaded.error().message << loaded.error().context;
    auto sources = options_.sources;
    sources[0].folder = place / "uploads";
    EXPECT_TRUE(restore->load_files(sources, quiet_));
    return target;
  }
  static std::string text_of(fs::path const& path) { return read_file(path).value_or("(nothing)"); }

  RestoreProgress quiet_ = [](std::string_view, std::int64_t) {};
  store::TemporaryFolder folder_;
  BlockingPool pool_{1, 10};
  std::unique_ptr<TestStore> store_;
  BackupOptions options_;
  std::vector<ListedFile> listed_{{"a/one"}, {"two"}};
  int restored_ = 0;
};

TEST_F(BackupTest, AFullOneBringsEverythingBack) {
  auto const before = contents(*store_);
  auto const done = take(BackupKind::full);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->kind, BackupKind::full);
  EXPECT_EQ(done->files, 2);
  EXPECT_GE(done->rows, 2 * kManyRows);  // Events, and the rooms of each.
  publish(5);                            // What comes later is not in it.
  auto const target = restored(done->manifest);
  ASSERT_NE(target, nullptr);
  EXPECT_EQ(contents(*target), before);
  EXPECT_EQ(text_of(folder_.path() / "restored1/uploads/a/one"), "first");
  EXPECT_EQ(text_of(folder_.path() / "restored1/uploads/two"), std::string(600'000, 'x'));
}

TEST_F(BackupTest, FilesThatAreThereButDamagedAreBroughtBackToo) {
  auto const done = take(BackupKind::full);
  ASSERT_TRUE(done);
  auto const restore = Restore::open(done->manifest);
  ASSERT_TRUE(restore);
  auto sources = options_.sources;
  auto const place = folder_.path() / "damaged";
  sources[0].folder = place;
  auto const large = std::string(600'000, 'x');
  for (auto const& wrong : {std::string("FIRST"), std::string("firs"), std::string("first and")}) {
    write(place / "a/one", wrong);
    write(place / "two", large.substr(1) + "y");
    ASSERT_TRUE(restore->load_files(sources, quiet_));
    EXPECT_EQ(text_of(place / "a/one"), "first");
    EXPECT_EQ(text_of(place / "two"), large);
  }
  auto const before = fs::last_write_time(place / "two");
  ASSERT_TRUE(restore->load_files(sources, quiet_));
  EXPECT_EQ(fs::last_write_time(place / "two"), before);  // What is whole stays.
}

TEST_F(BackupTest, ARestoredLogHasANewEpochAndGoesOnBehindItsHighestId) {
  auto const done = take(BackupKind::full);
  ASSERT_TRUE(done);
  auto const last = store_->store().last_event_id();
  restored(done->manifest).reset();
  TestStore again(folder_.path() / "restored1");
  EXPECT_NE(again.store().epoch(), store_->store().epoch());
  std::string before;
  auto read = [&before](store::Session& session) -> Task<Result<std::int64_t>> {
    co_return co_await session.query("SELECT value FROM meta WHERE key = 'log_epochs_before'", {},
                                     [&before](store::Row const& row) { before = row.text(0); });
  };
  EXPECT_TRUE(again.run(again.store().read(store::ReadCost::point, read)));
  EXPECT_EQ(before, store_->store().epoch());
  EXPECT_EQ(again.store().last_event_id(), last);
  auto publish = [](Transaction& transaction) -> Task<Result<std::int64_t>> {
    store::Event event;
    event.kind = "test.happened";
    event.payload = "{}";
    co_return co_await transaction.publish(std::move(event));
  };
  EXPECT_EQ(again.run(again.store().write(publish)).value_or(0), last + 1);
}

TEST_F(BackupTest, AnIncrementalOneWritesWhatIsNewAndRestoresOnItsFullOne) {
  auto const full = take(BackupKind::full);
  ASSERT_TRUE(full);
  publish(20);
  write(files() / "two", std::string(600'000, 'x') + "and more");
  auto const second = take(BackupKind::incremental);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->kind, BackupKind::incremental);
  EXPECT_LT(second->chunks_written, second->chunks / 2);
  EXPECT_LT(second->bytes, full->bytes);
  publish(20);
  auto const before = contents(*store_);
  auto const third = take(BackupKind::incremental);
  ASSERT_TRUE(third);
  auto const target = restored(third->manifest);
  ASSERT_NE(target, nullptr);
  EXPECT_EQ(contents(*target), before);
  EXPECT_EQ(text_of(folder_.path() / "restored1/uploads/two").size(), 600'008U);
  // Without the one below it there is nothing to restore.
  fs::remove_all(full->manifest.parent_path());
  auto const broken = Restore::open(third->manifest);
  ASSERT_FALSE(broken);
  EXPECT_NE(broken.error().message.find(full->id), std::string::npos) << broken.error().message;
}

TEST_F(BackupTest, WhatIsNamedByItsContentIsReadOnce) {
  listed_ = {{"a/one", "first"}, {"b", "first"}, {"two", "many"}};
  auto const full = take(BackupKind::full);
  ASSERT_TRUE(full) << full.error().message;
  EXPECT_EQ(full->files, 3);
  // By now they cannot be read any more; a new one with the same content, and one that is gone.
  fs::remove_all(files());
  fs::create_directories(files());
  listed_ = {{"c", "many"}, {"a/one", "first"}, {"gone", "unknown"}};
  auto const second = take(BackupKind::incremental);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(second->missing, std::vector<std::string>{"gone"});
  EXPECT_EQ(second->files, 2);
  ASSERT_NE(restored(second->manifest), nullptr);
  EXPECT_EQ(text_of(folder_.path() / "restored1/uploads/c"), std::string(600'000, 'x'));
  EXPECT_EQ(text_of(folder_.path() / "restored1/uploads/a/one"), "first");
  EXPECT_EQ(take(BackupKind::full)->missing.size(), 3U);
}

TEST_F(BackupTest, WhatIsPutAsideMeanwhileIsFound) {
  auto held = std::make_shared<int>(0);
  auto& source = options_.sources.front();
  source.hold = [&] -> Result<std::shared_ptr<void>> { return held; };
  source.elsewhere = [this](std::string const& name) { return files() / "deleted" / name; };
  auto const done = store_->run(take_backup(
      store_->store(), pool_, BackupKind::full, options_, [&](double, std::string_view what) {
        if (what == "writing") {
          EXPECT_EQ(held.use_count(), 1);
        } else {
          EXPECT_GT(held.use_count(), 1);
        }
        if (fs::exists(files() / "two")) {
          fs::create_directories(files() / "deleted");
          fs::rename(files() / "two", files() / "deleted/two");
        }
        return true;
      }));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(done->missing.empty());
  ASSERT_NE(restored(done->manifest), nullptr);
  EXPECT_EQ(text_of(folder_.path() / "restored1/uploads/two"), std::string(600'000, 'x'));
  source.hold = [] -> Result<std::shared_ptr<void>> { return fail(ErrorCode::conflict, "held"); };
  EXPECT_EQ(take(BackupKind::full).error().code, ErrorCode::conflict);
}

TEST_F(BackupTest, AnIncrementalOneWithNothingToBuildOnIsFull) {
  auto const first = take(BackupKind::incremental);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->kind, BackupKind::full);
  options_.chain_max = 2;
  EXPECT_EQ(take(BackupKind::incremental)->kind, BackupKind::incremental);
  EXPECT_EQ(take(BackupKind::incremental)->kind, BackupKind::full);
  // Nor is one built on what is cut short.
  auto const newest = list_backups(options_.folder).back();
  fs::resize_file(options_.folder / newest / kPackName, 10);
  EXPECT_EQ(take(BackupKind::incremental)->kind, BackupKind::full);
}

TEST_F(BackupTest, EveryDamageIsNoticedBeforeAnythingIsTouched) {
  auto const done = take(BackupKind::full);
  ASSERT_TRUE(done);
  auto const pack = done->manifest.parent_path() / kPackName;
  auto const whole = text_of(pack);
  for (auto const at : {std::size_t{3}, whole.size() / 2, whole.size() - 3}) {
    auto changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    write(pack, changed);
    auto const restore = Restore::open(done->manifest);
    ASSERT_TRUE(restore);
    auto const verified = restore->verify(quiet_);
    ASSERT_FALSE(verified) << at;
    EXPECT_NE(verified.error().message.find("is damaged"), std::string::npos)
        << verified.error().message;
  }
  write(pack, whole.substr(0, whole.size() - 1));
  EXPECT_FALSE(Restore::open(done->manifest)->verify(quiet_));
  write(pack, whole);
  EXPECT_TRUE(Restore::open(done->manifest)->verify(quiet_));

  auto const text = text_of(done->manifest);
  auto changed = text;
  changed[text.find("\"rows\":") + 7] ^= 1;
  write(done->manifest, changed);
  EXPECT_EQ(Restore::open(done->manifest).error().code, ErrorCode::invalid);
  write(done->manifest, text.substr(0, text.size() / 2));
  EXPECT_EQ(Restore::open(done->manifest).error().code, ErrorCode::invalid);
}

TEST_F(BackupTest, WhatIsStoppedLeavesNothingThatLooksWhole) {
  auto const stopped =
      store_->run(take_backup(store_->store(), pool_, BackupKind::full, options_,
                              [](double percent, std::string_view) { return percent < 50; }));
  ASSERT_FALSE(stopped);
  EXPECT_TRUE(list_backups(options_.folder).empty());
  // As a process that was killed leaves it.
  auto const half = options_.folder / (std::string(kUnfinished) + "20260102T000000-full-1");
  write(half / kPackName, "half");
  write(half / kManifestName, "{}");
  EXPECT_TRUE(list_backups(options_.folder).empty());
  EXPECT_FALSE(Restore::open(half / kManifestName));
  ASSERT_TRUE(take(BackupKind::full));
  EXPECT_FALSE(fs::exists(half));
}

TEST_F(BackupTest, OneAtATime) {
  FolderLock lock;
  ASSERT_TRUE(lock.take(options_.folder));
  auto const second = take(BackupKind::full);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::conflict);
}

TEST_F(BackupTest, OldChainsAreRemovedWhole) {
  std::vector<std::string> ids;
  for (auto const kind : {BackupKind::full, BackupKind::incremental, BackupKind::full,
                          BackupKind::incremental, BackupKind::incremental}) {
    ids.push_back(take(kind)->id);
  }
  EXPECT_EQ(remove_old(options_.folder, 2).value_or(-1), 0);
  EXPECT_EQ(remove_old(options_.folder, 1).value_or(-1), 2);
  EXPECT_EQ(list_backups(options_.folder), (std::vector<std::string>{ids[2], ids[3], ids[4]}));
}

TEST_F(BackupTest, AWriterGoesOnMeanwhile) {
  auto const before = contents(*store_);
  bool wrote = false;
  std::thread writer;
  auto const done = store_->run(take_backup(
      store_->store(), pool_, BackupKind::full, options_, [&](double, std::string_view) {
        if (std::exchange(wrote, true)) return true;
        writer = std::thread([&] {
          EventLoop loop;
          auto one = [](Transaction& transaction) -> Task<Result<std::int64_t>> {
            store::Event event;
            event.kind = "test.meanwhile";
            event.payload = "{}";
            co_return co_await transaction.publish(std::move(event));
          };
          EXPECT_TRUE(block_on(loop, store_->store().write(one)));
        });
        writer.join();
        return true;
      }));
  ASSERT_TRUE(done);
  EXPECT_EQ(Restore::open(done->manifest)->manifest().last_event_id, kManyRows);
  EXPECT_EQ(store_->store().last_event_id(), kManyRows + 1);
  auto const target = restored(done->manifest);
  ASSERT_NE(target, nullptr);
  EXPECT_EQ(contents(*target), before);
}

}  // namespace
}  // namespace subforge::backup
