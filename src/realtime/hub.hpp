// The hub: follows the event log and brings each event to the viewers that may see it. One LoopHub
// per event loop owns that loop's viewers; the Hub hands each of them every event once.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/log.hpp"
#include "realtime/loop_hub.hpp"
#include "realtime/recent_events.hpp"
#include "realtime/rooms.hpp"
#include "runtime/event_loop.hpp"
#include "store/store.hpp"

namespace subforge::realtime {

struct HubLimits {
  std::size_t rooms_max = 10'000;
  std::size_t rooms_per_connection_max = 100;
  std::size_t room_name_bytes_max = 200;
  std::int64_t messages_per_second = 0;  // Of one connection; 0 sets no bound.
  std::size_t in_flight_max = 1'000;     // Published messages of one connection not yet on disk.
  std::int64_t auth_timeout_ms = 10'000;
  // Between two signs of life, by protocol; those of Socket.IO are its sessions' own.
  std::array<std::int64_t, kProtocols> beat_ms{300'000, 60'000, 15'000, 0};
  // Unsent bytes of an event stream with which it ends if there is to be one event more.
  std::size_t stream_bytes_max = 1U << 20;
  std::int64_t presence_tick_ms = 50;     // Comings and goings within one tick become one message.
  std::size_t presence_entries_max = 50;  // Beyond, a tick's message carries counts alone.
  // Servers tell each other so often who is with them; who was not heard for three times as long is
  // gone.
  std::int64_t rooms_told_ms = 10'000;
  // Unsent bytes from which a viewer gets only the newest of what may be left out, and waits for
  // more of what it missed.
  std::size_t lagging_bytes = 64U << 10;
  std::size_t page_events = 250;        // That are read at once for who comes back ...
  std::size_t page_bytes = 256U << 10;  // ... and what they may have, or it is one event.
  std::size_t pages_at_once = 8;        // That a loop reads from disk; others wait their turn.
  std::size_t recent_events = 10'000;   // In memory, for who comes back soon ...
  std::size_t recent_bytes = 8U << 20;  // ... and what they may take.
};

// The kind of news that tell who came to a room and who went.
inline constexpr std::string_view kPresence = "room.presence";

class Hub final : public store::LogFollower {
 public:
  Hub(store::Store& store, Gate& gate, PresentState& present, Projections const& projections,
      HubLimits const& limits, Logger logger);

  // Before the store is opened: one per event loop.
  LoopHub& attach(EventLoop& loop, net::WebSocketServer& sockets);

  // On the database's thread.
  void on_events(std::span<store::EventPtr const> events) override;
  // News of another server.
  void on_announced(std::string_view text) override;
  // Once the store is open: reads the newest events, for those that come back after a restart; none
  // up to `after` or older than `since`, which are as good as gone. On a loop's thread.
  Task<void> remember_past(std::int64_t after, Timestamp since);
  // Where other servers share the database: tells them who is here, again and again, and asks them.
  // On the first loop's thread.
  void share_rooms();
  // From any thread: every loop closes the sockets whose rights have ended.
  void check_rights();

  // News that are not in the log, to whoever its audience is and is connected to this process, and
  // then to `all_servers` at the database if asked to: of these, none that cannot be reached now
  // hears of it. A viewer that reads slowly may get only the newest of a kind and room. From any
  // thread what is for this server, else from a loop's.
  enum class Reach : std::uint8_t { this_server, all_servers };
  LiveEventPtr tell_news(store::Event event, Reach reach = Reach::this_server);
  // To every other server that shares the database and can be reached now; see on_announced(). On a
  // loop's thread.
  void announce_soon(std::string text);
  // Sees to it that comings and goings are told within a tick.
  void presence_soon();
  // The payload that tells what two of them in a row tell: of each user what is true in the end.
  [[nodiscard]] std::string add_presence(std::string_view before, std::string_view after) const;
  // The message of comings and goings with another payload.
  [[nodiscard]] std::string presence_text(LiveEvent const& news, std::string payload,
                                          Protocol protocol, std::string_view room) const;

  [[nodiscard]] store::Store& store() { return store_; }
  [[nodiscard]] Gate& gate() { return gate_; }
  [[nodiscard]] PresentState& present() { return present_; }
  [[nodiscard]] Projections const& projections() const { return projections_; }
  [[nodiscard]] RecentEvents const& recent() const { return recent_; }
  [[nodiscard]] LiveEventPtr live(store::EventPtr event) const;
  [[nodiscard]] RoomDirectory& rooms() { return rooms_; }
  [[nodiscard]] HubLimits const& limits() const { return limits_; }
  [[nodiscard]] Logger const& logger() const { return logger_; }
  [[nodiscard]] std::size_t connections() const;
  [[nodiscard]] std::size_t connections(Protocol protocol) const;
  // The most that there were at once.
  [[nodiscard]] std::size_t connections_peak() const {
    return peak_.load(std::memory_order_relaxed);
  }
  void connection_added();
  // Visits every loop on its own thread, one after the other, until a visit returns false; goes on
  // on the loop that asked.
  [[nodiscard]] Task<void> visit(std::function<bool(LoopHub&)> visit_one);
  [[nodiscard]] Task<std::vector<ConnectionInfo>> list_connections();
  // A number no other connection of this process has or had.
  [[nodiscard]] std::int64_t next_connection_number() {
    return next_number_.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  void tell_presence();
  void tell_all_rooms();
  void hear_of_rooms(boost::json::object const& announced);
  LiveEventPtr tell_here(store::Event event, std::string news_id);
  Task<void> announce(std::string text);

  store::Store& store_;
  Gate& gate_;
  PresentState& present_;
  Projections const& projections_;
  HubLimits const limits_;
  Logger logger_;
  RoomDirectory rooms_;
  RecentEvents recent_;
  std::vector<std::unique_ptr<LoopHub>> loops_;
  std::unique_ptr<Timer> presence_;
  std::unique_ptr<Timer> rooms_told_;
  std::string const server_id_ = Uuid::random().to_string();  // As other servers know this one.
  bool had_rooms_ = false;                                    // When it told them last.
  std::atomic<bool> presence_asked_{false};
  std::atomic<bool> told_others_{true};  // Whether the last announcement went out.
  std::atomic<std::int64_t> next_number_{1};
  std::atomic<std::size_t> peak_{0};
};

}  // namespace subforge::realtime
