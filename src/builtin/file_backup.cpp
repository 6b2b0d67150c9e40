#include "builtin/file_backup.hpp"

#include <memory>

#include "files/blob_store.hpp"

namespace subforge::builtin {
namespace {

using backup::ListedFile;
using files::BlobStore;

Task<Result<std::vector<ListedFile>>> list_files(store::Session& session) {
  std::vector<ListedFile> files;
  auto const done = co_await session.query(
      "SELECT sha256, id, file_size FROM files ORDER BY seq", {}, [&](store::Row const& row) {
        std::string const sha256(row.text(0));
        auto place = BlobStore::place_of({sha256, std::string(row.text(1))});
        files.push_back({std::move(place), sha256, row.integer(2)});
      });
  if (!done) co_return std::unexpected(done.error());
  co_return files;
}

}  // namespace

backup::FileSource uploaded_files(std::filesystem::path const& folder) {
  auto const blobs = std::make_shared<BlobStore const>(folder.string(), 0);
  return {
      .name = "files",
      .folder = folder,
      .list = &list_files,
      .hold = [blobs] { return blobs->hold(); },
      .elsewhere =
          [folder](std::string const& place) { return folder / BlobStore::place_aside(place); }};
}

}  // namespace subforge::builtin
