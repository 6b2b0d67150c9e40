// SQLite on a disk that fails when told to: it is full, it cannot sync, it lies about having
// synced, or the power goes. What is written goes to real files, which stand for the page cache;
// beside them this class keeps what of it would be on the disk by now.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>

#include <sqlite3.h>

namespace subforge::store {

class FaultVfs {
 public:
  FaultVfs();  // Registers itself under name().
  ~FaultVfs();
  FaultVfs(FaultVfs const&) = delete;
  FaultVfs& operator=(FaultVfs const&) = delete;
  [[nodiscard]] std::string const& name() const { return name_; }

  // Files may grow by this much altogether; then the disk is full.
  static constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();
  void set_room(std::int64_t bytes);
  // So many syncs fail from now on.
  void fail_syncs(int count) { failing_syncs_.store(count); }

  // Whether syncs of files with such a name do what they say.
  void lie_about_syncs_of(std::string_view suffix) { lying_suffix_ = suffix; }
  // Called within each sync that does what it says.
  void on_sync(std::function<void()> call) { on_sync_ = std::move(call); }
  // How long a sync takes at most; each takes a random part of it.
  void set_sync_us_max(int microseconds) { sync_us_max_ = microseconds; }

  enum class Loss : std::uint8_t {
    all,   // Nothing of what was not synced made it to the disk.
    some,  // Any part of it did: sector by sector, sizes and names of files apart from their bytes.
  };
  struct PowerCut {
    Loss loss = Loss::all;
    std::int64_t at_operation = kUnlimited;  // Writes, syncs and the like, counted from now.
    std::uint64_t seed = 0;
  };
  void plan(PowerCut cut);
  void cut_now();
  // False from the cut on; then every write and sync fails.
  [[nodiscard]] bool powered() const { return powered_.load(); }
  [[nodiscard]] std::int64_t operations() const;
  // What the disk holds after the cut, by file name without folder.
  [[nodiscard]] std::map<std::string, std::string> const& survivors() const { return survivors_; }

 private:
  struct Change {
    std::int64_t offset;
    std::string bytes;
    bool truncates;  // To `offset`.
  };
  // A file apart from its name.
  struct Content {
    std::string durable;
    std::deque<Change> pending;
    std::int64_t first_pending = 0;  // Number of pending.front() among all changes.
    std::int64_t size = 0;
  };
  using Names = std::map<std::string, std::shared_ptr<Content>>;
  struct File;

  static int open(sqlite3_vfs* vfs, sqlite3_filename name, sqlite3_file* file, int flags,
                  int* out_flags);
  static int remove(sqlite3_vfs* vfs, char const* name, int sync_directory);
  static File& file_of(sqlite3_file* file);
  static sqlite3_io_methods const& methods();

  int write(File& file, char const* bytes, int count, std::int64_t offset);
  int truncate(File& file, std::int64_t size);
  int sync(File& file, int flags);

  // Counts one operation, which may be the one at which the power goes. With the lock held.
  bool begin_operation();
  void cut();
  [[nodiscard]] std::string survivor(Content const& content);
  static void apply(Change const& change, std::string& bytes, char filler);
  bool chance(double probability);

  std::string name_;
  sqlite3_vfs* real_;
  sqlite3_vfs vfs_;

  mutable std::mutex mutex_;
  Names names_;
  Names durable_names_;
  std::int64_t room_ = kUnlimited;
  std::int64_t operations_ = 0;
  PowerCut plan_;
  std::mt19937_64 random_;
  std::map<std::string, std::string> survivors_;
  std::atomic<bool> powered_{true};
  std::atomic<int> failing_syncs_{0};
  std::string lying_suffix_ = "\n";
  int sync_us_max_ = 0;
  std::function<void()> on_sync_;
};

}  // namespace subforge::store
