// What a change to one task means for others: tasks it depends on, the agent that has it, and the
// counts of all tasks.
#pragma once

#include "domain/actor.hpp"
#include "domain/tasks/task.hpp"
#include "store/counts.hpp"
#include "store/store.hpp"

namespace subforge::domain {

// How many tasks a search for a cycle may visit; a dependency that needs more is refused.
inline constexpr std::size_t kDependencySearchMax = 10'000;
inline constexpr std::size_t kDependenciesMax = 1'000;  // Of one task, in either direction.
// The sum of all progress is counted in millionths of a percent.
inline constexpr double kProgressUnit = 1e6;

Task<Result<TaskRecord>> select_task(store::Session& session, Uuid id);
[[nodiscard]] store::Event event_about(TaskRecord const& task, std::string kind,
                                       Actor const& actor);
[[nodiscard]] std::string payload_of(TaskRecord const& task, std::string_view extra);
// Writes with its next version what is not as `before`, and publishes an event about it.
Task<Result<void>> write_task(store::Transaction& transaction, TaskRecord const& before,
                              TaskRecord& task, std::string kind, bool announce,
                              std::string_view extra, Actor const& actor);

// Error: bad_reference, unless there is such an agent.
Task<Result<std::string>> agent_name(store::Session& session, Uuid id, std::string_view refusal);

// Keeps the dependents of other tasks what dependencies say. Errors: conflict for a cycle,
// too_large for more dependencies than a task may have in either direction.
Task<Result<void>> follow_dependencies(store::Transaction& transaction, TaskRecord const* before,
                                       TaskRecord const* after, Actor const& actor);
// Keeps the agents' state and counters what their tasks say.
Task<Result<void>> follow_assignment(store::Transaction& transaction, TaskRecord const* before,
                                     TaskRecord const* after, Actor const& actor);
// Keeps what ended on each day, and whose (table task_days).
Task<Result<void>> follow_days(store::Transaction& transaction, TaskRecord const* before,
                               TaskRecord const* after);
// How many tasks there are is kept by status, by priority and by both, by type and by the agent
// that they are assigned to, under these names.
[[nodiscard]] std::string name_of_count(TaskStatus status);
[[nodiscard]] std::string name_of_count(TaskPriority priority);
[[nodiscard]] std::string name_of_count(TaskStatus status, TaskPriority priority);
[[nodiscard]] std::string name_of_count(Uuid const& agent);
[[nodiscard]] std::string name_of_type_count(std::string_view task_type);
void count_task(store::CountChanges& counts, TaskRecord const& task, std::int64_t sign);

}  // namespace subforge::domain
