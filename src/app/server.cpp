#include "app/server.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "api/agents_v1.hpp"
#include "api/agents_v2.hpp"
#include "api/auth_v2.hpp"
#include "api/background_tasks.hpp"
#include "api/compat.hpp"
#include "api/debug.hpp"
#include "api/docs.hpp"
#include "api/files_tus.hpp"
#include "api/files_v2.hpp"
#include "api/history_v1.hpp"
#include "api/metrics.hpp"
#include "api/socketio.hpp"
#include "api/system.hpp"
#include "api/tasks_v1.hpp"
#include "api/tasks_v2.hpp"
#include "api/websocket_v2.hpp"
#include "api/workflows_v1.hpp"
#include "api/workflows_v2.hpp"
#include "app/database.hpp"
#include "app/house.hpp"
#include "jobs/job_changes.hpp"
#include "realtime/connections.hpp"
#include "runtime/scheduling.hpp"

namespace subforge::app {
namespace {

// Uploads and downloads wait for the disk here; each of them has one job at a time.
constexpr std::size_t kUploadThreads = 4;
constexpr std::size_t kScanThreads = 4;
constexpr std::size_t kScansWaitingMax = 100;
constexpr std::size_t kReaderThreads = 2;
constexpr std::size_t kFileJobsMax = 10'000;
constexpr std::int64_t kRateMax = 1'000'000;  // Messages a second; more is no bound any more.
// How often what happens by itself is looked at.
constexpr std::int64_t kSecondNs = 1'000'000'000;
constexpr std::int64_t kRightsNs = 10 * kSecondNs;
constexpr std::int64_t kForgetNs = 60 * kSecondNs;
constexpr std::int64_t kFoldNs = 60 * kSecondNs;
constexpr std::int64_t kExpireNs = 3600 * kSecondNs;
constexpr std::int64_t kShutdownPollNs = 20'000'000;
// Descriptors that connections cannot have: database, log, listening socket, epoll ...
constexpr std::size_t kOwnDescriptors = 64;
constexpr std::size_t kDescriptorsForFiles = 4;  // Files on their way in may have a quarter.
// Connections over the limit that are still answered with a 503; beyond, they are just closed.
constexpr std::size_t kRefusalsMax = 256;

// Raises the limit of open descriptors as far as this user may, and tells it.
std::size_t raise_descriptor_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<std::size_t>(limit.rlim_cur);
}

auth::Mode auth_mode(config::Config const& config) {
  if (config.auth == "required") return auth::Mode::required;
  return config.auth == "off" ? auth::Mode::off : auth::Mode::automatic;
}

// Whose file system matters: that of the database's file, else of what the server writes besides.
std::string measured_folder(config::Config const& config) {
  auto const folder = std::filesystem::path(config.database.path).parent_path();
  return folder.empty() ? "." : folder.string();
}

std::size_t bytes(std::int64_t setting) { return static_cast<std::size_t>(setting); }

std::string join(std::vector<std::string> const& items) {
  std::string text;
  for (auto const& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

realtime::Projections all_projections() {
  realtime::Projections all;
  all.add(realtime::room_projections());
  all.add(domain::agent_projections());
  all.add(domain::workflow_projections());
  all.add(domain::snapshot_projections());
  all.add(domain::task_projections());
  all.add(files::file_projections());
  all.add(jobs::job_projections());
  all.add(api::debug_projections());
  all.add(api::broadcast_projections());
  return all;
}

net::HttpServerLimits http_limits(config::Config const& config) {
  net::HttpServerLimits limits;
  limits.head.header_bytes_max = bytes(config.header_bytes_max);
  limits.head.target_bytes_max = bytes(config.target_bytes_max);
  limits.header_timeout_ms = config.header_timeout_seconds * 1000;
  limits.body_timeout_ms = config.body_timeout_seconds * 1000;
  limits.idle_timeout_ms = config.idle_timeout_seconds * 1000;
  limits.io_uring = config.io_uring;
  return limits;
}

net::WebSocketLimits websocket_limits(config::Config const& config) {
  net::WebSocketLimits limits;
  limits.message_bytes_max = bytes(config.websocket_message_bytes_max);
  limits.queue_bytes_max = bytes(config.websocket_queue_bytes_max);
  limits.ping_interval_ms = config.websocket_ping_seconds * 1000;
  limits.ping_timeout_ms = config.websocket_ping_timeout_seconds * 1000;
  limits.compression = config.websocket_compression;
  limits.window_ms = config.websocket_window_ms;
  limits.io_uring = config.io_uring;
  return limits;
}

// A malformed one is told when the server starts.
files::ScannerTarget scanner_target(config::Config const& config) {
  return files::ScannerTarget::parse(config.malware_scanner).value_or(files::ScannerTarget{});
}

realtime::HubLimits hub_limits(config::Config const& config) {
  realtime::HubLimits limits;
  limits.beat_ms[static_cast<std::size_t>(realtime::Protocol::v2)] =
      config.websocket_heartbeat_seconds * 1000;
  limits.stream_bytes_max = bytes(config.websocket_queue_bytes_max);
  if (config.enable_rate_limiting) {
    limits.messages_per_second =
        std::min(config.websocket_messages_per_second * config.rate_limit_multiplier, kRateMax);
  }
  return limits;
}

realtime::EngineLimits engine_limits(config::Config const& config) {
  realtime::EngineLimits limits;
  limits.ping_interval_ms = config.socketio_ping_seconds * 1000;
  limits.ping_timeout_ms = config.socketio_ping_timeout_seconds * 1000;
  limits.payload_bytes_max = bytes(config.socketio_payload_bytes_max);
  limits.queue_bytes_max = bytes(config.websocket_queue_bytes_max);
  return limits;
}

}  // namespace

Server::Server(config::Config const& config, Logger logger)
    : config_(config),
      logger_(logger),
      database_(make_database(config, logger)),
      store_(*database_, logger),
      authenticator_(auth_mode(config), config.access_token_expire_minutes),
      gate_(authenticator_),
      projections_(all_projections()),
      hub_(store_, gate_, present_, projections_, hub_limits(config), logger),
      socketio_(gate_, engine_limits(config), {}),
      limiter_(bytes(config.rate_limit_clients_max), config.rate_limit_multiplier),
      cache_(bytes(config.cache_bytes_max)),
      kept_answers_(store_, config.idempotency_hours),
      retention_(store_, config.event_retention_days, config.event_retention_count),
      inbox_(store_, {config.inbox_messages_max, config.inbox_expiry_days}, logger),
      pool_(2, 1000),
      upload_pool_(kUploadThreads, kFileJobsMax, BlockingPool::Claim::behind),
      scan_pool_(kScanThreads, kScansWaitingMax),
      reader_pool_(kReaderThreads, kFileJobsMax),
      agents_(store_, config.agent_lease_seconds),
      lease_looks_(agents_, config.agent_lease_seconds, logger_),
      tasks_(store_),
      history_(store_),
      workflow_tasks_(tasks_),
      workflows_(store_, workflow_tasks_),
      snapshots_(store_),
      usage_(store_),
      dashboard_(store_),
      blobs_(config.upload_dir, config.disk_free_bytes_min),
      scanner_(scanner_target(config), config.malware_fail_open, config.malware_timeout_seconds,
               scan_pool_, logger),
      files_(store_, blobs_, scanner_, upload_pool_, config.upload_quota_bytes),
      resumable_(blobs_, config.upload_expiry_hours),
      files_parts_{
          files_, {config.max_file_size, config.max_files_per_upload}, reader_pool_, resumable_},
      background_(config, store_, blobs_, usage_, *first_loop_, logger),
      workers_(loop_count(config)),
      listener_(*(workers_.front().loop = std::move(first_loop_)), logger,
                [this](int fd, net::Peer const& peer) { accept(fd, peer); }) {
  workflow_tasks_.serve(workflows_);
  agents_.follow_configurations(background_.configurations());
  files_.follow_uploads(background_.uploads());
  build_routes();
  build_workers();
  build_chores();
  add_gauges();
  // In this order: credentials and caches are up to date before any viewer hears of the change.
  store_.follow(authenticator_);
  store_.follow(*this);
  store_.follow(hub_);
  store_.follow(socketio_);
  if (config_.enable_background_tasks) background_.add_worker();
}

Server::~Server() = default;

void Server::build_routes() {
  api::ServerInfo const info{.name = config_.app_name,
                             .version = config_.app_version,
                             .description = config_.app_description,
                             .docs = config_.docs,
                             .redis = !config_.celery_broker_url.empty(),
                             .background_tasks = config_.enable_background_tasks,
                             .rate_limiting = config_.enable_rate_limiting,
                             .caching = config_.enable_caching};
  auto hub_of_loop = [this]() -> realtime::LoopHub& { return this->hub_of_loop(); };
  api::SystemParts const system{store_,
                                hub_,
                                pool_,
                                blobs_,
                                snapshots_,
                                usage_,
                                measured_folder(config_),
                                config_.app_version,
                                config_.environment,
                                started_ns_,
                                &background_.jobs()};
  std::vector<std::string> names;
  routes_.merge(api::front_routes(info))
      .merge(api::health_routes(info, {store_, hub_, background_.jobs(), blobs_, pool_}))
      .merge(api::agents_v1(agents_))
      .merge(api::agents_v2(agents_, pool_))
      .merge(api::tasks_v1(tasks_))
      .merge(api::tasks_v2(tasks_))
      .merge(api::background_tasks_v2(background_.parts()))
      .merge(api::background_task_changes_v2(background_.parts()))
      .merge(api::dead_letters_v2(background_.parts()))
      .merge(api::task_schedules_v2(background_.parts()))
      .merge(api::history_v1(history_))
      .merge(api::files_v2(files_parts_))
      .merge(api::files_tus(files_parts_, resumable_))
      .merge(api::workflows_v1(workflows_, tasks_))
      .merge(api::workflows_v2(workflows_))
      .merge(api::system_v1(system))
      .merge(api::system_v2(system))
      .merge(api::compat_routes(dashboard_, hub_, started_ns_))
      .merge(api::connection_routes(hub_, started_ns_))
      .merge(api::broadcast_routes(hub_, inbox_))
      .merge(api::inbox_routes(hub_))
      .merge(api::event_history_routes(hub_))
      .merge(api::auth_v2(authenticator_))
      .merge(api::socket_routes(config_.websocket_path, hub_of_loop))
      .merge(api::socketio_routes(socketio_, [this] { return may_open_socket(); }))
      .merge(api::page_routes(info));
  if (config_.debug) routes_.merge(api::debug_routes(store_, hub_, socketio_));
  for (auto const& route : routes_.rows()) names.push_back(route.name);
  // These need what is made from the others.
  names.emplace_back("metrics");
  if (info.docs) names.insert(names.end(), {"openapi", "asyncapi"});
  metrics_ = std::make_unique<metrics::Metrics>(std::move(names), workers_.size());
  usage_.watch(*metrics_);
  sampler_ =
      std::make_unique<domain::Sampler>(snapshots_, *metrics_, hub_, pool_, system.folder, logger_);
  routes_.merge(api::metrics_routes(*metrics_, store_, background_.parts().registry));
  realtime::ProtocolAddresses const addresses{
      config_.websocket_path, config_.websocket_path + "/v2", "/api/v2/events", "/socket.io/"};
  routes_.merge(api::document_routes(info, routes_.rows(), addresses, projections_));
  router_ = std::make_unique<http::Router>(routes_.rows());
}

void Server::build_workers() {
  pipeline_settings_.rate_limiting = config_.enable_rate_limiting;
  pipeline_settings_.caching = config_.enable_caching;
  pipeline_settings_.json_body_bytes_max = static_cast<std::uint64_t>(config_.json_body_bytes_max);
  pipeline_settings_.allowed_hosts = config_.allowed_hosts;
  pipeline_settings_.allowed_origins = config_.allowed_origins;
  pipeline_settings_.allowed_methods = join(config_.allowed_methods);
  pipeline_settings_.allowed_headers = join(config_.allowed_headers);
  pipeline_settings_.allow_credentials = config_.allow_credentials;
  pipeline::Shared const shared{routes_.rows(),
                                *router_,
                                authenticator_,
                                limiter_,
                                cache_,
                                *metrics_,
                                {store_, kept_answers_, claims_},
                                pool_,
                                pipeline_settings_,
                                logger_};
  auto const quota = [this] { return may_open_socket(); };
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    auto& worker = workers_[i];
    if (worker.loop == nullptr) worker.loop = std::make_unique<EventLoop>();
    worker.pipeline = std::make_unique<pipeline::Pipeline>(shared, *worker.loop, i, quota);
    worker.http = std::make_unique<net::HttpServer>(
        *worker.loop, *worker.pipeline, http_limits(config_), websocket_limits(config_));
    worker.hub = &hub_.attach(*worker.loop, worker.http->websockets());
    worker.engine = &socketio_.attach(*worker.hub, worker.http->websockets());
  }
}

// What happens by itself.
void Server::build_chores() {
  auto& first = workers_.front();
  chores_ = std::make_unique<Chores>(*first.loop, first.hub->tasks());
  auto const each = [this](std::int64_t period_ns, Chores::Work work) {
    chores_->add({period_ns, period_ns, std::move(work)});
  };
  auto const from_start = [this](std::int64_t period_ns, Chores::Work work) {
    chores_->add({period_ns, kSecondNs, std::move(work)});
  };
  each(kRightsNs, [this]() -> Task<bool> {
    // Tokens run out without any event; once in a while is soon enough for open sockets.
    hub_.check_rights();
    co_return false;
  });
  from_start(kForgetNs, [this] { return forget_old(kept_answers_, retention_, inbox_, logger_); });
  from_start(kForgetNs, [this] { return remove_put_aside(upload_pool_, blobs_); });
  // Not before the clock, which may be wrong when a machine starts, has had time to be set.
  each(kExpireNs, [this] { return expire_uploads(upload_pool_, resumable_, logger_); });
  each(config_.metrics_update_interval * kSecondNs, [this]() -> Task<bool> {
    co_await sampler_->sample();
    co_return false;
  });
  each(kFoldNs, [this] { return fold_usage(usage_, logger_); });
  each(kSecondNs, [this] { return tell_counts(); });
  each(kSecondNs, [this] { return finish_restarts(agents_, config_.restart_seconds, logger_); });
  each(kSecondNs, [this]() -> Task<bool> {
    co_await background_.tend();  // What is due, and what was lost.
    co_return false;
  });
  each(kSecondNs, [this] { return move_workflows(workflows_, logger_); });
  each(kSecondNs, [this]() -> Task<bool> {
    co_await files_.settle();
    co_return false;
  });
  if (config_.agent_lease_seconds == 0) return;
  each(lease_looks_.period_ns(), [this] { return lease_looks_.look(); });
}

// Once in a look, however many changes there were; nobody is told of a state that was before.
Task<bool> Server::tell_counts() {
  bool const to_tell = hub_.connections(realtime::Protocol::socketio) > 0 &&
                       counts_changed_.exchange(false, std::memory_order_relaxed);
  if (!to_tell) co_return false;
  auto const overview = co_await api::dashboard_overview(dashboard_, hub_, started_ns_);
  if (overview) socketio_.emit({"dashboard"}, "dashboard_update", *overview);
  co_return false;
}

bool Server::may_open_socket() const {
  // Of Socket.IO also those that are not connected yet.
  auto const open = hub_.connections(realtime::Protocol::v1) +
                    hub_.connections(realtime::Protocol::v2) + socketio_.engine().sessions();
  return open < websocket_connections_max_;
}

void Server::add_gauges() {
  auto const gauge = [this](char const* name, char const* help, auto read) {
    metrics_->add({name, "gauge", help, [read] { return static_cast<double>(read()); }});
  };
  auto const counter = [this](char const* name, char const* help, auto read) {
    metrics_->add({name, "counter", help, [read] { return static_cast<double>(read()); }});
  };
  gauge("subforge_http_connections", "Open HTTP connections.", [this] {
    std::size_t total = 0;
    for (auto const& worker : workers_) total += worker.http->connection_count();
    return total;
  });
  gauge("subforge_websocket_v1_connections", "Open connections of /ws.",
        [this] { return hub_.connections(realtime::Protocol::v1); });
  gauge("subforge_websocket_v2_connections", "Open connections of /ws/v2.",
        [this] { return hub_.connections(realtime::Protocol::v2); });
  gauge("subforge_socketio_sessions", "Open sessions of Socket.IO.",
        [this] { return socketio_.engine().sessions(); });
  gauge("subforge_rooms", "Rooms with members.", [this] { return hub_.rooms().room_count(); });
  counter("subforge_events_total", "Events in the log so far.",
          [this] { return store_.last_event_id(); });
  counter("subforge_cache_hits_total", "Answers served from the cache.",
          [this] { return cache_.hits(); });
  counter("subforge_cache_misses_total", "Cacheable requests that were not in the cache.",
          [this] { return cache_.misses(); });
  gauge("subforge_cache_bytes", "Bytes of cached answers.", [this] { return cache_.bytes(); });
  gauge("subforge_background_tasks_running", "Background tasks that this process runs.",
        [this] { return background_.running(); });
  counter("subforge_background_tasks_total", "Background tasks that this process has ended.",
          [this] { return background_.settled(); });
  counter("subforge_files_without_verdict_total",
          "Uploaded files that the malware scanner gave no verdict on.",
          [this] { return scanner_.without_verdict(); });
  counter("subforge_log_dropped_total", "Batches of log lines dropped because nobody read them.",
          [this] { return logger_.sink().dropped(); });
  metrics::add_process_gauges(*metrics_);
}

Result<void> Server::start() {
  auto const descriptors = raise_descriptor_limit();
  auto const usable =
      descriptors > 2 * kOwnDescriptors ? descriptors - kOwnDescriptors : kOwnDescriptors;
  // A form holds one for each of its files, beside that of its connection.
  auto const for_files = usable / kDescriptorsForFiles;
  blobs_.let_pass(store_.database().disk_turns());
  blobs_.limit_incoming(static_cast<std::int64_t>(for_files));
  auto const for_connections = usable - for_files;
  connections_max_ = std::min(bytes(config_.max_connections), for_connections);
  websocket_connections_max_ = std::min(bytes(config_.max_websocket_connections), for_connections);
  if (auto loaded = background_.load(); !loaded) return loaded;
  if (auto opened = store_.open(); !opened) return opened;
  if (auto looked = look_back(); !looked) return looked;
  if (auto loaded = load_credentials(); !loaded) return loaded;
  if (auto opened = open_files(); !opened) return opened;
  block_on(first_loop(), sampler_->sample());  // So that there is always one.
  if (auto made = block_on(first_loop(), background_.make_schedules()); !made) return made;
  auto const port = static_cast<std::uint16_t>(config_.port);
  if (auto listening = listener_.listen(config_.host, port); !listening) return listening;
  logger_.info("listening",
               {{"host", config_.host},
                {"port", listener_.port()},
                {"loops", workers_.size()},
                {"descriptors_max", descriptors},
                {"connections_max", connections_max_},
                {"websocket_connections_max", websocket_connections_max_},
                {"auth", authenticator_.credentials_required() ? "required" : "local"}});
  return {};
}

Result<void> Server::look_back() {
  if (config_.agent_lease_seconds == 0) return {};
  auto const last = block_on(first_loop(), agents_.last_could_beat());
  if (!last) return std::unexpected(last.error());
  last_run_ended_ = *last;
  auto const shortened = block_on(first_loop(), agents_.shorten_leases());
  if (!shortened) return std::unexpected(shortened.error());
  return {};
}

Result<void> Server::open_files() {
  // What the constructor could not tell.
  if (auto target = files::ScannerTarget::parse(config_.malware_scanner); !target) {
    return std::unexpected(target.error());
  }
  if (auto opened = blobs_.open(); !opened) return opened;
  if (auto opened = resumable_.open(); !opened) return opened;
  if (auto taken = block_on(first_loop(), files_.take_folder()); !taken) return taken;
  auto const swept = block_on(first_loop(), files_.sweep());
  if (!swept) return std::unexpected(swept.error());
  // Before anybody can delete a file that was stored just before a crash: it would seem unfinished.
  auto const left = *swept + resumable_.remove_stored();
  if (left > 0) logger_.info("removed what unfinished uploads had left", {{"files", left}});
  return {};
}

Result<void> Server::load_credentials() {
  auto loaded = block_on(first_loop(), authenticator_.load(store_, config_.secret_key));
  if (!loaded) return loaded;
  return auth::check_exposure(config_.host, auth_mode(config_), authenticator_.any_key());
}

void Server::run() {
  auto& first = first_loop();
  auto const now = Timestamp::now();
  lease_looks_.could_not_hear(
      std::max<std::int64_t>(0, now.micros - last_run_ended_.value_or(now).micros));
  signals_ = std::make_unique<Signals>(first, [this] { begin_shutdown(); });
  chores_->start();
  first.post([this] {
    workers_.front().hub->tasks().spawn(
        hub_.remember_past(retention_.keeps_behind(), retention_.keeps_since(Timestamp::now())));
  });
  first.post([this] { hub_.share_rooms(); });
  first.post([this] { background_.start(); });
  for (std::size_t i = 1; i < workers_.size(); ++i) {
    workers_[i].thread = std::thread([loop = workers_[i].loop.get()] {
      take_short_slices();
      loop->run();
    });
  }
  take_short_slices();
  first.run();
  for (auto& worker : workers_) {
    if (worker.thread.joinable()) worker.thread.join();
    worker.pipeline->flush_log();
  }
  chores_.reset();
  signals_.reset();
  background_.stop();
  EventLoop last;
  block_on(last, fold_usage(usage_, logger_));
  store_.close();
  logger_.info("stopped");
}

void Server::accept(int fd, net::Peer const& peer) {
  auto const load = [](Worker const& worker) {
    return worker.http->connection_count() + worker.http->websockets().count() + *worker.arriving;
  };
  std::size_t total = 0;
  auto* least = &workers_.front();
  for (auto& worker : workers_) {
    total += load(worker);
    if (load(worker) < load(*least)) least = &worker;
  }
  if (total >= connections_max_ + kRefusalsMax) {
    ::close(fd);
    return;
  }
  bool const refuse = total >= connections_max_;
  auto take = [http = least->http.get(), arriving = least->arriving.get(), fd, peer, refuse] {
    refuse ? http->adopt_to_refuse(fd, peer) : http->adopt(fd, peer);
    --*arriving;
  };
  ++*least->arriving;
  least->loop.get() == EventLoop::current() ? take() : least->loop->post(std::move(take));
}

void Server::on_events(std::span<store::EventPtr const> events) {
  for (auto const& event : events) {
    if (event->subject.starts_with("key:")) hub_.check_rights();
    forget_answers(event->subject);
  }
}

void Server::forget_answers(std::string_view subject) {
  cache_.invalidate(subject);
  auto const kind = std::string(subject.substr(0, subject.find(':')));
  cache_.invalidate(kind + ":*");
  // The figures of the system count all records.
  if (kind != "agent" && kind != "task" && kind != "workflow") return;
  cache_.invalidate("system");
  counts_changed_.store(true, std::memory_order_relaxed);
}

realtime::LoopHub& Server::hub_of_loop() const {
  auto const* const current = EventLoop::current();
  auto const worker =
      std::ranges::find_if(workers_, [&](Worker const& one) { return one.loop.get() == current; });
  return *worker->hub;
}

void Server::begin_shutdown() {
  if (std::exchange(shutting_down_, true)) return;
  logger_.info("stopping", {{"seconds_max", config_.shutdown_seconds}});
  listener_.close();
  chores_->cancel();
  auto const deadline_ns = monotonic_ns() + config_.shutdown_seconds * 1'000'000'000;
  background_.begin_shutdown(config_.shutdown_seconds * 1'000);
  for (auto& worker : workers_) {
    worker.loop->post([this, &worker, deadline_ns] {
      worker.engine->begin_shutdown();
      worker.http->begin_shutdown();
      worker.hub->close_streams(net::kWsServiceRestart, "the server is restarting");
      worker.patience = std::make_unique<Timer>(
          [this, &worker, deadline_ns] { stop_when_idle(worker, deadline_ns); });
      stop_when_idle(worker, deadline_ns);
    });
  }
}

void Server::stop_when_idle(Worker& worker, std::int64_t deadline_ns) {
  // Its worker is of the first loop.
  bool const working = &worker == &workers_.front() && !background_.done();
  bool const done = !working && worker.http->idle() && worker.pipeline->running() == 0 &&
                    worker.hub->tasks().running() == 0;
  if (done || monotonic_ns() >= deadline_ns) return worker.loop->stop();
  worker.patience->arm(worker.loop->timers(), worker.loop->now_ns() + kShutdownPollNs);
}

}  // namespace subforge::app
