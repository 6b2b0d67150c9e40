// The handlers behind the definitions.
#pragma once

#include "builtin/builtin.hpp"
#include "jobs/worker.hpp"

namespace subforge::builtin {

// (agent_id, config_data): checks a configuration and makes it the agent's.
Task<jobs::Outcome> process_configuration(jobs::JobContext& context);
// (file_ids): makes agents what the configurations in these files say.
Task<jobs::Outcome> process_agent_files(Parts const& parts, jobs::JobContext& context);
// (file_id): what a table or a text holds, and the words that it is found by.
Task<jobs::Outcome> process_text_file(Parts const& parts, jobs::JobContext& context);
// (file_id): how large an image is, whether it is whole, and a small version of it.
Task<jobs::Outcome> process_image_file(Parts const& parts, jobs::JobContext& context);
// (time_range): what the recorded requests and samples tell of a range of time.
Task<jobs::Outcome> analyze_metrics(Parts const& parts, jobs::JobContext& context);
// (backup_type): a backup of the database, and of what belongs to it.
Task<jobs::Outcome> take_backup(Parts const& parts, jobs::JobContext& context);
// (): removes what is kept for too long.
Task<jobs::Outcome> clean_up(Parts const& parts, jobs::JobContext& context);

}  // namespace subforge::builtin
