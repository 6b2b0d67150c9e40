// A worker of ours as Celery's monitors, clients and workers see one: it answers to remote control,
// tells that it lives, and what becomes of its tasks (events). Lives on one loop and is used from
// there; what is said to nobody while Redis cannot be reached is lost, as it is with Celery's own.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/log.hpp"
#include "jobs/celery/control.hpp"
#include "jobs/celery/events.hpp"
#include "jobs/celery/mailbox.hpp"
#include "jobs/celery/revoked_ids.hpp"
#include "jobs/celery/task_book.hpp"
#include "jobs/celery/task_observer.hpp"
#include "jobs/registry.hpp"
#include "redis/client.hpp"
#include "redis/subscriber.hpp"
#include "runtime/blocking_pool.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::jobs::celery {

class Node final : public TaskObserver {
 public:
  // A reply that nobody fetches goes by itself after so long.
  static constexpr std::int64_t kReplySeconds = 60;
  // How long other workers have to say what they know.
  static constexpr std::int64_t kHelloMs = 1'000;

  // All must outlive it.
  Node(EventLoop& loop, BlockingPool& resolver, redis::RedisOptions const& redis,
       Registry const& registry, NodeOptions options, NodeActions actions, Logger logger);
  ~Node();
  Node(Node const&) = delete;
  Node& operator=(Node const&) = delete;

  void start();
  // Tells that it goes, and hears no more.
  void stop();
  // Whether nothing of it is under way any more; after stop().
  [[nodiscard]] bool done() const { return stopped_ && tasks_.running() == 0; }

  [[nodiscard]] std::string const& name() const { return options_.name; }

  // A task that waited for its time was cancelled, and will not be heard of again.
  void withdrawn(std::string_view id);

  void received(ObservedTask const& task) override;
  void started(ObservedTask const& task) override;
  void succeeded(ObservedTask const& task, std::string_view result_repr,
                 double runtime_seconds) override;
  void failed(ObservedTask const& task, ObservedFailure const& failure) override;
  void retried(ObservedTask const& task, ObservedFailure const& failure) override;
  void revoked(ObservedTask const& task, ObservedRevocation const& revocation) override;
  void rejected(ObservedTask const& task, bool requeued) override;
  [[nodiscard]] bool wants_reprs() const override { return control_.task_events(); }
  [[nodiscard]] bool is_revoked(std::string_view task_id,
                                boost::json::object const* stamps) override {
    return revoked_.contains(task_id) || revoked_stamps_.has_any_of(stamps);
  }

 private:
  void on_connected();
  void on_request(std::string_view text);
  void on_heartbeat();
  Task<void> reply(ControlRequest request, std::string answer);
  Task<void> say_hello();
  Task<void> leave();
  Task<void> wait(std::int64_t ms_max, std::function<bool()> holds);
  [[nodiscard]] std::string control_binding() const;
  void take_hello(std::string_view text);
  void publish(std::string_view routing_key, std::string const& letter);
  // Calls `write(events)` if events of tasks are wanted.
  template <class Write>
  void tell(Write write);

  EventLoop& loop_;
  NodeOptions const options_;
  NodeActions actions_;
  Logger logger_;
  std::string const reply_key_;  // Of what this node asks others.
  Clock clock_;
  TaskBook book_;
  RevokedIds revoked_;
  RevokedStamps revoked_stamps_;
  EventWriter events_;
  Control control_;
  redis::Client client_;
  redis::Subscriber subscriber_;
  Timer heartbeat_;
  TaskGroup tasks_;
  bool flush_queued_ = false;
  bool told_online_ = false;  // On this connection.
  bool greeting_ = false;
  bool stopped_ = false;
};

// A name for this process among the nodes of a broker.
[[nodiscard]] std::string node_name();

}  // namespace subforge::jobs::celery
