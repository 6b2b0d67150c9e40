// Asks for the background task that follows from an agent's configuration.
#pragma once

#include "domain/agents/agents.hpp"
#include "jobs/queue.hpp"

namespace subforge::builtin {

class ConfigurationTasks final : public domain::ConfigurationFollower {
 public:
  explicit ConfigurationTasks(jobs::Queue& queue) : queue_(queue) {}

  Task<Result<Uuid>> agent_created_in(store::Transaction& transaction, domain::Agent const& agent,
                                      domain::Actor const& actor) override;
  Task<Result<Uuid>> configuration_uploaded_in(store::Transaction& transaction,
                                               domain::Agent const& agent,
                                               std::string const& filename,
                                               domain::Actor const& actor) override;

 private:
  Task<Result<Uuid>> enqueue(store::Transaction& transaction, domain::Agent const& agent,
                             std::int64_t priority, std::string metadata,
                             domain::Actor const& actor);

  jobs::Queue& queue_;
};

}  // namespace subforge::builtin
