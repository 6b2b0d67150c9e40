// Uploaded files as a part of backups.
#pragma once

#include <filesystem>

#include "backup/backup.hpp"

namespace subforge::builtin {

// The contents in this folder of a files::BlobStore that the rows name. What is deleted while a
// backup is under way stays where that finds it.
[[nodiscard]] backup::FileSource uploaded_files(std::filesystem::path const& folder);

}  // namespace subforge::builtin
