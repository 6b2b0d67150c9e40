// One upload: a form that is taken apart as it arrives, with files that go straight to the disk.
// Nothing of it can be seen before all of it is checked.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "files/blob_store.hpp"
#include "files/files.hpp"
#include "http/multipart.hpp"

namespace subforge::files {

inline constexpr std::size_t kFieldBytesMax = 64U << 10;  // Of `tags` or `metadata`.
// What a form needs beside its files: boundaries, headers, fields.
inline constexpr std::int64_t kFormBytesMax = 1 << 20;

struct UploadLimits {
  std::int64_t file_bytes_max = 0;
  std::int64_t files_max = 0;
};

// The description that a client gives beside files. Errors: invalid, with a sentence.
[[nodiscard]] Result<std::vector<std::string>> parse_tags(std::string_view text);
[[nodiscard]] Result<describe::JsonText> parse_metadata(std::string_view text);
[[nodiscard]] std::unexpected<Error> invalid_file(std::string_view name, std::string_view reason);

class Upload {
 public:
  // The files are counted to the `share`, if there is one, which has to live as long as they come.
  Upload(BlobStore& blobs, FileType type, UploadLimits limits, http::MultipartParser parser,
         Quotas::Share* share = nullptr)
      : blobs_(blobs), type_(type), limits_(limits), parser_(std::move(parser)), share_(share) {}

  // These wait for the disk: for the threads of a pool. Errors: invalid for what the client did
  // wrong, bad_reference where there is no file at all, too_large for a quota, and those of
  // IncomingBlob.
  Result<void> take(std::string_view block);
  Result<void> finish();

  // How many bytes it makes sense to wait for before the next take(): few where a limit may be
  // crossed by them.
  [[nodiscard]] std::size_t wanted() const;
  // After finish(): the files, each with what the form says of all.
  [[nodiscard]] std::vector<NewFile> take_files() { return std::move(files_); }

 private:
  [[nodiscard]] Result<void> begin_part();
  [[nodiscard]] Result<void> take_data(std::string_view data);
  [[nodiscard]] Result<void> end_part();

  BlobStore& blobs_;
  FileType const type_;
  UploadLimits const limits_;
  http::MultipartParser parser_;
  Quotas::Share* const share_;
  std::vector<NewFile> files_;
  bool in_file_ = false;          // The last one of them is being received.
  std::string* field_ = nullptr;  // So is this.
  std::string tags_;
  std::string metadata_;
};

}  // namespace subforge::files
