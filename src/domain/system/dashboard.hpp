// What the reference's own web dashboard asks for (contract, dashboard-client.md section 1), read
// from the same tables as everything else.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/time.hpp"
#include "base/uuid.hpp"
#include "domain/system/snapshot.hpp"
#include "store/store.hpp"

namespace subforge::domain {

enum class DashboardRange : std::uint8_t { hour, day, week, month, quarter };
constexpr std::array<std::pair<DashboardRange, std::string_view>, 5> names_of(DashboardRange) {
  using enum DashboardRange;
  return {{{hour, "1h"}, {day, "24h"}, {week, "7d"}, {month, "30d"}, {quarter, "90d"}}};
}
[[nodiscard]] Timestamp start_of(DashboardRange range, Timestamp now);

struct DashboardOverview {
  Snapshot counts;               // Of the records, now.
  std::int64_t busy_agents = 0;  // Those in no other count of the snapshot.
  std::int64_t error_agents = 0;
  Snapshot newest;  // What was measured last.
};

struct DashboardAgent {
  Uuid id;
  std::string name;
  std::string type;
  std::string status;  // As version 1 shows it.
  std::string model;
  std::vector<std::string> capabilities;
  std::optional<std::string> current_task;
  std::int64_t tasks_completed = 0;
  std::int64_t tasks_failed = 0;
  double success_rate = 0;
  double avg_response_time = 0;
  std::optional<Timestamp> last_activity;
  Timestamp created_at;
};

struct DashboardTask {
  Uuid id;
  std::string title;
  std::string description;
  std::string status;    // As it is stored: pending, in_progress, completed, failed ...
  std::string priority;  // low, medium, high, critical.
  bool requires_review = false;
  std::optional<std::string> agent;
  std::vector<std::string> tags;
  std::vector<std::string> dependencies;
  std::optional<std::int64_t> estimated_minutes;
  std::optional<std::int64_t> actual_minutes;
  std::optional<Timestamp> started_at;
  std::optional<Timestamp> completed_at;
  std::optional<Timestamp> due_date;
  Timestamp created_at;
  Timestamp updated_at;
};

struct DashboardDay {
  std::int64_t day = 0;  // Since 1970 (UTC).
  std::int64_t completed = 0;
  std::int64_t failed = 0;
  std::int64_t agents = 0;  // That ended a task on this day.
};

struct DashboardHealth {
  Timestamp at;  // Where its part of the range begins.
  std::optional<double> cpu;
  std::optional<double> memory;
  std::optional<double> connections;
};

struct DashboardMetrics {
  Timestamp start;
  Timestamp end;
  std::vector<DashboardDay> days;  // Every day of the range, oldest first.
  std::vector<DashboardAgent> agents;
  std::vector<DashboardHealth> health;
};

// A row of the event log, as far as the page shows it.
struct DashboardEvent {
  std::string id;  // Of that row; of each but the first of several with a number behind it.
  std::string type;
  std::string title;
  std::string description;
  std::optional<std::string> agent;
  std::optional<std::string> task;
  std::optional<Uuid> workflow_id;
  std::string status;  // success, error, info
  Timestamp at;
};

class Dashboard {
 public:
  static constexpr std::int64_t kAgentsMax = 1000;
  static constexpr std::int64_t kTasksMax = 500;
  static constexpr std::int64_t kRecentTasks = 10;
  static constexpr std::int64_t kPerformingAgents = 50;
  static constexpr std::int64_t kHealthPoints = 24;
  static constexpr std::int64_t kEventsMax = 200;
  // Rows of the log that are looked at for them, newest first.
  static constexpr std::int64_t kEventsScanned = 20'000;

  explicit Dashboard(store::Store& store) : store_(store) {}

  Task<Result<DashboardOverview>> overview();
  Task<Result<std::vector<DashboardAgent>>> agents();                  // In the order made.
  Task<Result<std::vector<DashboardTask>>> tasks(std::int64_t limit);  // Newest first.
  Task<Result<DashboardMetrics>> metrics(DashboardRange range, Timestamp now);
  Task<Result<std::vector<DashboardEvent>>> events(DashboardRange range, Timestamp now);

 private:
  store::Store& store_;
};

}  // namespace subforge::domain
