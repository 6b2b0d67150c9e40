// What can be done with agents. Every change goes through the store's one write path: the row, its
// version and the event that tells of it are committed together.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/value.hpp>

#include "base/precondition.hpp"
#include "domain/actor.hpp"
#include "domain/agents/agent.hpp"
#include "domain/agents/agent_bodies.hpp"
#include "realtime/live_event.hpp"
#include "store/listing.hpp"
#include "store/store.hpp"

namespace subforge::domain {

struct AgentFilter {
  std::vector<AgentStatus> statuses = {};  // Any of them; empty: all.
  bool impossible = false;                 // A filter value that nothing can match.
  std::optional<std::string> type = {};
  std::optional<bool> is_active = {};
  std::vector<std::string> tags = {};      // Any of them.
  std::optional<std::string> search = {};  // Part of the name, whatever the case.
  enum class Sort : std::uint8_t { created, name, status, updated } sort = Sort::created;
  bool descending = false;
  std::optional<store::Position> after = {};  // Begin behind this place in that order.
  std::optional<std::int64_t> until = {};     // Nothing behind that sequence; for Sort::created.
  std::int64_t skip = 0;
  std::int64_t limit = 100;
};

using AgentPage = store::Page<Agent>;
// How far the matches of a filter are counted, where no count is kept.
inline constexpr std::int64_t kAgentCountMax = 10'000;

struct AgentSummary {
  std::int64_t total = 0;
  std::int64_t active = 0;
  std::int64_t idle = 0;
  std::int64_t busy = 0;
  std::int64_t offline = 0;
  double avg_success_rate = 0;
  double avg_response_time = 0;
  double avg_uptime = 100;
};

// A stored line about an agent: a row of the event log whose subject it is.
struct AgentLogLine {
  Timestamp at;
  LogLevel level;
  std::string message;
  std::optional<Uuid> task_id;
};

struct AgentLogFilter {
  std::optional<LogLevel> level = {};
  std::optional<store::Position> after = {};  // Only what comes behind it.
  std::int64_t limit = 100;
};

struct AgentLogPage {
  std::vector<AgentLogLine> lines;
  store::Total total;                        // Counted no further than Agents::kLogCountMax.
  std::optional<store::Position> next = {};  // Where more follows.
};

enum class NameRule : std::uint8_t { any, unique };  // Unique: name and type together (v1).

// Has to do what follows from an agent's configuration: the background task that will.
class ConfigurationFollower {
 public:
  // In the transaction that made the agent, or that gave it a configuration out of a file of that
  // name. The task's id.
  virtual Task<Result<Uuid>> agent_created_in(store::Transaction& transaction, Agent const& agent,
                                              Actor const& actor) = 0;
  virtual Task<Result<Uuid>> configuration_uploaded_in(store::Transaction& transaction,
                                                       Agent const& agent,
                                                       std::string const& filename,
                                                       Actor const& actor) = 0;

 protected:
  ~ConfigurationFollower() = default;
};

struct ConfiguredAgent {
  Agent agent;
  std::optional<Uuid> task_id;
};

// An agent as a file defines it.
struct AgentDefinition {
  std::string name;
  std::string agent_type;
  std::optional<std::string> description;
  AgentConfiguration configuration;
};

// What became of a definition.
enum class Defined : std::uint8_t { created, updated, unchanged };
constexpr std::array<std::pair<Defined, std::string_view>, 3> names_of(Defined) {
  using enum Defined;
  return {{{created, "created"}, {updated, "updated"}, {unchanged, "unchanged"}}};
}
struct DefinedAgent {
  Agent agent;
  Defined how = Defined::created;
};

class Agents {
 public:
  static constexpr std::int64_t kLogCountMax = 10'000;  // Lines are counted no further.

  // A heartbeat gives an agent a lease of so many seconds; none where that is 0.
  explicit Agents(store::Store& store, std::int64_t lease_seconds = 0);

  // Before anything else, and not twice: of agents made by version 2, and of configurations.
  void follow_configurations(ConfigurationFollower& follower) { follower_ = &follower; }

  // Error of all that take an id: not_found. `of` names the agent in that error as each version
  // does.
  Task<Result<Agent>> get(Uuid id);
  Task<Result<AgentPage>> list(AgentFilter filter);
  // The same without the total.
  Task<Result<AgentPage>> list_part(AgentFilter filter);
  // `next` of that page, without its agents.
  Task<Result<std::optional<store::Position>>> end_of_page(AgentFilter filter);
  Task<Result<AgentSummary>> summary();
  Task<Result<AgentLogPage>> logs(Uuid id, AgentLogFilter filter);  // Newest first.

  // Error: conflict where the rule is broken.
  Task<Result<Agent>> create(Agent draft, NameRule rule, Actor actor);
  // `body` has been checked against the description before. Error here and below: stale where the
  // agent does not meet the condition.
  Task<Result<Agent>> update(Uuid id, boost::json::value body, describe::Api api, Actor actor,
                             Precondition condition = {});
  Task<Result<Agent>> set_status(Uuid id, StatusBody body, Actor actor,
                                 Precondition condition = {});
  Task<Result<Agent>> set_metrics(Uuid id, MetricsBody body, Actor actor,
                                  Precondition condition = {});
  // One that brings nothing but its time is stored without an event: a thousand agents that beat
  // every 30 seconds would fill the log with three million a day.
  Task<Result<Agent>> heartbeat(Uuid id, HeartbeatBody body, Actor actor,
                                Precondition condition = {});
  Task<Result<ConfiguredAgent>> configure(Uuid id, AgentConfiguration configuration,
                                          std::string filename, Actor actor,
                                          Precondition condition = {});
  // For the background task: gives an agent a configuration that it does not have yet, unless the
  // agent has changed since it had that version; and whether it would.
  static Task<Result<void>> configure_in(store::Transaction& transaction, Uuid id,
                                         AgentConfiguration const& configuration,
                                         std::optional<std::int64_t> version, Actor const& actor);
  [[nodiscard]] static bool would_change(Agent const& agent,
                                         AgentConfiguration const& configuration,
                                         std::optional<std::int64_t> version);
  // For the background task: makes the agent of that name and type what its definition says, the
  // oldest of them if there are several, or makes one. Of an agent that is there only description
  // and configuration change.
  static Task<Result<DefinedAgent>> define_in(store::Transaction& transaction,
                                              AgentDefinition definition, std::string filename,
                                              Actor const& actor);
  Task<Result<void>> remove(Uuid id, Actor actor, Precondition condition = {});
  // Each id by itself; a failing one does not stop the rest, and all that succeed commit together.
  Task<Result<BulkOutcome>> bulk(BulkBody body, Actor actor);

  // Inside the transaction of a change to one of the agent's tasks: what the agent works on from
  // now on, and how many more of its tasks were completed or failed. An agent that works is busy,
  // and idle once `ended` was its last task; one that is away or in trouble stays so. An agent that
  // no longer exists is no error.
  struct WorkChange {
    std::optional<CurrentTask> current = {};
    std::optional<Uuid> ended = {};
    std::int64_t completed = 0;
    std::int64_t failed = 0;
  };
  static Task<Result<void>> work_changed_in(store::Transaction& transaction, Uuid id,
                                            WorkChange work, Actor const& actor);

  // In one go of the two below; the next goes on.
  static constexpr std::int64_t kChangedAtOnce = 100;
  // Agents that have been restarting since before `before` become active again. Tells how many.
  Task<Result<std::int64_t>> finish_restarts(Timestamp before);
  // Agents whose lease ended before `before` are offline from now on: each heartbeat renews it.
  Task<Result<std::int64_t>> end_leases(Timestamp before);
  // The time by which leases are given and end: that of the database where several processes share
  // it, whose machines may have clocks of their own. To be asked for often: the leases follow a
  // wall clock that was set.
  Task<Result<Timestamp>> lease_clock();
  // Of a run before, by another clock or another setting, no lease is longer than a new one.
  Task<Result<std::int64_t>> shorten_leases();
  // When a server last stored something, so that a heartbeat could come then; nothing if none did.
  Task<Result<std::optional<Timestamp>>> last_could_beat();

 private:
  struct Edit {
    std::string kind;  // Of the event; empty: nothing changed, nothing is written.
    LogLevel level = LogLevel::info;
    // Else nothing but its heartbeat's time changes: it is stored without an event and stays the
    // version that it was.
    bool announce = true;
    std::string extra = {};  // Members of the payload beside the agent, as JSON without braces.
  };
  using EditAgent = std::function<Result<Edit>(Agent&, Timestamp)>;
  // `sql` finds ids by a time and a number of rows; `edit` looks again whether they are meant.
  Task<Result<std::int64_t>> change_found(std::string_view sql, Timestamp before, EditAgent edit);
  Task<Result<Agent>> get_elsewhere(Uuid id);
  // Of an agent that is heard of now.
  [[nodiscard]] Timestamp new_lease() const;
  // Whoever brings an agent back that has beaten before gives it a lease: it is offline again where
  // no heartbeat comes.
  [[nodiscard]] EditAgent with_lease(EditAgent edit) const;
  Task<Result<Agent>> change(Uuid id, EditAgent edit, Actor actor, Precondition condition = {});
  static Task<Result<Agent>> change_in(store::Transaction& transaction, Uuid id,
                                       EditAgent const& edit, Actor const& actor,
                                       Precondition const& condition);
  // `extra` as in Edit.
  static Task<Result<Agent>> insert_in(store::Transaction& transaction, Agent draft,
                                       std::string_view extra, Actor const& actor);
  static Task<Result<void>> remove_in(store::Transaction& transaction, Uuid id, Actor const& actor,
                                      Precondition const& condition, bool in_bulk);

  store::Store& store_;
  std::int64_t const lease_seconds_;
  // That clock is ahead of this process's time, which never jumps, by so much.
  std::atomic<std::int64_t> lease_clock_ahead_us_;
  ConfigurationFollower* follower_ = nullptr;
};

// How agent events look on the wire, one row per kind.
[[nodiscard]] std::span<realtime::Projection const> agent_projections();

}  // namespace subforge::domain
