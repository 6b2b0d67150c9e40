#include "files/resumable.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <span>

#include <openssl/evp.h>

#include "base/random.hpp"
#include "base/text.hpp"
#include "describe/parse_json.hpp"
#include "files/content.hpp"
#include "files/upload.hpp"

namespace subforge::files {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFolder = "/resumable";
constexpr std::string_view kPlan = ".plan";
constexpr std::int64_t kMicrosPerHour = 3'600'000'000;
constexpr int kOwnerOnly = 0600;

bool is_id(std::string_view id) {
  return id.size() == 2 * kResumableIdBytes && std::ranges::all_of(id, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::unexpected<Error> unknown() { return fail(ErrorCode::not_found, "There is no such upload"); }

std::unexpected<Error> disk_error(std::string_view what) {
  bool const full = errno == ENOSPC || errno == EDQUOT;
  return fail(full ? ErrorCode::unavailable : ErrorCode::internal,
              std::string(full ? kNoRoom : "The upload could not be stored"),
              std::string(what) + ": " + std::strerror(errno));
}

Result<void> write_synced(std::string const& path, std::string_view text) {
  Descriptor const file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kOwnerOnly));
  auto const written = file.valid() ? ::write(file.get(), text.data(), text.size()) : -1;
  if (written != static_cast<ssize_t>(text.size()) || ::fsync(file.get()) != 0) {
    return disk_error("write " + path);
  }
  return {};
}

void sync_folder(std::string const& path) {
  Descriptor const folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ::fsync(folder.get());
}

std::optional<std::string> base64_decode(std::string_view text) {
  std::string bytes(text.size(), '\0');
  auto const* const from = reinterpret_cast<std::uint8_t const*>(text.data());
  auto const length = EVP_DecodeBlock(reinterpret_cast<std::uint8_t*>(bytes.data()), from,
                                      static_cast<int>(text.size()));
  if (length < 0) return std::nullopt;
  // It counts the padding as bytes.
  auto const padding = static_cast<std::size_t>(text.ends_with("==") ? 2 : text.ends_with("="));
  bytes.resize(static_cast<std::size_t>(length) - padding);
  return bytes;
}

// Whether it has a name among the stored files, and nobody is about to give it up again.
bool is_stored(std::string const& path) {
  struct stat about{};
  if (::stat(path.c_str(), &about) != 0 || about.st_nlink < 2) return false;
  Descriptor const file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  return file.valid() && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0;
}

std::optional<ResumablePlan> read_plan(fs::path const& path) {
  std::ifstream const file(path);
  std::string const text{std::istreambuf_iterator<char>(file.rdbuf()), {}};
  boost::system::error_code error;
  auto const plan = describe::parse_json(text, error);
  if (error || !plan.is_object()) return std::nullopt;
  return describe::read_stored<ResumablePlan>(plan.get_object());
}

EVP_MD_CTX* context(void* digest) { return static_cast<EVP_MD_CTX*>(digest); }

}  // namespace

Result<std::map<std::string, std::string>> parse_upload_metadata(std::string_view field) {
  std::map<std::string, std::string> values;
  for (auto const pair : split_list(field, ',')) {
    auto const space = pair.find(' ');
    auto const name = pair.substr(0, space);
    std::optional<std::string> value = std::string();
    if (space != std::string_view::npos) value = base64_decode(trim(pair.substr(space)));
    if (!value) return fail(ErrorCode::invalid, "Upload-Metadata: a value is not base 64");
    if (!values.emplace(name, std::move(*value)).second) {
      return fail(ErrorCode::invalid, "Upload-Metadata: a name is given twice");
    }
  }
  return values;
}

std::string file_id_of(std::string_view upload_id) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> digest;
  EVP_Digest(upload_id.data(), upload_id.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  return hex_encode(std::span(digest).first(kFileIdDigits / 2));
}

Continuation::~Continuation() { EVP_MD_CTX_free(context(digest_)); }

Result<void> Continuation::digest_by(std::string_view algorithm) {
  auto const* const kind = algorithm == "sha1"     ? EVP_sha1()
                           : algorithm == "sha256" ? EVP_sha256()
                           : algorithm == "md5"    ? EVP_md5()
                                                   : nullptr;
  if (kind == nullptr) return fail(ErrorCode::invalid, "Upload-Checksum: sha1, sha256 or md5");
  digest_ = EVP_MD_CTX_new();
  EVP_DigestInit_ex(context(digest_), kind, nullptr);
  return {};
}

std::string Continuation::digest() {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> bytes;
  unsigned size = 0;
  EVP_DigestFinal_ex(context(digest_), bytes.data(), &size);
  std::array<std::uint8_t, 2 * EVP_MAX_MD_SIZE> text;
  auto const length = EVP_EncodeBlock(text.data(), bytes.data(), static_cast<int>(size));
  return {reinterpret_cast<char const*>(text.data()), static_cast<std::size_t>(length)};
}

Result<void> Continuation::write(std::string_view bytes) {
  if (bytes.size() > room()) {
    return fail(ErrorCode::too_large, "The upload is longer than it was announced to be");
  }
  if (auto free = blobs_.check_room(static_cast<std::int64_t>(bytes.size())); !free) return free;
  if (digest_ != nullptr) EVP_DigestUpdate(context(digest_), bytes.data(), bytes.size());
  if (content_ != nullptr) content_->update(bytes);
  while (!bytes.empty()) {
    auto const written = ::pwrite(file_.get(), bytes.data(), bytes.size(), offset());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return disk_error("write");
    bytes.remove_prefix(static_cast<std::size_t>(written));
    written_ += written;
  }
  if (!blobs_.flush_steadily(file_.get(), offset(), flushed_)) return disk_error("sync");
  return {};
}

Result<void> Continuation::finish() {
  struct stat about{};
  if (::fsync(file_.get()) != 0 || ::fstat(file_.get(), &about) != 0) return disk_error("fsync");
  if (about.st_nlink == 0) return unknown();
  return {};
}

void Continuation::undo() {
  (void)!::ftruncate(file_.get(), upload_.offset);
  written_ = 0;
  flushed_ = upload_.offset;
  content_.reset();
}

std::string ResumableUploads::path_of(std::string const& id) const {
  return blobs_.folder() + std::string(kFolder) + "/" + id;
}

Result<void> ResumableUploads::open() const {
  std::error_code error;
  fs::create_directories(blobs_.folder() + std::string(kFolder), error);
  if (!error) return {};
  return fail(ErrorCode::unavailable, "UPLOAD_DIR: a folder cannot be made in it", error.message());
}

ResumableUploads::Usage ResumableUploads::look_around(std::string const& owner) {
  std::unordered_map<std::string, Owned> seen;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(blobs_.folder() + std::string(kFolder), error)) {
    auto id = entry.path().filename().string();
    if (!id.ends_with(kPlan)) continue;
    id.resize(id.size() - kPlan.size());
    if (auto const known = known_.find(id); known != known_.end()) {
      seen.insert(known_.extract(known));
    } else if (auto const plan = read_plan(entry.path())) {
      seen.emplace(std::move(id), Owned{plan->owner, plan->length});
    }
  }
  known_ = std::move(seen);
  Usage usage;
  if (auto const begun = begun_.find(owner); begun != begun_.end()) usage = begun->second;
  for (auto const& [id, upload] : known_) {
    if (upload.owner != owner) continue;
    ++usage.uploads;
    usage.bytes += upload.bytes;
  }
  return usage;
}

std::int64_t ResumableUploads::announced_bytes(std::string const& owner) {
  std::lock_guard const lock(mutex_);
  return look_around(owner).bytes;
}

Result<Resumable> ResumableUploads::create(ResumablePlan plan,
                                           std::optional<std::int64_t> bytes_max) {
  if (auto free = blobs_.check_room(plan.length); !free) return std::unexpected(free.error());
  auto const owner = plan.owner;
  auto const bytes = plan.length;
  {
    std::lock_guard const lock(mutex_);
    auto const usage = look_around(owner);
    if (bytes_max && usage.bytes + bytes > *bytes_max) {
      return fail(ErrorCode::too_large, "Storage quota exceeded by what is under way");
    }
    if (usage.uploads >= limits_.of_user ||
        static_cast<std::int64_t>(known_.size()) >= limits_.of_all) {
      return fail(ErrorCode::unavailable, "Too many uploads are under way");
    }
    auto& begun = begun_[owner];
    ++begun.uploads;
    begun.bytes += bytes;
  }
  auto made = write_down(std::move(plan));
  std::lock_guard const lock(mutex_);
  auto& begun = begun_[owner];
  begun.bytes -= bytes;
  if (--begun.uploads == 0) begun_.erase(owner);
  return made;
}

Result<Resumable> ResumableUploads::write_down(ResumablePlan plan) const {
  std::array<std::uint8_t, kResumableIdBytes> bytes;
  secure_random(bytes);
  Resumable made{hex_encode(bytes), std::move(plan), 0, {}};
  std::string text;
  JsonWriter json(text);
  describe::write_stored(json, made.plan);
  auto const path = path_of(made.id);
  if (auto written = write_synced(path, {}); !written) return std::unexpected(written.error());
  if (auto written = write_synced(path + std::string(kPlan), text); !written) {
    return std::unexpected(written.error());
  }
  sync_folder(blobs_.folder() + std::string(kFolder));
  made.expires_at = expiry_from(Timestamp::now());
  return made;
}

Timestamp ResumableUploads::expiry_from(Timestamp now) const {
  return {now.micros + hours_ * kMicrosPerHour};
}

Result<Resumable> ResumableUploads::find(std::string const& id) const {
  struct stat about{};
  if (!is_id(id) || ::stat(path_of(id).c_str(), &about) != 0) return unknown();
  if (about.st_nlink > 1) {
    // A content has been made of it, and somebody else makes its row or waits for a lost database.
    return fail(ErrorCode::unavailable, "It is not known yet whether the upload was stored");
  }
  auto plan = read_plan(path_of(id) + std::string(kPlan));
  if (!plan) return unknown();
  Resumable found{id, std::move(*plan), about.st_size, {}};
  found.offset = std::min(found.offset, std::max<std::int64_t>(found.plan.length - 1, 0));
  found.expires_at.micros = about.st_mtim.tv_sec * 1'000'000 + hours_ * kMicrosPerHour;
  if (found.expires_at <= Timestamp::now()) return unknown();
  return found;
}

Result<std::unique_ptr<Continuation>> ResumableUploads::go_on(std::string const& id,
                                                              std::int64_t offset) {
  Descriptor file(is_id(id) ? ::open(path_of(id).c_str(), O_RDWR | O_CLOEXEC) : -1);
  if (!file.valid()) return unknown();
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return fail(ErrorCode::conflict, "Somebody else goes on with the upload");
  }
  auto found = find(id);
  if (!found) return std::unexpected(found.error());
  if (found->offset != offset) {
    return fail(ErrorCode::stale, "The upload stands at " + std::to_string(found->offset));
  }
  if (::ftruncate(file.get(), offset) != 0) return disk_error("ftruncate");
  return std::unique_ptr<Continuation>(
      new Continuation(blobs_, std::move(file), std::move(*found)));
}

std::shared_ptr<void> ResumableUploads::can_be_stopped(std::string const& id,
                                                       std::function<void()> stop) {
  auto const kept = std::make_shared<std::function<void()>>(std::move(stop));
  std::lock_guard const lock(mutex_);
  running_.insert_or_assign(id, kept);
  std::erase_if(running_, [](auto const& one) { return one.second.expired(); });
  return kept;
}

bool ResumableUploads::stop(std::string const& id) {
  std::shared_ptr<std::function<void()>> found;
  {
    std::lock_guard const lock(mutex_);
    auto const running = running_.find(id);
    if (running != running_.end()) found = running->second.lock();
  }
  if (found != nullptr) (*found)();
  return found != nullptr;
}

Result<NewFile> ResumableUploads::complete(std::unique_ptr<Continuation> upload) {
  auto const& plan = upload->upload_.plan;
  NewFile file;
  file.record.id = file_id_of(upload->upload_.id);
  file.record.uploaded_by = plan.owner;
  file.record.original_filename = plan.filename;
  file.record.file_type = plan.file_type;
  file.record.tags = plan.tags;
  file.record.metadata = plan.metadata;
  auto& digests = upload->content_;
  if (digests != nullptr && digests->size() != plan.length) digests.reset();
  auto blob =
      blobs_.adopt(path_of(upload->upload_.id), std::move(upload->file_), std::move(digests));
  if (!blob) return std::unexpected(blob.error());
  file.blob = std::move(*blob);
  auto const& name = file.record.original_filename;
  auto content = inspect(*file.blob, name);
  if (!content) return invalid_file(name, content.error().message);
  file.record.mime_type = std::move(content->mime_type);
  return file;
}

void ResumableUploads::remove(std::string const& id) const {
  if (!is_id(id)) return;
  ::unlink((path_of(id) + std::string(kPlan)).c_str());
  ::unlink(path_of(id).c_str());
}

std::int64_t ResumableUploads::remove_expired(Timestamp now) const {
  std::int64_t removed = 0;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(blobs_.folder() + std::string(kFolder), error)) {
    auto const id = entry.path().filename().string();
    struct stat about{};
    if (id.ends_with(kPlan)) {
      // Written after what it is about and removed before that, but for a crash of who stored it.
      auto const of = id.substr(0, id.size() - kPlan.size());
      bool const alone = is_id(of) && ::stat(path_of(of).c_str(), &about) != 0;
      if (alone && ::unlink(entry.path().c_str()) == 0) ++removed;
      continue;
    }
    if (!is_id(id) || ::stat(entry.path().c_str(), &about) != 0) continue;
    if (about.st_mtim.tv_sec * 1'000'000 + hours_ * kMicrosPerHour > now.micros) continue;
    remove(id);
    ++removed;
  }
  return removed;
}

std::int64_t ResumableUploads::remove_stored() const {
  std::int64_t removed = 0;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(blobs_.folder() + std::string(kFolder), error)) {
    if (!is_stored(entry.path())) continue;
    remove(entry.path().filename().string());
    ++removed;
  }
  return removed;
}

}  // namespace subforge::files
