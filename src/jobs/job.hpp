// The record of a background task, in code a job (a task is what agents work on): what REST shows,
// whichever adapter runs it. One declaration from which the answers, the table's columns and the
// schemas follow.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/time.hpp"
#include "base/uuid.hpp"
#include "describe/record.hpp"

namespace subforge::jobs {

enum class JobStatus : std::uint8_t { pending, started, success, failure, retry, revoked };

constexpr std::array<std::pair<JobStatus, std::string_view>, 6> names_of(JobStatus) {
  using enum JobStatus;
  return {{{pending, "pending"},
           {started, "started"},
           {success, "success"},
           {failure, "failure"},
           {retry, "retry"},
           {revoked, "revoked"}}};
}

// Nothing happens to it any more, unless somebody puts it back.
[[nodiscard]] constexpr bool is_final(JobStatus status) {
  return status == JobStatus::success || status == JobStatus::failure ||
         status == JobStatus::revoked;
}

// Higher first. Between them nobody can choose, since the names and figures know only these four.
namespace priority {
inline constexpr std::int64_t kLow = 1, kNormal = 5, kHigh = 8, kCritical = 10;
inline constexpr std::array<std::pair<std::int64_t, std::string_view>, 4> kNames{
    {{kLow, "low"}, {kNormal, "normal"}, {kHigh, "high"}, {kCritical, "critical"}}};
}  // namespace priority

[[nodiscard]] bool is_priority(std::int64_t number);
// "low" ...; empty for other numbers.
[[nodiscard]] std::string_view priority_name(std::int64_t number);
// Of one of the names, or of one of the numbers as text.
[[nodiscard]] std::optional<std::int64_t> priority_of(std::string_view text);

inline constexpr std::string_view kDefaultQueue = "default";

// Where a job stands, as the embedded queue and the rescue see it; clients see the status.
enum class Stage : std::uint8_t {
  delayed,  // Its time has not come.
  ready,    // Waits for a worker.
  leased,   // A worker has it.
  ended,
  held,      // Waits for the others of its batch.
  outbound,  // A broker elsewhere has it, or is about to get it.
};

constexpr std::array<std::pair<Stage, std::string_view>, 6> names_of(Stage) {
  using enum Stage;
  return {{{delayed, "delayed"},
           {ready, "ready"},
           {leased, "leased"},
           {ended, "ended"},
           {held, "held"},
           {outbound, "outbound"}}};
}

struct Job {
  Uuid id;
  std::string name;
  JobStatus status = JobStatus::pending;
  std::int64_t priority = priority::kNormal;
  double progress = 0;
  describe::JsonValue result;  // The task's data, not the wrapper.
  std::optional<std::string> error;
  Timestamp created_at;
  std::optional<Timestamp> started_at;
  std::optional<Timestamp> completed_at;
  std::int64_t retry_count = 0;  // Automatic ones and those by hand together.
  std::int64_t max_retries = 3;
  describe::JsonText metadata;
  std::string queue{kDefaultQueue};
  std::optional<Timestamp> eta;
  std::optional<Timestamp> expires_at;

  // Only in the answer about this job alone.
  std::string progress_note;  // What it is at, in its own words.
  describe::JsonList args;
  describe::JsonText kwargs;
  std::optional<std::string> traceback;
  std::optional<double> soft_limit_seconds;
  std::optional<double> hard_limit_seconds;
  std::optional<std::string> unique_key;
  std::optional<Uuid> batch_id;
  std::optional<std::string> created_by;

  // The queue's own.
  Stage stage = Stage::ready;
  std::string lane;       // Its name, where that has limits of its own; else empty.
  std::int64_t rank = 0;  // Lower first: when it was due, less what its priority is worth.
  Timestamp due_at;
  std::int64_t fence = 0;   // Grows with every start; an older one's result is refused.
  std::int64_t losses = 0;  // Workers that died of it, or with it.
  std::optional<Uuid> worker_id;

  // Of what a list found: too long for one.
  bool result_left_out = false;
  bool metadata_left_out = false;

  static constexpr auto describe();
};

[[nodiscard]] inline bool lacks_result(Job const& job) { return job.result_left_out; }
[[nodiscard]] inline bool lacks_metadata(Job const& job) { return job.metadata_left_out; }

// There is no version 1 of these; its view is the one in detail, with what lists leave out.
constexpr auto Job::describe() {
  using describe::field;
  using describe::property;
  using J = Job;
  return describe::fields(
      field("id", &J::id), field("name", &J::name).doc("What is to be done."),
      field("status", &J::status), field("priority", &J::priority).doc("1, 5, 8 or 10."),
      field("progress", &J::progress).doc("0 to 100."),
      field("result", &J::result).doc("What it brought; null before."),
      field("error", &J::error).doc("Why it failed."), field("created_at", &J::created_at),
      field("started_at", &J::started_at), field("completed_at", &J::completed_at),
      field("retry_count", &J::retry_count).doc("Automatic ones and those by hand together."),
      field("max_retries", &J::max_retries), field("metadata", &J::metadata),
      field("queue", &J::queue), field("eta", &J::eta), field("expires_at", &J::expires_at),
      property("result_truncated", &lacks_result)
          .v2({.out = "result_truncated"})
          .doc("Whether it is too long for a list, and only in the answer about this task alone."),
      property("metadata_truncated", &lacks_metadata)
          .v2({.out = "metadata_truncated"})
          .doc("The same of the metadata."),
      field("progress_note", &J::progress_note).v2({}), field("args", &J::args).v2({}),
      field("kwargs", &J::kwargs).v2({}), field("traceback", &J::traceback).v2({}),
      field("soft_limit_seconds", &J::soft_limit_seconds).v2({}),
      field("hard_limit_seconds", &J::hard_limit_seconds).v2({}),
      field("unique_key", &J::unique_key).v2({}), field("batch_id", &J::batch_id).v2({}),
      field("created_by", &J::created_by).v2({}), field("stage", &J::stage).internal(),
      field("lane", &J::lane).internal(), field("rank", &J::rank).internal(),
      field("due_at", &J::due_at).internal(), field("fence", &J::fence).internal(),
      field("losses", &J::losses).internal(), field("worker_id", &J::worker_id).internal());
}

// The folds, made once in job.cpp.
[[nodiscard]] std::string to_json(Job const& job);
void write_json(JsonWriter& json, Job const& job);
[[nodiscard]] std::string detail_json(Job const& job);
void job_schema(JsonWriter& json);
void job_detail_schema(JsonWriter& json);

// What somebody asks for. Unset limits are those of the task's definition.
struct JobSpec {
  std::string name;
  std::string args = "[]";    // A JSON list.
  std::string kwargs = "{}";  // A JSON object.
  std::string queue = {};     // Empty: where the settings route the name, else the default.
  std::optional<std::int64_t> priority = {};
  std::optional<std::int64_t> max_retries = {};
  std::optional<Timestamp> eta = {};         // Not before; a countdown is added to the time now.
  std::optional<Timestamp> expires_at = {};  // Not started after: it is revoked instead.
  std::optional<double> soft_limit_seconds = {};
  std::optional<double> hard_limit_seconds = {};
  // While a job with this key has not ended, asking for another one gives that one.
  std::optional<std::string> unique_key = {};
  std::optional<Uuid> batch_id = {};  // Of Queue::open_batch_in.
  std::string metadata = "{}";        // A JSON object.
  std::string created_by = {};        // Id of the user; empty for the server itself.
  Uuid id = {};                       // Nil: a new one.
};

}  // namespace subforge::jobs
