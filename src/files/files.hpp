// What can be done with the records of files. Contents go to the blob store before, and are removed
// from it afterwards, so that a row never names what is not there.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/precondition.hpp"
#include "domain/actor.hpp"
#include "files/blob_store.hpp"
#include "files/file.hpp"
#include "files/quota.hpp"
#include "files/scanner.hpp"
#include "realtime/live_event.hpp"
#include "runtime/blocking_pool.hpp"
#include "store/counts.hpp"
#include "store/listing.hpp"
#include "store/store.hpp"

namespace subforge::files {

struct FileFilter {
  std::optional<FileType> file_type = {};
  bool impossible = false;  // A filter value that nothing can match.
  std::optional<std::string> uploaded_by = {};
  std::optional<std::string> mime_type = {};
  std::vector<std::string> tags = {};      // Any of them.
  std::optional<std::string> search = {};  // Part of the name or of the text, whatever the case.
  enum class Sort : std::uint8_t { uploaded_at, filename, file_size, file_type };
  Sort sort = Sort::uploaded_at;
  bool descending = true;
  std::optional<store::Position> after = {};
  std::optional<std::int64_t> until = {};
  std::int64_t skip = 0;
  std::int64_t limit = 100;
};

using FilePage = store::Page<FileRecord>;
inline constexpr std::int64_t kFileCountMax = 10'000;

struct FileStatistics {
  std::int64_t total_files = 0;
  std::int64_t total_size = 0;
  store::Counts by_type;
  store::Counts by_mime_type;
  store::Counts by_uploader;
  std::int64_t today = 0;
  std::int64_t this_week = 0;
  std::int64_t this_month = 0;
};

// Who asks for a change, and whether other people's files are his to change.
struct Requester {
  domain::Actor actor;
  bool admin = false;
};

// A file that has arrived.
struct NewFile {
  FileRecord record;
  std::unique_ptr<IncomingBlob> blob;
};

// Has to do what follows from an upload: the background tasks that look into its files.
class UploadFollower {
 public:
  // In the transaction that is about to add these rows. Files that will be looked into get an
  // analysis that says so. Called again if the transaction is run again.
  virtual Task<Result<void>> uploaded_in(store::Transaction& transaction,
                                         std::vector<FileRecord>& files,
                                         std::string const& session_id,
                                         domain::Actor const& actor) = 0;

 protected:
  ~UploadFollower() = default;
};

// The small picture of an image.
struct ShownThumbnail {
  FileRecord file;
  std::string mime_type;
  std::string bytes;
};

class Files {
 public:
  // A user may store so many bytes; 0 means any number.
  Files(store::Store& store, BlobStore& blobs, Scanner& scanner, BlockingPool& pool,
        std::int64_t user_bytes_max)
      : store_(store), blobs_(blobs), scanner_(scanner), pool_(pool), quotas_(user_bytes_max) {}

  // Before anything else, and not twice.
  void follow_uploads(UploadFollower& follower) { follower_ = &follower; }

  // Before the first request. The sweep removes every content that no row names, so that a folder
  // serves one database alone. Error: invalid, where it is another's, with a sentence.
  Task<Result<void>> take_folder();
  // Removes what a crash has left; after that.
  Task<Result<std::int64_t>> sweep();
  // Removes contents that got no row after all, once the database that was lost is there again to
  // tell. From time to time.
  Task<void> settle();

  // Error of all that take an id: not_found.
  Task<Result<FileRecord>> get(std::string id);
  // Error: not_found also where it is no image, or has not been looked into yet.
  Task<Result<ShownThumbnail>> thumbnail(std::string id);
  Task<Result<FilePage>> list(FileFilter filter);
  Task<Result<FileStatistics>> statistics(Timestamp now);

  // All of them or none, after the scanner has seen them. Errors: invalid for malware, too_large
  // for a quota, kNoRoom for a full disk, unavailable without a scanner or a database. Where the
  // database is lost while it writes, the rows may be there all the same: the contents stay until
  // settle() knows. They are the actor's, but for records that name somebody; `session_id` names
  // the upload.
  Task<Result<std::vector<FileRecord>>> add(std::vector<NewFile> files, domain::Actor actor,
                                            std::string session_id);
  // Errors: forbidden, stale; too_large for what its metadata would be.
  Task<Result<FileRecord>> update(std::string id, FileUpdate update, Requester who,
                                  Precondition condition = {});
  Task<Result<void>> remove(std::string id, Requester who, Precondition condition = {});

  [[nodiscard]] Quotas& quotas() { return quotas_; }
  // What the user has stored; 0 where nobody has to know, without a quota.
  Task<Result<std::int64_t>> stored_bytes(std::string user);

  [[nodiscard]] BlobStore& blobs() { return blobs_; }
  [[nodiscard]] BlockingPool& pool() { return pool_; }

 private:
  Task<Result<void>> admit(std::vector<NewFile>& files);
  Task<Result<void>> keep(NewFile& file);
  // For what settle() has to look at.
  void leave_open(BlobName name);
  // True once it is removed, as no row has it. Errors: conflict while somebody has it in use,
  // unavailable.
  Task<Result<std::int64_t>> remove_orphans(std::vector<BlobName>& names);

  store::Store& store_;
  BlobStore& blobs_;
  Scanner& scanner_;
  BlockingPool& pool_;
  Quotas quotas_;
  UploadFollower* follower_ = nullptr;
  // lint: allow(locks): only for writes whose database was lost, and a look once a second.
  std::mutex mutex_;
  std::vector<BlobName> open_;  // Of which it is not known whether a row has them.
};

inline constexpr std::size_t kFileIdDigits = 12;
inline constexpr std::size_t kSessionIdBytes = 8;
[[nodiscard]] std::string new_session_id();  // Of an upload, in hexadecimal.

// How file events look on the wire, one row per kind.
[[nodiscard]] std::span<realtime::Projection const> file_projections();

}  // namespace subforge::files
