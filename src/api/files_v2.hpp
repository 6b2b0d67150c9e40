// /api/v2/files: uploads, downloads, and what is known about files.
#pragma once

#include "files/files.hpp"
#include "files/resumable.hpp"
#include "files/upload.hpp"
#include "http/route.hpp"
#include "runtime/blocking_pool.hpp"

namespace subforge::api {

struct FilesParts {
  files::Files& files;
  files::UploadLimits limits;
  BlockingPool& readers;  // Of contents; uploads keep files.pool() busy.
  files::ResumableUploads& resumable;
};

// `parts` must live as long as the routes.
[[nodiscard]] http::Routes files_v2(FilesParts const& parts);

}  // namespace subforge::api
