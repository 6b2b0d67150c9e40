// The work of the chores that a server does by itself. Each tells whether there is more to do at
// once; what fails is logged and tried again next time.
#pragma once

#include <cstdint>

#include "base/log.hpp"
#include "domain/agents/agents.hpp"
#include "domain/system/api_usage.hpp"
#include "domain/workflows/workflows.hpp"
#include "files/blob_store.hpp"
#include "files/resumable.hpp"
#include "runtime/blocking_pool.hpp"
#include "runtime/task.hpp"
#include "store/event_retention.hpp"
#include "store/inbox.hpp"
#include "store/kept_answers.hpp"

namespace subforge::app {

// Answers to repeated requests, events and messages to users that are old enough.
Task<bool> forget_old(store::KeptAnswers& answers, store::EventRetention& retention,
                      store::Inbox& inbox, Logger const& logger);
// Contents that were put aside for a backup.
Task<bool> remove_put_aside(BlockingPool& pool, files::BlobStore& blobs);
// Uploads that nobody went on with.
Task<bool> expire_uploads(BlockingPool& pool, files::ResumableUploads& resumable,
                          Logger const& logger);
// Adds the counts of requests to the database, and thins out what is there.
Task<bool> fold_usage(domain::ApiUsage& usage, Logger const& logger);
// Agents that began to restart so many seconds ago are active.
Task<bool> finish_restarts(domain::Agents& agents, std::int64_t seconds, Logger const& logger);
// Runs of workflows that are due by the clock.
Task<bool> move_workflows(domain::Workflows& workflows, Logger const& logger);

}  // namespace subforge::app
