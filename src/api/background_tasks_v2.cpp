// Asking for background tasks and looking at them.
#include <fmt/format.h>

#include "api/background_task_parts.hpp"
#include "api/cursor.hpp"
#include "base/json_writer.hpp"
#include "describe/record.hpp"
#include "pipeline/once.hpp"

namespace subforge::api {
namespace {

using describe::Api;
using describe::Purpose;
using http::ClientKey;
using http::Parameter;
using http::Request;
using http::Response;
using jobs::JobFilter;
using jobs::JobOrder;
using jobs::JobStatus;
using net::Method;

constexpr std::int64_t kMicros = 1'000'000;
constexpr std::int64_t kCountdownMax = 366LL * 24 * 3600;

struct TaskBody {
  std::string task_name;
  describe::JsonList task_args;
  describe::JsonText task_kwargs;
  std::optional<Urgency> priority;
  std::optional<std::int64_t> max_retries;
  std::optional<Timestamp> eta;
  std::optional<std::int64_t> countdown;
  std::optional<Timestamp> expires;
  std::optional<std::string> queue;
  std::optional<std::string> unique_key;
  describe::JsonText metadata;

  static constexpr auto describe() {
    using describe::field;
    using B = TaskBody;
    return describe::fields(
        field("task_name", &B::task_name).length(1, 200).required().writable(),
        field("task_args", &B::task_args).writable(),
        field("task_kwargs", &B::task_kwargs).writable(),
        field("priority", &B::priority).writable().doc("Absent: that of the task."),
        field("max_retries", &B::max_retries).range(0, 100).writable().doc("Absent: 3."),
        field("eta", &B::eta).writable().doc("Not before; naive times are UTC."),
        field("countdown", &B::countdown)
            .range(0, static_cast<double>(kCountdownMax))
            .writable()
            .doc("The same in seconds from now."),
        field("expires", &B::expires).writable().doc("Not started after: revoked instead."),
        field("queue", &B::queue).length(1, 100).writable().doc("Absent: that of the task."),
        field("unique_key", &B::unique_key)
            .length(1, 500)
            .writable()
            .doc("While a task with this key has not ended, asking again gives that one."),
        field("metadata", &B::metadata).writable());
  }
};

// ---- Asking ------------------------------------------------------------------------------------

Response submitted(jobs::Enqueued const& task) {
  Response response;
  response.status = 201;
  JsonWriter json(response.body);
  json.begin_object();
  json.key("task_id");
  json.uuid(task.id);
  json.member("message", task.fresh ? "Background task created successfully"
                                    : "A task with this unique key is under way");
  json.member("status", "submitted");
  json.end_object();
  return response;
}

Task<Response> create(BackgroundTaskParts const& parts, Request const& request) {
  auto body = read_body<TaskBody>(request);
  if (!body) co_return std::move(body.error());
  if (auto named = check_name(parts, request, body->task_name); !named) {
    co_return Response::from(named.error());
  }
  if (body->unique_key && body->unique_key->starts_with(jobs::kScheduleKeys)) {
    co_return Response::problem(422, "Unique keys that begin with 'schedule:' are for schedules");
  }
  std::vector<jobs::JobSpec> specs(1);
  auto& spec = specs.front();
  spec.name = std::move(body->task_name);
  spec.args = std::move(body->task_args.text);
  spec.kwargs = std::move(body->task_kwargs.text);
  spec.queue = body->queue.value_or("");
  if (body->priority) spec.priority = body->priority->value;
  spec.max_retries = body->max_retries;
  spec.eta = body->eta;
  if (body->countdown) {
    spec.eta = Timestamp{Timestamp::now().micros + *body->countdown * kMicros};
  }
  spec.expires_at = body->expires;
  spec.unique_key = std::move(body->unique_key);
  spec.metadata = with_members(body->metadata.text, creator_of(request));
  spec.created_by = actor_of(request).user;
  auto const answer = [](Result<std::vector<jobs::Enqueued>> const& enqueued) {
    return enqueued ? submitted(enqueued->front()) : Response::from(enqueued.error());
  };
  co_return co_await pipeline::answer_with(request, parts.jobs.enqueue(std::move(specs)), answer);
}

struct Predefined {
  std::string_view name;
  std::string_view parameter;  // Of the query.
  std::string_view fallback;
  std::int64_t priority;
  std::string_view note;  // Under which the metadata has it.
  std::string_view message;
  std::string_view duration;
};

constexpr Predefined kAnalysis{"analyze_system_metrics",
                               "time_range",
                               "24h",
                               jobs::priority::kNormal,
                               "analysis_range",
                               "System metrics analysis started",
                               "3-5 minutes"};
constexpr Predefined kBackup{"backup_agent_data",  "backup_type", "incremental",
                             jobs::priority::kLow, "backup_type", "Data backup started",
                             "5-10 minutes"};

template <Predefined const& kind>
Task<Response> start_predefined(BackgroundTaskParts const& parts, Request const& request) {
  if (auto named = check_name(parts, request, std::string(kind.name)); !named) {
    co_return Response::from(named.error());
  }
  auto const choice = request.text(kind.parameter).value_or(std::string(kind.fallback));
  std::vector<jobs::JobSpec> specs(1);
  auto& spec = specs.front();
  spec.name = kind.name;
  spec.args = "[" + json_string(choice) + "]";
  spec.priority = kind.priority;
  auto members = creator_of(request);
  members.emplace_back("task_type", "predefined");
  members.emplace_back(kind.note, choice);
  spec.metadata = with_members("{}", members);
  spec.created_by = actor_of(request).user;
  auto const answer = [](Result<std::vector<jobs::Enqueued>> const& enqueued) {
    if (!enqueued) return Response::from(enqueued.error());
    Response response;
    JsonWriter json(response.body);
    json.begin_object();
    json.key("task_id");
    json.uuid(enqueued->front().id);
    json.member("message", kind.message);
    json.member("estimated_duration", kind.duration);
    json.end_object();
    return response;
  };
  co_return co_await pipeline::answer_with(request, parts.jobs.enqueue(std::move(specs)), answer);
}

// ---- Looking -----------------------------------------------------------------------------------

std::optional<Response> read_time(Request const& request, std::string_view name,
                                  std::optional<Timestamp>& to) {
  auto const text = request.text(name);
  if (!text) return std::nullopt;
  to = Timestamp::parse(*text);
  if (to) return std::nullopt;
  return Response::problem(400, fmt::format("Invalid {} datetime format", name));
}

JobOrder order_of(std::string_view name) {
  if (name == "name") return JobOrder::name;
  if (name == "status") return JobOrder::status;
  if (name == "priority") return JobOrder::priority;
  if (name == "progress") return JobOrder::progress;
  return JobOrder::created_at;
}

Task<Response> list(BackgroundTaskParts const& parts, Request const& request) {
  JobFilter filter;
  if (auto const status = request.text("status")) {
    filter.status = describe::from_text<JobStatus>(*status);
  }
  if (auto const priority = request.text("priority")) {
    filter.priority = jobs::priority_of(*priority);
  }
  if (auto const batch = request.text("batch_id")) filter.batch_id = Uuid::parse(*batch);
  if (auto wrong = read_time(request, "created_after", filter.created_after)) {
    co_return std::move(*wrong);
  }
  if (auto wrong = read_time(request, "created_before", filter.created_before)) {
    co_return std::move(*wrong);
  }
  filter.order = order_of(request.text("sort_by").value_or(""));
  filter.descending = request.text("sort_order").value_or("desc") == "desc";
  co_return co_await task_page(parts, request, std::move(filter));
}

Task<Response> get(BackgroundTaskParts const& parts, Request const& request) {
  auto const id = task_id_of(request);
  if (!id) co_return unknown_background_task(request);
  auto const job = co_await parts.jobs.get(*id);
  if (!job && job.error().code == ErrorCode::not_found) co_return unknown_background_task(request);
  if (!job) co_return Response::from(job.error());
  co_return Response::json(jobs::detail_json(*job));
}

Task<Response> statistics(BackgroundTaskParts const& parts, Request const&) {
  auto const found = co_await parts.jobs.statistics();
  if (!found) co_return Response::from(found.error());
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.member("total", found->total);
  json.key("by_status");
  json.begin_object();
  std::size_t i = 0;
  for (auto const& [status, name] : names_of(JobStatus{})) {
    json.member(name, found->by_status[i++]);
  }
  json.end_object();
  json.key("by_priority");
  json.begin_object();
  i = 0;
  for (auto const& [number, name] : jobs::priority::kNames) {
    json.member(name, found->by_priority[i++]);
  }
  json.end_object();
  json.member("average_duration", found->average_seconds);
  json.member("success_rate", found->success_rate);
  json.end_object();
  co_return response;
}

void write_workers(JsonWriter& json, jobs::QueueStatus const& status) {
  std::int64_t busy = 0;
  for (auto const& worker : status.workers) busy += worker.busy > 0 ? 1 : 0;
  json.key("workers");
  json.begin_object();
  json.member("active", std::ssize(status.workers));
  json.member("available", std::ssize(status.workers) - busy);
  json.member("busy", busy);
  json.key("list");
  json.begin_array();
  for (auto const& worker : status.workers) {
    json.begin_object();
    json.key("id");
    json.uuid(worker.id);
    json.member("name", worker.name);
    json.key("queues");
    describe::Codec<std::vector<std::string>>::write(json, worker.queues);
    json.member("slots", worker.slots);
    json.member("busy", worker.busy);
    json.member("started_at", worker.started_at);
    json.member("last_heartbeat", worker.heard_at);
    json.end_object();
  }
  json.end_array();
  json.end_object();
}

Task<Response> queue_status(BackgroundTaskParts const& parts, Request const&) {
  auto const found = co_await parts.jobs.queue_status();
  if (!found) co_return Response::from(found.error());
  auto queues = found->queues;
  for (auto const* const name : {"default", "high_priority", "low_priority"}) queues[name];
  Response response;
  JsonWriter json(response.body);
  json.begin_object();
  json.key("queues");
  json.begin_object();
  for (auto const& [name, figures] : queues) {
    json.key(name);
    json.begin_object();
    json.member("pending", figures.pending);
    json.member("active", figures.active);
    json.member("failed", figures.failed);
    json.end_object();
  }
  json.end_object();
  write_workers(json, *found);
  json.key("processing_rate");
  json.begin_object();
  json.member("tasks_per_minute", found->ended_last_minute);
  json.member("average_task_duration", found->average_seconds_last_minute);
  json.end_object();
  json.key("health");
  json.begin_object();
  // Without a worker nothing that is asked for is ever done.
  json.member("status", found->workers.empty() ? "unhealthy" : "healthy");
  std::optional<Timestamp> newest;
  for (auto const& worker : found->workers) newest = std::max(newest, {worker.heard_at});
  json.key("last_heartbeat");
  newest ? json.timestamp(*newest) : json.null();
  json.end_object();
  json.end_object();
  co_return response;
}

// ---- Schemas -----------------------------------------------------------------------------------

void body_schema(JsonWriter& json) {
  describe::write_body_schema<TaskBody>(json, Api::v2, Purpose::create);
}
constexpr describe::Shape kSubmitted = "task_id:id message:text status=submitted";
constexpr describe::Shape kPredefined = "task_id:id message:text estimated_duration:text";
constexpr describe::Shape kTaskStatistics =
    "total:integer by_status:{*:integer} by_priority:{*:integer}"
    " average_duration:number(Seconds, of those that ended.)"
    " success_rate:number(Percent of all tasks.)";
constexpr describe::Shape kQueueStatus =
    "queues:{*:{pending:integer active:integer failed:integer}}"
    " workers:{active:integer available:integer busy:integer list:[{id:id name:text queues:[text]"
    " slots:integer busy:integer started_at:time last_heartbeat:time}]}"
    " processing_rate:{tasks_per_minute:integer average_task_duration:number}"
    " health:{status=healthy|unhealthy last_heartbeat:time|null}";

std::vector<Parameter> list_query() {
  return {integer_parameter("skip", 0, 0, std::nullopt, "How many to leave out."),
          integer_parameter("limit", 100, 1, 1000, "How many at most."),
          choice_parameter("status", describe::enum_names<JobStatus>(), "Only those."),
          choice_parameter("priority", {"1", "5", "8", "10", "low", "normal", "high", "critical"},
                           "Only those."),
          text_parameter("task_name", "Part of the name, in any case."),
          text_parameter("queue", "Only those of this queue."),
          uuid_parameter("batch_id", "Only those of this batch."),
          text_parameter("created_after", "At that time or later."),
          text_parameter("created_before", "At that time or earlier."),
          text_parameter("sort_by",
                         "created_at, name, status, priority or progress; anything"
                         " else is created_at."),
          choice_parameter("sort_order", {"asc", "desc"}, "Absent: desc."),
          cursor_parameter()};
}

http::Schema const kBackgroundTaskSchema{"BackgroundTask", &jobs::job_schema};
http::Answer const kRefused{400, "No such task can be asked for."};

}  // namespace

http::Routes background_tasks_v2(BackgroundTaskParts const& parts) {
  using enum http::Access;
  http::Answer const unknown{404, "There is no such task."};
  http::Answer const predefined{200, "It is on its way.", {"PredefinedTask", kPredefined}};
  http::Routes routes(kBackgroundPrefix);
  routes
      .add({.method = Method::get,
            .path = "/",
            .name = "v2_list_background_tasks",
            .summary = "List and filter background tasks",
            .tag = kBackgroundTag,
            .handler = with_parts<&list>(parts),
            .access = read,
            .limit = {100, ClientKey::address},
            .cache = {10, kAnyTask},
            .query = list_query(),
            .answers = {{200, "The tasks.", kBackgroundTaskSchema, http::Shape::list},
                        {400, "A time is none."}},
            .failure = "Failed to retrieve background tasks"})
      .add({.method = Method::get,
            .path = "/statistics",
            .name = "v2_background_task_statistics",
            .summary = "Figures about background tasks",
            .tag = kBackgroundTag,
            .handler = with_parts<&statistics>(parts),
            .access = read,
            .limit = {60, ClientKey::address},
            .cache = {60, kAnyTask},
            .answers = {{200, "The figures.", {"BackgroundTaskStatistics", kTaskStatistics}}},
            .failure = "Failed to retrieve task statistics"})
      .add({.method = Method::get,
            .path = "/queue-status",
            .name = "v2_background_queue_status",
            .summary = "Queues and workers",
            .tag = kBackgroundTag,
            .handler = with_parts<&queue_status>(parts),
            .access = read,
            .limit = {60, ClientKey::address},
            .answers = {{200, "What they are at.", {"QueueStatus", kQueueStatus}}},
            .failure = "Failed to retrieve queue status"})
      .add({.method = Method::get,
            .path = "/{task_id}",
            .name = "v2_get_background_task",
            .summary = "Get a background task",
            .tag = kBackgroundTag,
            .handler = with_parts<&get>(parts),
            .access = read,
            .limit = {200, ClientKey::address},
            .cache = {5, kAnyTask},
            .path_parameters = {task_id_parameter()},
            .answers = {{200, "The task.", {"BackgroundTaskDetail", &jobs::job_detail_schema}},
                        unknown},
            .failure = "Failed to retrieve background task"})
      .add({.method = Method::post,
            .path = "/",
            .name = "v2_create_background_task",
            .summary = "Ask for a background task",
            .tag = kBackgroundTag,
            .handler = with_parts<&create>(parts),
            .access = write,
            .limit = {50, ClientKey::user},
            .body = http::BodySpec{{"BackgroundTaskCreate", &body_schema}},
            .answers = {{201, "It is on its way.", {"BackgroundTaskSubmitted", kSubmitted}},
                        kRefused},
            .failure = "Failed to create background task"})
      .add({.method = Method::post,
            .path = "/predefined/analyze-metrics",
            .name = "v2_analyze_metrics",
            .summary = "Analyze how the system was used",
            .tag = kBackgroundTag,
            .handler = with_parts<&start_predefined<kAnalysis>>(parts),
            .access = write,
            .limit = {10, ClientKey::user},
            .query = {choice_parameter("time_range", {"1h", "24h", "7d"},
                                       "How far back; absent: 24h.")},
            .answers = {predefined, kRefused},
            .failure = "Failed to start metrics analysis task"})
      .add({.method = Method::post,
            .path = "/predefined/backup-data",
            .name = "v2_backup_data",
            .summary = "Take a backup",
            .tag = kBackgroundTag,
            .handler = with_parts<&start_predefined<kBackup>>(parts),
            .access = admin,
            .limit = {5, ClientKey::user},
            .query = {choice_parameter("backup_type", {"full", "incremental"},
                                       "Absent: incremental.")},
            .answers = {predefined, kRefused},
            .failure = "Failed to start backup task"});
  return routes;
}

}  // namespace subforge::api
