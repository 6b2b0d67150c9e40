// /api/v2/files/tus: uploads that can be gone on with after a break (tus 1.0).
#pragma once

#include "api/files_v2.hpp"
#include "files/resumable.hpp"
#include "http/route.hpp"

namespace subforge::api {

// `parts` and `uploads` must live as long as the routes.
[[nodiscard]] http::Routes files_tus(FilesParts const& parts, files::ResumableUploads& uploads);

}  // namespace subforge::api
