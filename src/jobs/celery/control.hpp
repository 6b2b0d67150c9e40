// The commands of Celery's remote control: what this worker does, and what it answers. The shapes
// are those of Celery's own workers, which monitors read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/object.hpp>

#include "jobs/celery/events.hpp"
#include "jobs/celery/mailbox.hpp"
#include "jobs/celery/revoked_ids.hpp"
#include "jobs/celery/task_book.hpp"
#include "jobs/registry.hpp"
#include "redis/url.hpp"

namespace subforge::jobs::celery {

struct NodeOptions {
  std::string name;     // kind@host; no two on one broker may have the same.
  std::string version;  // Of this program.
  std::vector<std::string> queues;
  std::size_t slots = 1;
  redis::RedisUrl broker;
  // What `inspect conf` shows: names of Celery's settings, and JSON.
  std::vector<std::pair<std::string, std::string>> settings;
};

// What commands do to the rest of the process.
struct NodeActions {
  // Nobody wants these tasks any more: they are not to start; with `terminate`, those that run are
  // to end.
  std::function<void(std::vector<std::string> const& ids, bool terminate)> revoke;
  // The process is to end as on SIGTERM.
  std::function<void()> shut_down;
  // From now on. A rate with count 0 is no limit; unset limits are none either.
  std::function<void(std::string const& task, StartRate rate)> limit_rate;
  std::function<void(std::string const& task, std::optional<double> soft_seconds,
                     std::optional<double> hard_seconds)>
      limit_time;
  // The first one for those that wait here for their time and have one of the stamps.
  std::function<void(std::set<std::string> stamps)> revoke_stamped;
};

class Control {
 public:
  struct State {
    Registry const& registry;
    TaskBook& book;
    RevokedIds& revoked;
    RevokedStamps& revoked_stamps;
    Clock& clock;
    EventWriter& events;
  };
  Control(NodeOptions const& options, NodeActions& actions, State state)
      : options_(options), actions_(actions), state_(state), started_ns_(monotonic_ns()) {}

  // Does what is asked. The answer as JSON; nothing where there is none to give.
  std::optional<std::string> answer(ControlRequest const& request);
  // Whether somebody asked for events of tasks.
  [[nodiscard]] bool task_events() const { return task_events_; }
  [[nodiscard]] WorkerFigures figures() const {
    return {state_.book.active(), state_.book.processed()};
  }
  // What other nodes told of ids that are not wanted.
  void take_revoked(boost::json::object const& ids);
  // {id: [seconds, id]}, as nodes tell each other.
  void write_revoked(JsonWriter& json) const;

 private:
  using Arguments = boost::json::object;
  using Answer = std::optional<std::string>;
  using Command = Answer (Control::*)(Arguments const&);
  static std::map<std::string_view, Command> const& commands();

  Answer ping(Arguments const&);
  Answer active(Arguments const&);
  Answer reserved(Arguments const&);
  Answer scheduled(Arguments const&);
  Answer query_task(Arguments const& arguments);
  Answer registered(Arguments const& arguments);
  Answer stats(Arguments const&);
  Answer active_queues(Arguments const&);
  Answer revoked(Arguments const&);
  Answer conf(Arguments const&);
  Answer report(Arguments const&);
  Answer clock(Arguments const&);
  Answer hello(Arguments const& arguments);
  Answer revoke(Arguments const& arguments);
  Answer terminate(Arguments const& arguments);
  Answer revoke_by_stamps(Arguments const& arguments);
  Answer rate_limit(Arguments const& arguments);
  Answer time_limit(Arguments const& arguments);
  Answer enable_events(Arguments const&);
  Answer disable_events(Arguments const&);
  Answer heartbeat(Arguments const&);
  Answer shutdown(Arguments const&);
  Answer fixed_slots(Arguments const&);
  Answer fixed_queues(Arguments const&);
  Answer nothing(Arguments const&);

  Answer revoke_ids(Arguments const& arguments, bool terminate);
  void write_pool(JsonWriter& json) const;
  void write_broker(JsonWriter& json) const;

  NodeOptions const& options_;
  NodeActions& actions_;
  State state_;
  std::int64_t const started_ns_;
  bool task_events_ = false;
  std::map<std::string, std::string, std::less<>> rates_;  // That were set, as they were written.
};

}  // namespace subforge::jobs::celery
