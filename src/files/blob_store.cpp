#include "files/blob_store.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <utility>

#include <openssl/evp.h>

#include "base/random.hpp"
#include "base/text.hpp"
#include "runtime/scheduling.hpp"

namespace subforge::files {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIncoming = "/incoming/";
// Who removes contents shares a lock on this folder for the moment, and a backup has it alone. It
// has one on the folder of all contents as well, so that another backup need not wait to be told.
constexpr std::string_view kDeleted = "deleted/";
constexpr std::string_view kOwner = "/.owner";
constexpr std::size_t kShardDigits = 2;
constexpr std::size_t kSha256Digits = 64;
constexpr int kOwnerOnly = 0600;
constexpr std::size_t kReadBytes = 256U << 10;
constexpr std::size_t kWrittenBytes = 64U << 10;     // Contents are written in multiples of this.
constexpr std::size_t kHashedBytes = 32U << 10;      // Before others are let in.
constexpr std::int64_t kRoomEveryBytes = 256 << 10;  // Between looks at the room on the disk.

std::unexpected<Error> disk_error(std::string_view what) {
  int const cause = errno;
  bool const full = cause == ENOSPC || cause == EDQUOT || cause == EFBIG;
  return fail(full ? ErrorCode::unavailable : ErrorCode::internal,
              std::string(full ? kNoRoom : "The file could not be stored"),
              std::string(what) + ": " + std::strerror(cause));
}

Result<void> sync_folder(std::string const& path) {
  Descriptor const folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid() || ::fsync(folder.get()) != 0) return disk_error("fsync " + path);
  return {};
}

std::optional<BlobName> parse_name(std::string const& name) {
  if (name.size() <= kSha256Digits + 1 || name[kSha256Digits] != '.') return std::nullopt;
  return BlobName{name.substr(0, kSha256Digits), name.substr(kSha256Digits + 1)};
}

// Nothing where somebody has it, and `how` says not to wait.
std::optional<Descriptor> lock_folder(std::string const& path, int how) {
  Descriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return std::nullopt;
  int code = 0;
  while ((code = ::flock(folder.get(), how)) != 0 && errno == EINTR) {
  }
  if (code != 0) return std::nullopt;
  return folder;
}

// The file, locked against all others; nothing while somebody is writing it.
std::optional<Descriptor> lock_alone(std::string const& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.valid() || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  return file;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

namespace {

EVP_MD_CTX* digest_context(void* digest) { return static_cast<EVP_MD_CTX*>(digest); }

std::string final_digest(void* digest) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> bytes;
  unsigned size = 0;
  EVP_DigestFinal_ex(digest_context(digest), bytes.data(), &size);
  return hex_encode(std::span(bytes).first(size));
}

}  // namespace

ContentDigests::ContentDigests() : sha256_(EVP_MD_CTX_new()), md5_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(digest_context(sha256_), EVP_sha256(), nullptr);
  EVP_DigestInit_ex(digest_context(md5_), EVP_md5(), nullptr);
}

ContentDigests::~ContentDigests() {
  EVP_MD_CTX_free(digest_context(sha256_));
  EVP_MD_CTX_free(digest_context(md5_));
}

void ContentDigests::update(std::string_view bytes) {
  size_ += static_cast<std::int64_t>(bytes.size());
  for (; !bytes.empty(); bytes.remove_prefix(std::min(kHashedBytes, bytes.size()))) {
    // All of it while the processor has the bytes at hand.
    auto const some = bytes.substr(0, kHashedBytes);
    EVP_DigestUpdate(digest_context(sha256_), some.data(), some.size());
    EVP_DigestUpdate(digest_context(md5_), some.data(), some.size());
    has_nul_ = has_nul_ || some.contains('\0');
    if (some.size() == kHashedBytes) let_others_in();
  }
}

std::string ContentDigests::sha256() { return final_digest(sha256_); }
std::string ContentDigests::md5() { return final_digest(md5_); }

IncomingBlob::IncomingBlob(BlobStore& store, std::string path, Descriptor file,
                           std::unique_ptr<ContentDigests> digests)
    : store_(store), path_(std::move(path)), file_(std::move(file)), digests_(std::move(digests)) {
  ++store_.incoming_;
}

IncomingBlob::~IncomingBlob() {
  --store_.incoming_;
  if (!path_.empty() && (!adopted_ || committed_)) ::unlink(path_.c_str());
  if (!kept_.empty() && !committed_) ::unlink(kept_.c_str());
}

Result<void> IncomingBlob::write(std::string_view bytes) {
  auto const size = static_cast<std::int64_t>(bytes.size());
  auto const after = digests_->size() + size;
  if (after == size || after - checked_at_ >= kRoomEveryBytes) {
    checked_at_ = after;
    if (auto room = store_.check_room(size); !room) return room;
  }
  digests_->update(bytes);
  // In whole pages: the kernel would else take up twice the one that both of two writes have a part
  // of, and give those behind it out singly.
  auto const pending = rest_.size() + bytes.size();
  auto const now = pending - pending % kWrittenBytes;
  if (now > 0) {
    auto const fresh = bytes.substr(0, now - rest_.size());
    if (auto written = put(rest_, fresh); !written) return written;
    bytes.remove_prefix(fresh.size());
    rest_.clear();
  }
  rest_ += bytes;
  auto const end = after - std::ssize(rest_);
  if (!store_.flush_steadily(file_.get(), end, flushed_)) return disk_error("sync " + path_);
  return {};
}

Result<void> IncomingBlob::put(std::string_view first, std::string_view second) {
  std::array<std::string_view, 2> left = {first, second};
  while (!left[0].empty() || !left[1].empty()) {
    std::array<iovec, 2> pieces;
    std::ranges::transform(left, pieces.begin(), [](std::string_view one) {
      return iovec{const_cast<char*>(one.data()), one.size()};
    });
    auto const written = ::writev(file_.get(), pieces.data(), pieces.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return disk_error("write " + path_);
    auto const of_first = std::min(static_cast<std::size_t>(written), left[0].size());
    left[0].remove_prefix(of_first);
    left[1].remove_prefix(static_cast<std::size_t>(written) - of_first);
  }
  return {};
}

Result<void> IncomingBlob::finish() {
  auto written = put(rest_, {});
  rest_ = {};
  sha256_ = digests_->sha256();
  md5_ = digests_->md5();
  return written;
}

// What a disk has damaged is no twin any more, whatever its name says.
bool IncomingBlob::same_bytes(int other) const {
  struct stat status{};
  if (::fstat(other, &status) != 0 || status.st_size != size()) return false;
  std::string mine(kReadBytes, '\0');
  std::string theirs(kReadBytes, '\0');
  for (std::int64_t at = 0; at < size();) {
    auto const got = ::pread(file_.get(), mine.data(), mine.size(), at);
    if (got <= 0 || ::pread(other, theirs.data(), static_cast<std::size_t>(got), at) != got) {
      return false;
    }
    if (std::memcmp(mine.data(), theirs.data(), static_cast<std::size_t>(got)) != 0) return false;
    at += got;
  }
  return true;
}

bool IncomingBlob::share(BlobName const& twin, std::string const& path) {
  auto file = store_.read(twin);
  if (!file || ::flock(file->get(), LOCK_SH | LOCK_NB) != 0) return false;
  if (!same_bytes(file->get())) return false;
  if (::link(store_.path_of(twin).c_str(), path.c_str()) != 0) return false;
  shared_ = std::move(*file);
  return true;
}

Result<void> IncomingBlob::keep(std::string const& file_id,
                                std::optional<std::string> const& twin) {
  auto const path = store_.path_of({sha256_, file_id});
  auto const shard = path.substr(0, path.rfind('/'));
  if (::mkdir(shard.c_str(), kOwnerOnly | 0100) == 0) {
    if (auto synced = store_.sync_names(store_.folder_); !synced) return synced;
  } else if (errno != EEXIST) {
    return disk_error("mkdir " + shard);
  }
  if (twin && share({sha256_, *twin}, path)) {
    kept_ = path;
    return store_.sync_names(shard);
  }
  if (!store_.sync(file_.get())) return disk_error("sync " + path_);
  // What was adopted keeps its old name beside the new one, where the file system can do that.
  if (!adopted_ || ::link(path_.c_str(), path.c_str()) != 0) {
    if (::rename(path_.c_str(), path.c_str()) != 0) {
      if (adopted_ && errno == ENOENT) return fail(ErrorCode::not_found, "The upload is gone");
      return disk_error("rename to " + path);
    }
    path_.clear();
  }
  kept_ = path;
  return store_.sync_names(shard);
}

Result<void> BlobStore::open() const {
  std::error_code error;
  fs::create_directories(folder_ + std::string(kIncoming), error);
  if (!error) fs::create_directories(fs::path(folder_) / kDeleted, error);
  if (!error && is_usable()) return {};
  return fail(ErrorCode::unavailable, "UPLOAD_DIR: the folder " + folder_ + " cannot be written to",
              error ? error.message() : std::strerror(errno));
}

bool BlobStore::is_usable() const {
  return ::access((folder_ + std::string(kIncoming)).c_str(), W_OK) == 0;
}

std::optional<std::string> BlobStore::owner() const {
  std::ifstream file(folder_ + std::string(kOwner));
  std::string name;
  if (!file || !std::getline(file, name)) return std::nullopt;
  return name;
}

Result<void> BlobStore::set_owner(std::string_view name) const {
  auto const path = folder_ + std::string(kOwner);
  auto const half = path + random_token(6);
  {
    Descriptor const file(
        ::open(half.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kOwnerOnly));
    auto const line = std::string(name) + '\n';
    bool const written = ::write(file.get(), line.data(), line.size()) == std::ssize(line);
    if (!written || ::fsync(file.get()) != 0) return disk_error("write " + half);
  }
  if (::rename(half.c_str(), path.c_str()) != 0) return disk_error("rename to " + path);
  return sync_folder(folder_);
}

bool BlobStore::holds_contents() const {
  for (int shard = 0; shard < kShards; ++shard) {
    if (!names_in(shard).empty()) return true;
  }
  return false;
}

Result<std::unique_ptr<IncomingBlob>> BlobStore::create() {
  if (incoming_ >= incoming_max_) {
    return fail(ErrorCode::unavailable, "Too many files are being received at the moment");
  }
  auto path = folder_ + std::string(kIncoming) + random_token(16);
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kOwnerOnly));
  if (!file.valid()) return disk_error("open " + path);
  if (::flock(file.get(), LOCK_SH | LOCK_NB) != 0) return disk_error("flock " + path);
  return std::unique_ptr<IncomingBlob>(new IncomingBlob(*this, std::move(path), std::move(file),
                                                        std::make_unique<ContentDigests>()));
}

Result<std::unique_ptr<IncomingBlob>> BlobStore::adopt(std::string path, Descriptor file,
                                                       std::unique_ptr<ContentDigests> digests) {
  if (digests == nullptr) {
    digests = std::make_unique<ContentDigests>();
    std::string buffer(kReadBytes, '\0');
    for (;;) {
      auto const got = ::pread(file.get(), buffer.data(), buffer.size(), digests->size());
      if (got < 0) return disk_error("read " + path);
      if (got == 0) break;
      digests->update(std::string_view(buffer).substr(0, static_cast<std::size_t>(got)));
    }
  }
  std::unique_ptr<IncomingBlob> blob(
      new IncomingBlob(*this, std::move(path), std::move(file), std::move(digests)));
  blob->adopted_ = true;
  if (auto finished = blob->finish(); !finished) return std::unexpected(finished.error());
  return blob;
}

std::string BlobStore::place_of(BlobName const& name) {
  return name.sha256.substr(0, kShardDigits) + "/" + name.sha256 + "." + name.file_id;
}

std::string BlobStore::place_aside(std::string const& place) {
  return std::string(kDeleted) + place.substr(place.find('/') + 1);
}

std::string BlobStore::path_of(BlobName const& name) const {
  return folder_ + "/" + place_of(name);
}

Result<Descriptor> BlobStore::read(BlobName const& name) const {
  Descriptor file(::open(path_of(name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.valid()) return fail(ErrorCode::not_found, "File not found on disk");
  return file;
}

void BlobStore::remove(BlobName const& name) const {
  auto const path = path_of(name);
  auto const deleted = folder_ + "/" + std::string(kDeleted);
  if (auto const lock = lock_folder(deleted, LOCK_SH | LOCK_NB)) {
    ::unlink(path.c_str());
  } else if (::rename(path.c_str(), (folder_ + "/" + place_aside(place_of(name))).c_str()) != 0) {
    ::unlink(path.c_str());  // Nobody holds what is not there.
  }
}

Result<std::shared_ptr<void>> BlobStore::hold() const {
  auto const deleted = folder_ + "/" + std::string(kDeleted);
  std::error_code error;
  fs::create_directories(deleted, error);
  if (error) return fail(ErrorCode::unavailable, folder_ + ": " + error.message());
  auto all = lock_folder(folder_, LOCK_EX | LOCK_NB);
  if (!all) return fail(ErrorCode::conflict, "Another backup of the files is under way");
  auto removal = lock_folder(deleted, LOCK_EX);
  if (!removal) return disk_error("flock " + deleted);
  using Both = std::pair<Descriptor, Descriptor>;
  return std::make_shared<Both>(std::move(*all), std::move(*removal));
}

std::int64_t BlobStore::remove_put_aside() const {
  auto const deleted = folder_ + "/" + std::string(kDeleted);
  auto const lock = lock_folder(deleted, LOCK_SH | LOCK_NB);
  if (!lock) return 0;
  std::int64_t removed = 0;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(deleted, error)) {
    if (fs::remove(entry.path(), error)) ++removed;
  }
  return removed;
}

bool BlobStore::flush_steadily(int fd, std::int64_t end, std::int64_t& flushed) {
  if (end - flushed < kFlushBytes) return true;
  flushed = end;
  return sync(fd);
}

std::unique_lock<std::mutex> BlobStore::take_turn() {
  std::unique_lock turn(flushing_);
  if (turns_ != nullptr) turns_->let_pass();
  return turn;
}

Result<void> BlobStore::sync_names(std::string const& folder) {
  auto const turn = take_turn();
  return sync_folder(folder);
}

bool BlobStore::sync(int fd) {
  auto const turn = take_turn();
  int code = 0;
  while ((code = ::fdatasync(fd)) != 0 && errno == EINTR) {
  }
  return code == 0;
}

Result<void> BlobStore::check_room(std::int64_t bytes) const {
  struct statvfs disk{};
  if (::statvfs(folder_.c_str(), &disk) != 0) return disk_error("statvfs " + folder_);
  auto const free = static_cast<std::int64_t>(disk.f_bavail * disk.f_frsize);
  if (free - bytes >= free_bytes_min_) return {};
  return fail(ErrorCode::unavailable, std::string(kNoRoom),
              "less than DISK_FREE_BYTES_MIN would be left");
}

std::int64_t BlobStore::remove_abandoned() const {
  std::int64_t removed = 0;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(folder_ + std::string(kIncoming), error)) {
    if (lock_alone(entry.path()) && fs::remove(entry.path(), error)) ++removed;
  }
  return removed;
}

std::vector<BlobName> BlobStore::names_in(int shard) const {
  auto const number = static_cast<std::uint8_t>(shard);
  std::vector<BlobName> names;
  std::error_code error;
  for (auto const& entry :
       fs::directory_iterator(folder_ + "/" + hex_encode({&number, 1}), error)) {
    if (auto name = parse_name(entry.path().filename().string())) names.push_back(std::move(*name));
  }
  return names;
}

std::optional<Descriptor> BlobStore::claim(BlobName const& name) const {
  return lock_alone(path_of(name));
}

}  // namespace subforge::files
