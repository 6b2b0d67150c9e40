// How the reference's web page shows agents and tasks: it knows fewer states and priorities than
// there are, times as distances from now, and models as badges.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/time.hpp"

namespace subforge::domain {

// Of a task among the recent ones: completed, pending, failed, in_progress.
[[nodiscard]] constexpr std::string_view recent_status(std::string_view status) {
  if (status == "blocked") return "pending";
  return status == "cancelled" ? "failed" : status;
}

// Of a task on the board: todo, in_progress, review, done.
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

// How long ago a time is: "never", "just now", "5 minutes ago" ...
[[nodiscard]] std::string ago_text(std::optional<Timestamp> at, Timestamp now = Timestamp::now());

// "claude-3-sonnet" is "Claude 3 Sonnet".
[[nodiscard]] std::string model_badge(std::string_view model);

}  // namespace subforge::domain
