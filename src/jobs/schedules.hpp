// Jobs that start by the clock, at the times of a cron line or every so often. The next time of
// each is a row of the database: whichever process is first at it moves it on and enqueues the job
// in one transaction, so that there is one start however many processes there are.
//
// Missed runs: what was due while no process ran is made up for once, as soon as one runs, however
// often it was due; with `missed: skip`, not at all if it is more than a minute late. Where the
// wall clock is set back, the next time is worked out anew; where it is set forward, what lay in
// between counts as missed.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <boost/json/value.hpp>

#include "base/precondition.hpp"
#include "describe/record.hpp"
#include "jobs/queue.hpp"
#include "store/store.hpp"

namespace subforge::jobs {

enum class MissedRuns : std::uint8_t { once, skip };
constexpr std::array<std::pair<MissedRuns, std::string_view>, 2> names_of(MissedRuns) {
  return {{{MissedRuns::once, "once"}, {MissedRuns::skip, "skip"}}};
}

// What the unique keys of jobs that schedules start begin with.
inline constexpr std::string_view kScheduleKeys = "schedule:";

// Who those belong to that files of tasks bring along.
inline constexpr std::string_view kOfFiles = "tasks.d";

struct Schedule {
  std::string name;  // Its own; one row for each.
  std::string task;  // The name of the job.
  describe::JsonList args;
  describe::JsonText kwargs;
  std::optional<std::string> cron;            // Five fields, in UTC; or @hourly, @daily ...
  std::optional<std::int64_t> every_seconds;  // One of the two.
  std::string queue;                          // Empty: as for any job of that name.
  std::int64_t priority = priority::kNormal;
  MissedRuns missed = MissedRuns::once;
  bool overlap = false;  // Start another though the last has not ended.
  bool enabled = true;
  std::optional<Timestamp> next_at;  // Nothing while it is off.
  std::optional<Timestamp> last_at;
  std::optional<Uuid> last_job_id;
  std::int64_t version = 1;
  std::string created_by;
  Timestamp created_at;

  static constexpr auto describe() {
    using describe::field;
    using S = Schedule;
    return describe::fields(
        field("name", &S::name).length(1, 100).required().writable(),
        field("task", &S::task).length(1, 200).required().writable(),
        field("args", &S::args).writable(), field("kwargs", &S::kwargs).writable(),
        field("cron", &S::cron).length(1, 200).writable().doc("Five fields, in UTC."),
        field("every_seconds", &S::every_seconds).range(1, 31'536'000).writable(),
        field("queue", &S::queue).length(0, 100).writable(),
        field("priority", &S::priority).writable(),
        field("missed", &S::missed)
            .writable()
            .doc("What becomes of runs that were due while no server ran."),
        field("overlap", &S::overlap).writable(), field("enabled", &S::enabled).writable(),
        field("next_at", &S::next_at),
        field("last_at", &S::last_at).doc("When it was due last, be a task started then or not."),
        field("last_job_id", &S::last_job_id), field("version", &S::version),
        field("created_by", &S::created_by), field("created_at", &S::created_at));
  }
};

[[nodiscard]] std::string to_json(Schedule const& schedule);
bool read_schedule(boost::json::value const& body, Schedule& schedule, describe::Purpose purpose,
                   describe::Issues& issues);
void schedule_schema(JsonWriter& json);
void schedule_create_schema(JsonWriter& json);
void schedule_update_schema(JsonWriter& json);

// A cron line: minute, hour, day of the month, month, day of the week; *, lists, ranges and steps;
// names of months and days; 7 is Sunday as well. If both days are restricted, either is enough.
class CronLine {
 public:
  [[nodiscard]] static Result<CronLine> parse(std::string_view text);
  // The first time after `from`, to the minute; nothing if there is none within eight years.
  [[nodiscard]] std::optional<Timestamp> next(Timestamp from) const;

 private:
  std::uint64_t minutes_ = 0;
  std::uint32_t hours_ = 0;
  std::uint32_t days_ = 0;      // Bits 1 to 31.
  std::uint32_t months_ = 0;    // Bits 1 to 12.
  std::uint32_t weekdays_ = 0;  // Bits 0 to 6, Sunday first.
  bool any_day_ = true;
  bool any_weekday_ = true;
};

// When a schedule is due next, after `from`; intervals count from `last`, or from `from`.
[[nodiscard]] std::optional<Timestamp> next_time(Schedule const& schedule, Timestamp from);

class Schedules {
 public:
  Schedules(store::Store& store, Queue& queue, Logger logger)
      : store_(store), queue_(queue), logger_(logger) {}

  Task<Result<std::vector<Schedule>>> list();
  Task<Result<Schedule>> get(std::string name);
  // Errors: invalid (cron line; too many), too_large, conflict (there is one of that name, and
  // `replace` is false).
  Task<Result<Schedule>> put(Schedule schedule, std::string actor, bool replace);
  // Changes what the body has; its name is not among it. Whoever changes what it starts is who its
  // tasks are of from then on, but of those that files made. Errors: not_found, invalid, stale;
  // those of `allow`, which is asked whether this may be the task.
  using Allow = std::function<Result<void>(std::string const& task)>;
  Task<Result<Schedule>> change(std::string name, boost::json::value body, std::string actor,
                                Precondition condition, Allow allow);
  // Makes one that never was there, and changes none: for those that the program brings along.
  Task<Result<void>> seed(Schedule schedule);
  Task<Result<void>> remove(std::string name, Precondition condition = {});

  // Once a second, by every process: enqueues what is due, by the clock that all of them share if
  // no time is given. How many jobs that were.
  Task<Result<std::int64_t>> tick(std::optional<Timestamp> now = {});

 private:
  // Within the transaction, in the place of `before` if there is one.
  Task<Result<Schedule>> store_in(store::Transaction& transaction, Schedule schedule,
                                  std::optional<Schedule> const& before);
  enum class Start : std::uint8_t { no, if_due };
  Task<Result<std::int64_t>> move_on(Schedule const& seen, Timestamp now, Start start);
  Task<Result<std::int64_t>> move_on_in(store::Transaction& transaction, Schedule const& seen,
                                        Timestamp now, Start start);

  store::Store& store_;
  Queue& queue_;
  Logger logger_;
};

}  // namespace subforge::jobs
