// How the reference's web page shows tasks: it knows fewer states and priorities than there are.
#pragma once

#include <string_view>

namespace subforge::domain {

// Among the recent ones: completed, pending, failed, in_progress.
[[nodiscard]] constexpr std::string_view recent_status(std::string_view status) {
  if (status == "blocked") return "pending";
  return status == "cancelled" ? "failed" : status;
}

// On the board: todo, in_progress, review, done.
[[nodiscard]] constexpr std::string_view board_status(std::string_view status,
                                                      bool requires_review) {
  if (status == "completed" || status == "cancelled") return "done";
  if (status == "failed") return "review";
  if (status == "in_progress") return requires_review ? "review" : "in_progress";
  return "todo";
}

// low, medium, high.
[[nodiscard]] constexpr std::string_view shown_priority(std::string_view priority) {
  return priority == "critical" ? "high" : priority;
}

}  // namespace subforge::domain
