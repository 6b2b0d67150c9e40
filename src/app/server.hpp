// The composition root of `subforge serve`: the only place that knows which adapter is behind each
// port, and in which order everything starts and stops.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "api/files_v2.hpp"
#include "api/identity.hpp"
#include "api/root.hpp"
#include "app/background.hpp"
#include "app/lease_looks.hpp"
#include "app/signals.hpp"
#include "auth/authenticator.hpp"
#include "base/log.hpp"
#include "cache/response_cache.hpp"
#include "config/config.hpp"
#include "domain/agents/agents.hpp"
#include "domain/history/history.hpp"
#include "domain/present_state.hpp"
#include "domain/system/api_usage.hpp"
#include "domain/system/dashboard.hpp"
#include "domain/system/sampler.hpp"
#include "domain/tasks/tasks.hpp"
#include "domain/workflows/workflow_tasks.hpp"
#include "domain/workflows/workflows.hpp"
#include "files/resumable.hpp"
#include "http/router.hpp"
#include "limits/claims.hpp"
#include "limits/rate_limiter.hpp"
#include "metrics/metrics.hpp"
#include "net/http_server.hpp"
#include "net/listener.hpp"
#include "pipeline/pipeline.hpp"
#include "realtime/hub.hpp"
#include "realtime/socketio.hpp"
#include "runtime/blocking_pool.hpp"
#include "runtime/chores.hpp"
#include "runtime/event_loop.hpp"
#include "store/event_retention.hpp"
#include "store/inbox.hpp"
#include "store/kept_answers.hpp"
#include "store/store.hpp"

namespace subforge::app {

class Server final : private store::LogFollower {
 public:
  Server(config::Config const& config, Logger logger);
  ~Server();
  Server(Server const&) = delete;
  Server& operator=(Server const&) = delete;

  // Opens the database and the listening socket. Error: a sentence for the person who started it.
  Result<void> start();
  // Serves until SIGTERM or SIGINT and what is in flight is done.
  void run();
  [[nodiscard]] std::uint16_t port() const { return listener_.port(); }

 private:
  // One event loop with everything that belongs to it alone.
  struct Worker {
    std::unique_ptr<EventLoop> loop;
    std::unique_ptr<pipeline::Pipeline> pipeline;
    std::unique_ptr<net::HttpServer> http;
    // Connections that were given to this loop and have not reached it yet.
    std::unique_ptr<std::atomic<std::size_t>> arriving =
        std::make_unique<std::atomic<std::size_t>>(0);
    realtime::LoopHub* hub = nullptr;
    realtime::EngineLoop* engine = nullptr;
    std::unique_ptr<Timer> patience;  // While shutting down.
    std::thread thread;
  };

  // What is done before any loop runs is done on this one: the connections that it makes to a
  // database stay in use.
  [[nodiscard]] EventLoop& first_loop() const { return *workers_.front().loop; }
  Result<void> load_credentials();
  Result<void> open_files();
  // Before anything is stored by this run.
  Result<void> look_back();
  void build_routes();
  // Whether one more connection may follow events.
  [[nodiscard]] bool may_open_socket() const;
  void build_workers();
  void build_chores();
  void add_gauges();
  void accept(int fd, net::Peer const& peer);
  void on_events(std::span<store::EventPtr const> events) override;
  void forget_answers(std::string_view subject);  // From any thread.
  Task<bool> tell_counts();                       // To the dashboards on Socket.IO.
  void begin_shutdown();
  void stop_when_idle(Worker& worker, std::int64_t deadline_ns);
  [[nodiscard]] realtime::LoopHub& hub_of_loop() const;

  config::Config const& config_;
  Logger logger_;
  std::unique_ptr<store::Database> database_;
  store::Store store_;
  auth::Authenticator authenticator_;
  api::SocketGate gate_;
  realtime::Projections projections_;
  domain::PresentState present_;
  realtime::Hub hub_;
  realtime::SocketIo socketio_;
  limits::RateLimiter limiter_;
  cache::ResponseCache cache_;
  store::KeptAnswers kept_answers_;
  store::EventRetention retention_;
  store::Inbox inbox_;
  limits::Claims claims_;  // Of the requests with an Idempotency-Key.
  BlockingPool pool_;
  BlockingPool upload_pool_;  // Of its own: uploads keep its threads busy for long.
  BlockingPool scan_pool_;    // For the scanner, which may hang.
  BlockingPool reader_pool_;  // For downloads, which wait for the disk alone.
  domain::Agents agents_;
  LeaseLooks lease_looks_;
  domain::Tasks tasks_;
  domain::History history_;
  domain::WorkflowTasks workflow_tasks_;
  domain::Workflows workflows_;
  domain::Snapshots snapshots_;
  domain::ApiUsage usage_;
  domain::Dashboard dashboard_;
  files::BlobStore blobs_;
  files::Scanner scanner_;
  files::Files files_;
  files::ResumableUploads resumable_;
  api::FilesParts files_parts_;
  std::unique_ptr<EventLoop> first_loop_ = std::make_unique<EventLoop>();  // Until it has a worker.
  Background background_;
  pipeline::PipelineSettings pipeline_settings_;
  http::Routes routes_;
  std::unique_ptr<http::Router> router_;
  std::unique_ptr<metrics::Metrics> metrics_;
  std::unique_ptr<domain::Sampler> sampler_;
  std::vector<Worker> workers_;
  net::Listener listener_;
  std::unique_ptr<Signals> signals_;
  std::unique_ptr<Chores> chores_;
  std::atomic<bool> counts_changed_{false};  // Of records, since they were told last.
  std::optional<Timestamp> last_run_ended_;  // As far as what it stored tells.
  bool shutting_down_ = false;
  std::size_t connections_max_ = 0;
  std::size_t websocket_connections_max_ = 0;
  std::int64_t const started_ns_ = monotonic_ns();
};

}  // namespace subforge::app
