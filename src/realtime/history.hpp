// What happened, as clients ask for it: in the messages event_history and replay_events of /ws/v2,
// and over REST (contract, rest-v2.md section 7.3).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "describe/record.hpp"
#include "realtime/hub.hpp"

namespace subforge::realtime {

// The types of messages on /ws/v2 (contract, websocket.md section 2).
enum class MessageType : std::uint8_t {
  auth_request,
  auth_success,
  auth_error,
  join_room,
  leave_room,
  room_message,
  system_notification,
  agent_update,
  task_update,
  metrics_update,
  file_change,
  analytics_update,
  analytics_alert,
  analytics_report,
  ping,
  pong,
  heartbeat,
  connection_state,
  event_history,
  replay_events
};

constexpr std::array<std::pair<MessageType, std::string_view>, 20> names_of(MessageType) {
  using enum MessageType;
  return {{{auth_request, "auth_request"},
           {auth_success, "auth_success"},
           {auth_error, "auth_error"},
           {join_room, "join_room"},
           {leave_room, "leave_room"},
           {room_message, "room_message"},
           {system_notification, "system_notification"},
           {agent_update, "agent_update"},
           {task_update, "task_update"},
           {metrics_update, "metrics_update"},
           {file_change, "file_change"},
           {analytics_update, "analytics_update"},
           {analytics_alert, "analytics_alert"},
           {analytics_report, "analytics_report"},
           {ping, "ping"},
           {pong, "pong"},
           {heartbeat, "heartbeat"},
           {connection_state, "connection_state"},
           {event_history, "event_history"},
           {replay_events, "replay_events"}}};
}

enum class HistoryOrder : std::uint8_t { asc, desc };

constexpr std::array<std::pair<HistoryOrder, std::string_view>, 2> names_of(HistoryOrder) {
  return {{{HistoryOrder::asc, "asc"}, {HistoryOrder::desc, "desc"}}};
}

// Which part of the past.
struct HistoryQuestion {
  static constexpr std::int64_t kLimitMax = 500;
  static constexpr std::size_t kAnswerBytesMax = 4U << 20;  // Of what is told at once.

  std::optional<std::string> room = {};
  std::vector<std::string> event_types = {};  // None: all.
  std::int64_t limit = 50;
  std::optional<Timestamp> since = {};
  std::optional<std::string> after = {};
  HistoryOrder order = HistoryOrder::asc;

  // Of those behind an event, instead of the newest.
  [[nodiscard]] bool tells_first_ones() const { return after && order == HistoryOrder::asc; }

  static constexpr auto describe() {
    using describe::field;
    using H = HistoryQuestion;
    return describe::fields(
        field("room", &H::room).length(1, 200).writable().doc("What was for this room alone."),
        field("event_types", &H::event_types).writable().doc("Types of messages; none: all."),
        field("limit", &H::limit).range(1, kLimitMax).writable().doc("The newest so many."),
        field("since", &H::since).writable().doc("Strictly newer than this."),
        field("after", &H::after)
            .length(1, 100)
            .writable()
            .doc("Behind this event_id; in ascending order the first so many, not the newest."),
        field("order", &H::order).writable().doc("How they are told; a replay is ascending."));
  }
};

// What is wrong with a question, in a sentence.
[[nodiscard]] std::optional<std::string> fault_of(Hub& hub, HistoryQuestion const& question);

// Whether the rights of `who` let an event be seen, wherever they are connected.
[[nodiscard]] bool may_know(Identity const& who, store::Audience const& audience);

struct PastEvents {
  std::vector<LiveEventPtr> events = {};  // Oldest first.
  bool complete = true;                   // False where older ones may match that are not here.
  bool first_ones = false;                // Of those that match, not the newest.
  std::string next = {};                  // Behind which there may be more of the first ones.

  // Leaves out the oldest, or the last of the first ones, until what is left is about so many
  // bytes, but never all.
  void shorten(std::size_t bytes_max);
};
// The types are known ones. Rooms that may not be entered have no past. Of much more than so many
// bytes the rest is left out, as shorten() leaves it out.
[[nodiscard]] Task<Result<PastEvents>> past_events(Hub& hub, Identity who, HistoryQuestion question,
                                                   std::size_t bytes_max);
// Of all of them, however large, nothing but their ids.
[[nodiscard]] Task<Result<std::vector<std::int64_t>>> past_ids(Hub& hub, Identity who,
                                                               HistoryQuestion question);

// Members `events`, `total_count`, `complete` and, of the first ones, `next`.
void write_history(JsonWriter& json, PastEvents const& past, HistoryQuestion const& question);

// Sends them to a viewer of /ws/v2, as fast as it reads; then `tell_end`, if the viewer is still
// there. One at a time: false while there is another.
bool replay(LoopHub& hub, Viewer& viewer, std::vector<std::int64_t> past,
            HistoryQuestion const& question, std::string correlation_id, bool tell_end);

// What is sent again. Each is read when it is its turn, so that who reads slowly holds no memory.
struct Replay : Pace {
  std::vector<std::int64_t> events;
  std::size_t told = 0;
  std::string room;  // Empty: each event's own.
  std::string correlation_id;
  bool tell_end = false;
};

}  // namespace subforge::realtime
