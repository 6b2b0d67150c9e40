// What a change wants said to the broker, written in its transaction: a row each, in their order.
// And the messages that others sent, where they say more than the record does.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/celery/message.hpp"
#include "jobs/job.hpp"
#include "store/store.hpp"

namespace subforge::jobs::celery {

enum class OutboxKind : std::uint8_t {
  push,    // The job waits for a worker: its message goes into a list.
  cancel,  // Somebody does not want it: workers are told, and who waits for it.
  end,     // It has ended, which nobody outside knows yet.
  forget,  // Its result does not count any more.
};
constexpr std::array<std::pair<OutboxKind, std::string_view>, 4> names_of(OutboxKind) {
  using enum OutboxKind;
  return {{{push, "push"}, {cancel, "cancel"}, {end, "end"}, {forget, "forget"}}};
}

struct OutboxRow {
  std::int64_t row = 0;
  OutboxKind kind = OutboxKind::push;
  Job job;
  std::string stored;  // Its message as others sent it, where that was kept.
};

Task<Result<void>> add_to_outbox(store::Transaction& transaction, Uuid job, OutboxKind kind);
// These jobs wait in no list any more.
Task<Result<void>> remove_pushes(store::Transaction& transaction, std::span<Uuid const> jobs);

// Rows behind `after` that push a job which still waits, or say something else.
Task<Result<std::vector<OutboxRow>>> read_outbox(store::Session& session, std::int64_t after,
                                                 std::int64_t most);
// The newest row that there ever was; 0 if there was none.
Task<Result<std::int64_t>> newest_row(store::Session& session);
// Gives all that is there new rows, behind `mark`, and so what comes after them. False: none was
// before it, as others have done so.
Task<Result<bool>> move_behind(store::Transaction& transaction, std::int64_t mark);

// Rows that were said and push nothing.
Task<Result<void>> remove_said(store::Transaction& transaction, std::int64_t until);

// Whether anything waits in the database that could wait in a list.
Task<Result<bool>> anything_waits(store::Session& session, Timestamp now);
// Moves up to `most` of what waits in the database, and has no limits, to the outbox; how many.
Task<Result<std::int64_t>> move_to_outbox(store::Transaction& transaction, std::int64_t most);

// ---- Messages ----------------------------------------------------------------------------------

// Whether the record alone does not say all that the message does.
[[nodiscard]] bool says_more(TaskMessage const& message);
Task<Result<void>> keep_message(store::Transaction& transaction, Uuid job,
                                TaskMessage const& message);
// So that the next run of the job goes by another id.
Task<Result<void>> rename_message(store::Transaction& transaction, Job const& job);
// The messages of these jobs as they were kept; empty where none was.
Task<Result<std::vector<std::string>>> kept_messages(store::Session& session,
                                                     std::span<Uuid const> jobs);
// The message of a job as its record is now. `stored` is what kept_messages() gave.
[[nodiscard]] TaskMessage message_of_job(Job const& job, std::string_view stored,
                                         std::string_view origin);
// The status of a job that begins to wait again, whatever others told of it meanwhile.
[[nodiscard]] inline JobStatus status_of_waiting(Job const& job) {
  return job.error ? JobStatus::retry : JobStatus::pending;
}
// "$2, $3, ..." for that many values, from that number on.
[[nodiscard]] std::string marks(std::size_t count, std::size_t from);

}  // namespace subforge::jobs::celery
