// The viewers of one event loop: who is in which room here, and which event is for whom. Everything
// in it belongs to its loop's thread but the counts.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "realtime/catch_up.hpp"
#include "realtime/live_event.hpp"
#include "realtime/recent_events.hpp"
#include "realtime/throughput.hpp"
#include "realtime/turns.hpp"
#include "realtime/viewer.hpp"
#include "runtime/event_loop.hpp"

namespace subforge::realtime {

class Hub;

class LoopHub {
 public:
  LoopHub(Hub& hub, EventLoop& loop, net::WebSocketServer& sockets);
  LoopHub(LoopHub const&) = delete;
  LoopHub& operator=(LoopHub const&) = delete;

  // From now on the viewer gets what happens.
  void add(Viewer& viewer);
  void remove(Viewer& viewer);
  // Who it is has been learned, or has changed: it gets what happens from now on.
  void identify(Viewer& viewer, Identity identity);
  // Whether changes of records come only through the rooms it is in.
  void show_only_rooms(Viewer& viewer, bool only);
  // The position of the log up to which the viewer has been shown everything; nothing while it
  // comes back.
  [[nodiscard]] std::optional<std::int64_t> shown_up_to(Viewer const& viewer) const;
  // Whether the viewer has been shown no event of the log yet, however many there were, so that
  // what it missed can still come first.
  [[nodiscard]] bool may_resume(Viewer const& viewer) const;
  // The viewer gets what is kept for its user and, if it comes back, what it missed; then its
  // recovered() is called, then it gets what happens. Its rooms are joined already. Whoever became
  // another user and does not come back only gets what is kept for that one.
  void resume(Viewer& viewer, Resume const& resume);
  // Removes what is kept for the viewer's user up to an event of the log; ends in acknowledged(),
  // if the viewer is here then. False if too many of these are not yet on disk.
  [[nodiscard]] bool acknowledge(Viewer& viewer, std::int64_t up_to, std::string correlation_id);
  // What was pushed to the viewer has left.
  void drained(Viewer& viewer);

  // Members after joining; nothing if a limit refuses it, which `why` then names.
  std::optional<std::size_t> join(Viewer& viewer, std::string const& room, std::string& why);
  void leave(Viewer& viewer, std::string const& room);

  // Events of the log come in its order; `last` is the position that is reached with them.
  void deliver(std::span<LiveEventPtr const> events, std::int64_t last);
  // One of them, or news that is not in the log.
  void deliver(LiveEvent const& event);
  // Whether the viewer was shown the event now.
  bool show(Viewer& viewer, LiveEvent const& event, std::string_view own_connection);

  void list_connections(std::vector<ConnectionInfo>& all) const;
  // Null if it is not here.
  [[nodiscard]] Viewer* find(std::string_view connection_id) const;
  // Those of /ws/v2 that belong to the user.
  [[nodiscard]] std::vector<Viewer*> connections_of(std::string const& user);
  // How many viewers here an event reaches that is for this audience.
  [[nodiscard]] std::size_t count_reached(LiveEvent const& event) const;
  // When something was last told to each room.
  void add_last_told(std::unordered_map<std::string, Timestamp>& rooms) const;
  [[nodiscard]] Throughput& throughput() { return throughput_; }
  // Messages of clients, and those among them that were answered with an error.
  struct Heard {
    std::int64_t messages = 0;
    std::int64_t refused = 0;
  };
  [[nodiscard]] Heard& heard() { return heard_; }
  [[nodiscard]] std::size_t queued_bytes() const;
  [[nodiscard]] std::size_t count_authenticated() const;

  // A message for the viewer alone.
  void tell(Viewer& viewer, std::string_view text);
  // Messages that the viewer is sent; those of tell() and of events are counted by these.
  void count_shown(Viewer& viewer, std::size_t messages = 1) {
    viewer.shown_ += static_cast<std::int64_t>(messages);
    throughput_.count(messages);
  }
  // False while there is another.
  bool begin_replay(Viewer& viewer, std::shared_ptr<Replay> replay);
  void replay_ended(Viewer& viewer);

  // Ends the streams, which do not end by themselves.
  void close_streams(std::uint16_t code, std::string_view reason);
  // Closes those whose rights have ended.
  void check_rights();

  [[nodiscard]] Hub& hub() { return hub_; }
  [[nodiscard]] EventLoop& loop() { return loop_; }
  [[nodiscard]] TaskGroup& tasks() { return tasks_; }
  [[nodiscard]] std::size_t count(Protocol protocol) const {
    return counts_[static_cast<std::size_t>(protocol)].load(std::memory_order_relaxed);
  }

 private:
  class Delivery;
  // When a room, or everybody, was last told something, and how that was sent. Times are turns'.
  struct Told {
    std::int64_t at_ns = INT64_MIN / 2;
    std::int64_t before_ns = INT64_MIN / 2;  // The time before that.
    net::Send send = net::Send::at_turn_end;
  };
  struct Room {
    std::vector<Viewer*> members;
    Timestamp last_told{};
    Told told;
  };

  template <class Visit>
  static void for_each(std::vector<Viewer*> const& viewers, Visit visit);
  // Whether an event of the log is for the members of one room and for nobody else.
  [[nodiscard]] static bool is_for_one_room(LiveEventPtr const& event);
  // Such events, in the log's order: whoever is to have several of them gets these in one piece.
  void deliver_together(std::span<LiveEventPtr const> events);
  void deliver_in_order(std::vector<std::pair<Viewer*, Delivery*>>& ways);
  void deliver_to_rooms(LiveEvent const& event, bool rooms_only);
  // News that are not in the log nobody has.
  [[nodiscard]] static bool has_seen(Viewer const& viewer, LiveEvent const& event);
  [[nodiscard]] static bool is_meant(Viewer const& viewer, store::Audience const& audience);
  // Whether a viewer is among the audience, and through which room, if through one.
  [[nodiscard]] static bool is_for(Viewer const& viewer, store::Audience const& audience,
                                   std::string_view& room);
  Room* room_told(std::string const& name);
  [[nodiscard]] net::Send pace_of(LiveEvent const& event, Told& told) const;
  // Keep by_user_.
  void enter_user(Viewer& viewer);
  void leave_user(Viewer& viewer);
  // What replaces what: news of one kind in one room, of which a viewer may hear several messages.
  struct News {
    std::string_view kind;
    std::string_view room = {};
    std::string_view part = {};
    LiveEvent const* event = nullptr;  // That the message is of, if it is of one.
  };
  // Keeps the message back if the viewer reads slowly or catches up: the next of its kind replaces
  // it, or if it is of comings and goings tells of both.
  void push_or_conflate(Viewer& viewer, News const& news, std::string_view text,
                        net::WebSocketFrame const* frame);
  void tell_conflated(Viewer& viewer);
  Task<void> catch_up(std::shared_ptr<CatchUp> way);
  Task<Result<void>> go_on_catching_up(CatchUp& way);
  Task<Result<void>> look_ahead(CatchUp& way);
  void end_catching_up(Viewer& viewer);
  Task<Result<void>> show_inbox(CatchUp& way);
  Task<void> clear_inbox(std::string connection_id, std::string user, std::int64_t up_to,
                         std::string correlation_id);
  Task<Result<void>> show_missed(CatchUp& way);
  // The next events, from memory if they are there.
  bool take_recent(CatchUp& way);
  // The next events from the log; false if it does not reach back to where the viewer stands.
  Task<Result<bool>> next_page(CatchUp& way);
  Task<Result<void>> take_snapshot(CatchUp& way);
  void beat(Protocol protocol);
  void beat_later(Protocol protocol);
  std::vector<Viewer*>& list(Protocol protocol) {
    return viewers_[static_cast<std::size_t>(protocol)];
  }

  Hub& hub_;
  EventLoop& loop_;
  net::WebSocketServer& sockets_;
  std::array<std::vector<Viewer*>, kProtocols> viewers_;
  std::array<std::atomic<std::size_t>, kProtocols> counts_{};
  std::unordered_map<std::string, Room> rooms_;
  std::unordered_map<std::string_view, Viewer*> by_id_;
  std::unordered_map<std::string, std::vector<Viewer*>> by_user_;  // Whoever is identified.
  Throughput throughput_;
  Heard heard_;
  std::size_t rooms_only_count_ = 0;
  Told told_all_;
  std::int64_t delivered_ = 0;  // The position of the log reached here.
  std::array<Timer, kProtocols> beats_;
  Turns disk_;  // Of those that come back.
  TaskGroup tasks_;
};

}  // namespace subforge::realtime
