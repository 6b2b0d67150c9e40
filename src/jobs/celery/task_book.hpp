// The tasks of Celery that this process has just now, for monitors that ask: what waits for its
// time, what was taken and not started, what runs; and how many were started, by name.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/json_writer.hpp"
#include "base/time.hpp"
#include "jobs/celery/task_observer.hpp"

namespace subforge::jobs::celery {

class TaskBook {
 public:
  // More than so many at once are not told of; a process has no more than it has slots, and what
  // waits for its time.
  static constexpr std::size_t kTasksMax = 10'000;
  // Names that are counted; what has others is counted together.
  static constexpr std::size_t kNamesMax = 1'000;

  void received(ObservedTask const& task, Timestamp now);
  void started(ObservedTask const& task, Timestamp now);
  void ended(std::string_view id);
  // Forgets what another process must have started since: it was due long ago, and not started
  // here.
  void purge(Timestamp now);
  static constexpr std::int64_t kOverdueUs = 60'000'000;

  [[nodiscard]] std::size_t active() const { return active_; }
  [[nodiscard]] std::int64_t processed() const { return processed_; }
  [[nodiscard]] bool is_active(std::string_view id) const;
  [[nodiscard]] bool has(std::string_view id) const { return tasks_.contains(id); }
  // Ids of those that have one of the stamps.
  [[nodiscard]] std::vector<std::string> stamped(std::set<std::string> const& stamps) const;

  // Lists of tasks as Celery's workers describe them; `node` is the name of this one.
  void write_active(JsonWriter& json, std::string_view node) const;
  void write_reserved(JsonWriter& json, std::string_view node, Timestamp now) const;
  void write_scheduled(JsonWriter& json, std::string_view node, Timestamp now) const;
  // ["active" | "reserved", task]; false and nothing written if it is not here.
  bool write_one(JsonWriter& json, std::string_view node, std::string_view id) const;
  void write_totals(JsonWriter& json) const;

 private:
  struct Entry {
    std::string name;
    std::string args;
    std::string kwargs;
    std::string queue;
    std::int64_t priority = 0;
    bool redelivered = false;
    std::optional<Timestamp> eta;
    Timestamp received_at;
    std::optional<Timestamp> started_at;
    std::set<std::string> stamps;
  };
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  Entry* put(ObservedTask const& task, Timestamp now);
  static void write_entry(JsonWriter& json, std::string_view node, std::string_view id,
                          Entry const& entry);
  static bool waits(Entry const& entry, Timestamp now) {
    return !entry.started_at && entry.eta && *entry.eta > now;
  }

  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> tasks_;
  std::map<std::string, std::int64_t, std::less<>> totals_;
  std::int64_t other_totals_ = 0;
  std::int64_t processed_ = 0;
  std::size_t active_ = 0;
};

}  // namespace subforge::jobs::celery
