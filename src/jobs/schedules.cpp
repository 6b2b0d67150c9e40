#include "jobs/schedules.hpp"

#include <algorithm>

#include "jobs/job_rows.hpp"
#include "store/record_sql.hpp"

namespace subforge::jobs {
namespace {

using store::Row;
using store::Session;
using store::Transaction;

constexpr std::int64_t kSecondUs = 1'000'000;
constexpr std::int64_t kLateUs = 60 * kSecondUs;  // What is later than that was missed.
// No jump yet: the clock of another machine, once PostgreSQL runs there, may differ by so much.
constexpr std::int64_t kClocksDifferUs = 60 * kSecondUs;
constexpr std::int64_t kSchedulesMax = 1'000;

std::string const kColumns = store::column_list<Schedule>();
std::string const kInsertSchedule = store::insert_sql<Schedule>("job_schedules");

Task<Result<std::vector<Schedule>>> select_schedules(Session& session, std::string_view rest,
                                                     std::vector<store::Value> values) {
  auto const sql = "SELECT " + kColumns + " FROM job_schedules " + std::string(rest);
  std::vector<Schedule> all;
  auto const done = co_await session.query(
      sql, values, [&](Row const& row) { all.push_back(store::read_row<Schedule>(row)); });
  if (!done) co_return std::unexpected(done.error());
  co_return all;
}

Task<Result<std::optional<Schedule>>> find_schedule(Session& session, std::string const& name) {
  if (name.contains('\0')) co_return std::optional<Schedule>{};  // As no database takes it.
  auto all = co_await select_schedules(session, "WHERE name = $1", {store::Value(name)});
  if (!all) co_return std::unexpected(all.error());
  if (all->empty()) co_return std::optional<Schedule>{};
  co_return std::optional<Schedule>{std::move(all->front())};
}

JobSpec spec_of(Schedule const& schedule) {
  std::string metadata = "{\"schedule\":";
  append_json_string(metadata, schedule.name);
  metadata += '}';
  JobSpec spec{.name = schedule.task,
               .args = schedule.args.text,
               .kwargs = schedule.kwargs.text,
               .queue = schedule.queue,
               .priority = schedule.priority,
               .metadata = std::move(metadata),
               .created_by = schedule.created_by};
  if (!schedule.overlap) spec.unique_key = std::string(kScheduleKeys) + schedule.name;
  return spec;
}

Result<void> check(Schedule const& schedule, QueueLimits const& limits) {
  if (schedule.cron.has_value() == schedule.every_seconds.has_value()) {
    return fail(ErrorCode::invalid, "A schedule has either cron or every_seconds");
  }
  if (schedule.cron) {
    auto const line = CronLine::parse(*schedule.cron);
    if (!line) return std::unexpected(line.error());
    if (!line->next(Timestamp::now())) {
      return fail(ErrorCode::invalid, "cron: there is no such day");
    }
  }
  if (schedule.every_seconds && *schedule.every_seconds < 1) {
    return fail(ErrorCode::invalid, "every_seconds must be at least 1");
  }
  if (!schedule.queue.empty()) {
    if (auto checked = check_queue_name(schedule.queue); !checked) return checked;
  }
  if (auto checked = check_priority(schedule.priority); !checked) return checked;
  auto const spec = spec_of(schedule);
  return check_payload(spec.args, spec.kwargs, spec.metadata, limits.payload_bytes_max);
}

// Whether this one may be added to those that there are.
Task<Result<void>> check_number(Session& session) {
  std::int64_t count = 0;
  auto const counted = co_await session.query("SELECT count(*) FROM job_schedules", {},
                                              [&](Row const& row) { count = row.integer(0); });
  if (!counted) co_return std::unexpected(counted.error());
  if (count < kSchedulesMax) co_return {};
  co_return fail(ErrorCode::invalid, "There are " + std::to_string(kSchedulesMax) +
                                         " schedules, the most there may be");
}

// Whether the schedule that the program brings along was ever made.
Task<Result<bool>> note_seed(Transaction& transaction, std::string const& name) {
  auto const noted = co_await transaction.execute(
      "INSERT INTO meta (key, value) VALUES ($1, 'made') ON CONFLICT (key) DO NOTHING",
      {"schedule_seed." + name});
  if (!noted) co_return std::unexpected(noted.error());
  co_return *noted == 1;
}

}  // namespace

std::optional<Timestamp> next_time(Schedule const& schedule, Timestamp from) {
  if (schedule.every_seconds) {
    // From the last time on, as often as it takes to be in the future.
    auto const every = *schedule.every_seconds * kSecondUs;
    auto const last = schedule.last_at.value_or(from);
    if (last > from) return Timestamp{from.micros + every};
    return Timestamp{last.micros + ((from.micros - last.micros) / every + 1) * every};
  }
  if (!schedule.cron) return std::nullopt;
  auto const line = CronLine::parse(*schedule.cron);
  return line ? line->next(from) : std::nullopt;
}

Task<Result<std::vector<Schedule>>> Schedules::list() {
  auto read = [](Session& session) {
    return select_schedules(session, "ORDER BY name LIMIT $1", {store::Value(kSchedulesMax)});
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

Task<Result<Schedule>> Schedules::get(std::string name) {
  auto read = [name = std::move(name)](Session& session) -> Task<Result<Schedule>> {
    auto found = co_await find_schedule(session, name);
    if (!found) co_return std::unexpected(found.error());
    if (!*found) co_return fail(ErrorCode::not_found, "Schedule " + name + " not found");
    co_return std::move(**found);
  };
  co_return co_await store_.read(store::ReadCost::point, std::move(read));
}

Task<Result<Schedule>> Schedules::store_in(Transaction& transaction, Schedule schedule,
                                           std::optional<Schedule> const& before) {
  auto const now = co_await shared_clock(transaction.session());
  if (!now) co_return std::unexpected(now.error());
  schedule.created_at = before ? before->created_at : *now;
  schedule.version = before ? before->version + 1 : 1;
  schedule.last_at = before ? before->last_at : std::nullopt;
  schedule.last_job_id = before ? before->last_job_id : std::nullopt;
  schedule.next_at = schedule.enabled ? next_time(schedule, *now) : std::nullopt;
  auto const gone =
      co_await transaction.execute("DELETE FROM job_schedules WHERE name = $1", {schedule.name});
  if (!gone) co_return std::unexpected(gone.error());
  auto const bound = store::bind_record(schedule);
  auto const added = co_await transaction.execute(kInsertSchedule, bound.values());
  if (!added) co_return std::unexpected(added.error());
  co_return schedule;
}

Task<Result<Schedule>> Schedules::put(Schedule schedule, std::string actor, bool replace) {
  if (auto checked = check(schedule, queue_.limits()); !checked) {
    co_return std::unexpected(checked.error());
  }
  schedule.created_by = std::move(actor);
  auto write = [this, schedule = std::move(schedule),
                replace](Transaction& transaction) -> Task<Result<Schedule>> {
    auto const before = co_await find_schedule(transaction.session(), schedule.name);
    if (!before) co_return std::unexpected(before.error());
    if (*before && !replace) {
      co_return fail(ErrorCode::conflict, "There is a schedule named " + schedule.name);
    }
    if (!*before) {
      if (auto fits = co_await check_number(transaction.session()); !fits) {
        co_return std::unexpected(fits.error());
      }
    }
    co_return co_await store_in(transaction, schedule, *before);
  };
  co_return co_await store_.write(std::move(write));
}

Task<Result<Schedule>> Schedules::change(std::string name, boost::json::value body,
                                         std::string actor, Precondition condition, Allow allow) {
  auto write = [this, &name, &body, &actor, &condition,
                &allow](Transaction& transaction) -> Task<Result<Schedule>> {
    auto const before = co_await find_schedule(transaction.session(), name);
    if (!before) co_return std::unexpected(before.error());
    if (!*before) co_return fail(ErrorCode::not_found, "Schedule " + name + " not found");
    if (auto met = condition.check((*before)->version); !met) {
      co_return std::unexpected(met.error());
    }
    auto schedule = **before;
    describe::Issues ignored;  // It was checked before.
    read_schedule(body, schedule, describe::Purpose::update, ignored);
    schedule.name = name;
    bool const starts_other = schedule.task != (*before)->task ||
                              schedule.args.text != (*before)->args.text ||
                              schedule.kwargs.text != (*before)->kwargs.text;
    if (starts_other && schedule.created_by != kOfFiles) schedule.created_by = actor;
    if (auto checked = check(schedule, queue_.limits()); !checked) {
      co_return std::unexpected(checked.error());
    }
    if (auto allowed = allow(schedule.task); !allowed) co_return std::unexpected(allowed.error());
    co_return co_await store_in(transaction, std::move(schedule), *before);
  };
  co_return co_await store_.write(std::move(write));
}

Task<Result<void>> Schedules::seed(Schedule schedule) {
  if (auto checked = check(schedule, queue_.limits()); !checked) co_return checked;
  auto write = [this,
                schedule = std::move(schedule)](Transaction& transaction) -> Task<Result<void>> {
    auto const first = co_await note_seed(transaction, schedule.name);
    if (!first) co_return std::unexpected(first.error());
    auto const before = co_await find_schedule(transaction.session(), schedule.name);
    if (!before) co_return std::unexpected(before.error());
    if (!*first || *before) co_return {};
    auto const made = co_await store_in(transaction, schedule, std::nullopt);
    if (!made) co_return std::unexpected(made.error());
    co_return {};
  };
  co_return co_await store_.write(std::move(write));
}

Task<Result<void>> Schedules::remove(std::string name, Precondition condition) {
  auto erase = [&name, &condition](Transaction& transaction) -> Task<Result<void>> {
    auto const before = co_await find_schedule(transaction.session(), name);
    if (!before) co_return std::unexpected(before.error());
    if (!*before) co_return fail(ErrorCode::not_found, "Schedule " + name + " not found");
    if (auto met = condition.check((*before)->version); !met) {
      co_return std::unexpected(met.error());
    }
    auto const gone =
        co_await transaction.execute("DELETE FROM job_schedules WHERE name = $1", {name});
    if (!gone) co_return std::unexpected(gone.error());
    co_return {};
  };
  co_return co_await store_.write(std::move(erase));
}

// ---- By the clock ------------------------------------------------------------------------------

Task<Result<std::int64_t>> Schedules::tick(std::optional<Timestamp> at) {
  using Waiting = std::vector<Schedule>;
  auto read = [&at](Session& session) -> Task<Result<Waiting>> {
    auto waiting =
        co_await select_schedules(session, "WHERE next_at IS NOT NULL ORDER BY next_at LIMIT $1",
                                  {store::Value(kSchedulesMax)});
    if (!waiting || waiting->empty() || at) co_return waiting;
    auto const clock = co_await shared_clock(session);
    if (!clock) co_return std::unexpected(clock.error());
    at = *clock;
    co_return waiting;
  };
  auto const waiting = co_await store_.read(store::ReadCost::point, std::move(read));
  if (!waiting) co_return std::unexpected(waiting.error());
  auto const now = at.value_or(Timestamp{});
  std::int64_t started = 0;
  for (auto const& schedule : *waiting) {
    // A time that is further away than the next one is of a clock that was set back; or the
    // clock was a little ahead as this run was started.
    bool const due = *schedule.next_at <= now;
    auto const next = due ? std::nullopt : next_time(schedule, {now.micros + kClocksDifferUs});
    if (!due && (!next || *schedule.next_at <= *next)) continue;
    auto const moved = co_await move_on(schedule, now, Start::if_due);
    if (moved) {
      started += *moved;
      continue;
    }
    logger_.warning("a task of a schedule could not be started",
                    {{"name", schedule.name}, {"cause", moved.error().message}});
    if (moved.error().code == ErrorCode::unavailable) co_return moved;
    // What is wrong with it is not right a second later: the next run may be.
    if (auto const passed = co_await move_on(schedule, now, Start::no); !passed) co_return passed;
  }
  co_return started;
}

Task<Result<std::int64_t>> Schedules::move_on(Schedule const& seen, Timestamp now, Start start) {
  auto move = [&](Transaction& transaction) { return move_on_in(transaction, seen, now, start); };
  co_return co_await store_.write(std::move(move));
}

// Whoever moves the next time on starts the job; all others find it moved.
Task<Result<std::int64_t>> Schedules::move_on_in(Transaction& transaction, Schedule const& seen,
                                                 Timestamp now, Start start) {
  auto schedule = seen;
  bool const due = *seen.next_at <= now;
  auto const late_us = now.micros - seen.next_at->micros;
  if (due) schedule.last_at = seen.every_seconds ? *seen.next_at : now;
  if (due && seen.last_at && *schedule.last_at < *seen.last_at) schedule.last_at = now;
  schedule.next_at = next_time(schedule, now);
  auto const moved = co_await transaction.execute(
      "UPDATE job_schedules SET next_at = $1, last_at = $2 WHERE name = $3 AND next_at = $4"
      " AND version = $5",
      {schedule.next_at, schedule.last_at, schedule.name, *seen.next_at, seen.version});
  if (!moved) co_return std::unexpected(moved.error());
  bool const skipped = schedule.missed == MissedRuns::skip && late_us > kLateUs;
  if (*moved == 0 || !due || skipped || start == Start::no) co_return 0;
  auto const spec = spec_of(schedule);
  auto const added = co_await queue_.enqueue_in(transaction, std::span(&spec, 1));
  if (!added) co_return std::unexpected(added.error());
  auto const noted =
      co_await transaction.execute("UPDATE job_schedules SET last_job_id = $1 WHERE name = $2",
                                   {added->front().id, schedule.name});
  if (!noted) co_return std::unexpected(noted.error());
  co_return added->front().fresh ? 1 : 0;
}

std::string to_json(Schedule const& schedule) {
  std::string text;
  JsonWriter json(text);
  describe::write_record(json, schedule, describe::Api::v2);
  return text;
}

bool read_schedule(boost::json::value const& body, Schedule& schedule, describe::Purpose purpose,
                   describe::Issues& issues) {
  return describe::read_record(body, schedule, describe::Api::v2, purpose,
                               describe::Where{nullptr, "body"}, issues);
}

void schedule_schema(JsonWriter& json) {
  describe::write_schema<Schedule>(json, describe::Api::v2);
}

void schedule_create_schema(JsonWriter& json) {
  describe::write_body_schema<Schedule>(json, describe::Api::v2, describe::Purpose::create);
}

void schedule_update_schema(JsonWriter& json) {
  describe::write_body_schema<Schedule>(json, describe::Api::v2, describe::Purpose::update);
}

}  // namespace subforge::jobs
