// Uploads that may be broken off and gone on with (tus 1.0): what has arrived lies in a folder of
// its own, with a description beside it, until it is whole or its time is over. A crash loses
// nothing that was acknowledged.
//
// All of these wait for the disk: they are for the threads of a pool.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "describe/record.hpp"
#include "files/blob_store.hpp"
#include "files/file.hpp"
#include "files/files.hpp"

namespace subforge::files {

inline constexpr std::size_t kResumableIdBytes = 16;

// Upload-Metadata: names with values in base 64. Error: invalid.
[[nodiscard]] Result<std::map<std::string, std::string>> parse_upload_metadata(
    std::string_view field);

// The id of the file that an upload becomes: whoever comes back with the one, though he never heard
// that all was stored, is shown the other.
[[nodiscard]] std::string file_id_of(std::string_view upload_id);

// What was said when it was created.
struct ResumablePlan {
  std::string owner;
  std::string filename;
  FileType file_type = FileType::data_files;
  std::int64_t length = 0;
  std::vector<std::string> tags;
  describe::JsonText metadata;
  std::string sent;  // Upload-Metadata, to be told again.

  static constexpr auto describe() {
    using describe::field;
    using P = ResumablePlan;
    return describe::fields(field("owner", &P::owner), field("filename", &P::filename),
                            field("file_type", &P::file_type), field("length", &P::length),
                            field("tags", &P::tags), field("metadata", &P::metadata),
                            field("sent", &P::sent));
  }
};

struct Resumable {
  std::string id;
  ResumablePlan plan;
  // What has arrived. The last byte counts once the file is stored: whoever comes back after a
  // failure in between sends it again, and hears what has become of the file.
  std::int64_t offset = 0;
  Timestamp expires_at;
};

// Bytes on their way to the end of one of them; nobody else can add to it meanwhile.
class Continuation {
 public:
  // Errors: too_large for more than was announced, and those of a full disk.
  Result<void> write(std::string_view bytes);
  // On disk when this returns. Error: not_found where the upload was given up meanwhile.
  Result<void> finish();
  // Takes back all that was written.
  void undo();
  // The digest of what is written from now on, by md5, sha1 or sha256; in base 64.
  Result<void> digest_by(std::string_view algorithm);
  [[nodiscard]] std::string digest();
  [[nodiscard]] std::int64_t offset() const { return upload_.offset + written_; }
  [[nodiscard]] std::size_t room() const {
    return static_cast<std::size_t>(upload_.plan.length - offset());
  }
  [[nodiscard]] bool whole() const { return room() == 0; }

  ~Continuation();
  Continuation(Continuation const&) = delete;
  Continuation& operator=(Continuation const&) = delete;

 private:
  friend class ResumableUploads;
  Continuation(BlobStore& blobs, Descriptor file, Resumable upload)
      : blobs_(blobs), file_(std::move(file)), upload_(std::move(upload)) {
    if (upload_.offset == 0) content_ = std::make_unique<ContentDigests>();
  }

  BlobStore& blobs_;
  Descriptor file_;
  Resumable const upload_;  // As it was before.
  std::int64_t written_ = 0;
  std::int64_t flushed_ = upload_.offset;    // So much of it is on the disk.
  void* digest_ = nullptr;                   // An EVP_MD_CTX.
  std::unique_ptr<ContentDigests> content_;  // Of all of it, if it comes in one go.
};

// That are under way at once.
struct ResumableLimits {
  std::int64_t of_all = 10'000;
  std::int64_t of_user = 1'000;
};

class ResumableUploads {
 public:
  // `hours` from the last byte on it can be gone on with.
  ResumableUploads(BlobStore& blobs, std::int64_t hours, ResumableLimits limits = {})
      : blobs_(blobs), hours_(hours), limits_(limits) {}

  Result<void> open() const;
  // Its whole length counts from now on for its owner, who may have `bytes_max` under way. Errors:
  // too_large for more than that, unavailable where there are too many, kNoRoom.
  Result<Resumable> create(ResumablePlan plan, std::optional<std::int64_t> bytes_max = {});
  // When an upload is over that has just been gone on with.
  [[nodiscard]] Timestamp expiry_from(Timestamp now) const;
  // The announced bytes of all that the user has under way.
  [[nodiscard]] std::int64_t announced_bytes(std::string const& owner);
  // Errors: not_found, also for one whose time is over; unavailable while it is open whether it has
  // become a file.
  [[nodiscard]] Result<Resumable> find(std::string const& id) const;
  // Errors: stale where it does not stand at this offset, conflict while somebody else goes on.
  Result<std::unique_ptr<Continuation>> go_on(std::string const& id, std::int64_t offset);
  // What makes whoever goes on with it in this process stop, as long as the returned object lives;
  // from any thread.
  [[nodiscard]] std::shared_ptr<void> can_be_stopped(std::string const& id,
                                                     std::function<void()> stop);
  // Somebody wants to go on in the place of whoever does, whose connection may be dead without a
  // word. False if that is nobody of this process.
  bool stop(std::string const& id);
  // The file that it has become, checked as any other; the upload stays until it is removed.
  // Error: invalid.
  Result<NewFile> complete(std::unique_ptr<Continuation> upload);
  void remove(std::string const& id) const;
  // Those whose time is over; tells how many.
  std::int64_t remove_expired(Timestamp now) const;
  // Those that were stored just before a crash. After the sweep of contents, which leaves but those
  // that have rows.
  std::int64_t remove_stored() const;

 private:
  struct Usage {
    std::int64_t uploads = 0;
    std::int64_t bytes = 0;
  };
  struct Owned {
    std::string owner;
    std::int64_t bytes = 0;
  };
  [[nodiscard]] std::string path_of(std::string const& id) const;
  [[nodiscard]] Result<Resumable> write_down(ResumablePlan plan) const;
  // Of what lies in the folder, whichever process has put it there; with the lock.
  [[nodiscard]] Usage look_around(std::string const& owner);

  BlobStore& blobs_;
  std::int64_t const hours_;
  ResumableLimits const limits_;
  // lint: allow(locks): threads that wait for the disk, when an upload begins.
  std::mutex mutex_;
  std::unordered_map<std::string, Owned> known_;  // So that a plan is read once.
  std::unordered_map<std::string, Usage> begun_;  // By owner: those that are being created.
  std::unordered_map<std::string, std::weak_ptr<std::function<void()>>> running_;
};

}  // namespace subforge::files
