// What the tasks that look into one file begin with.
#pragma once

#include <expected>

#include "builtin/builtin.hpp"
#include "files/files.hpp"
#include "jobs/worker.hpp"

namespace subforge::builtin {

// The file that the task's `file_id` names, on record now as being looked into by it; or how the
// task ends where there is no such file, or it is not for who asked.
[[nodiscard]] Task<std::expected<files::FileRecord, jobs::Outcome>> file_to_process(
    Parts const& parts, jobs::JobContext& context);

}  // namespace subforge::builtin
