// Contents of files in a folder, under the SHA-256 of what they hold: <2 digits>/<sha256>.<file
// id>. Every file has a name of its own; equal contents share their bytes by hard links, so that
// the file system counts the references, and no deletion can take away what another file needs.
//
// What is being received lies in incoming/ under a random name, and is locked. A crash leaves the
// name and frees the lock: that tells what nobody will ever finish.
//
// All of these wait for the disk: they are for the threads of a pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "runtime/disk_turns.hpp"

namespace subforge::files {

// A descriptor that is closed with its owner.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  int release() {
    int const fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_ = -1;
};

inline constexpr std::int64_t kFlushBytes = 1 << 20;

// What is told of a disk that is full, or as full as it may be; the error's code is unavailable.
inline constexpr std::string_view kNoRoom = "There is no room left for files";

struct BlobName {
  std::string sha256;  // In hexadecimal.
  std::string file_id;
  friend bool operator==(BlobName const&, BlobName const&) = default;
};

// What is to be known of all bytes of a content, found out as they come.
class ContentDigests {
 public:
  ContentDigests();
  ~ContentDigests();
  ContentDigests(ContentDigests const&) = delete;
  ContentDigests& operator=(ContentDigests const&) = delete;

  void update(std::string_view bytes);
  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] bool has_nul() const { return has_nul_; }
  // Once, in hexadecimal.
  [[nodiscard]] std::string sha256();
  [[nodiscard]] std::string md5();

 private:
  void* sha256_;  // Each an EVP_MD_CTX.
  void* md5_;
  std::int64_t size_ = 0;
  bool has_nul_ = false;
};

class BlobStore;

// Content on its way in; thrown away unless it is kept. One that was adopted stays with whoever
// received it until then, so that he can try again.
class IncomingBlob {
 public:
  ~IncomingBlob();
  IncomingBlob(IncomingBlob const&) = delete;
  IncomingBlob& operator=(IncomingBlob const&) = delete;

  // Errors: kNoRoom where the disk is full or as full as it may be, internal where it fails.
  Result<void> write(std::string_view bytes);
  // After the last write: the digests. No more may be written. Errors: as those of write().
  Result<void> finish();
  [[nodiscard]] std::int64_t size() const { return digests_->size(); }
  // Whether a byte of it is 0, which texts do not have.
  [[nodiscard]] bool has_nul() const { return digests_->has_nul(); }
  [[nodiscard]] std::string const& sha256() const { return sha256_; }
  [[nodiscard]] std::string const& md5() const { return md5_; }
  [[nodiscard]] int descriptor() const { return file_.get(); }
  // Where it lies until it is kept.
  [[nodiscard]] std::string const& path() const { return path_; }
  // Gives the content its name; on disk when this returns. Where `twin` has the same content
  // already, its bytes are shared. Error: not_found where whoever received it has removed it.
  Result<void> keep(std::string const& file_id, std::optional<std::string> const& twin);
  // The name may stay: a row of the database has it now. Else it is removed with this object.
  void commit() { committed_ = true; }
  // The name stays, and whoever received the content keeps it too: a row may have it.
  void leave() { kept_.clear(); }

 private:
  friend class BlobStore;
  IncomingBlob(BlobStore& store, std::string path, Descriptor file,
               std::unique_ptr<ContentDigests> digests);
  Result<void> put(std::string_view first, std::string_view second);
  [[nodiscard]] bool share(BlobName const& twin, std::string const& path);
  [[nodiscard]] bool same_bytes(int other) const;

  BlobStore& store_;
  std::string path_;
  Descriptor file_;
  Descriptor shared_;  // Of the twin: keeps its bytes locked until the end.
  std::unique_ptr<ContentDigests> const digests_;
  std::string rest_;             // What came last and is not in the file yet.
  std::int64_t checked_at_ = 0;  // Size at which the room on the disk was looked at.
  std::int64_t flushed_ = 0;     // So much of it is on the disk.
  std::string sha256_;
  std::string md5_;
  std::string kept_;  // The path that it was given.
  bool adopted_ = false;
  bool committed_ = false;
};

class BlobStore {
 public:
  // Writing stops when less than `free_bytes_min` would be left on the disk.
  BlobStore(std::string folder, std::int64_t free_bytes_min)
      : folder_(std::move(folder)), free_bytes_min_(free_bytes_min) {}

  // How many contents may be on their way in at once, each with a descriptor; before the first.
  void limit_incoming(std::int64_t most) { incoming_max_ = most; }
  // What goes to the disk lets those pass that go first by it; before the first content.
  void let_pass(DiskTurns& turns) { turns_ = &turns; }

  // Makes the folders. Error: unavailable, with a sentence for the person who started the server.
  Result<void> open() const;
  // Whether it is still there, and takes what comes.
  [[nodiscard]] bool is_usable() const;
  // Whose the folder is: a name that its owner chose and keeps. Nothing if it is nobody's.
  [[nodiscard]] std::optional<std::string> owner() const;
  Result<void> set_owner(std::string_view name) const;
  [[nodiscard]] bool holds_contents() const;
  // Error: unavailable, where as many are on their way in as may be; those of IncomingBlob.
  Result<std::unique_ptr<IncomingBlob>> create();
  // Takes over what somebody else has received, with the lock that he has on it, and the digests of
  // all of it; without these it is read for them.
  Result<std::unique_ptr<IncomingBlob>> adopt(std::string path, Descriptor file,
                                              std::unique_ptr<ContentDigests> digests = nullptr);
  // For reading. Error: not_found.
  [[nodiscard]] Result<Descriptor> read(BlobName const& name) const;
  // Where a backup holds what is there, it is put aside until that is over.
  void remove(BlobName const& name) const;

  // For backups: as long as what it gives lives, whatever process it is in, nothing is removed but
  // put aside. What was removed before is gone by then. Error: conflict, if somebody holds it.
  [[nodiscard]] Result<std::shared_ptr<void>> hold() const;
  // The path of a content within folder(), as it is and once it was put aside.
  [[nodiscard]] static std::string place_of(BlobName const& name);
  [[nodiscard]] static std::string place_aside(std::string const& place);
  // Removes what was put aside, unless somebody holds it. Tells how many.
  std::int64_t remove_put_aside() const;

  // Once kFlushBytes were written behind `flushed`, they are synced up to `end`, one content after
  // the other. What comes fast would else pile up, and whoever syncs something small, as each
  // commit of the database does, wait behind all of it: in memory, and in the cache of the disk
  // just as well, which everybody's sync empties. False where the disk failed; errno tells.
  [[nodiscard]] bool flush_steadily(int fd, std::int64_t end, std::int64_t& flushed);
  // Whether so much more may be written. Error: kNoRoom.
  [[nodiscard]] Result<void> check_room(std::int64_t bytes) const;

  // For the sweep at start. Removes what nobody receives any more; tells how many.
  std::int64_t remove_abandoned() const;
  // The names in one of the kShards folders.
  static constexpr int kShards = 256;
  [[nodiscard]] std::vector<BlobName> names_in(int shard) const;
  // Keeps others from taking the name in use; nothing where somebody is about to. Whoever then
  // still finds no row that has it may remove it.
  [[nodiscard]] std::optional<Descriptor> claim(BlobName const& name) const;

  [[nodiscard]] std::string const& folder() const { return folder_; }

 private:
  friend class IncomingBlob;
  // One thread after the other, and between commits.
  [[nodiscard]] std::unique_lock<std::mutex> take_turn();
  [[nodiscard]] bool sync(int fd);
  Result<void> sync_names(std::string const& folder);
  [[nodiscard]] std::string path_of(BlobName const& name) const;

  std::string const folder_;
  std::int64_t const free_bytes_min_;
  std::int64_t incoming_max_ = std::numeric_limits<std::int64_t>::max();
  std::atomic<std::int64_t> incoming_{0};
  DiskTurns* turns_ = nullptr;
  // lint: allow(locks): threads that wait for the disk, one after the other.
  std::mutex flushing_;
};

}  // namespace subforge::files
