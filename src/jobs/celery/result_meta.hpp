// A task's result as it lies under celery-task-meta-<id> and is published there.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.hpp"
#include "jobs/celery/message.hpp"

namespace subforge::jobs::celery {

namespace state {
inline constexpr std::string_view kPending = "PENDING", kReceived = "RECEIVED",
                                  kStarted = "STARTED", kSuccess = "SUCCESS", kFailure = "FAILURE",
                                  kRevoked = "REVOKED", kRetry = "RETRY", kRejected = "REJECTED",
                                  kProgress = "PROGRESS";
}  // namespace state

[[nodiscard]] constexpr bool is_final_state(std::string_view status) {
  return status == state::kSuccess || status == state::kFailure || status == state::kRevoked;
}

struct ResultMeta {
  std::string task_id;
  std::string status;
  std::string result = "null";  // JSON.
  std::optional<std::string> traceback;
  std::string children = "[]";  // JSON.
  std::optional<Timestamp> done_at;
  std::string group_id;   // Empty: none.
  std::string parent_id;  // Empty: none.
  std::string log = {};   // Of the database whose processes stored it; empty: none of ours.

  friend bool operator==(ResultMeta const&, ResultMeta const&) = default;
};

[[nodiscard]] std::string write_meta(ResultMeta const& meta, std::string_view log = {},
                                     bool offset = false);
// Nothing if it is none. Of a result that no other reader of JSON than Python's takes as much as
// can be told.
[[nodiscard]] std::optional<ResultMeta> read_meta(std::string_view text);

// The exception as a result of FAILURE, RETRY and REVOKED, and back; nothing if it is none.
[[nodiscard]] std::string exception_json(Exception const& exception);
[[nodiscard]] std::optional<Exception> read_exception(std::string_view json);
// For people: ValueError: bad, 42
[[nodiscard]] std::string exception_text(Exception const& exception);
// As Python writes it: ValueError('bad', 42)
[[nodiscard]] std::string exception_repr(Exception const& exception);
// From a sentence of ours. One that begins with a name ("ValueError: bad") is raised as that.
[[nodiscard]] Exception exception_of(std::string_view error);

// [[id, parent], null] of one child; of several under one group [[group, null], [children]].
struct Child {
  std::string id;
  std::string group;  // Empty: none.
};
[[nodiscard]] std::string children_json(std::vector<Child> const& children);

}  // namespace subforge::jobs::celery
