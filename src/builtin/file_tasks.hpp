// Asks for the background tasks that look into uploaded files.
#pragma once

#include "files/files.hpp"
#include "jobs/queue.hpp"

namespace subforge::builtin {

class FileTasks final : public files::UploadFollower {
 public:
  explicit FileTasks(jobs::Queue& queue) : queue_(queue) {}

  Task<Result<void>> uploaded_in(store::Transaction& transaction,
                                 std::vector<files::FileRecord>& files,
                                 std::string const& session_id,
                                 domain::Actor const& actor) override;

 private:
  jobs::Queue& queue_;
};

}  // namespace subforge::builtin
