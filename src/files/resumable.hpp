// Uploads that may be broken off and gone on with (tus 1.0): what has arrived lies in a folder of
// its own, with a description beside it, until it is whole or its time is over. A crash loses
// nothing that was acknowledged.
//
// All of these wait for the disk: they are for the threads of a pool.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/time.hpp"
#include "describe/record.hpp"
#include "files/blob_store.hpp"
#include "files/file.hpp"
#include "files/files.hpp"

namespace subforge::files {

inline constexpr std::size_t kResumableIdBytes = 16;
inline constexpr std::int64_t kResumableMax = 10'000;  // That are under way at once.

// Upload-Metadata: names with values in base 64. Error: invalid.
[[nodiscard]] Result<std::map<std::string, std::string>> parse_upload_metadata(
    std::string_view field);

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
  std::int64_t offset = 0;
  Timestamp expires_at;
};

// Bytes on their way to the end of one of them; nobody else can add to it meanwhile.
class Continuation {
 public:
  // Errors: too_large for more than was announced, and those of a full disk.
  Result<void> write(std::string_view bytes);
  // On disk when this returns.
  Result<void> finish();
  // Takes back all that was written.
  void undo();
  // The digest of what is written from now on, by md5, sha1 or sha256; in base 64.
  Result<void> digest_by(std::string_view algorithm);
  [[nodiscard]] std::string digest();
  [[nodiscard]] std::int64_t offset() const { return begin_ + written_; }
  [[nodiscard]] std::size_t room() const {
    return static_cast<std::size_t>(length_ - begin_ - written_);
  }

  ~Continuation();
  Continuation(Continuation const&) = delete;
  Continuation& operator=(Continuation const&) = delete;

 private:
  friend class ResumableUploads;
  Continuation(BlobStore& blobs, Descriptor file, std::int64_t begin, std::int64_t length)
      : blobs_(blobs), file_(std::move(file)), begin_(begin), length_(length) {}

  BlobStore& blobs_;
  Descriptor file_;
  std::int64_t const begin_;
  std::int64_t const length_;
  std::int64_t written_ = 0;
  void* digest_ = nullptr;  // An EVP_MD_CTX.
};

class ResumableUploads {
 public:
  // `hours` from the last byte on it can be gone on with.
  ResumableUploads(BlobStore& blobs, std::int64_t hours) : blobs_(blobs), hours_(hours) {}

  Result<void> open() const;
  Result<Resumable> create(ResumablePlan plan);
  // Error: not_found, also for one whose time is over.
  [[nodiscard]] Result<Resumable> find(std::string const& id) const;
  // Errors: stale where it does not stand at this offset, conflict while somebody else goes on.
  Result<std::unique_ptr<Continuation>> go_on(std::string const& id, std::int64_t offset);
  // The file that it has become, checked as any other. Error: invalid.
  Result<NewFile> complete(std::string const& id);
  void remove(std::string const& id) const;
  // Tells how many.
  std::int64_t remove_expired(Timestamp now) const;

 private:
  [[nodiscard]] std::string path_of(std::string const& id) const;

  BlobStore& blobs_;
  std::int64_t const hours_;
};

}  // namespace subforge::files
