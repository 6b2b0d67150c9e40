// The hub: follows the event log and brings each event to the connections that may see it. One
// LoopHub per event loop owns that loop's viewers; the Hub hands each of them every event once.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/log.hpp"
#include "net/websocket_server.hpp"
#include "realtime/identity.hpp"
#include "realtime/live_event.hpp"
#include "realtime/rooms.hpp"
#include "runtime/event_loop.hpp"
#include "store/store.hpp"

namespace subforge::realtime {

class Hub;
class LoopHub;
class Viewer;

struct HubLimits {
  std::size_t rooms_max = 10'000;
  std::size_t rooms_per_connection_max = 100;
  std::size_t room_name_bytes_max = 200;
  std::size_t in_flight_max = 1'000;  // Published messages of one connection not yet on disk.
  std::int64_t auth_timeout_ms = 10'000;
  std::int64_t heartbeat_ms = 60'000;     // /ws/v2
  std::int64_t v1_ping_ms = 300'000;      // /ws
  std::int64_t presence_tick_ms = 50;     // Comings and goings within one tick become one message.
  std::size_t presence_entries_max = 50;  // Beyond, a tick's message carries counts alone.
};

// What is known of who is at the other end, and what came from there.
struct ViewerInfo {
  std::int64_t number = 0;  // That no other connection of this process has or had.
  Timestamp connected_at;
  Timestamp last_activity;    // Of the client.
  std::int64_t messages = 0;  // That it sent.
  std::string host;
  std::string user_agent;
};

// A connection as the hub sees it. Belongs to one loop.
class Viewer {
 public:
  virtual ~Viewer() = default;

  [[nodiscard]] net::WebSocketConnection* socket() const { return socket_; }
  [[nodiscard]] bool may_see() const { return identity_.has_value() && identity_->can_read; }
  [[nodiscard]] std::optional<Identity> const& identity() const { return identity_; }
  [[nodiscard]] std::string const& connection_id() const { return connection_id_; }
  [[nodiscard]] ViewerInfo const& info() const { return info_; }

 protected:
  friend class LoopHub;
  net::WebSocketConnection* socket_ = nullptr;
  std::optional<Identity> identity_;
  std::string connection_id_;
  ViewerInfo info_;
  std::size_t index_ = 0;        // In the loop's list.
  std::int64_t last_event_ = 0;  // So that an event for several rooms comes once.
  bool rooms_only_ = false;
  std::vector<std::string> rooms_;
};

enum class Protocol : std::uint8_t { v1, v2 };

// News for everybody that is not in the log, since the next of its kind makes it worthless.
struct Flash {
  std::string v1_type;
  std::string v1_data;  // JSON.
  std::string v2_type;
  std::string v2_data;
  std::string room;  // Brings it to those who asked for rooms only.
};

class LoopHub {
 public:
  LoopHub(Hub& hub, EventLoop& loop, net::WebSocketServer& sockets);
  LoopHub(LoopHub const&) = delete;
  LoopHub& operator=(LoopHub const&) = delete;

  void add(Viewer& viewer, Protocol protocol);
  void remove(Viewer& viewer, Protocol protocol);

  // Members after joining; nothing if a limit refuses it, which `why` then names.
  std::optional<std::size_t> join(Viewer& viewer, std::string const& room, std::string& why);
  void leave(Viewer& viewer, std::string const& room);
  [[nodiscard]] static bool is_member(Viewer const& viewer, std::string_view room);

  void deliver(LiveEvent const& event);
  // A message that is not in the log, to the members of a room here.
  void notify_room(std::string const& room, std::string const& text, std::string_view except);
  // Whole frames of both protocols; that of v2 also as it goes to the members of `room`.
  void notify_all(std::string const& v1, std::string const& v2, std::string const& room,
                  std::string const& v2_in_room);
  [[nodiscard]] std::vector<ViewerInfo> viewers(Protocol protocol);
  // Closes those whose rights have ended.
  void check_rights();

  [[nodiscard]] Hub& hub() { return hub_; }
  [[nodiscard]] EventLoop& loop() { return loop_; }
  [[nodiscard]] TaskGroup& tasks() { return tasks_; }
  [[nodiscard]] std::size_t count(Protocol protocol) const {
    return counts_[static_cast<std::size_t>(protocol)].load(std::memory_order_relaxed);
  }

 private:
  void deliver_v1(LiveEvent const& event);
  void deliver_v2(LiveEvent const& event);
  void deliver_to_rooms(LiveEvent const& event, bool rooms_only);
  void heartbeat();
  void ping_v1();
  std::vector<Viewer*>& list(Protocol protocol) {
    return viewers_[static_cast<std::size_t>(protocol)];
  }

  Hub& hub_;
  EventLoop& loop_;
  net::WebSocketServer& sockets_;
  std::array<std::vector<Viewer*>, 2> viewers_;
  std::array<std::atomic<std::size_t>, 2> counts_{};
  std::unordered_map<std::string, std::vector<Viewer*>> rooms_;
  std::size_t rooms_only_count_ = 0;
  Timer heartbeat_;
  Timer v1_ping_;
  TaskGroup tasks_;
};

class Hub final : public store::LogFollower {
 public:
  Hub(store::Store& store, Gate& gate, Projections const& projections, HubLimits const& limits,
      Logger logger);

  // Before the store is opened: one per event loop.
  LoopHub& attach(EventLoop& loop, net::WebSocketServer& sockets);

  // On the database's thread.
  void on_events(std::span<store::EventPtr const> events) override;
  // From any thread: every loop closes the sockets whose rights have ended.
  void check_rights();

  // From any thread: a message outside the log to a room on every loop.
  void notify_room(std::string const& room, std::string const& text, std::string const& except);
  // From any thread: news outside the log to everybody who may read.
  void notify_all(Flash const& flash);
  // Sees to it that comings and goings are told within a tick; on a loop's thread.
  void presence_soon(LoopHub& from);

  [[nodiscard]] store::Store& store() { return store_; }
  [[nodiscard]] Gate& gate() { return gate_; }
  [[nodiscard]] RoomDirectory& rooms() { return rooms_; }
  [[nodiscard]] HubLimits const& limits() const { return limits_; }
  [[nodiscard]] Logger const& logger() const { return logger_; }
  [[nodiscard]] std::size_t connections(Protocol protocol) const;
  // Asks every loop in turn; goes on on the one that asked.
  [[nodiscard]] Task<std::vector<ViewerInfo>> viewers(Protocol protocol);
  // A number no other connection of this process has or had.
  [[nodiscard]] std::int64_t next_connection_number() {
    return next_number_.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  void tell_presence();

  store::Store& store_;
  Gate& gate_;
  Projections const& projections_;
  HubLimits const limits_;
  Logger logger_;
  RoomDirectory rooms_;
  std::vector<std::unique_ptr<LoopHub>> loops_;
  std::unique_ptr<Timer> presence_;
  std::atomic<bool> presence_asked_{false};
  std::atomic<std::int64_t> next_number_{1};
};

}  // namespace subforge::realtime
