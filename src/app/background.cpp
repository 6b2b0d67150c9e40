#include "app/background.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>

#include "app/backup_commands.hpp"
#include "builtin/celery_tasks.hpp"
#include "files/image_process.hpp"
#include "jobs/embedded/embedded_queue.hpp"

namespace subforge::app {
namespace {

// Threads for what would hold up a loop, and how much may wait for them.
constexpr std::size_t kThreads = 2;
constexpr std::size_t kThreadQueueMax = 1'000;

jobs::QueueLimits queue_limits(config::Config const& config) {
  jobs::QueueLimits limits;
  limits.lease_seconds = config.task_lease_seconds;
  for (auto const& route : config.task_routes) {
    auto const sign = route.find('=');
    if (sign == std::string::npos) continue;
    limits.routes.emplace(route.substr(0, sign), route.substr(sign + 1));
  }
  return limits;
}

std::string worker_name() {
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  return std::string(host.data()) + ":" + std::to_string(::getpid());
}

bool same_wish(jobs::Schedule const& a, jobs::Schedule const& b) {
  return a.task == b.task && a.args == b.args && a.kwargs == b.kwargs && a.cron == b.cron &&
         a.every_seconds == b.every_seconds && a.queue == b.queue && a.priority == b.priority &&
         a.missed == b.missed && a.overlap == b.overlap;
}

}  // namespace

Background::Background(config::Config const& config, store::Store& store, files::BlobStore& blobs,
                       domain::ApiUsage& usage, EventLoop& loop, Logger logger)
    : config_(config),
      store_(store),
      loop_(loop),
      logger_(logger),
      pool_(kThreads, kThreadQueueMax, BlockingPool::Claim::behind),
      queue_(make_queue()),
      jobs_(store, *queue_),
      schedules_(store, *queue_, logger),
      configurations_(*queue_),
      uploads_(*queue_),
      builtin_{store,
               usage,
               jobs_,
               pool_,
               blobs,
               {"/proc/self/exe", std::string(files::kReadImageCommand)},
               backup_options(config),
               {config.task_retention_days, config.backup_chains_kept}},
      parts_{jobs_, schedules_, registry_, celery_ != nullptr, {}} {
  builtin::add_definitions(registry_, builtin_);
  for (auto const& name : builtin::names_for_admins()) parts_.for_admins.insert(name);
  if (celery_ == nullptr) return;
  builtin::add_celery_definitions(registry_, loop_);
  for (auto const& name : builtin::celery_names_for_admins()) parts_.for_admins.insert(name);
}

// What is wrong with the settings is told by load(), which can.
std::unique_ptr<jobs::Queue> Background::make_queue() {
  auto embedded = [&] {
    return std::make_unique<jobs::EmbeddedQueue>(store_, registry_, queue_limits(config_), logger_);
  };
  auto const& results_text = config_.celery_result_backend;
  if (config_.celery_broker_url.empty()) {
    if (!results_text.empty()) {
      settings_good_ = fail(ErrorCode::invalid,
                            "CELERY_RESULT_BACKEND is of use with CELERY_BROKER_URL only: set both"
                            " or none");
    }
    return embedded();
  }
  auto const broker = redis::parse_redis_url(config_.celery_broker_url, "CELERY_BROKER_URL");
  auto const results =
      results_text.empty() ? broker : redis::parse_redis_url(results_text, "CELERY_RESULT_BACKEND");
  for (auto const* const url : {&broker, &results}) {
    if (*url) continue;
    settings_good_ = std::unexpected(url->error());
    return embedded();
  }
  jobs::celery::CeleryOptions options;
  options.broker.url = *broker;
  options.results.url = *results;
  options.visibility_seconds = config_.celery_visibility_timeout;
  options.lost_seconds = config_.celery_lost_after;
  options.result_seconds = config_.celery_result_expires;
  options.result_prefix = config_.celery_result_key_prefix;
  options.dates_with_offset = config_.celery_wire_version != "5.2";
  options.origin = "subforge@" + worker_name();
  auto queue = std::make_unique<jobs::celery::CeleryQueue>(
      loop_, pool_, store_, registry_, queue_limits(config_), std::move(options), logger_);
  celery_ = queue.get();
  return queue;
}

void Background::add_worker() {
  jobs::WorkerOptions options;
  options.name = worker_name();
  options.queues = config_.task_queues;
  options.slots = static_cast<std::size_t>(config_.task_slots);
  worker_ = std::make_unique<jobs::Worker>(
      loop_, jobs::Worker::Parts{store_, *queue_, registry_, pool_, logger_}, std::move(options));
  store_.follow(*worker_);
  if (celery_ == nullptr) return;
  node_ = std::make_unique<CeleryNode>(CeleryNode::Parts{
      loop_, pool_, config_, celery_->options().broker, registry_, jobs_, *celery_, logger_});
  celery_->observe(node_->node());
}

Result<void> Background::load() {
  if (!settings_good_) return settings_good_;
  auto tasks = builtin::load_command_tasks(config_.tasks_dir);
  if (!tasks) return std::unexpected(tasks.error());
  for (auto& task : *tasks) {
    auto const& name = task.definition.name;
    if (registry_.find(name) != nullptr) {
      return fail(ErrorCode::invalid,
                  task.file + ": name: " + name + " is a task of the program itself");
    }
    if (task.for_admins) parts_.for_admins.insert(name);
    if (task.schedule) {
      auto const other = std::ranges::find(of_files_, task.schedule->name,
                                           [](OfFile const& one) { return one.schedule.name; });
      if (other != of_files_.end()) {
        return fail(ErrorCode::invalid, task.file + ": schedule.name: " + other->file +
                                            " has a schedule named " + other->schedule.name +
                                            " already");
      }
      of_files_.push_back({task.file, *task.schedule});
    }
    registry_.add(builtin::definition_of(std::move(task)));
  }
  return {};
}

Task<Result<void>> Background::make_schedules() {
  for (auto const& schedule : builtin::default_schedules()) {
    if (auto made = co_await schedules_.seed(schedule); !made) co_return made;
  }
  for (auto const& wanted : of_files_) {
    if (auto made = co_await make_schedule(wanted); !made) {
      if (made.error().code != ErrorCode::invalid) co_return made;
      co_return fail(ErrorCode::invalid, wanted.file + ": schedule: " + made.error().message);
    }
  }
  auto const all = co_await schedules_.list();
  if (!all) co_return std::unexpected(all.error());
  for (auto const& schedule : *all) {
    auto const same = [&](OfFile const& one) { return one.schedule.name == schedule.name; };
    if (schedule.created_by != jobs::kOfFiles || std::ranges::any_of(of_files_, same)) continue;
    if (auto gone = co_await schedules_.remove(schedule.name); !gone) co_return gone;
  }
  co_return {};
}

// One that is as its file says keeps its next time, and stays off if somebody switched it off.
Task<Result<void>> Background::make_schedule(OfFile const& wanted) {
  auto schedule = wanted.schedule;
  auto const there = co_await schedules_.get(schedule.name);
  if (!there && there.error().code != ErrorCode::not_found) {
    co_return std::unexpected(there.error());
  }
  if (there && there->created_by != jobs::kOfFiles && !there->created_by.empty()) {
    // Who may make schedules must not be able to keep the server from starting.
    logger_.warning("the schedule of a file is left out: somebody has made one of that name",
                    {{"file", wanted.file}, {"name", schedule.name}, {"by", there->created_by}});
    co_return {};
  }
  if (there && there->created_by.empty()) {
    co_return fail(ErrorCode::invalid, "there is one named " + schedule.name +
                                           " that no file made; give this one another name");
  }
  if (there && same_wish(*there, schedule)) co_return {};
  if (there) schedule.enabled = there->enabled;
  auto const made = co_await schedules_.put(std::move(schedule), std::string(jobs::kOfFiles), true);
  if (!made) co_return std::unexpected(made.error());
  co_return {};
}

void Background::start() {
  if (celery_ != nullptr) celery_->start();
  if (node_ != nullptr) node_->start();
  if (worker_ != nullptr) worker_->start();
}

void Background::stop() {
  if (celery_ != nullptr) celery_->stop();
}

Task<void> Background::tend() {
  auto const started = co_await schedules_.tick();
  auto const tended = co_await queue_->tend();
  for (auto const* const outcome : {&started, &tended}) {
    if (*outcome) continue;
    logger_.warning("background tasks could not be looked after",
                    {{"cause", outcome->error().message}, {"context", outcome->error().context}});
  }
}

void Background::begin_shutdown(std::int64_t patience_ms) {
  if (worker_ != nullptr) worker_->begin_shutdown(patience_ms);
  if (node_ != nullptr) tasks_.spawn(leave());
}

// Others hear of the worker until it has ended.
Task<void> Background::leave() {
  constexpr std::int64_t kLookMs = 10;
  while (!worker_->done()) co_await loop_.sleep_ms(kLookMs);
  node_->stop();
}

}  // namespace subforge::app
