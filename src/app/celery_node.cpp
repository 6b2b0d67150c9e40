#include "app/celery_node.hpp"

#include <signal.h>
#include <unistd.h>

#include <utility>

#include "base/json_writer.hpp"
#include "jobs/celery/wire.hpp"

namespace subforge::app {
namespace {

using jobs::Definition;
using jobs::Stage;

// Who cancelled, as the record has it.
constexpr std::string_view kActor = "celery";
constexpr std::int64_t kBeginMs = 500;  // By then what a worker has taken has begun.

std::string without_password(std::string const& url) {
  auto const parsed = redis::parse_redis_url(url, "URL");
  return parsed ? "redis://" + parsed->address() : std::string();
}

}  // namespace

CeleryNode::CeleryNode(Parts parts)
    : parts_(std::move(parts)),
      node_(parts_.loop, parts_.resolver, parts_.redis, parts_.registry, options(), actions(),
            parts_.logger) {}

jobs::celery::NodeOptions CeleryNode::options() const {
  auto const& config = parts_.config;
  auto const& results = config.celery_result_backend;
  auto const& broker = config.celery_broker_url;
  auto const seconds = std::to_string(config.celery_visibility_timeout);
  return {.name = jobs::celery::node_name(),
          .version = SUBFORGE_VERSION,
          .queues = config.task_queues,
          .slots = static_cast<std::size_t>(config.task_slots),
          .broker = parts_.redis.url,
          .settings = {
              {"broker_url", json_string(without_password(broker))},
              {"result_backend", json_string(without_password(results.empty() ? broker : results))},
              {"broker_transport_options", R"({"visibility_timeout":)" + seconds + "}"},
              {"result_expires", std::to_string(config.celery_result_expires)},
              {"task_default_queue", json_string(jobs::kDefaultQueue)},
              {"task_acks_late", "true"},
              {"task_track_started", "true"},
              {"task_serializer", R"("json")"},
              {"result_serializer", R"("json")"},
              {"accept_content", R"(["json"])"},
              {"worker_concurrency", std::to_string(config.task_slots)},
              {"worker_prefetch_multiplier", "1"},
              {"timezone", R"("UTC")"},
              {"enable_utc", "true"},
          }};
}

jobs::celery::NodeActions CeleryNode::actions() {
  auto const change = [this](std::string const& task, auto const& how) {
    if (!parts_.registry.change(task, how)) return;
    tasks_.spawn(tell_of_limits());
  };
  return {
      .revoke = [this](std::vector<std::string> const& ids,
                       bool terminate) { tasks_.spawn(revoke(ids, terminate)); },
      .shut_down = [] { ::kill(::getpid(), SIGTERM); },
      .limit_rate =
          [change](std::string const& task, jobs::StartRate rate) {
            change(task, [rate](Definition& definition) { definition.rate = rate; });
          },
      .limit_time =
          [change](std::string const& task, std::optional<double> soft,
                   std::optional<double> hard) {
            change(task, [soft, hard](Definition& definition) {
              definition.soft_limit_seconds = soft.value_or(0);
              definition.hard_limit_seconds = hard.value_or(0);
            });
          },
      .revoke_stamped =
          [this](std::set<std::string> stamps) {
            tasks_.spawn(parts_.queue.revoke_stamped(std::move(stamps)));
          },
  };
}

// What lies in a list is left there: whoever takes it knows by then. What runs elsewhere is the
// affair of who runs it. Who is to be ended may have been taken before that was said, and be about
// to begin: it is looked for once more.
Task<void> CeleryNode::revoke(std::vector<std::string> ids, bool terminate) {
  if (parts_.config.celery_wire_version == "5.6") co_await tell_revoked(ids);
  co_await revoke_known(ids, terminate);
  if (!terminate || ids.empty()) co_return;
  co_await parts_.loop.sleep_ms(kBeginMs);
  co_await revoke_known(ids, terminate);
}

// What is left are those that no worker has.
Task<void> CeleryNode::revoke_known(std::vector<std::string>& ids, bool terminate) {
  if (terminate) (void)co_await parts_.queue.write_rows();  // Nothing else can be cancelled.
  std::vector<std::string> left;
  for (auto const& id : ids) {
    auto const record = jobs::celery::uuid_of(id);
    auto const job = co_await parts_.jobs.get(record);
    if (!job || job->stage == Stage::outbound) {
      left.push_back(id);
      continue;
    }
    if (jobs::is_final(job->status)) continue;
    bool const runs = job->stage == Stage::leased;
    if (runs && !terminate) continue;
    auto const cancelled = co_await parts_.jobs.cancel(record, std::string(kActor));
    if (cancelled && !runs) node_.withdrawn(id);
    if (cancelled || cancelled.error().code == ErrorCode::invalid) continue;  // Others were first.
    parts_.logger.warning("a background task could not be revoked",
                          {{"id", id}, {"cause", cancelled.error().message}});
  }
  ids = std::move(left);
}

// Of one that runs on another end may follow.
Task<void> CeleryNode::tell_revoked(std::vector<std::string> const& ids) {
  std::vector<jobs::celery::ResultMeta> metas;
  for (auto const& id : ids) {
    auto& meta = metas.emplace_back();
    meta.task_id = id;
    meta.status = jobs::celery::state::kRevoked;
    meta.result = jobs::celery::exception_json(jobs::celery::revoked_exception("revoked"));
    meta.done_at = Timestamp::now();
  }
  auto const told = co_await parts_.queue.results().store(metas);
  if (told) co_return;
  parts_.logger.warning("Redis could not be told that tasks were revoked",
                        {{"cause", told.error().message}});
}

Task<void> CeleryNode::tell_of_limits() {
  auto const told = co_await parts_.jobs.queue().limits_changed();
  if (told) co_return;
  parts_.logger.warning("limits of background tasks could not be changed for those that wait",
                        {{"cause", told.error().message}});
}

}  // namespace subforge::app
